"""Pages about links: the table with its filters, one link with its evidence, the verdict."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from kinlink_core.errors import ConflictError, InvalidInputError, NotFoundError
from starlette.responses import RedirectResponse, Response

from kinlink_gateway.access import Allow, Caller, form_guard
from kinlink_gateway.api import LinkId
from kinlink_gateway.exports import ExportFormat
from kinlink_gateway.limits import PAGE_ROWS_DEFAULT, REASON_CHARS_MAX
from kinlink_gateway.linker import Link, Linkage, LinkOrder, RuledOutBy, Verdict
from kinlink_gateway.parts import gateway_of
from kinlink_gateway.queries import UNDECIDED, LinkQuery, PageToken, missing_registries
from kinlink_gateway.roles import Action
from kinlink_gateway.waterfall import NARROW, WIDE, draw, terms_of, threshold_weight

LINKAGES_TO_CHOOSE = 20

router = APIRouter(include_in_schema=False)
forms = APIRouter(include_in_schema=False, dependencies=[Depends(form_guard)])

FirstRow = Annotated[int, Query(ge=1, le=1_000_000_000)]


@dataclass(frozen=True)
class Given:
    """What somebody filled in, so that a refused form loses nothing of it."""

    verdict: str = ""
    reason: str = ""
    ruled_out_by: str = ""


@router.get("/links")
def show_links(
    request: Request,
    caller: Annotated[
        Caller, Depends(Allow(Action.LINKS_READ, object_params=("linkage", "person")))
    ],
    query: Annotated[LinkQuery, Depends()],
    page_token: PageToken = "",
    first_row: FirstRow = 1,
) -> Response:
    """The links of a filter, a page at a time."""
    page = caller.desk.links(
        query.link_filter(),
        order=query.order,
        page_size=PAGE_ROWS_DEFAULT,
        page_token=page_token,
    )
    caller.trail.row_count = len(page.links)
    missing = set(missing_registries(page))
    if query.linkage:
        missing |= {item.name for item in caller.desk.linkage(query.linkage).missing_registries}
    return gateway_of(request).renderer.page(
        request,
        "links.html",
        caller=caller,
        page=page,
        query=query,
        first_row=first_row,
        next_row=first_row + len(page.links),
        missing=sorted(missing),
        linkages=caller.desk.linkages(page_size=LINKAGES_TO_CHOOSE).linkages,
        registries=caller.desk.registries(),
        verdicts=(UNDECIDED, *(verdict.value for verdict in Verdict)),
        orders=tuple(LinkOrder),
        exports=[(item.name, _export_address(request, item)) for item in ExportFormat],
    )


@router.get("/links/{link_id}")
def show_link(
    request: Request,
    caller: Annotated[Caller, Depends(Allow(Action.LINK_READ, object_params=("link_id",)))],
    link_id: LinkId,
    *,
    saved: bool = False,
) -> Response:
    """One link, why it was made, and the form that decides it."""
    return _link_page(request, caller, link_id, saved=saved)


@forms.post("/links/{link_id}/verdict")
def decide_link(
    request: Request,
    caller: Annotated[Caller, Depends(Allow(Action.LINK_DECIDE, object_params=("link_id",)))],
    link_id: LinkId,
    verdict: Annotated[str, Form(max_length=16)] = "",
    reason: Annotated[str, Form(max_length=2 * REASON_CHARS_MAX)] = "",
    *,
    ruled_out_by: Annotated[str, Form(max_length=16)] = "",
    seen: Annotated[str, Form(max_length=16)] = "",
) -> Response:
    """Record a verdict; what is wrong with it is said beside the form, with nothing typed lost."""
    try:
        if verdict not in set(Verdict):
            given = Given(reason=reason)
            return _link_page(
                request, caller, link_id, fault="Choose a verdict.", status=400, given=given
            )
        # A browser without scripts sends the list whatever the verdict is.
        code = RuledOutBy(ruled_out_by) if ruled_out_by in set(RuledOutBy) else None
        caller.desk.decide(
            link_id,
            verdict=Verdict(verdict),
            reason=reason,
            seen=seen,
            ruled_out_by=code if verdict == Verdict.REJECTED else None,
        )
    except (InvalidInputError, ConflictError) as error:
        given = Given(verdict, reason, ruled_out_by)
        status = 409 if isinstance(error, ConflictError) else 400
        return _link_page(request, caller, link_id, fault=error.public, status=status, given=given)
    gateway_of(request).metrics.verdicts.labels(verdict).inc()
    return RedirectResponse(f"/links/{link_id}?saved=true", status_code=303)


def _link_page(
    request: Request,
    caller: Caller,
    link_id: str,
    *,
    status: int = 200,
    saved: bool = False,
    fault: str = "",
    given: Given | None = None,
) -> Response:
    file = caller.desk.link(link_id)
    link = file.explained.link
    linkage = _linkage_of(caller, link)
    threshold = threshold_weight(linkage.threshold_probability) if linkage else None
    gaps = linkage.missing_registries if linkage else ()
    terms = terms_of(file.explained)
    return gateway_of(request).renderer.page(
        request,
        "link.html",
        status=status,
        caller=caller,
        link=link,
        history=file.history,
        terms=terms,
        charts=[draw(terms, shape, threshold=threshold) for shape in (WIDE, NARROW)],
        threshold=threshold,
        missing=sorted({*link.missing_registries, *(item.name for item in gaps)}),
        verdicts=tuple(Verdict),
        reason_chars_max=REASON_CHARS_MAX,
        saved=saved,
        fault=fault,
        codes=tuple(RuledOutBy),
        given_verdict=given.verdict if given else "",
        given_reason=given.reason if given else "",
        given_ruled_out_by=(given and given.ruled_out_by) or RuledOutBy.OTHER.value,
    )


def _linkage_of(caller: Caller, link: Link) -> Linkage | None:
    try:
        return caller.desk.linkage(link.linkage_id)
    except NotFoundError:
        return None


def _export_address(request: Request, file_format: ExportFormat) -> str:
    paging = {"page_token", "first_row", "lang", "order"}
    query = {name: value for name, value in request.query_params.items() if name not in paging}
    return "/api/v1/links/export?" + urlencode({**query, "format": file_format.value})
