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


class Meetings:
    """Remembers meetings; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Own record and the partner's tag, to both handles.
        self._talks: OrderedDict[Talk, dict[tuple[int, bytes], bytes]] = OrderedDict()

    def refuse_known(self, talk: Talk, rows: PairRows, partner_tags: Bytes) -> None:
        """Refuse, in place, pairs that were sealed under other handles; remember the others."""
        which = rows.answered()
        handles = np.concatenate([rows.own_handles[which], rows.partner_handles[which]], axis=1)
        pairs = zip(rows.refs[which].tolist(), columns.rows(partner_tags[which]), strict=True)
        with self._lock:
            known = self._talks.setdefault(talk, {})
            self._talks.move_to_end(talk)
            while len(self._talks) > TALKS_MAX:
                self._talks.popitem(last=False)
            again = [
                known.setdefault(pair, met) != met
                for pair, met in zip(pairs, columns.rows(handles), strict=True)
            ]
        rows.refusal[which[np.array(again, bool)]] = Refusal.SUPERSEDED

    def clear(self) -> None:
        """Forget all; after another vault took this one's place."""
        with self._lock:
            self._talks.clear()
