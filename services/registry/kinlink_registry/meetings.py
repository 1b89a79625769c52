"""Which pairs of records each linkage has had sealed, and under which handles.

Two records meet in every pass whose value they share. One meeting is sealed, others are refused, so
that the linker gets one comparison of two people and cannot join its handles of them by what they
have in common. Asked again for the same handles, the same is answered.

It is the meeting that counts first (`kinlink_core.meetings`). A linkage asks in that order. Where a
record's passes arrive one after another a later request may name a meeting that counts before the
sealed one: it takes its place. So a linkage that follows the feed ends with the meetings that one
at the end would have had sealed. A changed record has met nobody yet.

It is remembered in memory only: after a restart, or in a linkage of another name, a pair may be
sealed once more.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.meetings import places
from kinlink_core.wire import Refusal

from kinlink_registry import columns

if TYPE_CHECKING:
    from kinlink_registry.columns import Bytes
    from kinlink_registry.records import Refs
    from kinlink_registry.sealing import PairRows

# (linkage, mark of the epoch, partner)
Talk = tuple[str, str, str]

TALKS_MAX = 64
# About 220 bytes each. The oldest linkages are forgotten first; one that is larger gets no more.
PAIRS_MAX = 4_000_000


class Meetings:
    """Remembers meetings; may be used from any thread."""

    def __init__(self, pairs_max: int = PAIRS_MAX) -> None:
        self._pairs_max = pairs_max
        self._lock = threading.Lock()
        # Own record, its version and the partner's tag, to place and both handles of the meeting.
        self._talks: OrderedDict[Talk, dict[bytes, bytes]] = OrderedDict()

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
        names = np.stack([rows.refs[which], versions[which]], axis=1).astype("<i4")
        pairs = columns.rows(
            np.concatenate([names.view(np.uint8).reshape(-1, 8), partner_tags[which]], axis=1)
        )
        own, others = rows.own_handles[which], rows.partner_handles[which]
        handles = columns.rows(np.concatenate([own, others], axis=1))
        asked = [
            place + both
            for place, both in zip(places(pass_index, own, others), handles, strict=True)
        ]
        with self._lock:
            known = self._room(talk, len(pairs))
            for pair, meeting in zip(pairs, asked, strict=True):
                if pair not in known and len(known) >= self._pairs_max:
                    continue
                known[pair] = min(known.get(pair, meeting), meeting)
            first = [known.get(pair) for pair in pairs]
        for row, stands, meeting in zip(which.tolist(), first, asked, strict=True):
            if stands is None:
                rows.refusal[row] = Refusal.OVER_QUOTA
            elif stands != meeting:
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
