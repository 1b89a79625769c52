"""What registries are shown before they seal near pairs: proven distances, and both record tags.

Each side answers its sieve words once more, with tags. From the tags of one side's bits the other
is proven how far apart the pair is: `kinlink_core.encoding.sieve` says how. A chunk of tags lives
in memory while it is reduced to 73 bytes a pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.sieve import distance_max, prove_distances
from kinlink_core.wire import Refusal

from kinlink_linker.arrays import slices_of
from kinlink_linker.federation import Ask
from kinlink_linker.sieve import Proven

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_linker.domain import I64
    from kinlink_linker.peer import PairRequest, RegistryPeer, SieveWords
    from kinlink_linker.run import Run
    from kinlink_linker.sieve import CandidatePairs

# Handles and islands of a request stay below the 1 MiB of a message. Tags, 297 bytes a pair, come
# in three frames.
PAIRS_A_REQUEST = 8_192
# Both sides of a few chunks are in flight at once.
SIDES_AHEAD = 8

# Which candidates, and which of their rows.
Chunk = tuple[int, slice]


@dataclass(frozen=True)
class Prover:
    """Proves the distances of the candidate pairs of one linkage, and drops those that are far."""

    run: Run

    def prove(self, candidates: list[CandidatePairs]) -> list[CandidatePairs]:
        """The pairs that both registries answered for, with what they are to be shown."""
        found = [_Found(pairs) for pairs in candidates]
        self.run.progress.expect(sum(each.count for each in candidates))
        answers = self.run.federation.ask_both(self._asks(candidates), ahead=SIDES_AHEAD)
        for (number, start), left, right in answers:
            self._prove(found[number], start, left, right)
            self.run.progress.advance(len(right.refusal))
        present = set(self.run.federation.present)
        return [
            each.proven()
            for each in found
            if {each.pairs.islands.left, each.pairs.islands.right} <= present
        ]

    def _asks(
        self, candidates: list[CandidatePairs]
    ) -> Iterator[Ask[tuple[tuple[int, int], str], SieveWords]]:
        for wave in waves_of(candidates):
            for number, part in wave:
                for side in ("left", "right"):
                    own, request = candidates[number].request(self.run, side, part)
                    call = partial(_tags_at, self.run.linkage_id, self.run.epoch, request)
                    yield Ask(own, ((number, part.start), side), call)

    def _prove(self, found: _Found, start: int, left: SieveWords, right: SieveWords) -> None:
        if left.tags is None or right.tags is None:
            raise ValueError("distances are proven by tags")
        answered = (left.refusal == Refusal.ANSWERED) & (right.refusal == Refusal.ANSWERED)
        islands = found.pairs.islands
        self.run.tally.refuse(islands.left, "seal", left.refusal)
        self.run.tally.refuse(islands.right, "seal", right.refusal)
        self.run.tally.add("refused", islands.pass_index, int((~answered).sum()))
        proven = Proven(
            np.bitwise_count(left.words ^ right.words),
            prove_distances(left.words, right.tags.distance),
            prove_distances(right.words, left.tags.distance),
            left.tags.record,
            right.tags.record,
        )
        limit = distance_max(self.run.schema.passes[islands.pass_index].sieve_max)
        near = proven.distance <= limit
        self.run.tally.add("sieved_out", islands.pass_index, int((answered & ~near).sum()))
        rows = np.flatnonzero(answered & near)
        found.rows.append(start + rows)
        found.parts.append(proven.take(rows))


@dataclass(frozen=True)
class _Found:
    """What is proven so far of the pairs of one pass between two registries."""

    pairs: CandidatePairs
    rows: list[I64] = field(default_factory=list)
    parts: list[Proven] = field(default_factory=list)

    def proven(self) -> CandidatePairs:
        rows = np.concatenate([np.empty(0, np.int64), *self.rows])
        return replace(self.pairs.take(rows), proven=Proven.joined(self.parts))


def waves_of(candidates: list[CandidatePairs]) -> Iterator[list[Chunk]]:
    """One chunk of every two registries at a time, those of the same two in their order."""
    lanes: dict[tuple[str, str], list[Chunk]] = {}
    for number, pairs in enumerate(candidates):
        lane = lanes.setdefault((pairs.islands.left, pairs.islands.right), [])
        lane += [(number, part) for part in slices_of(pairs.count, PAIRS_A_REQUEST)]
    for wave in zip_longest(*lanes.values()):
        yield [chunk for chunk in wave if chunk is not None]


def _tags_at(linkage_id: str, epoch: str, request: PairRequest, peer: RegistryPeer) -> SieveWords:
    return peer.sieve(linkage_id, epoch, request, tags=True)
