"""What registries still have to be told: verdicts, and links that no longer stand.

A notice stays until its registry has taken it, so a registry that is away learns of it when it
returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from kinlink_core.errors import KinlinkError, Reason

from kinlink_linker import duck
from kinlink_linker.pair_state import TOLD
from kinlink_linker.peer import Publication

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.store import Store

NOTICES_A_REQUEST = 2_000
_NO_LINKAGE = ""

_WAITING: Final = f"""
SELECT outbox.epoch, outbox.link_id, outbox.subject, outbox.partner, outbox.partner_subject,
       outbox.removed, coalesce(link.weight, 0), coalesce(link.probability, 0),
       CASE WHEN link.linked THEN coalesce(member.person_id, '') ELSE '' END,
       {TOLD}, outbox.noted_at
FROM outbox
LEFT JOIN link ON link.link_id = outbox.link_id AND link.standing AND NOT outbox.removed
LEFT JOIN verdict ON verdict.link_id = outbox.link_id
LEFT JOIN member ON member.registry = link.registry_l AND member.subject = link.subject_l
WHERE outbox.registry = ?
ORDER BY outbox.epoch, outbox.noted_at, outbox.link_id
"""


@dataclass(frozen=True)
class _Notice:
    epoch: str
    at: datetime
    publication: Publication


class Outbox:
    """The notices of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def waiting(self, registry: str) -> int:
        """Notices a registry has not taken yet."""
        with self._store.reading() as cursor:
            found = duck.rows(cursor, "SELECT count(*) FROM outbox WHERE registry = ?", [registry])
        return int(found[0][0])

    def deliver(self, peer: RegistryPeer) -> int:
        """Tell a registry all that waits for it; returns how many notices it took.

        Notices of an epoch the registry no longer serves are dropped: its subjects are forgotten.

        Raises:
            KinlinkError: the registry could not be told; what is left waits.
        """
        told = 0
        for epoch, notices in self._batches(peer.name):
            publications = [notice.publication for notice in notices]
            try:
                told += peer.publish(_NO_LINKAGE, epoch, (), publications)
            except KinlinkError as error:
                if error.reason is not Reason.EPOCH_UNKNOWN:
                    raise
            self._taken(peer.name, notices)
        return told

    def _batches(self, registry: str) -> Iterator[tuple[str, list[_Notice]]]:
        with self._store.reading() as cursor:
            found = [_notice(row) for row in duck.rows(cursor, _WAITING, [registry])]
        for epoch, group in groupby(found, key=lambda notice: notice.epoch):
            notices = list(group)
            for start in range(0, len(notices), NOTICES_A_REQUEST):
                yield epoch, notices[start : start + NOTICES_A_REQUEST]

    def _taken(self, registry: str, notices: list[_Notice]) -> None:
        # A notice queued anew while this one was told is younger, and stays.
        newest = max(notice.at for notice in notices)
        with self._store.writing() as cursor:
            for removed in (True, False):
                ids = [
                    notice.publication.link_id
                    for notice in notices
                    if notice.publication.removed is removed
                ]
                cursor.execute(
                    "DELETE FROM outbox WHERE registry = ? AND removed = ? AND noted_at <= ? "
                    "AND list_contains(?, link_id)",
                    [registry, removed, newest, ids],
                )


def _notice(row: tuple[Any, ...]) -> _Notice:
    return _Notice(
        row[0],
        row[10],
        Publication(
            link_id=row[1],
            subject=row[2],
            partner=row[3],
            partner_subject=row[4],
            removed=row[5],
            weight=row[6],
            probability=row[7],
            person_id=row[8],
            verdict=row[9],
        ),
    )
