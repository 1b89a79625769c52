"""Pairs inside islands that are near enough to be sealed: 64 masked bits a record, compared by XOR.

Words are comparable only between the two registries of a pair and only inside one island. What is
left after this is what the registries are asked to seal. No sealed field is seen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.seal import SIEVE_BITS
from kinlink_core.wire import Refusal

from kinlink_linker.arrays import runs, slices_by_weight
from kinlink_linker.federation import Ask
from kinlink_linker.peer import Islands, SieveRequest, SieveWords

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_linker.candidates import PairIslands
    from kinlink_linker.domain import I64, U32, U64, Bools, Ids
    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.run import Run

HANDLES_A_REQUEST = 8_192
PAIRS_EXPANDED_AT_ONCE = 2_000_000
# A pass that lets every distance through has its words not even fetched.
NO_SIEVE = 1.0


@dataclass(frozen=True)
class CandidatePairs:
    """Pairs of one pass between two registries; `island` indexes the proven islands."""

    islands: PairIslands
    island: U32  # (n,)
    left: Ids  # (n, 2) handles
    right: Ids  # (n, 2)

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.island)


@dataclass(frozen=True)
class Siever:
    """Sieves the proven islands of one linkage."""

    run: Run

    def sieve(self, found: list[PairIslands]) -> list[CandidatePairs]:
        """Fetch the words of both sides of every island and keep the near pairs."""
        asks: list[Ask[tuple[int, str, slice], SieveWords]] = []
        words: dict[tuple[int, str], _Words] = {}
        for number, islands in enumerate(found):
            for side, members in (("left", islands.left_island), ("right", islands.right_island)):
                words[number, side] = _Words(len(members))
                if self.run.schema.passes[islands.pass_index].sieve_max >= NO_SIEVE:
                    words[number, side].answered[:] = True
                else:
                    asks += self._asks(number, islands, side)
        self.run.progress.expect(len(asks))
        for (number, side, rows), answer in self.run.federation.ask(asks):
            words[number, side].take(rows, answer)
            own = found[number].left if side == "left" else found[number].right
            self.run.tally.refuse(own, "sieve", answer.refusal)
            self.run.progress.advance()
        present = set(self.run.federation.present)
        return [
            self._near(islands, words[number, "left"], words[number, "right"])
            for number, islands in enumerate(found)
            if {islands.left, islands.right} <= present
        ]

    def _asks(
        self, number: int, islands: PairIslands, side: str
    ) -> Iterator[Ask[tuple[int, str, slice], SieveWords]]:
        if side == "left":
            own, partner, shown = islands.left, islands.right, islands.shown_to_left
            island, handle = islands.left_island, islands.left_handle
        else:
            own, partner, shown = islands.right, islands.left, islands.shown_to_right
            island, handle = islands.right_island, islands.right_handle
        card = self.run.federation.descriptions[partner].card
        members = np.bincount(island, minlength=len(islands.token))
        starts = np.concatenate([[0], np.cumsum(members)])
        # An island costs a request about two rows more than its members do.
        for part in slices_by_weight(members + 2, HANDLES_A_REQUEST):
            rows = slice(int(starts[part.start]), int(starts[part.stop]))
            request = SieveRequest(
                card,
                islands.pass_index,
                Islands(shown.token[part], shown.partner_count[part], shown.proof[part]),
                handle[rows],
                (island[rows] - part.start).astype(np.uint32),
            )
            call = partial(_sieve_at, self.run.linkage_id, self.run.epoch, request)
            yield Ask(own, (number, side, rows), call)

    def _near(self, islands: PairIslands, left: _Words, right: _Words) -> CandidatePairs:
        index = islands.pass_index
        limit = int(self.run.schema.passes[index].sieve_max * SIEVE_BITS + 1e-9)
        kept_l, kept_r = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for rows_l, rows_r in cross(islands.left_island, islands.right_island):
            answered = left.answered[rows_l] & right.answered[rows_r]
            distance = np.bitwise_count(left.words[rows_l] ^ right.words[rows_r])
            near = answered & (distance <= limit)
            self.run.tally.add("pairs", index, len(rows_l))
            self.run.tally.add("refused", index, int((~answered).sum()))
            self.run.tally.add("sieved_out", index, int((answered & ~near).sum()))
            kept_l.append(rows_l[near])
            kept_r.append(rows_r[near])
        chosen_l, chosen_r = np.concatenate(kept_l), np.concatenate(kept_r)
        return CandidatePairs(
            islands,
            islands.left_island[chosen_l].astype(np.uint32),
            islands.left_handle[chosen_l],
            islands.right_handle[chosen_r],
        )


class _Words:
    """The words of one side, as they arrive; what never arrives counts as not answered."""

    def __init__(self, rows: int) -> None:
        self.words: U64 = np.zeros(rows, np.uint64)
        self.answered: Bools = np.zeros(rows, bool)

    def take(self, rows: slice, answer: SieveWords) -> None:
        self.words[rows] = answer.words
        self.answered[rows] = answer.refusal == Refusal.ANSWERED


def cross(
    left: I64, right: I64, at_once: int = PAIRS_EXPANDED_AT_ONCE
) -> Iterator[tuple[I64, I64]]:
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
    for part in slices_by_weight(size_l * size_r, at_once):
        # Each left member is repeated once for each right member of its island.
        rows_l = np.arange(start_l[part.start], start_l[part.stop - 1] + size_l[part.stop - 1])
        partners = np.repeat(size_r[part], size_l[part])
        first = np.repeat(start_r[part], size_l[part])
        yield np.repeat(rows_l, partners), runs(first, partners)


def _sieve_at(linkage_id: str, epoch: str, request: SieveRequest, peer: RegistryPeer) -> SieveWords:
    return peer.sieve(linkage_id, epoch, request)
