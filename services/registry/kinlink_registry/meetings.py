"""Which pairs of records each linkage has had sealed, and under which handles.

Two records meet in every pass whose value they share. One meeting is sealed, others are refused, so
that the linker gets one comparison of two people and cannot join its handles of them by what they
have in common. Asked again for the same handles, the same is answered.

It is the meeting that counts first (`kinlink_core.meetings`). A linkage asks in that order. Where a
record's passes arrive one after another a later request may name a meeting that counts before the
sealed one: it takes its place. So a linkage that follows the feed ends with the meetings that one
at the end would have had sealed. A changed record has met nobody yet.

It is remembered in memory only: after a restart, or in a linkage of another name, a pair may be
sealed once more. Pairs are kept under names drawn for this process, so that no partner can choose
tags that are slow to look up.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.keys import KEY_BYTES
from kinlink_core.encoding.prf import Prf
from kinlink_core.meetings import places
from kinlink_core.wire import Refusal

from kinlink_registry import columns
from kinlink_registry.directory import NOWHERE, begins, find, with_rows

if TYPE_CHECKING:
    import numpy.typing as npt

    from kinlink_registry.columns import Bytes
    from kinlink_registry.directory import Words
    from kinlink_registry.records import Refs
    from kinlink_registry.sealing import PairRows

    Places = npt.NDArray[np.uint64]  # (n, 3), `kinlink_core.meetings.places`

# (linkage, mark of the epoch, partner)
Talk = tuple[str, str, str]

TALKS_MAX = 64
# 40 bytes each. The oldest linkages are forgotten first; one that is larger gets no more.
PAIRS_MAX = 4_000_000


@dataclass(frozen=True)
class _Met:
    """Pairs of records by name, in the order of its first word, and the meeting that counts."""

    name: Words
    place: Places

    @classmethod
    def nobody(cls) -> _Met:
        return cls(np.empty((0, 2), np.uint64), np.empty((0, 3), np.uint64))

    def with_more(self, name: Words, place: Places) -> _Met:
        """After further pairs, which must be distinct and new."""
        order = np.argsort(name[:, 0], kind="stable")
        at = np.searchsorted(self.name[:, 0], name[order, 0])
        return _Met(with_rows(self.name, at, name[order]), with_rows(self.place, at, place[order]))


class Meetings:
    """Remembers meetings; may be used from any thread."""

    def __init__(self, pairs_max: int = PAIRS_MAX) -> None:
        self._pairs_max = pairs_max
        self._lock = threading.Lock()
        self._names = Prf(os.urandom(KEY_BYTES))
        self._talks: OrderedDict[Talk, _Met] = OrderedDict()

    def refuse_known(
        self, talk: Talk, rows: PairRows, partner_tags: Bytes, *, pass_index: int, versions: Refs
    ) -> None:
        """Refuse, in place, pairs sealed under handles that count before; remember the others.

        Args:
            talk: whose memory it is.
            rows: pairs of one pass.
            partner_tags: (n, 16) the partner's record tags, row by row.
            pass_index: the pass.
            versions: (n,) of the own records.
        """
        which = rows.answered()
        name = self._named(rows.refs[which], versions[which], partner_tags[which])
        place = places(pass_index, rows.own_handles[which], rows.partner_handles[which])
        with self._lock:
            met = self._remember(talk, name, place)
            at = find(met.name, name)
            stands = met.place[at] if len(met.place) else np.empty_like(place)
        rows.refusal[which[(stands != place).any(axis=1)]] = Refusal.SUPERSEDED
        rows.refusal[which[at == NOWHERE]] = Refusal.OVER_QUOTA

    def clear(self) -> None:
        """Forget all; after another vault took this one's place."""
        with self._lock:
            self._talks.clear()

    def _named(self, refs: Refs, versions: Refs, partner_tags: Bytes) -> Words:
        """What stands for pairs of an own record and a partner's, by its tag."""
        own = np.zeros((len(refs), columns.ID_BYTES // 4), np.int32)
        own[:, 0], own[:, 1] = refs, versions
        own_blocks = own.view(np.uint8)
        return self._names.pairs(partner_tags, own_blocks, np.zeros_like(own_blocks)).state

    def _remember(self, talk: Talk, name: Words, place: Places) -> _Met:
        """What is known of a linkage after it asked for some meetings."""
        met = self._room(talk, len(name))
        # By name, and of one name what counts first in front.
        order = np.lexsort((*place.T[::-1], *name.T[::-1]))
        best = order[begins(name[order])]
        at = find(met.name, name[best])
        again, at = best[at != NOWHERE], at[at != NOWHERE]
        earlier = _before(place[again], met.place[at])
        met.place[at[earlier]] = place[again[earlier]]
        new = np.sort(np.setdiff1d(best, again))[: max(self._pairs_max - len(met.name), 0)]
        if len(new):
            met = self._talks[talk] = met.with_more(name[new], place[new])
        return met

    def _room(self, talk: Talk, more: int) -> _Met:
        """The memory of a linkage, with older ones forgotten to make room."""
        known = self._talks.setdefault(talk, _Met.nobody())
        self._talks.move_to_end(talk)
        while len(self._talks) > 1 and (
            len(self._talks) > TALKS_MAX
            or sum(len(each.name) for each in self._talks.values()) + more > self._pairs_max
        ):
            self._talks.popitem(last=False)
        return known


def _before(one: Places, other: Places) -> npt.NDArray[np.bool_]:
    """Which of n places sort before others, row by row."""
    before = np.zeros(len(one), bool)
    for word in reversed(range(one.shape[1])):
        same = one[:, word] == other[:, word]
        before = (one[:, word] < other[:, word]) | (same & before)
    return before
