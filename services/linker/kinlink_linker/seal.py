"""Prove candidate pairs near, fetch both sides, sealed for each pair alone, and compare them.

Two records that meet in several passes are sealed in one of them: the registries, which know by the
record tags that they have met, refuse the others. So two registries are asked for one chunk after
another, both in the same order: the passes of the schema, one after the other. What is left for the
last of them is no sample of what it finds, so a small random sample of every pass comes first, from
which models are trained. The order is the same in every linkage, because a pair is disclosed under
the handles it was first disclosed under.

A chunk lives in memory while it is reduced to comparison levels and is then dropped; what is kept
of a pair is one small integer a field, its two handles and the two record tags that the registries
will exchange at disclosure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.seal import SealedBatch, SealedColumn
from kinlink_core.errors import QuotaError, Reason
from kinlink_core.meetings import SAMPLED_ONE_IN, drawn
from kinlink_core.wire import Refusal

from kinlink_linker.compare import compare, of_two_sides
from kinlink_linker.domain import packed
from kinlink_linker.federation import Ask
from kinlink_linker.prove import Prover, waves_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.wire import SealedRows

    from kinlink_linker.domain import U8, U64, Bools, Ids
    from kinlink_linker.peer import PairRequest, RegistryPeer
    from kinlink_linker.prove import Chunk
    from kinlink_linker.run import Run
    from kinlink_linker.sieve import CandidatePairs

# So many sides of chunks are in flight at once.
SIDES_AHEAD_MAX = 8


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
    sampled: bool  # of the random sample of the pass

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.levels)


@dataclass(frozen=True)
class Sealer:
    """Fetches and compares the sealed pairs of one linkage."""

    run: Run

    def compare(self, candidates: list[CandidatePairs], pairs_max: int) -> list[ComparedPairs]:
        """Seal and compare all candidates.

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
        shuffled = [_in_drawn_order(each) for each in candidates if each.count]
        ordered = _sample_first(Prover(self.run).prove(shuffled))
        proven = [pairs for pairs, _ in ordered]
        self.run.progress.expect(sum(each.count for each in proven))
        chunks: dict[int, list[ComparedPairs]] = {}
        for size, waves in groupby(waves_of(proven), key=len):
            # Of the next wave no more is asked than came back of this one, so that a registry gets
            # the chunks of one lane in their order.
            asks = (ask for wave in waves for ask in self._asks(proven, wave))
            answers = self.run.federation.ask_both(asks, ahead=min(2 * size, SIDES_AHEAD_MAX))
            for (number, part), left, right in answers:
                pairs = proven[number]
                found = self._compare(pairs, part, left, right, sampled=ordered[number][1])
                chunks.setdefault(number, []).append(found)
                self.run.progress.advance(part.stop - part.start)
        present = set(self.run.federation.present)
        compared = [_joined(parts) for _, parts in sorted(chunks.items())]
        return [each for each in compared if {each.left, each.right} <= present]

    def _asks(
        self, candidates: list[CandidatePairs], wave: list[Chunk]
    ) -> Iterator[Ask[tuple[Chunk, str], SealedRows]]:
        """Both sides of chunks of different registry pairs, which are asked for at once."""
        for number, part in wave:
            for side in ("left", "right"):
                own, request = candidates[number].request(self.run, side, part)
                call = partial(_seal_at, self.run.linkage_id, self.run.epoch, request)
                yield Ask(own, ((number, part), side), call)

    def _compare(
        self,
        pairs: CandidatePairs,
        part: slice,
        left: SealedRows,
        right: SealedRows,
        *,
        sampled: bool,
    ) -> ComparedPairs:
        answered = (left.refusal == Refusal.ANSWERED) & (right.refusal == Refusal.ANSWERED)
        repeated = (left.refusal == Refusal.SUPERSEDED) & (right.refusal == Refusal.SUPERSEDED)
        index = pairs.islands.pass_index
        self.run.tally.refuse(pairs.islands.left, "seal", left.refusal[~repeated])
        self.run.tally.refuse(pairs.islands.right, "seal", right.refusal[~repeated])
        self.run.tally.add("sealed", index, int(answered.sum()))
        self.run.tally.add("repeated", index, int(repeated.sum()))
        self.run.tally.add("refused", index, int((~answered & ~repeated).sum()))
        if pairs.proven is None:
            raise ValueError("pairs are sealed by what was proven of them")
        levels = compare(self.run.schema, only(left, answered), only(right, answered))
        compared = of_two_sides(self.run.schema, levels)
        self.run.tally.add("sieved_out", index, int((~compared).sum()))
        kept = np.flatnonzero(answered)[compared]
        return ComparedPairs(
            pairs.islands.left,
            pairs.islands.right,
            index,
            pairs.left[part][kept],
            pairs.right[part][kept],
            pairs.proven.left_tag[part][kept],
            pairs.proven.right_tag[part][kept],
            levels[compared],
            sampled,
        )


def _sample_first(candidates: list[CandidatePairs]) -> list[tuple[CandidatePairs, bool]]:
    """The candidates as they are sealed: of every pass a sample, then the rest pass by pass."""
    by_pass = sorted(candidates, key=lambda each: each.islands.pass_index)
    sampled = [_numbers(pairs) % np.uint64(SAMPLED_ONE_IN) == 0 for pairs in by_pass]
    return [
        (pairs.take(np.flatnonzero(chosen == in_sample)), in_sample)
        for in_sample in (True, False)
        for pairs, chosen in zip(by_pass, sampled, strict=True)
    ]


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


def _numbers(pairs: CandidatePairs) -> U64:
    """The random number of each meeting, the same in every linkage."""
    return drawn(packed(pairs.left), packed(pairs.right))


def _in_drawn_order(pairs: CandidatePairs) -> CandidatePairs:
    """The same pairs in an order that tells nothing, and is the same in every linkage."""
    return pairs.take(np.argsort(_numbers(pairs), kind="stable"))


def _joined(parts: list[ComparedPairs]) -> ComparedPairs:
    first = parts[0]
    return ComparedPairs(
        first.left,
        first.right,
        first.pass_index,
        np.concatenate([part.left_handle for part in parts]),
        np.concatenate([part.right_handle for part in parts]),
        np.concatenate([part.left_tag for part in parts]),
        np.concatenate([part.right_tag for part in parts]),
        np.concatenate([part.levels for part in parts]),
        first.sampled,
    )


def _seal_at(linkage_id: str, epoch: str, request: PairRequest, peer: RegistryPeer) -> SealedRows:
    return peer.seal(linkage_id, epoch, request)
