"""Cases as plain values: in a federation with two sides, a family's notice with its candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from kinlink_gateway.linker import ExplainedLink, PairState


@dataclass(frozen=True)
class Case:
    """One family's notice, as a subject of its registry; counts are of what its reader may see."""

    registry: str
    subject: str
    candidates: int  # pairs that are not ruled out
    best_weight: float
    best_probability: float
    newest_at: datetime | None
    returned: int = 0
    confirmed: int = 0
    ruled_out: int = 0


@dataclass(frozen=True)
class CaseFilter:
    """Which cases are meant; an empty filter means all that are open."""

    touching: str = ""  # with this registry on either side, and of its pairs only
    registry: str = ""  # of the family's notice
    include_confirmed: bool = False


@dataclass(frozen=True)
class CasePage:
    """Some cases, where to go on, and how many there are in all."""

    cases: tuple[Case, ...]
    next_page_token: str = ""
    total: int = 0


@dataclass(frozen=True)
class CaseKey:
    """Which case, and which of its pairs: `states` empty means all but those ruled out."""

    registry: str
    subject: str
    touching: str = ""
    states: tuple[PairState, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """One pair of a case; `rank` counts from 1 among the pairs that were asked for."""

    rank: int
    explained: ExplainedLink


@dataclass(frozen=True)
class CandidatePage:
    """A case with some of its pairs, best first."""

    case: Case
    candidates: tuple[Candidate, ...]
    next_page_token: str = ""
    total: int = 0
