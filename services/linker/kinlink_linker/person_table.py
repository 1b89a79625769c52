"""Persons in the store: which subjects are one person now, and how persons merged and split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from kinlink_linker import duck
from kinlink_linker.domain import utc_now
from kinlink_linker.linkage_table import stored_time
from kinlink_linker.persons import NOBODY, HistoryEntry, Persons, assign

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from kinlink_linker.store import Store

# The links whose persons are named anew: all that stand, or those of the persons in `affected`.
_EDGES: Final = """
CREATE OR REPLACE TEMP TABLE edge AS
SELECT registry_l, subject_l, registry_r, subject_r FROM link
WHERE standing AND linked {scope}
"""
_SCOPE: Final = """
AND ((registry_l, subject_l) IN (SELECT registry, subject FROM affected)
  OR (registry_r, subject_r) IN (SELECT registry, subject FROM affected))
"""
_AFFECTED: Final = """
CREATE OR REPLACE TEMP TABLE affected AS
SELECT registry, subject FROM member WHERE list_contains(?, person_id)
UNION SELECT registry_l, subject_l FROM link WHERE list_contains(?, link_id) AND standing
UNION SELECT registry_r, subject_r FROM link WHERE list_contains(?, link_id) AND standing
"""
_NODES: Final = """
CREATE OR REPLACE TEMP TABLE node AS
WITH ends AS (
  SELECT registry_l AS registry, subject_l AS subject FROM edge
  UNION SELECT registry_r, subject_r FROM edge
)
SELECT row_number() OVER (ORDER BY registry, subject) - 1 AS n, ends.registry, ends.subject,
       member.person_id
FROM ends LEFT JOIN member USING (registry, subject)
"""
_ENDS: Final = """
SELECT l.n AS l, r.n AS r FROM edge
JOIN node AS l ON l.registry = edge.registry_l AND l.subject = edge.subject_l
JOIN node AS r ON r.registry = edge.registry_r AND r.subject = edge.subject_r
"""
_OLD_IDS: Final = """
SELECT DISTINCT person_id FROM member {scope} ORDER BY person_id
"""
_PREVIOUS: Final = "SELECT person_id FROM node ORDER BY n"
_FORGET: Final = "DELETE FROM member {scope}"
_REMEMBER: Final = """
INSERT INTO member SELECT node.registry, node.subject, named.person_id
FROM named JOIN node USING (n)
"""


class PersonTable:
    """Persons of a store. Its writing methods run inside the caller's transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self) -> int:
        """Persons that have at least one link now."""
        with self._store.reading() as cursor:
            return count_persons(cursor)

    def history(self, person_id: str) -> list[HistoryEntry]:
        """What happened to a person id, oldest first."""
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                "SELECT change, person_id, other_id, members FROM person_history "
                "WHERE person_id = ? OR other_id = ? ORDER BY noted_at, person_id, other_id",
                [person_id, person_id],
            )
        return [HistoryEntry(*row) for row in found]


def count_persons(cursor: duckdb.DuckDBPyConnection) -> int:
    """Persons that have at least one link now."""
    return int(duck.rows(cursor, "SELECT count(DISTINCT person_id) FROM member")[0][0])


def persons_of(cursor: duckdb.DuckDBPyConnection, link_ids: Sequence[str]) -> list[str]:
    """Persons that either end of some standing links belongs to."""
    found = duck.rows(
        cursor,
        "SELECT DISTINCT person_id FROM member JOIN link ON "
        "(registry = registry_l AND subject = subject_l) "
        "OR (registry = registry_r AND subject = subject_r) "
        "WHERE standing AND list_contains(?, link_id)",
        [list(link_ids)],
    )
    return [person for (person,) in found]


def rename_all(cursor: duckdb.DuckDBPyConnection, cause: str) -> None:
    """Find all persons anew; `cause` names the linkage or sync for the history."""
    _rename(cursor, cause, edges="", members="", parameters=[])


def rename_some(
    cursor: duckdb.DuckDBPyConnection, cause: str, persons: Sequence[str], links: Sequence[str] = ()
) -> None:
    """Find anew the given persons and whoever some links join to them."""
    touched = sorted({*persons, *persons_of(cursor, links)})
    links = list(links)
    cursor.execute(_AFFECTED, [touched, links, links])
    _rename(
        cursor,
        cause,
        edges=_SCOPE,
        members="WHERE list_contains(?, person_id)",
        parameters=[touched],
    )
    cursor.execute("DROP TABLE affected")


def _rename(
    cursor: duckdb.DuckDBPyConnection,
    cause: str,
    *,
    edges: str,
    members: str,
    parameters: list[Any],
) -> None:
    cursor.execute(_EDGES.format(scope=edges))
    cursor.execute(_NODES)
    ends = cursor.execute(_ENDS).fetchnumpy()
    previous_ids = [row[0] for row in duck.rows(cursor, _OLD_IDS.format(scope=members), parameters)]
    nodes: pa.Table = cursor.sql(_PREVIOUS).to_arrow_table()
    previous = _positions(nodes["person_id"], previous_ids)
    persons = assign(ends["l"].astype(np.int64), ends["r"].astype(np.int64), previous, previous_ids)
    cursor.execute(_FORGET.format(scope=members), parameters)
    _remember(cursor, persons)
    _write_history(cursor, cause, persons.history)
    cursor.execute("DROP TABLE edge")
    cursor.execute("DROP TABLE node")


def _positions(column: pa.ChunkedArray, ids: list[str]) -> Any:
    if not ids:
        return np.full(len(column), NOBODY, np.int64)
    import pyarrow.compute as pc

    found = pc.index_in(column, value_set=pa.array(ids, pa.string()), skip_nulls=True)
    return pc.fill_null(found, NOBODY).to_numpy().astype(np.int64)


def _remember(cursor: duckdb.DuckDBPyConnection, persons: Persons) -> None:
    if not persons.ids:
        return
    ids = pa.DictionaryArray.from_arrays(
        pa.array(persons.component), pa.array(persons.ids, pa.string())
    )
    number = pa.array(np.arange(len(persons.component)))
    cursor.register("named", pa.table({"n": number, "person_id": ids.cast(pa.string())}))
    cursor.execute(_REMEMBER)
    cursor.unregister("named")


def _write_history(
    cursor: duckdb.DuckDBPyConnection, cause: str, entries: Sequence[HistoryEntry]
) -> None:
    if not entries:
        return
    now = stored_time(utc_now())
    table = pa.table(
        {
            "change": [each.change.value for each in entries],
            "person_id": [each.person_id for each in entries],
            "other_id": [each.other_id for each in entries],
            "members": [each.members for each in entries],
        }
    )
    cursor.register("entries", table)
    cursor.execute("INSERT INTO person_history SELECT ?, ?, * FROM entries", [now, cause])
    cursor.unregister("entries")
