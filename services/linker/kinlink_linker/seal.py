"""Prove candidate pairs near, fetch both sides, sealed for each pair alone, and compare them.

A chunk lives in memory while it is reduced to comparison levels and is then dropped; what is kept
of a pair is one small integer a field, its two handles and the two record tags that the registries
will exchange at disclosure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.seal import SealedBatch, SealedColumn
from kinlink_core.errors import QuotaError, Reason
from kinlink_core.wire import Refusal

from kinlink_linker.arrays import slices_of
from kinlink_linker.compare import compare
from kinlink_linker.federation import Ask
from kinlink_linker.prove import Prover

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.wire import SealedRows

    from kinlink_linker.domain import I64, U8, Bools, Ids
    from kinlink_linker.peer import PairRequest, RegistryPeer
    from kinlink_linker.run import Run
    from kinlink_linker.sieve import CandidatePairs

# Handles and islands of a request stay well below the 1 MiB of a message.
PAIRS_A_REQUEST = 4_096
# Both sides of a few chunks are in flight at once.
CHUNKS_AHEAD = 4


@dataclass(frozen=True)
class ComparedPairs:
    """Pairs of one pass between two registries after comparison, one a row of all arrays."""

    left: str
    right: str
    pass_index: int
    left_handle: Ids
    right_handle: Ids
    left_tag: U8  # (n, 32), sealed by the left registry for the right one
    right_tag: U8
    levels: U8  # (n, fields)

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.levels)


@dataclass(frozen=True)
class Sealer:
    """Fetches and compares the sealed pairs of one linkage."""

    run: Run

    def compare(self, candidates: list[CandidatePairs], pairs_max: int) -> list[ComparedPairs]:
        """Seal and compare all candidates, in random order inside each pass.

        Raises:
            QuotaError: more candidates than `pairs_max`; nothing was asked.
        """
        total = sum(each.count for each in candidates)
        if total > pairs_max:
            raise QuotaError(
                Reason.QUOTA_EXCEEDED,
                f"{total} candidate pairs are more than the limit of {pairs_max} (pairs_max); "
                "lower the caps or sieve_max of the schema, or raise the limit.",
            )
        shuffled = Prover(self.run).prove([_shuffled(each) for each in candidates if each.count])
        total = sum(each.count for each in shuffled)
        self.run.progress.expect(total)
        chunks: dict[int, list[ComparedPairs]] = {}
        one_side: dict[tuple[int, int], SealedRows] = {}
        for (number, start, side), rows in self.run.federation.ask(
            self._asks(shuffled), ahead=CHUNKS_AHEAD
        ):
            other = one_side.pop((number, start), None)
            if other is None:
                one_side = {(number, start): rows} if side == "left" else {}
                continue
            pairs = shuffled[number]
            part = slice(start, min(start + PAIRS_A_REQUEST, pairs.count))
            chunks.setdefault(number, []).append(self._compare(pairs, part, other, rows))
            self.run.progress.advance(part.stop - part.start)
        present = set(self.run.federation.present)
        compared = [_joined(parts) for _, parts in sorted(chunks.items())]
        return [each for each in compared if {each.left, each.right} <= present]

    def _asks(
        self, candidates: list[CandidatePairs]
    ) -> Iterator[Ask[tuple[int, int, str], SealedRows]]:
        for number, pairs in enumerate(candidates):
            for part in slices_of(pairs.count, PAIRS_A_REQUEST):
                for side in ("left", "right"):
                    own, partner = pairs.sides(side)
                    card = self.run.federation.descriptions[partner].card
                    request = pairs.request(side, part, card)
                    call = partial(_seal_at, self.run.linkage_id, self.run.epoch, request)
                    yield Ask(own, (number, part.start, side), call)

    def _compare(
        self, pairs: CandidatePairs, part: slice, left: SealedRows, right: SealedRows
    ) -> ComparedPairs:
        answered = (left.refusal == Refusal.ANSWERED) & (right.refusal == Refusal.ANSWERED)
        index = pairs.islands.pass_index
        self.run.tally.refuse(pairs.islands.left, "seal", left.refusal)
        self.run.tally.refuse(pairs.islands.right, "seal", right.refusal)
        self.run.tally.add("sealed", index, int(answered.sum()))
        self.run.tally.add("refused", index, int((~answered).sum()))
        return ComparedPairs(
            pairs.islands.left,
            pairs.islands.right,
            index,
            pairs.left[part][answered],
            pairs.right[part][answered],
            left.record_tag[answered],
            right.record_tag[answered],
            compare(self.run.schema, only(left, answered), only(right, answered)),
        )


def only(rows: SealedRows, which: Bools) -> SealedBatch:
    """The sealed fields of a mask of rows."""
    return SealedBatch(
        tuple(
            SealedColumn(
                column.presence[which],
                None if column.sketch is None else column.sketch[which],
                None if column.tags is None else column.tags[which],
            )
            for column in rows.batch.fields
        )
    )


def _shuffled(pairs: CandidatePairs) -> CandidatePairs:
    """The same pairs in random order, so that a request tells nothing by its order."""
    order: I64 = np.random.default_rng().permutation(pairs.count)
    return pairs.take(order)


def _joined(parts: list[ComparedPairs]) -> ComparedPairs:
    first = parts[0]
    columns = ("left_handle", "right_handle", "left_tag", "right_tag", "levels")
    return ComparedPairs(
        first.left,
        first.right,
        first.pass_index,
        *(np.concatenate([getattr(part, name) for part in parts]) for name in columns),
    )


def _seal_at(linkage_id: str, epoch: str, request: PairRequest, peer: RegistryPeer) -> SealedRows:
    return peer.seal(linkage_id, epoch, request)
