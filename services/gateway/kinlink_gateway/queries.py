"""Query parameters that choose links and audit entries, as the API and the pages read them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from kinlink_core.errors import InvalidInputError, Reason
from pydantic import BeforeValidator

from kinlink_gateway.audit import AuditEntry, AuditQuery
from kinlink_gateway.cases import CaseFilter, CaseKey
from kinlink_gateway.limits import NAME_CHARS_MAX, PAGE_ROWS_MAX, PAGE_TOKEN_CHARS_MAX
from kinlink_gateway.linker import LinkFilter, LinkOrder, LinkPage, PairState, Verdict
from kinlink_gateway.views import ID_PATTERN, NAME_PATTERN

UNDECIDED = "undecided"
ALL_STATES = "all"
_EMPTY_OR_ID = rf"^$|{ID_PATTERN}"
_EMPTY_OR_NAME = rf"^$|{NAME_PATTERN}"

PageSize = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX, description="Rows a page.")]
PageToken = Annotated[
    str, Query(max_length=PAGE_TOKEN_CHARS_MAX, description="`next_page_token` of the page before.")
]


StateName = Annotated[
    str,
    Query(
        pattern=rf"^$|^({'|'.join(PairState)}|{ALL_STATES})$",
        description="Pairs in this state, or `all`; empty: all but those that are ruled out.",
    ),
]


def _empty_is(default: float) -> Callable[[object], object]:
    """A form sends an empty field as an empty text."""
    return lambda value: default if value == "" else value


@dataclass(frozen=True)
class LinkQuery:
    """Which links, in which order."""

    linkage: Annotated[str, Query(pattern=_EMPTY_OR_ID, description="Links of this linkage.")] = ""
    registry: Annotated[
        str, Query(pattern=_EMPTY_OR_NAME, description="Links with this registry on either side.")
    ] = ""
    person: Annotated[str, Query(pattern=_EMPTY_OR_ID, description="Links of this person.")] = ""
    probability_min: Annotated[float, BeforeValidator(_empty_is(0.0)), Query(ge=0, le=1)] = 0.0
    probability_max: Annotated[float, BeforeValidator(_empty_is(1.0)), Query(gt=0, le=1)] = 1.0
    verdict: Annotated[
        str,
        Query(
            pattern=rf"^$|^(confirmed|rejected|unsure|{UNDECIDED})$",
            description="Links with this verdict, or `undecided`.",
        ),
    ] = ""
    include_disclosed: Annotated[
        bool, Query(description="Also pairs between the disclosure floor and the threshold.")
    ] = False
    state: StateName = ""
    order: LinkOrder = LinkOrder.WEIGHT_DESC

    def link_filter(self) -> LinkFilter:
        """As the linker takes it.

        Raises:
            InvalidInputError: the lower bound of probability is above the upper one.
        """
        if self.probability_min > self.probability_max:
            raise InvalidInputError(
                Reason.REQUEST_MALFORMED,
                "The lowest probability is above the highest: exchange the two.",
            )
        return LinkFilter(
            linkage_id=self.linkage,
            registry=self.registry,
            probability_min=self.probability_min,
            probability_max=self.probability_max if self.probability_max < 1 else None,
            person_id=self.person,
            verdicts=(Verdict(self.verdict),) if self.verdict not in {"", UNDECIDED} else (),
            undecided_only=self.verdict == UNDECIDED,
            include_disclosed=self.include_disclosed,
            states=states_of(self.state),
        )


@dataclass(frozen=True)
class CaseQuery:
    """Which cases, in which order."""

    registry: Annotated[
        str, Query(pattern=_EMPTY_OR_NAME, description="Cases of families' notices in it.")
    ] = ""
    include_confirmed: Annotated[
        bool, Query(description="Also cases of which a pair is confirmed.")
    ] = False
    order: Annotated[LinkOrder, Query(description="By the best candidate, or by the newest.")] = (
        LinkOrder.WEIGHT_DESC
    )

    def case_filter(self) -> CaseFilter:
        """As the linker takes it."""
        return CaseFilter(registry=self.registry, include_confirmed=self.include_confirmed)


@dataclass(frozen=True)
class CandidateQuery:
    """Which pairs of a case."""

    state: StateName = ""

    def key(self, registry: str, subject: str) -> CaseKey:
        """As the linker takes it."""
        return CaseKey(registry, subject, states=states_of(self.state))


def states_of(state: str) -> tuple[PairState, ...]:
    """The states that a parameter means; empty for all but those ruled out."""
    if state == ALL_STATES:
        return tuple(PairState)
    return (PairState(state),) if state else ()


@dataclass(frozen=True)
class AuditSelection:
    """Which audit entries."""

    actor: Annotated[str, Query(max_length=NAME_CHARS_MAX)] = ""
    action: Annotated[str, Query(pattern=r"^[a-z.-]{0,64}$")] = ""
    before: Annotated[int | None, Query(ge=1, description="Entries older than this.")] = None
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 100

    def audit_query(self) -> AuditQuery:
        """As the audit takes it."""
        return AuditQuery(self.actor, self.action, self.before, self.limit)


def next_before(entries: tuple[AuditEntry, ...], limit: int) -> int | None:
    """Where older entries begin, or None at the beginning of the audit."""
    full = len(entries) == limit and entries[-1].sequence > 1
    return entries[-1].sequence if full else None


def missing_registries(page: LinkPage) -> list[str]:
    """Registries missed by any linkage of the links on a page."""
    return sorted({name for link in page.links for name in link.missing_registries})
