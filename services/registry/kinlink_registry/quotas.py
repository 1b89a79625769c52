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
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.wire import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.bookings import Booked, Ledger
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


def book_records(ledger: Ledger, policy: Policy, asked: PairRows) -> None:
    """Refuse rows over the partner's share of records in place, and book the records of others."""
    rows = asked.answered()
    refs, handles = asked.refs[rows], asked.own_handles[rows]
    if policy.partner_share_max < EVERYONE:
        limit = _records_max(ledger.session, ledger.epoch, policy)
        allowed = _within(ledger.booked, refs, handles, limit)
        asked.refusal[rows[~allowed]] = Refusal.OVER_QUOTA
        refs, handles = refs[allowed], handles[allowed]
    ledger.book(refs, handles)


def book_pairs(ledger: Ledger, policy: Policy, asked: PairRows) -> None:
    """Refuse rows of handles that are not booked, or over the epoch's pairs; book the others."""
    rows = asked.answered()
    session, epoch = ledger.session, ledger.epoch
    known = ledger.booked.has_handles(asked.own_handles[rows])
    asked.refusal[rows[~known]] = Refusal.OVER_QUOTA
    rows = rows[known]
    left = max(policy.sealed_pairs_per_epoch_max - _spent(session, epoch, SEALED_PAIRS), 0)
    asked.refusal[rows[left:]] = Refusal.OVER_QUOTA
    _book(session, epoch, ledger.partner, SEALED_PAIRS, len(rows[:left]))


def _within(booked: Booked, refs: Refs, handles: Bytes, limit: int) -> npt.NDArray[np.bool_]:
    """Which rows a quota allows, in the order they are asked for.

    Handles that were answered before are answered again, whatever is left; new ones only up to the
    row in which the last record of the quota is reached.
    """
    again = booked.has_handles(handles)
    if booked.records >= limit:
        return again
    first = np.zeros(len(refs), bool)
    first[np.unique(refs, return_index=True)[1]] = True
    fresh = first & ~booked.has_records(refs)
    allowed: npt.NDArray[np.bool_] = again | (booked.records + np.cumsum(fresh) <= limit)
    return allowed


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
