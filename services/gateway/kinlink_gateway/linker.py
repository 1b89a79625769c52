"""What the gateway knows of the centre: plain values and the `Linker` protocol that serves them.

`linker_client.GrpcLinker` implements the protocol over mutual TLS; tests use a fake in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from kinlink_gateway.cases import CandidatePage, CaseFilter, CaseKey, CasePage
    from kinlink_gateway.linkage_quality import LinkageQuality


class RegistryState(StrEnum):
    """What the linker last saw of a registry."""

    UNKNOWN = "unknown"
    READY = "ready"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    REVOKED = "revoked"


class LinkageState(StrEnum):
    """Where a linkage stands."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self not in {self.UNKNOWN, self.PENDING, self.RUNNING}


class Verdict(StrEnum):
    """What an analyst decided about a link."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNSURE = "unsure"


class RuledOutBy(StrEnum):
    """By what a pair was rejected."""

    DNA = "dna"
    BIRTH = "birth"
    PLACE = "place"
    MARKS = "marks"
    RESOLVED = "resolved"
    DUPLICATE = "duplicate"
    OTHER = "other"


class PairState(StrEnum):
    """What is to be thought of a pair."""

    OPEN = "open"
    UNSURE = "unsure"
    CONFIRMED = "confirmed"
    RULED_OUT = "ruled_out"
    RETURNED = "returned"  # rejected, and its evidence is another since


class Seeker(StrEnum):
    """Whose record of a link is the family's, in a federation with two sides."""

    L = "l"
    R = "r"


class LinkOrder(StrEnum):
    """How a list of links is sorted."""

    WEIGHT_DESC = "weight_desc"
    WEIGHT_ASC = "weight_asc"
    CREATED_DESC = "created_desc"


@dataclass(frozen=True)
class Registry:
    """One provincial registry and how far the linker has read it."""

    name: str
    state: RegistryState
    reason: str = ""
    epoch: str = ""
    records: int | None = None
    tokens: int | None = None
    lag: int | None = None
    synced_at: datetime | None = None
    detail: str = ""


@dataclass(frozen=True)
class Stage:
    """One step of a linkage; `total` is 0 while it is not known."""

    name: str
    seconds: float
    done: int
    total: int


@dataclass(frozen=True)
class MissingRegistry:
    """A registry a linkage had to do without, and why."""

    name: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class PassCounts:
    """What one blocking pass found and dropped."""

    name: str
    tokens: int = 0
    islands: int = 0
    refined: int = 0
    dropped_over_cap: int = 0
    dropped_proof: int = 0
    pairs: int = 0
    sieved_out: int = 0
    repeated: int = 0
    sealed: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Linkage:
    """One run over the federation. Counts are None for those who may not see federation totals."""

    id: str
    state: LinkageState
    epoch: str
    threshold_probability: float
    created_at: datetime | None
    ended_at: datetime | None = None
    created_by: str = ""
    purpose: str = ""
    requested_by: str = ""
    stages: tuple[Stage, ...] = ()
    passes: tuple[PassCounts, ...] = ()
    missing_registries: tuple[MissingRegistry, ...] = ()
    candidate_pairs: int | None = None
    disclosed_pairs: int | None = None
    links: int | None = None
    persons: int | None = None
    em_iterations: int | None = None
    error_reason: str = ""
    error_detail: str = ""
    bytes_received: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """Two subjects of two registries that may be one person. Subjects are opaque hex ids."""

    id: str
    linkage_id: str
    registry_l: str
    subject_l: str
    registry_r: str
    subject_r: str
    match_weight: float
    match_probability: float
    linked: bool
    person_id: str = ""
    blocking_pass: str = ""
    verdict: Verdict | None = None
    verdict_reason: str = ""
    verdict_by: str = ""
    created_at: datetime | None = None
    missing_registries: tuple[str, ...] = ()
    revoked_registries: tuple[str, ...] = ()
    seeker: Seeker | None = None
    state: PairState = PairState.OPEN
    ruled_out_by: RuledOutBy | None = None
    verdict_at: datetime | None = None
    changed_fields: tuple[str, ...] = ()

    @property
    def family(self) -> tuple[str, str]:
        """Registry and subject of the family's notice; empty without sides."""
        sides = {
            Seeker.L: (self.registry_l, self.subject_l),
            Seeker.R: (self.registry_r, self.subject_r),
        }
        return ("", "") if self.seeker is None else sides[self.seeker]

    @property
    def found(self) -> tuple[str, str]:
        """Registry and subject of the found person's notice; empty without sides."""
        sides = {
            Seeker.L: (self.registry_r, self.subject_r),
            Seeker.R: (self.registry_l, self.subject_l),
        }
        return ("", "") if self.seeker is None else sides[self.seeker]

    def touches(self, registry: str) -> bool:
        """Whether either side lies in `registry`."""
        return registry in {self.registry_l, self.registry_r}


