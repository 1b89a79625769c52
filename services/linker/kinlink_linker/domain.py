"""What the linker speaks about: linkages, links, persons and registries, as frozen values.

Ids of 16 bytes travel as `(n, 2)` uint64 arrays inside the linker (two machine words compare and
join faster than byte strings) and as `bytes` in single values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from kinlink_core.runtime.purpose import PURPOSE_DEFAULT

if TYPE_CHECKING:
    from kinlink_linker.quality import Quality

ID_BYTES = 16

Ids: TypeAlias = npt.NDArray[np.uint64]  # (n, 2)
U8: TypeAlias = npt.NDArray[np.uint8]
U16: TypeAlias = npt.NDArray[np.uint16]
U32: TypeAlias = npt.NDArray[np.uint32]
U64: TypeAlias = npt.NDArray[np.uint64]
I64: TypeAlias = npt.NDArray[np.int64]
F64: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class LinkageState(StrEnum):
    """Where a linkage stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self not in {LinkageState.PENDING, LinkageState.RUNNING}


class RegistryState(StrEnum):
    """How the linker last saw a registry."""

    UNKNOWN = "UNKNOWN"
    READY = "READY"
    UNREACHABLE = "UNREACHABLE"
    REFUSED = "REFUSED"
    REVOKED = "REVOKED"


class Verdict(StrEnum):
    """What an analyst decided about a link."""

    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    UNSURE = "UNSURE"


# What keeps registries from sealing a pair; its stored link is carried from linkage to linkage.
DECIDING = (Verdict.CONFIRMED, Verdict.REJECTED)


class RuledOutBy(StrEnum):
    """By what a pair was rejected; the reason says more."""

    DNA = "DNA"
    BIRTH = "BIRTH"
    PLACE = "PLACE"
    MARKS = "MARKS"
    RESOLVED = "RESOLVED"
    DUPLICATE = "DUPLICATE"
    OTHER = "OTHER"


class PairState(StrEnum):
    """What is to be thought of a disclosed pair."""

    OPEN = "OPEN"
    UNSURE = "UNSURE"
    CONFIRMED = "CONFIRMED"
    RULED_OUT = "RULED_OUT"
    RETURNED = "RETURNED"  # rejected, and its evidence is another since


class Seeker(IntEnum):
    """Which record of a pair is the one that wants, in a schema with two sides."""

    NOBODY = 0
    LEFT = 1
    RIGHT = 2


@dataclass(frozen=True)
class Stage:
    """One step of a linkage and how far it is."""

    name: str
    seconds: float = 0.0
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class PassCounts:
    """What one blocking pass produced, and what was dropped and why."""

    pass_id: str
    tokens: int = 0
    islands: int = 0
    refined: int = 0
    dropped_over_cap: int = 0
    dropped_proof: int = 0
    pairs: int = 0
    sieved_out: int = 0
    repeated: int = 0  # sealed in an earlier pass
    sealed: int = 0
    refused: int = 0


@dataclass(frozen=True)
class MissingRegistry:
    """A registry that a linkage had to do without."""

    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Threshold:
    """From where on a disclosed pair is a link; exactly one of the two is set."""

    probability: float | None = None
    weight: float | None = None


@dataclass(frozen=True)
class LinkageOrder:
    """What was asked for when a linkage was created."""

    threshold: Threshold
    registries: tuple[str, ...] = ()
    model: str = ""
    purpose: str = PURPOSE_DEFAULT
    created_by: str = ""
    requested_by: str = ""


@dataclass(frozen=True)
class Linkage:
    """A linkage at one moment."""

    id: str
    state: LinkageState
    order: LinkageOrder
    created_at: datetime
    epoch: str = ""
    threshold_probability: float = 0.0
    stages: tuple[Stage, ...] = ()
    passes: tuple[PassCounts, ...] = ()
    missing: tuple[MissingRegistry, ...] = ()
    candidate_pairs: int = 0
    disclosed_pairs: int = 0
    links: int = 0
    persons: int = 0
    error_reason: str = ""
    error_detail: str = ""
    ended_at: datetime | None = None
    em_iterations: int = 0
    bytes_received: dict[str, int] = field(default_factory=dict)
    quality: Quality | None = None  # once it has scored and disclosed


@dataclass(frozen=True)
class Link:
    """A disclosed pair of subjects as it is stored and shown."""

    id: str
    linkage_id: str
    registry_l: str
    subject_l: bytes
    registry_r: str
    subject_r: bytes
    weight: float
    probability: float
    linked: bool
    pass_id: str
    created_at: datetime
    person_id: str = ""
    verdict: Verdict | None = None
    verdict_reason: str = ""
    verdict_by: str = ""
    missing: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    seeker: Seeker = Seeker.NOBODY
    state: PairState = PairState.OPEN
    ruled_out_by: RuledOutBy | None = None
    verdict_at: datetime | None = None
    changed_fields: tuple[str, ...] = ()  # of a returned pair: where its evidence is another


@dataclass(frozen=True)
class Case:
    """A family's notice, as a subject, with counts of the pairs it is in."""

    registry: str
    subject: bytes
    candidates: int  # not ruled out
    best_weight: float
    best_probability: float
    newest_at: datetime | None
    returned: int
    confirmed: int
    ruled_out: int


@dataclass(frozen=True)
class RegistryStatus:
    """A registry as the linker last saw it."""

    name: str
    state: RegistryState = RegistryState.UNKNOWN
    reason: str = ""
    epoch: str = ""
    records: int = 0
    tokens: int = 0
    lag: int = 0
    synced_at: datetime | None = None
    detail: str = ""


def utc_now() -> datetime:
    """Now, with its zone."""
    return datetime.now(UTC)


def ids_of(packed: U8) -> Ids:
    """View `(n, 16)` bytes as `(n, 2)` words."""
    words: Ids = np.ascontiguousarray(packed).view("<u8").reshape(-1, 2)
    return words


def packed(ids: Ids) -> U8:
    """View `(n, 2)` words as `(n, 16)` bytes."""
    octets: U8 = np.ascontiguousarray(ids).astype("<u8", copy=False).view(np.uint8)
    return octets.reshape(-1, ID_BYTES)


def as_bytes(ids: Ids) -> list[bytes]:
    """`(n, 2)` words as n ids of 16 bytes."""
    octets = packed(ids).tobytes()
    return [octets[at : at + ID_BYTES] for at in range(0, len(octets), ID_BYTES)]


def no_ids() -> Ids:
    """Return an empty array of ids."""
    return np.empty((0, 2), np.uint64)
