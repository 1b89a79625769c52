"""Distances of near pairs, proven to the registries that are to seal them.

Each side answers its sieve words once more, with tags of their bits. From the tags of one side the
other is proven how far apart the pair is: `kinlink_core.encoding.sieve` says how. A chunk of tags
lives in memory while it is reduced to nine bytes a pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.sieve import SIEVE_BITS, distance_max, prove_distances
from kinlink_core.wire import Refusal

from kinlink_linker.arrays import slices_of
from kinlink_linker.federation import Ask
from kinlink_linker.sieve import DistancesProven

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_linker.domain import I64
    from kinlink_linker.peer import PairRequest, RegistryPeer, SieveWords
    from kinlink_linker.run import Run
    from kinlink_linker.sieve import CandidatePairs

# The answer to a request, 265 bytes a pair, comes in two frames.
PAIRS_A_REQUEST = 4_096
# Both sides of a few chunks are in flight at once.
CHUNKS_AHEAD = 4


@dataclass(frozen=True)
class Prover:
    """Proves the distances of the candidate pairs of one linkage."""

    run: Run

    def prove(self, candidates: list[CandidatePairs]) -> list[CandidatePairs]:
        """The pairs that both registries answered for, with proofs; as they are without a sieve."""
        found = {
            number: _Found(pairs)
            for number, pairs in enumerate(candidates)
            if self._has_sieve(pairs)
        }
        self.run.progress.expect(sum(each.pairs.count for each in found.values()))
        one_side: dict[tuple[int, int], SieveWords] = {}
        for (number, start, side), words in self.run.federation.ask(
            self._asks(found), ahead=CHUNKS_AHEAD
        ):
            other = one_side.pop((number, start), None)
            if other is None:
                one_side = {(number, start): words} if side == "left" else {}
                continue
            self._prove(found[number], start, other, words)
            self.run.progress.advance(len(words.refusal))
        present = set(self.run.federation.present)
        return [
            found[number].proven() if number in found else pairs
            for number, pairs in enumerate(candidates)
            if {pairs.islands.left, pairs.islands.right} <= present
        ]

    def _has_sieve(self, pairs: CandidatePairs) -> bool:
        blocking_pass = self.run.schema.passes[pairs.islands.pass_index]
        return distance_max(blocking_pass.sieve_max) < SIEVE_BITS

    def _asks(self, found: dict[int, _Found]) -> Iterator[Ask[tuple[int, int, str], SieveWords]]:
        for number, each in found.items():
            for part in slices_of(each.pairs.count, PAIRS_A_REQUEST):
                for side in ("left", "right"):
                    own, partner = each.pairs.sides(side)
                    card = self.run.federation.descriptions[partner].card
                    request = each.pairs.request(side, part, card)
                    call = partial(_words_at, self.run.linkage_id, self.run.epoch, request)
                    yield Ask(own, (number, part.start, side), call)

    def _prove(self, found: _Found, start: int, left: SieveWords, right: SieveWords) -> None:
        answered = (left.refusal == Refusal.ANSWERED) & (right.refusal == Refusal.ANSWERED)
        islands = found.pairs.islands
        self.run.tally.refuse(islands.left, "seal", left.refusal)
        self.run.tally.refuse(islands.right, "seal", right.refusal)
        self.run.tally.add("refused", islands.pass_index, int((~answered).sum()))
        proofs = DistancesProven(
            np.bitwise_count(left.words ^ right.words),
            prove_distances(left.words, right.tags),
            prove_distances(right.words, left.tags),
        )
        rows = np.flatnonzero(answered)
        found.rows.append(start + rows)
        found.proofs.append(proofs.take(rows))


@dataclass(frozen=True)
class _Found:
    """What is proven so far of the pairs of one pass between two registries."""

    pairs: CandidatePairs
    rows: list[I64] = field(default_factory=list)
    proofs: list[DistancesProven] = field(default_factory=list)

    def proven(self) -> CandidatePairs:
        rows = np.concatenate([np.empty(0, np.int64), *self.rows])
        return replace(self.pairs.take(rows), proofs=DistancesProven.joined(self.proofs))


def _words_at(linkage_id: str, epoch: str, request: PairRequest, peer: RegistryPeer) -> SieveWords:
    return peer.sieve(linkage_id, epoch, request, proofs=True)