@dataclass(frozen=True)
class Evidence:
    """What one field says about a link: a level and its weight in bits, never a value."""

    field: str
    level: str
    weight: float
    m_probability: float
    u_probability: float


@dataclass(frozen=True)
class ExplainedLink:
    """A link and the sum that gave its weight: prior, then one term a field."""

    link: Link
    evidence: tuple[Evidence, ...]
    prior_weight: float


@dataclass(frozen=True)
class LinkFilter:
    """Which links are meant; an empty filter means every link at or above its threshold."""

    linkage_id: str = ""
    registry: str = ""
    probability_min: float = 0.0
    probability_max: float | None = None
    person_id: str = ""
    verdicts: tuple[Verdict, ...] = ()
    undecided_only: bool = False
    include_disclosed: bool = False
    states: tuple[PairState, ...] = ()  # empty: all but those ruled out


@dataclass(frozen=True)
class LinkagePage:
    """Some linkages, newest first, and where to go on."""

    linkages: tuple[Linkage, ...]
    next_page_token: str = ""


@dataclass(frozen=True)
class LinkPage:
    """Some links, where to go on, and how many there are in all."""

    links: tuple[Link, ...]
    next_page_token: str = ""
    total: int = 0


class Linker(Protocol):
    """The centre as the gateway calls it. Calls raise `KinlinkError` and have deadlines."""

    def list_registries(self) -> tuple[Registry, ...]:
        """All configured registries, by name."""

    def create_linkage(
        self,
        *,
        threshold_probability: float | None,
        registries: tuple[str, ...],
        purpose: str,
        requested_by: str,
    ) -> Linkage:
        """Start a linkage for somebody; no threshold: the schema's, no registries: all."""

    def get_linkage(self, linkage_id: str) -> Linkage:
        """One linkage as it stands."""

    def linkage_quality(self, linkage_id: str) -> LinkageQuality | None:
        """What a linkage is expected to be worth; None if it did not come so far."""

    def list_linkages(self, *, page_size: int, page_token: str) -> LinkagePage:
        """Linkages, newest first."""

    def cancel_linkage(self, linkage_id: str) -> Linkage:
        """Ask a linkage to end."""

    def list_links(
        self, link_filter: LinkFilter, *, order: LinkOrder, page_size: int, page_token: str
    ) -> LinkPage:
        """One page of links."""

    def stream_links(self, link_filter: LinkFilter) -> Iterator[tuple[Link, ...]]:
        """All links of a filter, in batches."""

    def get_link(self, link_id: str) -> ExplainedLink:
        """One link with its evidence."""

    def two_sided(self) -> bool:
        """Whether the schema has two sides; may be some seconds old, and never raises."""

    def list_cases(
        self, case_filter: CaseFilter, *, order: LinkOrder, page_size: int, page_token: str
    ) -> CasePage:
        """One page of cases."""

    def get_case(self, key: CaseKey, *, page_size: int, page_token: str) -> CandidatePage:
        """One case with a page of its candidates and their evidence."""

    def decide_link(
        self,
        link_id: str,
        *,
        verdict: Verdict,
        reason: str,
        by: str,
        ruled_out_by: RuledOutBy | None = None,
    ) -> Link:
        """Record a verdict and publish it to both registries."""

    def close(self) -> None:
        """Give back connections."""
