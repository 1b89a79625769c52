"""The JSON of the API: one pydantic model for each thing that is shown. They are the OpenAPI."""

from datetime import datetime
from typing import Annotated

from kinlink_core.runtime.purpose import PURPOSE_DEFAULT, PURPOSE_PATTERN
from pydantic import BaseModel, ConfigDict, Field

from kinlink_gateway.cases import Candidate, CandidatePage
from kinlink_gateway.desk import LinkFile
from kinlink_gateway.limits import REASON_CHARS_MAX
from kinlink_gateway.linker import (
    LinkageState,
    PairState,
    RegistryState,
    RuledOutBy,
    Seeker,
    Verdict,
)
from kinlink_gateway.roles import Role

ID_PATTERN = r"^[0-9A-Za-z][0-9A-Za-z._-]{0,127}$"
NAME_PATTERN = r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$"
SUBJECT_PATTERN = r"^[0-9a-f]{32}$"
RegistryName = Annotated[str, Field(pattern=NAME_PATTERN)]


class View(BaseModel):
    """Read from the attributes of our dataclasses."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")


class Identity(View):
    """Who a token or session stands for."""

    name: str
    role: Role
    registry: str = Field(description="Set for a province, else empty.")
    may: list[str] = Field(description="Actions the role grants.")


class RegistryView(View):
    """One registry as the linker last saw it."""

    name: str
    state: RegistryState
    reason: str = Field(description="Why it is not ready; else empty.")
    epoch: str
    records: int | None
    tokens: int | None
    lag: int | None = Field(description="Feed events not yet collected.")
    synced_at: datetime | None
    detail: str = Field(description="What the reason means here, in a sentence; else empty.")


class RegistriesView(View):
    """All registries the caller may see."""

    registries: list[RegistryView]


class StageView(View):
    """One step of a linkage."""

    name: str
    seconds: float
    done: int
    total: int = Field(description="0 while it is not known.")


class MissingRegistryView(View):
    """A registry the linkage had to do without."""

    name: str
    reason: str
    detail: str


class PassView(View):
    """What one blocking pass found and dropped."""

    name: str
    tokens: int
    islands: int
    refined: int
    dropped_over_cap: int
    dropped_proof: int
    pairs: int
    sieved_out: int
    repeated: int
    sealed: int
    refused: int


class LinkageView(View):
    """One linkage. Counts are null where the caller may not see federation totals."""

    id: str
    state: LinkageState
    epoch: str
    threshold_probability: float
    created_at: datetime | None
    ended_at: datetime | None
    created_by: str
    purpose: str
    requested_by: str = Field(description="Whom it was started for; empty for a province.")
    stages: list[StageView]
    passes: list[PassView]
    missing_registries: list[MissingRegistryView]
    candidate_pairs: int | None
    disclosed_pairs: int | None
    links: int | None
    persons: int | None
    em_iterations: int | None
    error_reason: str
    error_detail: str
    bytes_received: dict[str, int]


class LinkagesView(View):
    """A page of linkages, newest first."""

    linkages: list[LinkageView]
    next_page_token: str


class LinkView(View):
    """Two subjects that may be one person.

    Subject ids are opaque hex. They last as long as a link stands or its verdict does, else one
    epoch.
    """

    id: str
    linkage_id: str
    registry_l: str
    subject_l: str
    registry_r: str
    subject_r: str
    match_weight: float = Field(description="Bits: prior plus evidence.")
    match_probability: float
    linked: bool = Field(description="At or above the threshold of its linkage.")
    person_id: str = Field(description="Empty unless linked.")
    blocking_pass: str
    verdict: Verdict | None
    verdict_reason: str = Field(description="Always empty for a province.")
    verdict_by: str = Field(description="Always empty for a province.")
    created_at: datetime | None
    missing_registries: list[str] = Field(
        description="Registries its linkage missed: links may be incomplete."
    )
    revoked_registries: list[str] = Field(
        description="Its registries that are no longer asked: it stands as it last was."
    )
    seeker: Seeker | None = Field(
        description="Whose notice is the family's, in a federation with two sides."
    )
    state: PairState = Field(description="`returned`: rejected, and its evidence is another since.")
    ruled_out_by: RuledOutBy | None = Field(description="Always null for a province.")
    verdict_at: datetime | None = Field(description="Always null for a province.")
    changed_fields: list[str] = Field(
        description="Of a returned pair: fields in which the evidence is another."
    )


class LinksView(View):
    """A page of links."""

    links: list[LinkView]
    next_page_token: str
    total: int
    missing_registries: list[str] = Field(
        description="All registries missed by linkages of the links on this page."
    )


class EvidenceView(View):
    """What one field says: a comparison level and its weight, never a value."""

    field: str
    level: str
    weight: float = Field(description="Bits: log2(m / u).")
    m_probability: float
    u_probability: float


class DecisionView(View):
    """A verdict that was given."""

    verdict: Verdict
    reason: str
    decided_by: str
    decided_at: datetime
    ruled_out_by: RuledOutBy | None


class LinkDetailView(View):
    """One link, the sum that gave its weight, and what was decided about it."""

    link: LinkView
    prior_weight: float = Field(description="Bits: log2 prior odds.")
    evidence: list[EvidenceView]
    total_weight: float = Field(description="Bits: prior plus all evidence.")
    decisions: list[DecisionView] = Field(description="Newest first; empty for a province.")

    @classmethod
    def of(cls, file: LinkFile) -> "LinkDetailView":
        """From a link's file."""
        explained = file.explained
        return cls(
            link=LinkView.model_validate(explained.link),
            prior_weight=explained.prior_weight,
            evidence=[EvidenceView.model_validate(item) for item in explained.evidence],
            total_weight=explained.prior_weight + sum(e.weight for e in explained.evidence),
            decisions=[DecisionView.model_validate(decision) for decision in file.history],
        )


