"""Which pairs of records each linkage has had sealed, and under which handles.

Two records meet in every pass whose value they share. The first meeting that is asked for is
sealed, others are refused, so that the linker gets one comparison of two people and cannot join its
handles of them by what they have in common. Asked again for the same handles, the same is answered.

It is remembered in memory only: after a restart, or in a linkage of another name, a pair may be
sealed once more.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.wire import Refusal

from kinlink_registry import columns

if TYPE_CHECKING:
    from kinlink_registry.columns import Bytes
    from kinlink_registry.sealing import PairRows

# (linkage, mark of the epoch, partner)
Talk = tuple[str, str, str]

TALKS_MAX = 64
# About 200 bytes each. The oldest linkages are forgotten first; one that is larger gets no more.
PAIRS_MAX = 4_000_000


class Meetings:
    """Remembers meetings; may be used from any thread."""

    def __init__(self, pairs_max: int = PAIRS_MAX) -> None:
        self._pairs_max = pairs_max
        self._lock = threading.Lock()
        # Own record and the partner's tag, to both handles.
        self._talks: OrderedDict[Talk, dict[bytes, bytes]] = OrderedDict()

    def refuse_known(self, talk: Talk, rows: PairRows, partner_tags: Bytes) -> None:
        """Refuse, in place, pairs that were sealed under other handles; remember the others."""
        which = rows.answered()
        refs = np.ascontiguousarray(rows.refs[which], "<i4").view(np.uint8).reshape(-1, 4)
        pairs = columns.rows(np.concatenate([refs, partner_tags[which]], axis=1))
        handles = columns.rows(
            np.concatenate([rows.own_handles[which], rows.partner_handles[which]], axis=1)
        )
        with self._lock:
            known = self._room(talk, len(pairs))
            met = [
                known.setdefault(pair, both) if len(known) < self._pairs_max else known.get(pair)
                for pair, both in zip(pairs, handles, strict=True)
            ]
        for row, first, both in zip(which.tolist(), met, handles, strict=True):
            if first is None:
                rows.refusal[row] = Refusal.OVER_QUOTA
            elif first != both:
                rows.refusal[row] = Refusal.SUPERSEDED

    def clear(self) -> None:
        """Forget all; after another vault took this one's place."""
        with self._lock:
            self._talks.clear()

    def _room(self, talk: Talk, more: int) -> dict[bytes, bytes]:
        """The memory of a linkage, with older ones forgotten to make room."""
        known = self._talks.setdefault(talk, {})
        self._talks.move_to_end(talk)
        while len(self._talks) > 1 and (
            len(self._talks) > TALKS_MAX
            or sum(map(len, self._talks.values())) + more > self._pairs_max
        ):
            self._talks.popitem(last=False)
        return known
