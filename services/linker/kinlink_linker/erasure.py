"""Forgetting a person: links, evidence, verdicts and membership go at once, for good.

What stays is a digest of the opaque subject id, so that a linkage under way cannot bring the person
back, and, until they are told, the notices to the partner registries that the link no longer
stands.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from kinlink_linker import duck
from kinlink_linker.domain import ID_BYTES, utc_now
from kinlink_linker.linkage_table import stored_time
from kinlink_linker.person_table import persons_of, rename_some

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from kinlink_linker.store import Store

_DOOMED: Final = """
CREATE OR REPLACE TEMP TABLE doomed AS
SELECT DISTINCT link_id FROM link
WHERE (registry_l = $registry AND subject_l IN (SELECT subject FROM gone))
   OR (registry_r = $registry AND subject_r IN (SELECT subject FROM gone))
"""
# The partner learns which of its links ended, not whose subject it was.
_NOTICE: Final = """
INSERT INTO outbox
SELECT DISTINCT
  CASE WHEN registry_l = $registry THEN registry_r ELSE registry_l END, link_id, epoch,
  CASE WHEN registry_l = $registry THEN subject_r ELSE subject_l END, $registry, $nobody,
  true, $now
FROM link JOIN doomed USING (link_id) WHERE standing
"""


def digest_of(registry: str, subject: bytes) -> str:
    """What is kept of an erased subject; the same text as the SQL of `link_writer`."""
    return hashlib.sha256(f"{registry} {subject.hex().upper()}".encode()).hexdigest()


class Eraser:
    """Erases subjects from a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def erase(self, registry: str, subjects: Sequence[bytes]) -> int:
        """Erase subjects of a registry; returns how many links went with them."""
        with self._store.writing() as cursor:
            _remember(cursor, registry, subjects)
            cursor.register("gone", pa.table({"subject": pa.array(subjects, pa.binary())}))
            cursor.execute(_DOOMED, {"registry": registry})
            doomed = [row[0] for row in duck.rows(cursor, "SELECT link_id FROM doomed")]
            if doomed:
                self._remove(cursor, registry, doomed)
            cursor.execute(
                "DELETE FROM outbox WHERE registry = ? AND subject IN (SELECT subject FROM gone)",
                [registry],
            )
            cursor.execute(
                "DELETE FROM former WHERE registry = ? AND subject IN (SELECT subject FROM gone)",
                [registry],
            )
            cursor.unregister("gone")
            cursor.execute("DROP TABLE doomed")
        return len(doomed)

    def _remove(self, cursor: duckdb.DuckDBPyConnection, registry: str, doomed: list[str]) -> None:
        persons = persons_of(cursor, doomed)
        cursor.execute(
            "DELETE FROM outbox WHERE link_id IN (SELECT link_id FROM doomed) AND NOT removed"
        )
        cursor.execute(
            _NOTICE,
            {"registry": registry, "nobody": bytes(ID_BYTES), "now": stored_time(utc_now())},
        )
        cursor.execute("DELETE FROM link WHERE link_id IN (SELECT link_id FROM doomed)")
        cursor.execute("DELETE FROM verdict WHERE link_id IN (SELECT link_id FROM doomed)")
        rename_some(cursor, "erasure", persons)


def _remember(cursor: duckdb.DuckDBPyConnection, registry: str, subjects: Sequence[bytes]) -> None:
    digests = sorted({digest_of(registry, subject) for subject in subjects})
    cursor.register("digests", pa.table({"digest": pa.array(digests, pa.string())}))
    cursor.execute(
        "INSERT INTO erased SELECT digest FROM digests "
        "WHERE digest NOT IN (SELECT digest FROM erased)"
    )
    cursor.unregister("digests")