class CaseView(View):
    """A family's notice that has candidates. Counts are of the pairs that the caller may see."""

    registry: str
    subject: str
    candidates: int = Field(description="Pairs that are not ruled out.")
    best_weight: float = Field(description="Bits, of the best candidate.")
    best_probability: float
    newest_at: datetime | None = Field(description="When the newest candidate was found.")
    returned: int
    confirmed: int
    ruled_out: int


class CasesView(View):
    """A page of cases."""

    cases: list[CaseView]
    next_page_token: str
    total: int


class CandidateView(View):
    """One pair of a case, and the sum that gave its weight."""

    rank: int = Field(description="From 1 among the pairs asked for, best first.")
    link: LinkView
    prior_weight: float = Field(description="Bits: log2 prior odds.")
    evidence: list[EvidenceView]
    total_weight: float = Field(description="Bits: prior plus all evidence.")

    @classmethod
    def of_candidate(cls, candidate: Candidate) -> "CandidateView":
        """From a candidate of a case."""
        explained = candidate.explained
        return cls(
            rank=candidate.rank,
            link=LinkView.model_validate(explained.link),
            prior_weight=explained.prior_weight,
            evidence=[EvidenceView.model_validate(item) for item in explained.evidence],
            total_weight=explained.prior_weight + sum(e.weight for e in explained.evidence),
        )


class CaseDetailView(View):
    """A case with a page of its candidates."""

    case: CaseView
    candidates: list[CandidateView]
    next_page_token: str
    total: int = Field(description="Pairs in the states asked for.")

    @classmethod
    def of(cls, page: CandidatePage) -> "CaseDetailView":
        """From a page of a case."""
        return cls(
            case=CaseView.model_validate(page.case),
            candidates=[CandidateView.of_candidate(each) for each in page.candidates],
            next_page_token=page.next_page_token,
            total=page.total,
        )


class AuditEntryView(View):
    """One access. A status of 100 says that a change was about to be made."""

    sequence: int
    at: str
    actor: str
    role: str
    action: str
    object_id: str
    status: int
    row_count: int | None
    request_id: str
    hash: str


class AuditView(View):
    """A page of the audit, newest first."""

    entries: list[AuditEntryView]
    next_before: int | None = Field(description="Pass as `before` for older entries.")


class StartLinkage(View):
    """What to link."""

    threshold_probability: float | None = Field(
        default=None, gt=0, lt=1, description="Default: the schema's."
    )
    registries: list[RegistryName] = Field(
        default=[], max_length=100, description="Default: all that are configured."
    )
    purpose: Annotated[str, Field(pattern=PURPOSE_PATTERN)] = Field(
        default=PURPOSE_DEFAULT,
        description="A code word that every audit carries and a registry may refuse.",
    )


class DecideLink(View):
    """A verdict on a link."""

    verdict: Verdict
    reason: str = Field(
        default="",
        max_length=REASON_CHARS_MAX,
        description=(
            "Required to reject by `other`. No personal data: both registries' analysts read it."
        ),
    )
    ruled_out_by: RuledOutBy | None = Field(
        default=None, description="Of a rejection; default: `other`."
    )
    seen: Verdict | None = Field(
        default=None,
        description="The verdict you saw: refused with 409 when it has changed since.",
    )


class FaultView(View):
    """What is wrong with one field of a request."""

    where: str
    fault: str


class ProblemView(View):
    """RFC 9457 problem."""

    type: str
    title: str
    status: int
    reason: str
    detail: str
    request_id: str
    faults: list[FaultView] = []
