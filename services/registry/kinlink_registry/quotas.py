"""How much of this registry's people may go towards each partner, and how much has.

Quotas are this registry's own policy. They bound what a linker and one partner together can learn:
the share of records sealed towards a partner, pairs sealed in an epoch, subjects disclosed in a
day.

What is counted are records, but what was answered is remembered by handle. A used up quota that
still answered any handle of a booked record would tell the linker which handles are of one record.
Not guaranteed: the row at which a quota ends tells how many of the handles before it were of
different records, once a partner and epoch.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from kinlink_core.wire import Refusal

from kinlink_registry import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.policy import Policy
    from kinlink_registry.records import Refs
    from kinlink_registry.sealing import PairRows
    from kinlink_registry.session import Session

SEALED_PAIRS = "sealed_pairs"
DISCLOSED = "disclosed"
EVERYONE = 1.0  # a share of all records is no limit


@dataclass(frozen=True)
class Used:
    """Use of a partner's quotas, each from 0 to 1."""

    sealed_share: float
    disclosed_share: float


def book_records(
    session: Session, epoch: Epoch, partner: str, policy: Policy, asked: PairRows
) -> None:
    """Refuse rows over the partner's share of records in place, and book the records of others."""
    rows = asked.answered()
    refs, handles = asked.refs[rows], asked.own_handles[rows]
    if policy.partner_share_max < EVERYONE:
        booked = _Booked.of(session, epoch, partner, refs=refs, handles=handles)
        allowed = booked.within(refs, _records_max(session, epoch, policy))
        asked.refusal[rows[~allowed]] = Refusal.OVER_QUOTA
        refs, handles = refs[allowed], handles[allowed]
    session.run(
        "INSERT INTO sealed_toward SELECT DISTINCT ?, ?, ref, handle FROM answered"
        " ANTI JOIN (SELECT handle FROM sealed_toward WHERE epoch_id = ? AND partner = ?) AS known"
        " USING (handle)",
        [epoch.id, partner, epoch.id, partner],
        answered=columns.table(ref=refs, handle=handles),
    )


def book_pairs(
    session: Session, epoch: Epoch, partner: str, policy: Policy, asked: PairRows
) -> None:
    """Refuse rows of handles that are not booked, or over the epoch's pairs; book the others."""
    rows = asked.answered()
    booked = _among(session, epoch, partner, handle=asked.own_handles[rows])
    asked.refusal[rows[~booked]] = Refusal.OVER_QUOTA
    rows = rows[booked]
    left = max(policy.sealed_pairs_per_epoch_max - _spent(session, epoch, SEALED_PAIRS), 0)
    asked.refusal[rows[left:]] = Refusal.OVER_QUOTA
    _book(session, epoch, partner, SEALED_PAIRS, len(rows[:left]))


@dataclass(frozen=True)
class _Booked:
    """What was sealed towards a partner before, as far as it concerns the rows of a request."""

    records: int
    again: npt.NDArray[np.bool_]  # (rows,) the handle was answered before
    known: npt.NDArray[np.bool_]  # (rows,) the record was

    @classmethod
    def of(
        cls, session: Session, epoch: Epoch, partner: str, *, refs: Refs, handles: Bytes
    ) -> _Booked:
        records = session.value(
            "SELECT count(DISTINCT ref) FROM sealed_toward WHERE epoch_id = ? AND partner = ?",
            [epoch.id, partner],
        )
        return cls(
            int(records),
            _among(session, epoch, partner, handle=handles),
            _among(session, epoch, partner, ref=refs),
        )

    def within(self, refs: Refs, limit: int) -> npt.NDArray[np.bool_]:
        """Which rows a quota allows, in the order they are asked for.

        Handles that were answered before are answered again, whatever is left; new ones only up to
        the row in which the last record of the quota is reached.
        """
        if self.records >= limit:
            return self.again
        first = np.zeros(len(refs), bool)
        first[np.unique(refs, return_index=True)[1]] = True
        fresh = first & ~self.known
        allowed: npt.NDArray[np.bool_] = self.again | (self.records + np.cumsum(fresh) <= limit)
        return allowed


