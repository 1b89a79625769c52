"""A linker's side of every call to a real registry; it sends what it is told to, forged or not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink.registry.v1 import registry_pb2_grpc
from kinlink_core.encoding.record_tags import SEALED_TAG_BYTES
from kinlink_core.encoding.sieve import distance_max, prove_distances
from kinlink_core.errors import KinlinkError
from kinlink_core.runtime.channel import translated
from kinlink_core.wire import (
    DisclosedRows,
    ProofRows,
    RefinedRows,
    SealedRows,
    Shown,
    SieveRows,
    TaggedSieveRows,
    TokenRows,
    read_stream,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

EPOCH = "2026-11"
ID_BYTES = 16
WEIGHT_BITS = 9.0

Ids = Any  # (n, 16) uint8


def ids(items: Sequence[bytes]) -> Ids:
    """N ids of 16 bytes as (n, 16) bytes."""
    return np.frombuffer(b"".join(items), np.uint8).reshape(-1, ID_BYTES)


@dataclass
class Asker:
    """The linker's side of every call to one registry.

    `node` is the registry itself, for the truth that an attack is held against, never for what it
    knows; of a registry in another process it has the schema only.
    """

    node: Any
    channel: grpc.Channel
    metrics_address: str
    epoch: str = EPOCH

    def __post_init__(self) -> None:
        self.stub = registry_pb2_grpc.RegistryServiceStub(self.channel)
        self.schema = self.node.schema

    def profile(self) -> Any:
        """GetRegistry."""
        with translated("registry"):
            return self.stub.GetRegistry(pb.GetRegistryRequest())

    @property
    def card(self) -> Any:
        """The registry's card, as a linker relays it."""
        return self.profile().card

    def feed(self, feed_id: str = "", after: int = 0) -> Feed:
        """StreamTokens."""
        request = pb.StreamTokensRequest(epoch=self.epoch, feed_id=feed_id, after_sequence=after)
        with translated("registry"):
            stream = read_stream(self.stub.StreamTokens(request), TokenRows.read)
            return Feed(stream.header, list(stream))

    def prove(self, tokens: Ids, pass_index: int, card: Any) -> ProofRows:
        """ProveMembership, for the registry whose card it is."""
        request = pb.ProveMembershipRequest(
            epoch=self.epoch, partner_card=card, pass_index=pass_index, tokens=tokens.tobytes()
        )
        with translated("registry"):
            return ProofRows.read(self.stub.ProveMembership(request))

    def refine(self, tokens: Ids, pass_index: int, level: int = 1) -> list[RefinedRows]:
        """RefineTokens."""
        request = pb.RefineTokensRequest(
            epoch=self.epoch, pass_index=pass_index, level=level, tokens=tokens.tobytes()
        )
        with translated("registry"):
            return list(read_stream(self.stub.RefineTokens(request), RefinedRows.read))

    def sieve(self, asked: Asked) -> SieveRows:
        """StreamSieve."""
        found: SieveRows = self._sieve(asked, SieveRows)
        return found

    def tagged(self, asked: Asked) -> TaggedSieveRows:
        """StreamSieve with the tags of all bits and of the records."""
        found: TaggedSieveRows = self._sieve(asked, TaggedSieveRows)
        return found

    def _sieve(self, asked: Asked, kind: Any) -> Any:
        request = pb.StreamSieveRequest(
            linkage_id="redteam",
            epoch=self.epoch,
            partner=asked.card,
            pass_index=asked.pass_index,
            islands=asked.islands(),
            own_handles=asked.own.tobytes(),
            partner_handles=asked.theirs.tobytes(),
            island_index=asked.index().tobytes(),
            tags=kind is TaggedSieveRows,
        )
        with translated("registry"):
            parts = list(read_stream(self.stub.StreamSieve(request), kind.read))
        return kind(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in kind.KINDS}
        )

    def proven(self, asked: Asked) -> Asked:
        """The same pairs with what the partner's tags prove, where it gives them."""
        try:
            own, theirs = self.tagged(asked).word, asked.partner.tagged(asked.mirrored(self))
        except KinlinkError:
            proven = nothing_shown(len(asked.own))
        else:
            distances = np.bitwise_count(own ^ theirs.word)
            proofs = prove_distances(own, theirs.distance_tags)
            proven = Shown(distances, proofs, theirs.record_tag)
        return replace(asked, proven=proven)

    def near(self, asked: Asked) -> Asked:
        """Those pairs that are near enough to be sealed, with their proofs."""
        asked = self.proven(asked)
        if asked.proven is None:
            return asked
        rows = np.flatnonzero(asked.proven.distances <= self._limit(asked))
        return replace(asked.only(rows), proven=asked.proven[rows])

    def _limit(self, asked: Asked) -> int:
        return distance_max(self.schema.passes[asked.pass_index].sieve_max)

    def seal(self, asked: Asked, linkage_id: str = "redteam") -> SealedRows:
        """StreamSealedPairs; distances are proven first, unless the request comes with proofs."""
        proven = asked.proven or self.proven(asked).proven or nothing_shown(len(asked.own))
        shown: dict[str, Any] = proven.packed()
        request = pb.StreamSealedPairsRequest(
            linkage_id=linkage_id,
            epoch=self.epoch,
            partner=asked.card,
            pass_index=asked.pass_index,
            islands=asked.islands(),
            own_handles=asked.own.tobytes(),
            partner_handles=asked.theirs.tobytes(),
            island_index=asked.index().tobytes(),
            **shown,
        )
        with translated("registry"):
            stream = read_stream(
                self.stub.StreamSealedPairs(request), lambda m: SealedRows.read(m, self.schema)
            )
            (rows,) = stream
        return rows

    def exchange(self, card: Any, question: bytes = b"", answer: bytes = b"") -> Any:
        """ExchangeDecisions."""
        request = pb.ExchangeDecisionsRequest(
            linkage_id="redteam", epoch=self.epoch, partner=card, question=question, answer=answer
        )
        with translated("registry"):
            return self.stub.ExchangeDecisions(request)

    def chance(self, card: Any, records: int) -> list[SealedRows]:
        """StreamChancePairs."""
        request = pb.StreamChancePairsRequest(
            epoch=self.epoch, partner=card, partner_records=records
        )
        with translated("registry"):
            return list(
                read_stream(
                    self.stub.StreamChancePairs(request),
                    lambda m: SealedRows.read(m, self.schema),
                )
            )

    def disclose(
        self, card: Any, own: Ids, theirs: Ids, tags: Any, weight: float = WEIGHT_BITS
    ) -> DisclosedRows:
        """DiscloseSubjects, each pair with the same weight."""
        request = pb.DiscloseSubjectsRequest(
            linkage_id="redteam",
            epoch=self.epoch,
            partner=card,
            own_handles=own.tobytes(),
            partner_handles=theirs.tobytes(),
            partner_tags=tags.tobytes(),
            weights=np.full(len(own), weight, np.float32).tobytes(),
        )
        with translated("registry"):
            return DisclosedRows.read(self.stub.DiscloseSubjects(request))

    def publish(self, *links: Any) -> Any:
        """PublishLinks."""
        request = pb.PublishLinksRequest(linkage_id="redteam", epoch=self.epoch, links=links)
        with translated("registry"):
            return self.stub.PublishLinks(request)


