"""The seam between the linker and a registry: what it may ask, and what it gets, in numpy columns.

`registry_client.GrpcRegistryPeer` is the real one. Whatever crosses this seam has been checked for
lengths, row counts and ranges; every method raises a `KinlinkError` when the registry cannot
answer. Handles of a request point into its islands by index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kinlink_core.runtime.cards import Card
    from kinlink_core.wire import SealedRows, Shown

    from kinlink_linker.domain import F64, U8, U16, U32, U64, Ids


@dataclass(frozen=True)
class PeerProfile:
    """What a registry declares about one epoch it serves."""

    federation: str
    schema_fingerprint: str
    encoding_version: str
    mode: str
    epoch: str
    canary: bytes
    parts: tuple[tuple[str, bytes], ...] = ()  # of the encoding, causes first


@dataclass(frozen=True)
class Errand:
    """What the calls of one job are made for; empty between linkages."""

    linkage_id: str = ""
    purpose: str = ""


@dataclass(frozen=True)
class Description:
    """Answer of `GetRegistry`."""

    registry: str
    profiles: tuple[PeerProfile, ...]
    card: Card
    records: int
    feed_id: str
    last_sequence: int
    side: str = ""  # that all its records are of; empty for both


@dataclass(frozen=True)
class FeedHeader:
    """Opens a feed; with `reset` all that is held of the registry and epoch must be forgotten."""

    feed_id: str
    reset: bool
    last_sequence: int
    rows: int


@dataclass(frozen=True)
class FeedRows:
    """Events of the token feed, in strictly rising order of sequence."""

    sequence: U64
    event: U8
    pass_index: U16
    handle: Ids
    token: Ids


@dataclass(frozen=True)
class Proofs:
    """Membership proofs in the order of the tokens asked for; a count of 0 is no answer."""

    counts: U32
    proofs: Ids


@dataclass(frozen=True)
class Refined:
    """Finer tokens; `parent` indexes the tokens asked for."""

    parent: U32
    handle: Ids
    token: Ids


@dataclass(frozen=True)
class Islands:
    """Islands of a request with the partner's proofs."""

    token: Ids
    partner_count: U32
    proof: Ids


@dataclass(frozen=True)
class SieveTags:
    """What sealing needs beside words: tags of their bits, and what the records are called."""

    distance: U32  # (n, 64)
    record: U8  # (n, 32), sealed for the partner


@dataclass(frozen=True)
class SieveWords:
    """64 masked bits a pair asked for, and a refusal code each."""

    words: U64
    refusal: U8
    tags: SieveTags | None  # None where none were asked for


@dataclass(frozen=True)
class PairRequest:
    """Pairs to sieve or, with what is `shown` of them, to seal; islands are named by index."""

    partner: Card
    pass_index: int
    islands: Islands
    own: Ids
    others: Ids
    island_index: U32
    shown: Shown | None = None


@dataclass(frozen=True)
class DiscloseRequest:
    """Pairs to disclose, best first."""

    partner: Card
    own: Ids
    others: Ids
    partner_tags: U8  # (n, 32)
    weights: F64


@dataclass(frozen=True)
class Disclosed:
    """Subject ids, zero where refused, and of which side each is (`wire.Side`)."""

    subjects: Ids
    refusal: U8
    sides: U8


@dataclass(frozen=True)
class DecisionsTold:
    """What a partner says to a registry about decided pairs, sealed; empty where it is silent."""

    question: bytes = b""
    answer: bytes = b""


@dataclass(frozen=True)
class DecisionsSaid:
    """What a registry says in its turn; `refused` when it does not talk with this partner."""

    question: bytes = b""
    answer: bytes = b""
    unanswered: int = 0
    refused: bool = False


class Publication(NamedTuple):
    """One link as it is told to one of its two registries."""

    link_id: str
    subject: bytes
    partner: str
    partner_subject: bytes
    weight: float = 0.0
    probability: float = 0.0
    person_id: str = ""
    verdict: str = ""
    removed: bool = False
    own_handle: bytes = b""
    partner_handle: bytes = b""


class RegistryPeer(Protocol):
    """One registry during one job, closed at its end; called from several threads.

    Whoever makes a peer gives it the job's errand.
    """

    @property
    def name(self) -> str:
        """The registry's configured name."""

    @property
    def bytes_received(self) -> int:
        """Message bytes received so far."""

    def describe(self) -> Description:
        """Ask for identity, profiles and feed position."""

    def feed(
        self, epoch: str, feed_id: str, after_sequence: int, wait_seconds: float = 0
    ) -> Iterator[FeedHeader | FeedRows]:
        """Stream the header and then the events after a position; where there is none, wait."""

    def prove(self, epoch: str, partner: Card, pass_index: int, tokens: Ids) -> Proofs:
        """Ask for membership proofs of tokens that a partner shares, for that partner."""

    def refine(self, epoch: str, pass_index: int, level: int, tokens: Ids) -> Refined:
        """Ask for finer tokens under tokens of the level above."""

    def sieve(
        self, linkage_id: str, epoch: str, request: PairRequest, *, tags: bool = False
    ) -> SieveWords:
        """Ask for the masked words of one side of pairs; with `tags` also for those."""

    def seal(self, linkage_id: str, epoch: str, request: PairRequest) -> SealedRows:
        """Ask for one side of pairs."""

    def exchange_decisions(self, epoch: str, partner: Card, told: DecisionsTold) -> DecisionsSaid:
        """Tell the registry what a partner sealed for it, and get what it seals for the partner."""

    def chance(self, epoch: str, partner: Card, partner_records: int) -> SealedRows:
        """Ask for one side of randomly drawn pairs."""

    def disclose(self, linkage_id: str, epoch: str, request: DiscloseRequest) -> Disclosed:
        """Ask for the subjects of scored pairs."""

    def publish(
        self,
        linkage_id: str,
        epoch: str,
        missing: Sequence[str],
        publications: Sequence[Publication],
    ) -> int:
        """Tell the registry of links that touch it; return how many it took."""

    def close(self) -> None:
        """Cancel what is in flight and close the channel."""
