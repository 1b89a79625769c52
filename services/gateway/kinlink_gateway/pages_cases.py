"""Pages about cases: the families' notices that have candidates, and one of them with its list."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from kinlink_gateway.access import Allow, Caller
from kinlink_gateway.api import CaseRegistry, CaseSubject
from kinlink_gateway.cases import Candidate
from kinlink_gateway.limits import CANDIDATES_DEFAULT, PAGE_ROWS_DEFAULT
from kinlink_gateway.linker import LinkOrder, PairState
from kinlink_gateway.pages_links import FirstRow
from kinlink_gateway.parts import gateway_of
from kinlink_gateway.queries import ALL_STATES, CandidateQuery, CaseQuery, PageToken
from kinlink_gateway.roles import Action
from kinlink_gateway.waterfall import NARROW, WIDE, Chart, Term, draw, terms_of

ORDERS = (LinkOrder.WEIGHT_DESC, LinkOrder.CREATED_DESC)
STATES = ("", PairState.RETURNED.value, PairState.RULED_OUT.value, ALL_STATES)

router = APIRouter(include_in_schema=False)
forms = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Lead:
    """A candidate as its row shows it: the sum that gave its weight, drawn for two widths."""

    candidate: Candidate
    terms: tuple[Term, ...]
    charts: tuple[Chart, ...]


@router.get("/cases")
def show_cases(
    request: Request,
    caller: Annotated[Caller, Depends(Allow(Action.CASES_READ))],
    query: Annotated[CaseQuery, Depends()],
    page_token: PageToken = "",
    first_row: FirstRow = 1,
) -> Response:
    """The open cases, a page at a time."""
    page = caller.desk.cases(
        query.case_filter(),
        order=query.order,
        page_size=PAGE_ROWS_DEFAULT,
        page_token=page_token,
    )
    caller.trail.row_count = len(page.cases)
    return gateway_of(request).renderer.page(
        request,
        "cases.html",
        caller=caller,
        page=page,
        query=query,
        first_row=first_row,
        next_row=first_row + len(page.cases),
        registries=caller.desk.registries(),
        orders=ORDERS,
    )


@router.get("/cases/{registry}/{subject}")
def show_case(
    request: Request,
    caller: Annotated[
        Caller, Depends(Allow(Action.CASE_READ, object_params=("registry", "subject")))
    ],
    registry: CaseRegistry,
    subject: CaseSubject,
    query: Annotated[CandidateQuery, Depends()],
    *,
    page_token: PageToken = "",
) -> Response:
    """One case with its candidates, best first, and why each is one."""
    page = caller.desk.case(
        query.key(registry, subject), page_size=CANDIDATES_DEFAULT, page_token=page_token
    )
    caller.trail.row_count = len(page.candidates) or None
    return gateway_of(request).renderer.page(
        request,
        "case.html",
        caller=caller,
        page=page,
        case=page.case,
        leads=[_lead(each) for each in page.candidates],
        query=query,
        states=STATES,
        missing=sorted(
            {name for each in page.candidates for name in each.explained.link.missing_registries}
        ),
    )


def _lead(candidate: Candidate) -> Lead:
    terms = terms_of(candidate.explained)
    return Lead(candidate, terms, tuple(draw(terms, shape) for shape in (WIDE, NARROW)))
