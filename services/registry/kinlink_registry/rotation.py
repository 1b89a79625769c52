"""What an officer should do next about the epochs: make one, wait, or destroy the old one."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.session import Session


@dataclass(frozen=True)
class EpochState:
    """One epoch as its officer sees it."""

    epoch: str
    kept_at: dt.datetime
    served: bool
    unencoded: int
    linked_at: dt.datetime | None  # when a linkage in it last told us its links

    def age_days(self, now: dt.datetime) -> float:
        """Days since its secret came here."""
        return (now - self.kept_at).total_seconds() / 86_400


def last_linked(session: Session) -> dict[int, dt.datetime]:
    """When links of each epoch were last published here, UTC."""
    rows = session.rows("SELECT epoch_id, max(published_at) FROM link GROUP BY epoch_id")
    return {number: moment.replace(tzinfo=dt.UTC) for number, moment in rows}


def from_status(found: dict[str, Any]) -> list[EpochState]:
    """The epochs of `kinlink-registry status --json`, newest first."""
    return [
        EpochState(
            each["epoch"],
            dt.datetime.fromisoformat(each["kept_at"]),
            each["served"],
            each["unencoded"],
            dt.datetime.fromisoformat(each["linked_at"]) if each["linked_at"] else None,
        )
        for each in found["epochs"]
    ]


def advice(epochs: Sequence[EpochState], days_max: float, now: dt.datetime) -> list[str]:
    """What to do next, a sentence each; `epochs` newest first."""
    if not epochs:
        return ["There is no epoch secret here: make one (keys create) or import one."]
    newest, older = epochs[0], epochs[1:]
    said = []
    if newest.age_days(now) > days_max:
        said.append(
            f"Epoch {newest.epoch} is {newest.age_days(now):.0f} days old; an epoch lasts"
            f" {days_max:g} at most: make the next one (keys create)."
        )
    for old in older:
        if not newest.served:
            left = f"{newest.unencoded} records are left" if newest.unencoded else "nearly done"
            said.append(f"Keep {old.epoch}: {newest.epoch} is still being encoded, {left}.")
        elif newest.linked_at is None:
            said.append(f"Keep {old.epoch}: no linkage in {newest.epoch} has told us links yet.")
        else:
            said.append(
                f"Epoch {old.epoch} can be destroyed (keys retire {old.epoch}): {newest.epoch} is"
                f" complete and was linked on {newest.linked_at.date()}."
            )
    if not newest.served and not older:
        said.append(f"Epoch {newest.epoch} is being encoded and not served yet.")
    return said or [f"Nothing to do: epoch {newest.epoch} is complete."]
