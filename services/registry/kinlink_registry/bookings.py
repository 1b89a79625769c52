"""Which handles and records were sealed towards each partner, in memory.

Every request about pairs asks it, and a lookup in the vault reads the bookings towards all
partners. It is read from the vault once; after that every booking is written to both, inside the
one writer's session (`Node.booking`). Memory: about 20 bytes a booked handle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kinlink_registry import columns
from kinlink_registry.directory import NOWHERE, find, grouped, with_rows, words
from kinlink_registry.epoch_memory import EpochMemory

if TYPE_CHECKING:
    from kinlink_registry.columns import Bytes
    from kinlink_registry.directory import Words
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session


@dataclass(frozen=True)
class Booked:
    """What was sealed towards one partner in one epoch."""

    handles: Words  # in the order of their first words
    of_ref: npt.NDArray[np.bool_]  # (highest reference + 1,)
    records: int

    @classmethod
    def nothing(cls) -> Booked:
        """Of a partner that was never asked about."""
        return cls(np.empty((0, 2), np.uint64), np.empty(0, bool), 0)

    def has_handles(self, handles: Bytes) -> npt.NDArray[np.bool_]:
        """Which of (n, 16) handles were booked."""
        booked: npt.NDArray[np.bool_] = find(self.handles, words(handles)) != NOWHERE
        return booked

    def has_records(self, refs: Refs) -> npt.NDArray[np.bool_]:
        """Which of n records were booked."""
        booked: npt.NDArray[np.bool_] = refs < len(self.of_ref)
        booked[booked] = self.of_ref[refs[booked]]
        return booked

    def with_more(self, refs: Refs, handles: Bytes) -> Booked:
        """After further handles, which must be distinct and new, of some records were booked."""
        fresh = words(handles)
        fresh = fresh[np.argsort(fresh[:, 0], kind="stable")]
        at = np.searchsorted(self.handles[:, 0], fresh[:, 0])
        of_ref = np.zeros(max(len(self.of_ref), int(refs.max(initial=-1)) + 1), bool)
        of_ref[: len(self.of_ref)] = self.of_ref
        of_ref[refs] = True
        booked = with_rows(self.handles, at, fresh)
        return Booked(booked, of_ref, int(np.count_nonzero(of_ref)))


class Bookings(EpochMemory[dict[str, Booked]]):
    """Remembers bookings; every use is inside the vault's one writer."""

    def towards(self, session: Session, epoch: Epoch, partner: str) -> Ledger:
        """The bookings towards one partner, to read and to write."""
        with self._lock:
            partners = self._kept.setdefault(epoch.mark, {})
            if partner not in partners:
                partners[partner] = _read(session, epoch, partner)
            return Ledger(session, epoch, partner, partners)


@dataclass(frozen=True)
class Ledger:
    """Bookings towards one partner within one session."""

    session: Session
    epoch: Epoch
    partner: str
    _partners: dict[str, Booked]

    @property
    def booked(self) -> Booked:
        """What was booked until now."""
        return self._partners[self.partner]

    def book(self, refs: Refs, handles: Bytes) -> None:
        """Book handles of records, row by row; what was booked before is not booked again."""
        new = np.flatnonzero(~self.booked.has_handles(handles))
        order, first = grouped(words(handles[new]))
        new = new[order[first]]
        if len(new):
            self.session.run(
                "INSERT INTO sealed_toward SELECT ?, ?, ref, handle FROM answered",
                [self.epoch.id, self.partner],
                answered=columns.table(ref=refs[new], handle=handles[new]),
            )
            self._partners[self.partner] = self.booked.with_more(refs[new], handles[new])


def _read(session: Session, epoch: Epoch, partner: str) -> Booked:
    found = session.table(
        "SELECT DISTINCT ref, handle FROM sealed_toward WHERE epoch_id = ? AND partner = ?",
        [epoch.id, partner],
    )
    return Booked.nothing().with_more(
        columns.numbers(found["ref"]), columns.matrix(found["handle"])
    )
