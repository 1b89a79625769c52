"""Pairs inside islands that are near enough to be sealed: 64 masked bits a side, compared by XOR.

A word is comparable only with that of the other side of its pair. What is left after this is what
the registries are asked to seal. Words are not even fetched where a pass lets every distance
through, or where nearly all of the first pairs are near: sealing finds out which are not. No sealed
field is seen here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.record_tags import SEALED_TAG_BYTES
from kinlink_core.encoding.sieve import SIEVE_BITS, distance_max
from kinlink_core.wire import Refusal, Shown

from kinlink_linker.arrays import runs, slices_by_weight, slices_of
from kinlink_linker.federation import Ask
from kinlink_linker.peer import Islands, PairRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kinlink_linker.candidates import PairIslands
    from kinlink_linker.domain import I64, U8, U32, Ids
    from kinlink_linker.peer import RegistryPeer, SieveWords
    from kinlink_linker.run import Run

# Handles and islands of a request stay well below the 1 MiB of a message.
PAIRS_A_REQUEST = 8_192
PAIRS_EXPANDED_AT_ONCE = 2_000_000
# So many pairs of a pass are sieved before the others, which are not if so large a share is near.
FIRST_PAIRS = 256
NEAR_SHARE_MIN = 0.8
# Both sides of a few chunks are in flight at once.
CHUNKS_AHEAD = 4


@dataclass(frozen=True)
class Proven:
    """Sieve distances of pairs with what proves them to either side, and both record tags."""

    distance: U8
    to_left: U32
    to_right: U32
    left_tag: U8  # (n, 32), sealed by the left registry for the right one
    right_tag: U8

    @classmethod
    def joined(cls, parts: list[Proven]) -> Proven:
        """The rows of all parts."""
        no_tags = np.empty((0, SEALED_TAG_BYTES), np.uint8)
        return cls(
            np.concatenate([np.empty(0, np.uint8), *(part.distance for part in parts)]),
            np.concatenate([np.empty(0, np.uint32), *(part.to_left for part in parts)]),
            np.concatenate([np.empty(0, np.uint32), *(part.to_right for part in parts)]),
            np.concatenate([no_tags, *(part.left_tag for part in parts)]),
            np.concatenate([no_tags, *(part.right_tag for part in parts)]),
        )

    def take(self, rows: I64) -> Proven:
        """Some rows, in their order."""
        return Proven(
            self.distance[rows],
            self.to_left[rows],
            self.to_right[rows],
            self.left_tag[rows],
            self.right_tag[rows],
        )

    def shown(self, side: str, part: slice) -> Shown:
        """What one side is shown of some rows."""
        if side == "left":
            return Shown(self.distance[part], self.to_left[part], self.right_tag[part])
        return Shown(self.distance[part], self.to_right[part], self.left_tag[part])


@dataclass(frozen=True)
class CandidatePairs:
    """Pairs of one pass between two registries; `island` indexes the proven islands."""

    islands: PairIslands
    island: U32  # (n,)
    left: Ids  # (n, 2) handles
    right: Ids  # (n, 2)
    proven: Proven | None = None  # of n pairs; None before

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.island)

    def take(self, rows: I64) -> CandidatePairs:
        """Some pairs, in the order of the rows."""
        proven = None if self.proven is None else self.proven.take(rows)
        island, left, right = self.island[rows], self.left[rows], self.right[rows]
        return CandidatePairs(self.islands, island, left, right, proven)

    def request(self, run: Run, side: str, part: slice) -> tuple[str, PairRequest]:
        """Which registry stands on a side, and what it is asked about some rows."""
        named, index = np.unique(self.island[part], return_inverse=True)
        own, others = self.left[part], self.right[part]
        name, partner, shown = self.islands.left, self.islands.right, self.islands.shown_to_left
        if side != "left":
            own, others, shown = others, own, self.islands.shown_to_right
            name, partner = partner, name
        return name, PairRequest(
            run.federation.descriptions[partner].card,
            self.islands.pass_index,
            Islands(shown.token[named], shown.partner_count[named], shown.proof[named]),
            own,
            others,
            index.astype(np.uint32),
            None if self.proven is None else self.proven.shown(side, part),
        )


@dataclass(frozen=True)
class Siever:
    """Sieves the pairs of the proven islands of one linkage."""

    run: Run

    def sieve(self, found: list[PairIslands]) -> list[CandidatePairs]:
        """Fetch the words of both sides of every pair and keep the near pairs."""
        kept = [_Kept(islands) for islands in found]
        sieved = [each for each in kept if self._limit(each) < SIEVE_BITS]
        self.run.progress.expect(sum(each.pairs for each in kept))
        self._fetch(chunk for each in sieved for chunk in each.first())
        far = {each for each in sieved if each.near < NEAR_SHARE_MIN * FIRST_PAIRS}
        self._fetch(chunk for each in far for chunk in each.chunks(FIRST_PAIRS))
        for each in kept:
            if self._limit(each) >= SIEVE_BITS:
                self._keep_all(each.chunks(0))
            elif each not in far:
                self._keep_all(each.chunks(FIRST_PAIRS))
        present = set(self.run.federation.present)
        return [
            each.candidates() for each in kept if {each.islands.left, each.islands.right} <= present
        ]

    def _limit(self, kept: _Kept) -> int:
        """Largest number of differing bits that passes."""
        return distance_max(self.run.schema.passes[kept.islands.pass_index].sieve_max)

    def _keep_all(self, chunks: Iterable[_Chunk]) -> None:
        """Keep pairs that are not sieved: sealing will tell them apart."""
        for chunk in chunks:
            chunk.kept.keep(chunk.rows_l, chunk.rows_r)
            self.run.tally.add("pairs", chunk.kept.islands.pass_index, len(chunk.rows_l))
            self.run.progress.advance(len(chunk.rows_l))

    def _fetch(self, chunks: Iterable[_Chunk]) -> None:
        asks = (self._ask(chunk, side) for chunk in chunks for side in ("left", "right"))
        one_side: tuple[_Chunk, SieveWords] | None = None
        for (chunk, side), words in self.run.federation.ask(asks, ahead=CHUNKS_AHEAD):
            own = chunk.kept.islands.left if side == "left" else chunk.kept.islands.right
            self.run.tally.refuse(own, "sieve", words.refusal)
            if one_side is None or one_side[0] is not chunk:
                one_side = (chunk, words)
                continue
            self._near(chunk, one_side[1], words)
            self.run.progress.advance(len(chunk.rows_l))

    def _ask(self, chunk: _Chunk, side: str) -> Ask[tuple[_Chunk, str], SieveWords]:
        pairs = chunk.kept.pairs_of(chunk.rows_l, chunk.rows_r)
        own, request = pairs.request(self.run, side, slice(None))
        call = partial(_sieve_at, self.run.linkage_id, self.run.epoch, request)
        return Ask(own, (chunk, side), call)

    def _near(self, chunk: _Chunk, left: SieveWords, right: SieveWords) -> None:
        index = chunk.kept.islands.pass_index
        answered = (left.refusal == Refusal.ANSWERED) & (right.refusal == Refusal.ANSWERED)
        near = answered & (np.bitwise_count(left.words ^ right.words) <= self._limit(chunk.kept))
        self.run.tally.add("pairs", index, len(answered))
        self.run.tally.add("refused", index, int((~answered).sum()))
        self.run.tally.add("sieved_out", index, int((answered & ~near).sum()))
        chunk.kept.keep(chunk.rows_l[near], chunk.rows_r[near])
        chunk.kept.near += int(near.sum())


@dataclass(eq=False)
class _Kept:
    """What is left of the pairs of some islands, as rows of their members."""

    islands: PairIslands
    left: list[I64] = field(default_factory=list)
    right: list[I64] = field(default_factory=list)
    near: int = 0  # of the pairs that were sieved

    @property
    def pairs(self) -> int:
        """How many pairs there are before the sieve."""
        count = len(self.islands.token)
        size_l = np.bincount(self.islands.left_island, minlength=count)
        size_r = np.bincount(self.islands.right_island, minlength=count)
        return int((size_l * size_r).sum())

    def first(self) -> Iterator[_Chunk]:
        """The pairs that are sieved before the others, if there are any."""
        crossed = cross(self.islands.left_island, self.islands.right_island)
        for rows_l, rows_r in islice(crossed, 1):
            yield _Chunk(self, rows_l[:FIRST_PAIRS], rows_r[:FIRST_PAIRS])

    def chunks(self, after: int) -> Iterator[_Chunk]:
        """All pairs but the first ones, as many at a time as fit a request."""
        for rows_l, rows_r in cross(self.islands.left_island, self.islands.right_island):
            for part in slices_of(len(rows_l) - after, PAIRS_A_REQUEST):
                here = slice(after + part.start, after + part.stop)
                yield _Chunk(self, rows_l[here], rows_r[here])
            after = 0

    def keep(self, rows_l: I64, rows_r: I64) -> None:
        self.left.append(rows_l)
        self.right.append(rows_r)

    def candidates(self) -> CandidatePairs:
        return self.pairs_of(
            np.concatenate([np.empty(0, np.int64), *self.left]),
            np.concatenate([np.empty(0, np.int64), *self.right]),
        )

    def pairs_of(self, rows_l: I64, rows_r: I64) -> CandidatePairs:
        """Pairs of members, by their rows."""
        return CandidatePairs(
            self.islands,
            self.islands.left_island[rows_l].astype(np.uint32),
            self.islands.left_handle[rows_l],
            self.islands.right_handle[rows_r],
        )


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Pairs whose words are asked for together."""

    kept: _Kept
    rows_l: I64
    rows_r: I64