@dataclass
class Feed:
    """A feed as it was read."""

    header: Any
    pages: list[TokenRows]

    def column(self, name: str) -> Any:
        """One column of all pages."""
        width = (0, ID_BYTES) if name in {"handle", "token"} else (0,)
        return np.concatenate([np.empty(width, np.uint8), *(getattr(p, name) for p in self.pages)])

    def held(self, pass_index: int) -> dict[bytes, list[bytes]]:
        """Handles of a pass by token."""
        found: defaultdict[bytes, list[bytes]] = defaultdict(list)
        keep = (self.column("event") == 1) & (self.column("pass_index") == pass_index)
        columns = self.column("token")[keep], self.column("handle")[keep]
        for token, handle in zip(*columns, strict=True):
            found[token.tobytes()].append(handle.tobytes())
        return found


def nothing_shown(rows: int) -> Shown:
    """What proves nothing."""
    return Shown.read(
        pb.StreamSealedPairsRequest(
            distances=bytes(rows),
            distance_proofs=bytes(4 * rows),
            partner_tags=bytes(SEALED_TAG_BYTES * rows),
        )
    )


@dataclass
class Asked:
    """Rows of one pass as they are put to one registry; `island` indexes the islands.

    `partner` is the other registry, which is asked for the tags that prove distances.
    """

    card: Any
    pass_index: int
    tokens: Ids
    counts: Any
    proofs: Any
    own: Ids
    theirs: Ids
    island: Any
    partner: Asker
    proven: Shown | None = None

    def only(self, rows: Any) -> Asked:
        """Some of the pairs, without their proofs."""
        own, theirs, island = self.own[rows], self.theirs[rows], self.island[rows]
        return replace(self, own=own, theirs=theirs, island=island, proven=None)

    def mirrored(self, asker: Asker) -> Asked:
        """The same pairs as the partner is asked for them, with the proofs of the asker's."""
        by_us = asker.prove(self.tokens, self.pass_index, self.card)
        return replace(
            self, card=asker.card, counts=by_us.counts, proofs=by_us.proofs, own=self.theirs,
            theirs=self.own, partner=asker,
        )  # fmt: skip

    def index(self) -> Any:
        """Island of each row, as it is sent."""
        return np.asarray(self.island).astype("<u4")

    def islands(self) -> Any:
        """The islands with the partner's proofs, as they are sent."""
        return pb.IslandColumns(
            token=self.tokens.tobytes(),
            partner_count=np.asarray(self.counts).astype("<u4").tobytes(),
            proof=self.proofs.tobytes(),
        )


@dataclass(frozen=True)
class Meeting:
    """All pairs of one pass between two registries, as each of the two is asked for its side."""

    to_left: Asked
    to_right: Asked

    @property
    def pairs(self) -> int:
        """How many there are."""
        return len(self.to_left.own)


def meet(left: Asker, right: Asker, pass_index: int) -> Meeting:
    """Every pair of handles under every token that both hold, with each other's proofs."""
    ours, theirs = left.feed().held(pass_index), right.feed().held(pass_index)
    shared = sorted(ours.keys() & theirs.keys())
    rows = [
        (number, own, other)
        for number, token in enumerate(shared)
        for own in ours[token]
        for other in theirs[token]
    ]
    tokens = ids(shared)
    island = np.array([row[0] for row in rows], np.int64)
    own, others = ids([row[1] for row in rows]), ids([row[2] for row in rows])
    by_left = left.prove(tokens, pass_index, right.card)
    by_right = right.prove(tokens, pass_index, left.card)
    return Meeting(
        Asked(
            right.card,
            pass_index,
            tokens,
            by_right.counts,
            by_right.proofs,
            own,
            others,
            island,
            right,
        ),
        Asked(
            left.card, pass_index, tokens, by_left.counts, by_left.proofs, others, own, island, left
        ),
    )
