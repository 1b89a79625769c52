"""How much of this registry's people may go towards each partner, and how much has.

Quotas are this registry's own policy. They bound what a linker and one partner together can learn:
the share of records sealed towards a partner, pairs sealed in an epoch, subjects disclosed in a
day.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.wire import Refusal

from kinlink_registry import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.epochs import Epoch
    from kinlink_registry.islands import Refusals
    from kinlink_registry.policy import Policy
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session

SEALED_PAIRS = "sealed_pairs"
DISCLOSED = "disclosed"


@dataclass(frozen=True)
class Used:
    """Use of a partner's quotas, each from 0 to 1."""

    sealed_share: float
    disclosed_share: float


def charge_sealing(
    session: Session,
    epoch: Epoch,
    partner: str,
    policy: Policy,
    *,
    refs: Refs,
    refusal: Refusals,
) -> None:
    """Refuse rows over quota in place, and book the others."""
    rows = np.flatnonzero(refusal == Refusal.ANSWERED)
    left = policy.sealed_pairs_per_epoch_max - _spent(session, epoch, SEALED_PAIRS)
    refusal[rows[max(left, 0) :]] = Refusal.OVER_QUOTA
    rows = rows[: max(left, 0)]
    known = session.table(
        "SELECT ref FROM sealed_toward WHERE epoch_id = ? AND partner = ?", [epoch.id, partner]
    )
    booked = columns.numbers(known["ref"])
    fresh, first = np.unique(refs[rows], return_index=True)
    new = ~np.isin(fresh, booked)
    # Records in the order they are asked for: best islands first is the linker's business.
    wanted = fresh[new][np.argsort(first[new])]
    allowed = wanted[: max(_records_max(session, epoch, policy) - len(booked), 0)]
    over = np.isin(refs[rows], wanted) & ~np.isin(refs[rows], allowed)
    refusal[rows[over]] = Refusal.OVER_QUOTA
    session.run(
        "INSERT INTO sealed_toward SELECT ?, ?, ref FROM allowed",
        [epoch.id, partner],
        allowed=columns.table(ref=allowed),
    )
    _book(session, epoch, partner, SEALED_PAIRS, int((~over).sum()))


def disclosures_left(session: Session, policy: Policy) -> int:
    """Subjects that may still be disclosed today."""
    used = session.value(
        "SELECT coalesce(sum(amount), 0) FROM usage WHERE kind = ? AND day = ?",
        [DISCLOSED, _today()],
    )
    return max(policy.disclosures_per_day_max - int(used), 0)


def book_disclosures(session: Session, epoch: Epoch, partner: str, amount: int) -> None:
    """Count disclosed subjects."""
    _book(session, epoch, partner, DISCLOSED, amount)


def used(session: Session, epochs: Sequence[Epoch], policy: Policy) -> dict[str, Used]:
    """The use of quotas by each partner, in the epoch where it is highest."""
    shares: dict[str, float] = {}
    for epoch in epochs:
        limit = _records_max(session, epoch, policy)
        rows = session.rows(
            "SELECT partner, count(*) FROM sealed_toward WHERE epoch_id = ? GROUP BY partner",
            [epoch.id],
        )
        for partner, records in rows:
            shares[partner] = max(shares.get(partner, 0.0), records / limit if limit else 1.0)
    disclosed = dict(
        session.rows(
            "SELECT partner, sum(amount) FROM usage WHERE kind = ? AND day = ? GROUP BY partner",
            [DISCLOSED, _today()],
        )
    )
    limit = policy.disclosures_per_day_max
    return {
        partner: Used(
            shares.get(partner, 0.0), int(disclosed.get(partner, 0)) / limit if limit else 1.0
        )
        for partner in shares.keys() | disclosed.keys()
    }


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
