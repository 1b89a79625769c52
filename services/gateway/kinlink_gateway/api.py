"""The JSON API under /api/v1: each page has its twin here, and machines have all there is."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from kinlink_core.errors import InvalidInputError, QuotaError, Reason
from starlette.responses import StreamingResponse

from kinlink_gateway.access import Allow, Caller
from kinlink_gateway.exports import ExportFormat, export
from kinlink_gateway.follow import EVENT_STREAM, follow_response
from kinlink_gateway.limits import CANDIDATES_DEFAULT, CANDIDATES_MAX, PAGE_ROWS_DEFAULT
from kinlink_gateway.parts import at_end, gateway_of
from kinlink_gateway.problems import PROBLEM_JSON
from kinlink_gateway.quality_views import LinkageQualityView, QualityView
from kinlink_gateway.queries import (
    AuditSelection,
    CandidateQuery,
    CaseQuery,
    LinkQuery,
    PageSize,
    PageToken,
    missing_registries,
    next_before,
)
from kinlink_gateway.roles import POLICY, Action
from kinlink_gateway.views import (
    ID_PATTERN,
    NAME_PATTERN,
    SUBJECT_PATTERN,
    AuditEntryView,
    AuditView,
    CaseDetailView,
    CasesView,
    CaseView,
    DecideLink,
    Identity,
    LinkagesView,
    LinkageView,
    LinkDetailView,
    LinksView,
    LinkView,
    RegistriesView,
    RegistryView,
    StartLinkage,
)

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/ProblemView"}
_PROBLEMS: dict[int | str, dict[str, object]] = {
    status: {"description": text, "content": {PROBLEM_JSON: {"schema": PROBLEM_SCHEMA}}}
    for status, text in (
        (400, "The request is malformed."),
        (401, "No token, or one that is not valid."),
        (403, "The role may not do this."),
        (404, "There is no such thing, or not for this caller."),
        (409, "It does not fit the present state."),
        (413, "The request is too large."),
        (422, "A field is malformed; `faults` says where."),
        (429, "A limit or a rate is used up."),
        (503, "The linker or the database cannot be reached."),
    )
}

router = APIRouter(prefix="/api/v1", responses=_PROBLEMS)

LinkageId = Annotated[str, Path(pattern=ID_PATTERN)]
LinkId = Annotated[str, Path(pattern=ID_PATTERN)]
CaseRegistry = Annotated[
    str, Path(pattern=NAME_PATTERN, description="Where the family's notice is.")
]
CaseSubject = Annotated[
    str, Path(pattern=SUBJECT_PATTERN, description="Subject id of the family's notice.")
]


@router.get("/me", tags=["identity"])
def read_identity(caller: Annotated[Caller, Depends(Allow(Action.IDENTITY_READ))]) -> Identity:
    """Who you are and what you may do."""
    person = caller.person
    return Identity(
        name=person.name,
        role=person.role,
        registry=person.registry,
        may=sorted(action.value for action in POLICY[person.role]),
    )


@router.get("/registries", tags=["registries"])
def list_registries(
    caller: Annotated[Caller, Depends(Allow(Action.REGISTRIES_READ))],
) -> RegistriesView:
    """The registries and their state."""
    return RegistriesView(
        registries=[RegistryView.model_validate(item) for item in caller.desk.registries()]
    )


@router.get("/linkages", tags=["linkages"])
def list_linkages(
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGES_READ))],
    page_size: PageSize = PAGE_ROWS_DEFAULT,
    page_token: PageToken = "",
) -> LinkagesView:
    """Linkages, newest first."""
    page = caller.desk.linkages(page_size=page_size, page_token=page_token)
    return LinkagesView(
        linkages=[LinkageView.model_validate(linkage) for linkage in page.linkages],
        next_page_token=page.next_page_token,
    )


@router.post("/linkages", tags=["linkages"], status_code=201)
def start_linkage(
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGE_START))], body: StartLinkage
) -> LinkageView:
    """Start a linkage; it goes on by itself."""
    linkage = caller.desk.start(
        threshold_probability=body.threshold_probability,
        registries=tuple(body.registries),
        purpose=body.purpose,
    )
    caller.trail.object_id = linkage.id
    return LinkageView.model_validate(linkage)


@router.get("/linkages/{linkage_id}", tags=["linkages"])
def read_linkage(
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGES_READ, object_params=("linkage_id",)))],
    linkage_id: LinkageId,
) -> LinkageView:
    """One linkage as it stands: poll this, or follow its events."""
    return LinkageView.model_validate(caller.desk.linkage(linkage_id))


@router.get("/linkages/{linkage_id}/quality", tags=["linkages"])
def read_quality(
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGES_READ, object_params=("linkage_id",)))],
    linkage_id: LinkageId,
) -> LinkageQualityView:
    """What a linkage is expected to be worth, estimated without truth; a province's own rows."""
    found = caller.desk.quality(linkage_id)
    return LinkageQualityView(
        linkage_id=linkage_id,
        quality=None if found is None else QualityView.model_validate(found),
    )


@router.get(
    "/linkages/{linkage_id}/events",
    tags=["linkages"],
    response_class=StreamingResponse,
    responses={200: {"content": {EVENT_STREAM: {}}, "description": "`linkage`, then `ended`."}},
)
def follow_linkage(
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGES_READ, object_params=("linkage_id",)))],
    linkage_id: LinkageId,
    request: Request,
) -> StreamingResponse:
    """Server-sent events: a `linkage` event (LinkageView) at each change, then `ended`."""
    return follow_response(
        request,
        caller.desk,
        linkage_id,
        lambda linkage: LinkageView.model_validate(linkage).model_dump_json(),
    )