def cross(left: I64, right: I64, at_once: int | None = None) -> Iterator[tuple[I64, I64]]:
    """All pairs of members of the same island, in bounded chunks.

    Args:
        left: sorted island numbers of the left members.
        right: sorted island numbers of the right members.
        at_once: pairs of a chunk; one island is never cut.

    Yields:
        Row numbers into `left` and `right`.
    """
    islands = int(max(left.max(initial=-1), right.max(initial=-1))) + 1
    size_l = np.bincount(left, minlength=islands)
    size_r = np.bincount(right, minlength=islands)
    start_l = np.cumsum(size_l) - size_l
    start_r = np.cumsum(size_r) - size_r
    for part in slices_by_weight(size_l * size_r, at_once or PAIRS_EXPANDED_AT_ONCE):
        # Each left member is repeated once for each right member of its island.
        rows_l = np.arange(start_l[part.start], start_l[part.stop - 1] + size_l[part.stop - 1])
        partners = np.repeat(size_r[part], size_l[part])
        first = np.repeat(start_r[part], size_l[part])
        yield np.repeat(rows_l, partners), runs(first, partners)


def _sieve_at(linkage_id: str, epoch: str, request: PairRequest, peer: RegistryPeer) -> SieveWords:
    return peer.sieve(linkage_id, epoch, request)
