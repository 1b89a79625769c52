"""Persons in the store: which subjects are one person now, and how persons merged and split."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from kinlink_linker import duck
from kinlink_linker.domain import utc_now
from kinlink_linker.linkage_table import shown_time, stored_time
from kinlink_linker.persons import NOBODY, Change, HistoryEntry, Persons, assign

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import duckdb

    from kinlink_linker.store import Store

# The links whose persons are named anew: all that stand, or those of the persons in `affected`.
_EDGES: Final = """
CREATE OR REPLACE TEMP TABLE edge AS
SELECT registry_l, subject_l, registry_r, subject_r FROM link
WHERE standing AND linked
"""
# Joins build on the few subjects that are looked at, so that the many are only read past.
_EDGES_SCOPED: Final = """
CREATE OR REPLACE TEMP TABLE edge AS
SELECT registry_l, subject_l, registry_r, subject_r FROM link
SEMI JOIN affected ON registry = registry_l AND subject = subject_l
WHERE standing AND linked
UNION
SELECT registry_l, subject_l, registry_r, subject_r FROM link
SEMI JOIN affected ON registry = registry_r AND subject = subject_r
WHERE standing AND linked
"""
_AFFECTED: Final = """
CREATE OR REPLACE TEMP TABLE affected AS
WITH these AS (
  SELECT * FROM link WHERE standing AND link_id IN (SELECT unnest($links::VARCHAR[]))
)
SELECT registry, subject FROM member WHERE person_id IN (SELECT unnest($persons::VARCHAR[]))
UNION SELECT registry_l, subject_l FROM these
UNION SELECT registry_r, subject_r FROM these
"""
_NODES: Final = """
CREATE OR REPLACE TEMP TABLE node AS
WITH ends AS (
  SELECT registry_l AS registry, subject_l AS subject FROM edge
  UNION SELECT registry_r, subject_r FROM edge
)
SELECT row_number() OVER (ORDER BY registry, subject) - 1 AS n, ends.registry, ends.subject,
       now.person_id, was.person_id AS former_id
FROM ends
LEFT JOIN (SELECT * FROM member SEMI JOIN ends USING (registry, subject)) AS now
  USING (registry, subject)
LEFT JOIN (SELECT * FROM former SEMI JOIN ends USING (registry, subject)) AS was
  USING (registry, subject)
"""
# Persons that ended, whom somebody who is looked at was once.
_ENDED: Final = """
SELECT former_id FROM node WHERE former_id IS NOT NULL
EXCEPT SELECT person_id FROM member
  SEMI JOIN (SELECT former_id FROM node WHERE former_id IS NOT NULL) AS was
    ON was.former_id = member.person_id
ORDER BY former_id
"""
_ENDS: Final = """
SELECT l.n AS l, r.n AS r FROM edge
JOIN node AS l ON l.registry = edge.registry_l AND l.subject = edge.subject_l
JOIN node AS r ON r.registry = edge.registry_r AND r.subject = edge.subject_r
"""
_OLD_IDS: Final = """
SELECT DISTINCT person_id FROM member {scope} ORDER BY person_id
"""
_PREVIOUS: Final = "SELECT person_id, former_id FROM node ORDER BY n"
_LEFT: Final = """
CREATE OR REPLACE TEMP TABLE left_person AS
SELECT old.registry, old.subject, old.person_id
FROM (SELECT * FROM member {scope}) AS old
LEFT JOIN node USING (registry, subject) LEFT JOIN named USING (n)
WHERE named.person_id IS DISTINCT FROM old.person_id
"""
_FORGET_FORMER: Final = "DELETE FROM former USING left_person AS l \
WHERE former.registry = l.registry AND former.subject = l.subject"
# Links of persons whose members are not who they were.
_RENAMED: Final = """
WITH moved AS (
  SELECT registry, subject FROM node JOIN named USING (n)
  WHERE named.person_id IS DISTINCT FROM node.person_id
)
SELECT link_id FROM link JOIN moved ON registry = registry_l AND subject = subject_l
WHERE standing AND linked ORDER BY link_id
"""
_FORGET: Final = "DELETE FROM member {scope}"
_REMEMBER: Final = """
INSERT INTO member SELECT node.registry, node.subject, named.person_id
FROM named JOIN node USING (n)
"""


@dataclass(frozen=True)
class NotedEntry(HistoryEntry):
    """A change of a person id as it was noted; `cause` is a linkage, a link or an erasure."""

    at: datetime
    cause: str


class PersonTable:
    """Persons of a store. Its writing methods run inside the caller's transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self) -> int:
        """Persons that have at least one link now."""
        with self._store.reading() as cursor:
            return count_persons(cursor)

    def history(self, person_id: str) -> list[NotedEntry]:
        """What happened to a person id, oldest first."""
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                "SELECT noted_at, cause, change, person_id, other_id, members FROM person_history "
                "WHERE person_id = ? OR other_id = ? ORDER BY noted_at, person_id, other_id",
                [person_id, person_id],
            )
        return [
            NotedEntry(Change(change), person, other, members, shown_time(at), cause)
            for at, cause, change, person, other, members in found
        ]


