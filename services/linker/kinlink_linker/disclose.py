"""Ask both registries for the subjects of scored pairs, best first, the smaller name first.

The second registry is asked only for what the first disclosed. Each side tells duplicates of a
record pair apart by the record tag that its partner sealed for it, which the linker relays and
cannot read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.wire import Refusal

from kinlink_linker.arrays import slices_of
from kinlink_linker.federation import Ask
from kinlink_linker.links import FoundLinks, LinkRule, ScoredPairs, merge, seekers_of
from kinlink_linker.peer import Disclosed, DiscloseRequest

if TYPE_CHECKING:
    from kinlink_linker.domain import I64, U8, Bools, Ids
    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.run import Run

PAIRS_A_REQUEST = 8_192


@dataclass(frozen=True)
class _Named:
    """What one registry said of pairs, row by row."""

    subjects: Ids
    answered: Bools
    sides: U8

    @classmethod
    def nobody(cls, rows: int) -> _Named:
        """Of a registry that did not answer."""
        return cls(np.zeros((rows, 2), np.uint64), np.zeros(rows, bool), np.zeros(rows, np.uint8))

    def take(self, rows: I64) -> _Named:
        """Some rows."""
        return _Named(self.subjects[rows], self.answered[rows], self.sides[rows])


@dataclass(frozen=True)
class Discloser:
    """Discloses the scored pairs of one linkage."""

    run: Run

    def disclose(self, scored: list[ScoredPairs], rule: LinkRule) -> list[FoundLinks]:
        """Disclose pairs and merge them by subject pair; pairs of lost registries are left out."""
        self.run.progress.expect(2 * sum(each.count for each in scored))
        first = self._side(scored, "left")
        remaining, named_l = [], []
        for pairs, named in zip(scored, first, strict=True):
            rows = np.flatnonzero(named.answered)
            remaining.append(pairs.take(rows))
            named_l.append(named.take(rows))
            self.run.progress.advance(2 * pairs.count - len(rows))
        second = self._side(remaining, "right")
        present = set(self.run.federation.present)
        found = []
        for pairs, left, right in zip(remaining, named_l, second, strict=True):
            self.run.progress.advance(pairs.count)
            if {pairs.left, pairs.right} <= present:
                rows = np.flatnonzero(right.answered)
                one, other = left.take(rows), right.take(rows)
                seekers = seekers_of(one.sides, other.sides)
                found.append(
                    merge(pairs.take(rows), one.subjects, other.subjects, rule, seekers=seekers)
                )
        return found

    def _side(self, scored: list[ScoredPairs], side: str) -> list[_Named]:
        answers = [_Named.nobody(each.count) for each in scored]
        asks = [
            Ask(
                pairs.left if side == "left" else pairs.right,
                number,
                partial(self._ask_in_order, pairs, side),
            )
            for number, pairs in enumerate(scored)
            if pairs.count
        ]
        for number, disclosed in self.run.federation.ask(asks):
            answers[number] = _Named(
                disclosed.subjects, disclosed.refusal == Refusal.ANSWERED, disclosed.sides
            )
            own = scored[number].left if side == "left" else scored[number].right
            self.run.tally.refuse(own, "disclose", disclosed.refusal)
        return answers

    def _ask_in_order(self, pairs: ScoredPairs, side: str, peer: RegistryPeer) -> Disclosed:
        """One request after another: of a record pair's handle pairs, the first is disclosed."""
        answers = []
        for part in slices_of(pairs.count, PAIRS_A_REQUEST):
            self.run.federation.check_cancelled()
            request = self._request(pairs, part, side)
            answers.append(peer.disclose(self.run.linkage_id, self.run.epoch, request))
        return Disclosed(
            np.concatenate([each.subjects for each in answers]),
            np.concatenate([each.refusal for each in answers]),
            np.concatenate([each.sides for each in answers]),
        )

    def _request(self, pairs: ScoredPairs, part: slice, side: str) -> DiscloseRequest:
        if side == "left":
            partner, own, others = pairs.right, pairs.left_handle, pairs.right_handle
            tags: U8 = pairs.right_tag
        else:
            partner, own, others = pairs.left, pairs.right_handle, pairs.left_handle
            tags = pairs.left_tag
        return DiscloseRequest(
            self.run.federation.descriptions[partner].card,
            own[part],
            others[part],
            tags[part],
            pairs.weight[part],
        )