@router.post("/linkages/{linkage_id}/cancel", tags=["linkages"])
def cancel_linkage(
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGE_CANCEL, object_params=("linkage_id",)))],
    linkage_id: LinkageId,
) -> LinkageView:
    """Ask a linkage to end."""
    return LinkageView.model_validate(caller.desk.cancel(linkage_id))


@router.get("/links", tags=["links"])
def list_links(
    caller: Annotated[
        Caller, Depends(Allow(Action.LINKS_READ, object_params=("linkage", "person")))
    ],
    query: Annotated[LinkQuery, Depends()],
    page_size: PageSize = PAGE_ROWS_DEFAULT,
    page_token: PageToken = "",
) -> LinksView:
    """Links, filtered, sorted and paged."""
    page = caller.desk.links(
        query.link_filter(), order=query.order, page_size=page_size, page_token=page_token
    )
    caller.trail.row_count = len(page.links)
    return LinksView(
        links=[LinkView.model_validate(link) for link in page.links],
        next_page_token=page.next_page_token,
        total=page.total,
        missing_registries=missing_registries(page),
    )


@router.get(
    "/links/export",
    tags=["links"],
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {str(item.media_type): {} for item in ExportFormat},
            "description": "One row a link, in the linker's order.",
        }
    },
)
def export_links(
    caller: Annotated[
        Caller, Depends(Allow(Action.LINKS_EXPORT, object_params=("linkage", "person")))
    ],
    query: Annotated[LinkQuery, Depends()],
    request: Request,
    file_format: Annotated[ExportFormat, Query(alias="format")] = ExportFormat.CSV,
) -> StreamingResponse:
    """All links of a filter as a file, streamed; `order` is not applied."""
    gateway = gateway_of(request)
    link_filter = query.link_filter()
    caller.trail.row_count = caller.desk.count(link_filter)
    if caller.trail.row_count > gateway.limits.export_rows_max:
        raise InvalidInputError(
            Reason.QUOTA_EXCEEDED,
            f"More than {gateway.limits.export_rows_max} links match. Narrow the filter.",
        )
    if not gateway.limits.exports.acquire(blocking=False):
        raise QuotaError(
            Reason.TOO_MANY_REQUESTS, "Too many exports run now. Try again in a minute."
        )
    at_end(request, gateway.limits.exports.release)
    gateway.metrics.exports.labels(file_format.value).inc()
    return StreamingResponse(
        export(caller.desk.stream(link_filter), file_format),
        media_type=file_format.media_type,
        headers={"Content-Disposition": f'attachment; filename="links.{file_format.value}"'},
    )


@router.get("/links/{link_id}", tags=["links"])
def read_link(
    caller: Annotated[Caller, Depends(Allow(Action.LINK_READ, object_params=("link_id",)))],
    link_id: LinkId,
) -> LinkDetailView:
    """One link with its evidence: fields, levels and weights, no value."""
    return LinkDetailView.of(caller.desk.link(link_id))


@router.post("/links/{link_id}/verdict", tags=["links"])
def decide_link(
    caller: Annotated[Caller, Depends(Allow(Action.LINK_DECIDE, object_params=("link_id",)))],
    link_id: LinkId,
    body: DecideLink,
    request: Request,
) -> LinkView:
    """Give a verdict; both registries hear of it."""
    link = caller.desk.decide(
        link_id,
        verdict=body.verdict,
        reason=body.reason,
        seen=body.seen,
        ruled_out_by=body.ruled_out_by,
    )
    gateway_of(request).metrics.verdicts.labels(body.verdict.value).inc()
    return LinkView.model_validate(link)


@router.get("/cases", tags=["cases"])
def list_cases(
    caller: Annotated[Caller, Depends(Allow(Action.CASES_READ))],
    query: Annotated[CaseQuery, Depends()],
    page_size: PageSize = PAGE_ROWS_DEFAULT,
    page_token: PageToken = "",
) -> CasesView:
    """Families' notices that have candidates, in a federation with two sides; else none."""
    page = caller.desk.cases(
        query.case_filter(), order=query.order, page_size=page_size, page_token=page_token
    )
    caller.trail.row_count = len(page.cases)
    return CasesView(
        cases=[CaseView.model_validate(case) for case in page.cases],
        next_page_token=page.next_page_token,
        total=page.total,
    )


@router.get("/cases/{registry}/{subject}", tags=["cases"])
def read_case(
    caller: Annotated[
        Caller, Depends(Allow(Action.CASE_READ, object_params=("registry", "subject")))
    ],
    registry: CaseRegistry,
    subject: CaseSubject,
    query: Annotated[CandidateQuery, Depends()],
    *,
    page_size: Annotated[int, Query(ge=1, le=CANDIDATES_MAX)] = CANDIDATES_DEFAULT,
    page_token: PageToken = "",
) -> CaseDetailView:
    """One case with its ranked candidates and their evidence, a page at a time."""
    page = caller.desk.case(
        query.key(registry, subject), page_size=page_size, page_token=page_token
    )
    caller.trail.row_count = len(page.candidates) or None
    return CaseDetailView.of(page)


@router.get("/audit", tags=["audit"])
def read_audit(
    caller: Annotated[Caller, Depends(Allow(Action.AUDIT_READ))],
    query: Annotated[AuditSelection, Depends()],
    request: Request,
) -> AuditView:
    """Who did what, newest first."""
    entries = gateway_of(request).audit.entries(query.audit_query())
    caller.trail.row_count = len(entries)
    return AuditView(
        entries=[AuditEntryView.model_validate(entry) for entry in entries],
        next_before=next_before(entries, query.limit),
    )
