"""Which subject ids last over epochs, and what the linker must forget when an epoch ends.

A subject id is made at random for one epoch. Where a link stands or a pair was decided, the linker
knows this person anyway, and persons, cases and verdicts hang on the id: there it lasts, in every
epoch of the vault the same. All others are fresh in each epoch, so that what is shown in one cannot
be joined with what is shown in the next, and are told as gone when their epoch retires.

Epoch 0 stands for the time between the last epoch that retired and the next one that is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from kinlink_core.wire import FeedEvent

from kinlink_registry import columns, encodings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.session import Session

NO_EPOCH = 0
# Records of which a link stands, or a pair was decided.
_LASTING = "(SELECT ref FROM link WHERE person_id <> '' UNION SELECT ref FROM decided)"
_RETIRED = f"{FeedEvent.SUBJECT_RETIRED:d}::UTINYINT"


def enter(session: Session, epoch_id: int) -> None:
    """Take what lasts into a new epoch, with what no feed could tell meanwhile."""
    session.run(
        "INSERT INTO subject SELECT ?, ref, last(subject ORDER BY epoch_id) FROM subject"
        f" SEMI JOIN {_LASTING} USING (ref) GROUP BY ref",
        [epoch_id],
    )
    session.run("DELETE FROM subject WHERE epoch_id = ?", [NO_EPOCH])
    session.run(
        "UPDATE tombstone SET epoch_id = ?, sequence = 0 WHERE epoch_id = ?", [epoch_id, NO_EPOCH]
    )
    encodings.bury(session)


def settle(session: Session, links: Any) -> None:
    """Let the subject ids that links were published under be the only ones of their records.

    An id that another epoch had made up for such a record is told there as gone, and replaced.

    Args:
        session: of the transaction that stored the links.
        links: an Arrow table, `ref` and `subject` of links that stand or were decided.
    """
    if not len(links):
        return
    lasting = session.table(
        "SELECT ref, any_value(subject) AS subject FROM links GROUP BY ref", links=links
    )
    other = session.table(
        "SELECT s.epoch_id, s.subject FROM subject s JOIN lasting USING (ref)"
        " WHERE s.subject <> lasting.subject",
        lasting=lasting,
    )
    if len(other):
        session.run(
            "INSERT INTO tombstone (sequence, epoch_id, event, id)"
            f" SELECT 0, epoch_id, {_RETIRED}, subject FROM other",
            other=other,
        )
        session.run("DELETE FROM link WHERE subject IN (SELECT subject FROM other)", other=other)
        session.run("DELETE FROM subject WHERE subject IN (SELECT subject FROM other)", other=other)
    session.run(
        "INSERT INTO subject SELECT epoch.id, lasting.ref, lasting.subject FROM lasting, epoch"
        " WHERE NOT EXISTS (SELECT 1 FROM subject s"
        " WHERE s.epoch_id = epoch.id AND s.ref = lasting.ref)",
        lasting=lasting,
    )
    encodings.bury(session)


def leave(session: Session, epoch_id: int, others: Sequence[int]) -> None:
    """Before an epoch is forgotten: pass on what lasts, and tell in the others what is gone."""
    remaining = columns.table(id=np.array(list(others) or [NO_EPOCH], np.int16))
    session.run(
        "INSERT INTO subject SELECT remaining.id, ref, subject FROM subject s, remaining"
        f" WHERE s.epoch_id = ? AND ref IN {_LASTING} AND NOT EXISTS (SELECT 1 FROM subject t"
        " WHERE t.epoch_id = remaining.id AND t.ref = s.ref)",
        [epoch_id],
        remaining=remaining,
    )
    # A deletion that the linker has not read yet must not end with the feed that tells of it.
    gone = session.table(
        "SELECT subject FROM subject WHERE epoch_id = $1 AND subject NOT IN"
        " (SELECT subject FROM subject WHERE epoch_id <> $1)"
        f" UNION SELECT id FROM tombstone WHERE epoch_id = $1 AND event = {_RETIRED} AND NOT moved",
        [epoch_id],
    )
    session.run(
        "INSERT INTO tombstone (sequence, epoch_id, event, id, moved)"
        f" SELECT 0, remaining.id, {_RETIRED}, gone.subject, true FROM gone, remaining"
        " WHERE NOT EXISTS (SELECT 1 FROM tombstone t"
        f" WHERE t.epoch_id = remaining.id AND t.event = {_RETIRED} AND t.id = gone.subject)",
        gone=gone,
        remaining=remaining,
    )
    session.run("DELETE FROM link WHERE subject IN (SELECT subject FROM gone)", gone=gone)
    session.run("UPDATE link SET epoch_id = ? WHERE epoch_id = ?", [NO_EPOCH, epoch_id])
    encodings.bury(session)
