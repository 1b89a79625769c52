"""Pages about the federation's work: overview, linkages and their progress, the audit."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from kinlink_core.errors import InvalidInputError
from kinlink_core.runtime.purpose import PURPOSE_CHARS_MAX, PURPOSE_DEFAULT
from starlette.responses import RedirectResponse, Response, StreamingResponse

from kinlink_gateway.access import Allow, Caller, form_guard
from kinlink_gateway.api import LinkageId
from kinlink_gateway.follow import follow_response
from kinlink_gateway.histogram import Histogram, draw_weights
from kinlink_gateway.linkage_quality import LinkageQuality
from kinlink_gateway.linker import Linkage, LinkFilter
from kinlink_gateway.parts import gateway_of
from kinlink_gateway.queries import AuditSelection, PageToken, next_before
from kinlink_gateway.roles import Action
from kinlink_gateway.views import RegistryName

LAST_LINKAGES = 5
LINKAGES_PER_PAGE = 20

router = APIRouter(include_in_schema=False)
forms = APIRouter(include_in_schema=False, dependencies=[Depends(form_guard)])


@router.get("/")
def show_overview(
    request: Request, caller: Annotated[Caller, Depends(Allow(Action.REGISTRIES_READ))]
) -> Response:
    """The registries with their states, the last linkages, what waits for a decision."""
    undecided = None
    if caller.person.may(Action.LINKS_READ):
        undecided = caller.desk.count(LinkFilter(undecided_only=True))
    linkages = caller.desk.linkages(page_size=LAST_LINKAGES).linkages
    last_ended = next((linkage for linkage in linkages if linkage.state.ended), None)
    return gateway_of(request).renderer.page(
        request,
        "overview.html",
        caller=caller,
        registries=caller.desk.registries(),
        linkages=linkages,
        missing=[item.name for item in last_ended.missing_registries] if last_ended else [],
        undecided=undecided,
    )


@router.get("/linkages")
def show_linkages(
    request: Request,
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGES_READ))],
    page_token: PageToken = "",
) -> Response:
    """All linkages, and the form that starts one."""
    return _linkages_page(request, caller, page_token=page_token)


@forms.post("/linkages")
def start_linkage(
    request: Request,
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGE_START))],
    threshold_percent: Annotated[float | None, Form(gt=0, lt=100)] = None,
    registries: Annotated[list[RegistryName] | None, Form()] = None,
    purpose: Annotated[str, Form(max_length=PURPOSE_CHARS_MAX)] = PURPOSE_DEFAULT,
) -> Response:
    """Start a linkage and go to its page."""
    try:
        linkage = caller.desk.start(
            threshold_probability=None if threshold_percent is None else threshold_percent / 100,
            registries=tuple(registries or ()),
            purpose=purpose or PURPOSE_DEFAULT,
        )
    except InvalidInputError as error:
        return _linkages_page(request, caller, status=400, fault=error.public)
    caller.trail.object_id = linkage.id
    return RedirectResponse(f"/linkages/{linkage.id}", status_code=303)


@router.get("/linkages/{linkage_id}")
def show_linkage(
    request: Request,
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGES_READ, object_params=("linkage_id",)))],
    linkage_id: LinkageId,
) -> Response:
    """One linkage with its progress, which follows it live."""
    linkage = caller.desk.linkage(linkage_id)
    quality, weights = _quality(caller, linkage)
    return gateway_of(request).renderer.page(
        request, "linkage.html", caller=caller, linkage=linkage, quality=quality, weights=weights
    )


@router.get("/linkages/{linkage_id}/events")
def follow_linkage(
    request: Request,
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGES_READ, object_params=("linkage_id",)))],
    linkage_id: LinkageId,
) -> StreamingResponse:
    """The progress of a linkage as HTML, in server-sent events."""
    renderer = gateway_of(request).renderer

    def render(linkage: Linkage) -> str:
        quality, weights = _quality(caller, linkage)
        return renderer.fragment(
            request,
            "_progress.html",
            caller=caller,
            linkage=linkage,
            quality=quality,
            weights=weights,
        )

    return follow_response(request, caller.desk, linkage_id, render)


@forms.post("/linkages/{linkage_id}/cancel")
def cancel_linkage(
    caller: Annotated[Caller, Depends(Allow(Action.LINKAGE_CANCEL, object_params=("linkage_id",)))],
    linkage_id: LinkageId,
) -> Response:
    """Ask a linkage to end and go back to its page."""
    caller.desk.cancel(linkage_id)
    return RedirectResponse(f"/linkages/{linkage_id}", status_code=303)


@router.get("/audit")
def show_audit(
    request: Request,
    caller: Annotated[Caller, Depends(Allow(Action.AUDIT_READ))],
    query: Annotated[AuditSelection, Depends()],
) -> Response:
    """Who did what, newest first."""
    gateway = gateway_of(request)
    entries = gateway.audit.entries(query.audit_query())
    caller.trail.row_count = len(entries)
    return gateway.renderer.page(
        request,
        "audit.html",
        caller=caller,
        entries=entries,
        query=query,
        actions=tuple(Action),
        next_before=next_before(entries, query.limit),
    )


def _quality(caller: Caller, linkage: Linkage) -> tuple[LinkageQuality | None, Histogram | None]:
    """The estimates of a linkage that has ended, and their picture."""
    quality = caller.desk.quality(linkage.id) if linkage.state.ended else None
    if quality is None or quality.linked is None:
        return quality, None
    return quality, draw_weights(quality.weights, quality.linked.weight)


def _linkages_page(
    request: Request, caller: Caller, *, page_token: str = "", status: int = 200, fault: str = ""
) -> Response:
    page = caller.desk.linkages(page_size=LINKAGES_PER_PAGE, page_token=page_token)
    return gateway_of(request).renderer.page(
        request,
        "linkages.html",
        status=status,
        caller=caller,
        linkages=page.linkages,
        next_page_token=page.next_page_token,
        page_token=page_token,
        registries=caller.desk.registries(),
        fault=fault,
    )