def count_persons(cursor: duckdb.DuckDBPyConnection) -> int:
    """Persons that have at least one link now."""
    return int(duck.rows(cursor, "SELECT count(DISTINCT person_id) FROM member")[0][0])


def persons_of(cursor: duckdb.DuckDBPyConnection, link_ids: Sequence[str]) -> list[str]:
    """Persons that either end of some standing links belongs to."""
    found = duck.rows(
        cursor,
        "WITH these AS (SELECT * FROM link WHERE standing AND link_id IN"
        " (SELECT unnest(?::VARCHAR[]))) "
        "SELECT person_id FROM member JOIN these ON registry = registry_l AND subject = subject_l "
        "UNION "
        "SELECT person_id FROM member JOIN these ON registry = registry_r AND subject = subject_r",
        [list(link_ids)],
    )
    return [person for (person,) in found]


def rename_all(cursor: duckdb.DuckDBPyConnection, cause: str) -> list[str]:
    """Find all persons anew; `cause` names the linkage or sync for the history.

    Returns:
        The links whose person is not the one they had.
    """
    return _rename(cursor, cause, edges=_EDGES, members="", parameters=[])


def rename_some(
    cursor: duckdb.DuckDBPyConnection, cause: str, persons: Sequence[str], links: Sequence[str] = ()
) -> list[str]:
    """Find anew the given persons and whoever some links join to them; returns as `rename_all`."""
    touched = sorted({*persons, *persons_of(cursor, links)})
    cursor.execute(_AFFECTED, {"persons": touched, "links": list(links)})
    renamed = _rename(
        cursor,
        cause,
        edges=_EDGES_SCOPED,
        members="WHERE person_id IN (SELECT unnest(?::VARCHAR[]))",
        parameters=[touched],
    )
    cursor.execute("DROP TABLE affected")
    return renamed


def _rename(
    cursor: duckdb.DuckDBPyConnection,
    cause: str,
    *,
    edges: str,
    members: str,
    parameters: list[Any],
) -> list[str]:
    cursor.execute(edges)
    cursor.execute(_NODES)
    ends = cursor.execute(_ENDS).fetchnumpy()
    living = [row[0] for row in duck.rows(cursor, _OLD_IDS.format(scope=members), parameters)]
    ended = [row[0] for row in duck.rows(cursor, _ENDED)]
    nodes: pa.Table = cursor.sql(_PREVIOUS).to_arrow_table()
    ids = living + ended
    persons = assign(
        ends["l"].astype(np.int64),
        ends["r"].astype(np.int64),
        _positions(nodes["person_id"], ids),
        ids,
        former=_positions(nodes["former_id"], ids),
    )
    with _named(cursor, persons):
        cursor.execute(_LEFT.format(scope=members), parameters)
        cursor.execute(_FORGET_FORMER)
        cursor.execute("INSERT INTO former SELECT * FROM left_person")
        renamed = [row[0] for row in duck.rows(cursor, _RENAMED)]
        cursor.execute(_FORGET.format(scope=members), parameters)
        cursor.execute(_REMEMBER)
    # Who had ended before has not ended now.
    gone = set(ended)
    history = [
        each
        for each in persons.history
        if each.change is not Change.ENDED or each.person_id not in gone
    ]
    _write_history(cursor, cause, history)
    for table in ("edge", "node", "left_person"):
        cursor.execute(f"DROP TABLE {table}")
    return renamed


def _positions(column: pa.ChunkedArray, ids: list[str]) -> Any:
    if not ids:
        return np.full(len(column), NOBODY, np.int64)
    import pyarrow.compute as pc

    found = pc.index_in(column, value_set=pa.array(ids, pa.string()), skip_nulls=True)
    return pc.fill_null(found, NOBODY).to_numpy().astype(np.int64)


@contextmanager
def _named(cursor: duckdb.DuckDBPyConnection, persons: Persons) -> Iterator[None]:
    """Show SQL the person of each node as table `named`."""
    ids = pa.array(persons.ids, pa.string()).take(pa.array(persons.component))
    number = pa.array(np.arange(len(persons.component)))
    cursor.register("named", pa.table({"n": number, "person_id": ids}))
    try:
        yield
    finally:
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