def _among(
    session: Session, epoch: Epoch, partner: str, **column: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Which of a column's values, refs or handles, are booked towards a partner."""
    ((name, values),) = column.items()
    found = session.table(
        f"SELECT position FROM asked SEMI JOIN (SELECT {name} FROM sealed_toward"
        f" WHERE epoch_id = ? AND partner = ?) USING ({name})",
        [epoch.id, partner],
        asked=columns.table(position=columns.positions(len(values)), **column),
    )
    booked = np.zeros(len(values), bool)
    booked[columns.numbers(found["position"])] = True
    return booked


def disclosures_left(session: Session, policy: Policy, linker: str) -> int:
    """Subjects that may still be disclosed to a linker today (UTC)."""
    used = session.value(
        "SELECT coalesce(sum(amount), 0) FROM spent WHERE linker = ? AND day = ?",
        [linker, _today()],
    )
    return max(policy.disclosures_per_day_max - int(used), 0)


def book_disclosures(
    session: Session, epoch: Epoch, partner: str, linker: str, amount: int
) -> None:
    """Count disclosed subjects, of the partner's quota and of the linker's budget."""
    _book(session, epoch, partner, DISCLOSED, amount)
    if amount:
        session.run("INSERT INTO spent VALUES (?, ?, ?)", [linker, _today(), amount])


def budgets(session: Session, epochs: Sequence[Epoch], policy: Policy) -> dict[str, float]:
    """The use of what all partners share, each from 0 to 1, where it is highest.

    `sealed_pairs` of an epoch, and `disclosures` to one linker today.
    """
    sealed = max((_spent(session, epoch, SEALED_PAIRS) for epoch in epochs), default=0)
    disclosed = session.value(
        "SELECT max(total) FROM"
        " (SELECT sum(amount) AS total FROM spent WHERE day = ? GROUP BY linker)",
        [_today()],
    )
    return {
        SEALED_PAIRS: _share(sealed, policy.sealed_pairs_per_epoch_max),
        "disclosures": _share(int(disclosed or 0), policy.disclosures_per_day_max),
    }


def used(session: Session, epochs: Sequence[Epoch], policy: Policy) -> dict[str, Used]:
    """The use of quotas by each partner, in the epoch where it is highest."""
    shares: dict[str, float] = {}
    for epoch in epochs:
        limit = _records_max(session, epoch, policy)
        rows = session.rows(
            "SELECT partner, count(DISTINCT ref) FROM sealed_toward WHERE epoch_id = ?"
            " GROUP BY partner",
            [epoch.id],
        )
        for partner, records in rows:
            shares[partner] = max(shares.get(partner, 0.0), _share(records, limit))
    disclosed = dict(
        session.rows(
            "SELECT partner, sum(amount) FROM usage WHERE kind = ? AND day = ? GROUP BY partner",
            [DISCLOSED, _today()],
        )
    )
    limit = policy.disclosures_per_day_max
    return {
        partner: Used(shares.get(partner, 0.0), _share(int(disclosed.get(partner, 0)), limit))
        for partner in shares.keys() | disclosed.keys()
    }


def _share(used: int, limit: int) -> float:
    return used / limit if limit else 1.0


def _records_max(session: Session, epoch: Epoch, policy: Policy) -> int:
    held: int = session.value("SELECT count(*) FROM sketch WHERE epoch_id = ?", [epoch.id])
    return math.ceil(policy.partner_share_max * held)


def _spent(session: Session, epoch: Epoch, kind: str) -> int:
    spent = session.value(
        "SELECT coalesce(sum(amount), 0) FROM usage WHERE epoch_id = ? AND kind = ?",
        [epoch.id, kind],
    )
    return int(spent)


def _book(session: Session, epoch: Epoch, partner: str, kind: str, amount: int) -> None:
    if amount:
        session.run(
            "INSERT INTO usage VALUES (?, ?, ?, ?, ?)", [epoch.id, partner, _today(), kind, amount]
        )


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()
