"""Writing what a linkage found: its links become the standing ones of the registries it linked.

One transaction from the first link to the last person id. Verdicts outlive linkages: a confirmed
pair stays, one that was ruled out comes back only with other evidence (`pair_state`), and both are
carried over although their pair is not sealed again. A pair of registries that the linkage did not
see through keeps the links it had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from kinlink_linker import duck
from kinlink_linker.domain import DECIDING, Verdict, packed, utc_now
from kinlink_linker.linkage_table import stored_time
from kinlink_linker.one_to_one import decide_anew
from kinlink_linker.pair_state import LINKED, SETTLED
from kinlink_linker.person_table import persons_of, rename_all, rename_some

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from kinlink_linker.domain import U8, RuledOutBy
    from kinlink_linker.links import FoundLinks, LinkRule
    from kinlink_linker.store import Store

_INSERT: Final = f"""
INSERT INTO link
SELECT link.link_id, $linkage_id, $epoch, registry_l, subject_l, registry_r, subject_r,
       weight, probability, above, {LINKED}, false, pass_id, link.levels, $linkage_id, $now, seeker
FROM found AS link LEFT JOIN verdict USING (link_id)
WHERE sha256(registry_l || ' ' || hex(subject_l)) NOT IN (SELECT digest FROM erased)
  AND sha256(registry_r || ' ' || hex(subject_r)) NOT IN (SELECT digest FROM erased)
"""
# Settled links of the linked registries, of whatever epoch: the subject ids of decided pairs last,
# and the pairs are not sealed again while their records stay as they are, so not found again.
_CARRY: Final = f"""
INSERT INTO link
SELECT link.* REPLACE ($linkage_id AS linkage_id, $epoch AS epoch, false AS standing)
FROM link JOIN verdict USING (link_id) JOIN covered USING (registry_l, registry_r)
WHERE link.standing AND {SETTLED}
  AND link_id NOT IN (SELECT link_id FROM link WHERE linkage_id = $linkage_id)
"""
_LOST: Final = """
INSERT INTO outbox
WITH lost AS (
  SELECT link.* FROM link JOIN covered USING (registry_l, registry_r)
  WHERE standing AND link_id NOT IN (SELECT link_id FROM link WHERE linkage_id = $linkage_id)
)
SELECT registry_l, link_id, epoch, subject_l, registry_r, subject_r, true, $now FROM lost
UNION ALL
SELECT registry_r, link_id, epoch, subject_r, registry_l, subject_l, true, $now FROM lost
"""
_FALL: Final = """
UPDATE link SET standing = false FROM covered
WHERE link.registry_l = covered.registry_l AND link.registry_r = covered.registry_r AND standing
"""
_STAND: Final = "UPDATE link SET standing = true WHERE linkage_id = ?"
_FOUND_AGAIN: Final = """
DELETE FROM outbox WHERE removed AND link_id IN (SELECT link_id FROM link WHERE standing)
"""
_COUNT: Final = """
SELECT count(*), count(*) FILTER (linked), count(DISTINCT person_id) FILTER (linked)
FROM link LEFT JOIN member ON registry = registry_l AND subject = subject_l
WHERE linkage_id = ?
"""
# What was rejected and stands no longer is kept, so that it does not come back as if it were new,
# and goes when one of the two people is erased.
_PRUNE: Final = """
DELETE FROM link WHERE NOT standing AND linkage_id NOT IN (
  SELECT id FROM linkage ORDER BY created_at DESC LIMIT ?
) AND linkage_id <> ? AND (
  link_id NOT IN (SELECT link_id FROM verdict WHERE verdict = 'REJECTED')
  OR link_id IN (SELECT link_id FROM link WHERE standing)
)
"""


# Found links that are not stored just so already.
_CHANGED: Final = """
SELECT link_id FROM found ANTI JOIN (
  SELECT link_id, weight, above, pass_id, levels, seeker FROM link
  WHERE standing AND linkage_id = $linkage_id
) AS same USING (link_id, weight, above, pass_id, levels, seeker)
ORDER BY link_id
"""
_NOT_FOUND: Final = """
SELECT link_id FROM link JOIN covered USING (registry_l, registry_r)
WHERE standing AND link_id NOT IN (SELECT link_id FROM found)
"""
# Sealed although they were rejected, because a record changed: registries are told what came of it,
# and keep those that are still ruled out shut again.
_JUDGED: Final = """
SELECT link_id FROM found SEMI JOIN (SELECT link_id FROM verdict WHERE verdict = 'REJECTED')
  USING (link_id)
"""
# A settled link stands whatever is found: its pair is not sealed again, unless a record changed.
_FALLING: Final = f"""
SELECT link_id FROM link LEFT JOIN verdict USING (link_id)
WHERE standing AND link_id IN (SELECT unnest($links::VARCHAR[])) AND NOT {SETTLED}
"""
_TOLD: Final = """
INSERT INTO outbox
WITH lost AS (
  SELECT * FROM link WHERE standing AND link_id IN (SELECT unnest($links::VARCHAR[]))
)
SELECT registry_l, link_id, epoch, subject_l, registry_r, subject_r, true, $now FROM lost
UNION ALL
SELECT registry_r, link_id, epoch, subject_r, registry_l, subject_l, true, $now FROM lost
"""
# It is no link of its linkage any more, and can still be asked for until the next one is pruned.
_FALLEN: Final = """
UPDATE link SET standing = false, linkage_id = ''
WHERE standing AND link_id IN (SELECT unnest($links::VARCHAR[]))
"""


_DECIDE: Final = """
INSERT INTO verdict
SELECT $link, $verdict, $reason, $by, $now, levels, $ruled_out_by FROM link
WHERE link_id = $link ORDER BY standing DESC, created_at DESC LIMIT 1
"""


@dataclass(frozen=True)
class Updated:
    """What changed of a linkage's links: `told` are the links its registries have to hear of."""

    changed: int
    fallen: int
    told: frozenset[str]


@dataclass(frozen=True)
class Written:
    """What a linkage came to: its pairs, links and persons, and links that no longer stand."""

    disclosed: int
    links: int
    persons: int
    lost: int


class LinkWriter:
    """Writes the links of linkages into a store."""

    def __init__(self, store: Store, pass_ids: Sequence[str], linkages_kept: int) -> None:
        self._store = store
        self._pass_ids = tuple(pass_ids)
        self._linkages_kept = linkages_kept

    def write(
        self,
        linkage_id: str,
        epoch: str,
        found: Sequence[FoundLinks],
        covered: Sequence[tuple[str, str]],
        missing: Sequence[str],
    ) -> Written:
        """Store the links of a linkage and name its persons.

        Args:
            linkage_id: whose links these are.
            epoch: the epoch of their subject ids.
            found: disclosed pairs, one entry for two registries.
            covered: the pairs of registries that this linkage saw through.
            missing: registries the linkage missed; shown with each of its links.
        """
        at = stored_time(utc_now())
        names = {"linkage_id": linkage_id, "epoch": epoch, "now": at}
        with self._store.writing() as cursor:
            cursor.register("found", _table(found, self._pass_ids))
            cursor.execute(_INSERT, names)
            cursor.unregister("found")
            _cover(cursor, covered)
            cursor.execute(_CARRY, {"linkage_id": linkage_id, "epoch": epoch})
            lost = cursor.execute(_LOST, {"linkage_id": linkage_id, "now": at}).fetchall()[0][0]
            cursor.execute(_FALL)
            cursor.execute(_STAND, [linkage_id])
            cursor.execute(
                "UPDATE linkage SET missing = ? WHERE id = ?", [list(missing), linkage_id]
            )
            cursor.execute(_FOUND_AGAIN)
            cursor.execute("DROP TABLE covered")
            rename_all(cursor, linkage_id)
            cursor.execute(_PRUNE, [self._linkages_kept, linkage_id])
            disclosed, links, persons = duck.rows(cursor, _COUNT, [linkage_id])[0]
        return Written(disclosed, links, persons, lost // 2)

    def update(
        self,
        linkage_id: str,
        epoch: str,
        found: Sequence[FoundLinks],
        *,
        covered: Sequence[tuple[str, str]],
        fallen: Sequence[str] | None,
        rule: LinkRule,
    ) -> Updated:
        """Bring the standing links of a linkage up to date, and the persons they touch.

        Args:
            linkage_id: the linkage that stands.
            epoch: the epoch of its subject ids.
            found: links that are new or found again.
            covered: the pairs of registries that were seen through.
            fallen: links that stand no longer unless they are found; None: all of `covered`.
            rule: when a pair is a link.
        """
        now = stored_time(utc_now())
        names = {"linkage_id": linkage_id, "epoch": epoch, "now": now}
        with self._store.writing() as cursor:
            cursor.register("found", _table(found, self._pass_ids))
            everything = fallen is None
            if fallen is None:
                _cover(cursor, covered)
                fallen = _column(cursor, _NOT_FOUND)
                cursor.execute("DROP TABLE covered")
            known = set(_column(cursor, "SELECT link_id FROM found"))
            falling = _column(
                cursor,
                _FALLING,
                {"links": [each for each in fallen if each not in known]},
            )
            changed = _column(cursor, _CHANGED, {"linkage_id": linkage_id})
            judged = _column(cursor, _JUDGED)
            persons = [] if everything else persons_of(cursor, [*falling, *changed])
            cursor.execute(_TOLD, {"links": falling, "now": now})
            cursor.execute(_FALLEN, {"links": falling})
            cursor.execute(
                "DELETE FROM link WHERE standing AND link_id IN (SELECT unnest(?::VARCHAR[]))",
                [changed],
            )
            cursor.execute(
                f"{_INSERT} AND list_contains($changed, link_id)", {**names, "changed": changed}
            )
            cursor.execute(
                f"{_STAND} AND link_id IN (SELECT unnest(?::VARCHAR[]))",
                [linkage_id, changed],
            )
            cursor.unregister("found")
            if changed:
                cursor.execute(_FOUND_AGAIN)
            turned: list[str] = []
            if rule.one_to_one and not everything:
                turned = decide_anew(cursor, rule, [*falling, *changed])
            if everything:
                renamed = rename_all(cursor, linkage_id)
            else:
                persons += persons_of(cursor, turned)
                renamed = rename_some(cursor, linkage_id, persons, [*changed, *turned])
        return Updated(
            len(changed), len(falling), frozenset([*changed, *judged, *turned, *renamed])
        )

    def decided(self) -> bool:
        """Whether any verdict stands that keeps a pair from being sealed."""
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                "SELECT 1 FROM verdict WHERE list_contains(?, verdict) LIMIT 1",
                [[each.value for each in DECIDING]],
            )
        return bool(found)

    def decide(
        self,
        link_id: str,
        verdict: Verdict,
        reason: str,
        decided_by: str,
        ruled_out_by: RuledOutBy | None = None,
    ) -> None:
        """Record a verdict, let links and persons follow it, and queue it for both registries.

        What it is given on is kept with it: the comparison levels that the link has now.
        """
        with self._store.writing() as cursor:
            cursor.execute("DELETE FROM verdict WHERE link_id = ?", [link_id])
            cursor.execute(
                _DECIDE,
                {
                    "link": link_id,
                    "verdict": verdict.value,
                    "reason": reason,
                    "by": decided_by,
                    "now": stored_time(utc_now()),
                    "ruled_out_by": ruled_out_by.value if ruled_out_by else "",
                },
            )
            linked = {Verdict.CONFIRMED: "true", Verdict.REJECTED: "false"}.get(verdict, "above")
            cursor.execute(f"UPDATE link SET linked = {linked} WHERE link_id = ?", [link_id])
            rename_some(cursor, link_id, [], [link_id])
            queue_verdict(cursor, link_id)


def queue_verdict(cursor: duckdb.DuckDBPyConnection, link_id: str) -> None:
    """Queue the present state of a link for both its registries."""
    cursor.execute("DELETE FROM outbox WHERE link_id = ? AND NOT removed", [link_id])
    cursor.execute(
        """
        INSERT INTO outbox
        WITH newest AS (
          SELECT * FROM link WHERE link_id = $id ORDER BY standing DESC, created_at DESC LIMIT 1
        )
        SELECT registry_l, link_id, epoch, subject_l, registry_r, subject_r, false, $now FROM newest
        UNION ALL
        SELECT registry_r, link_id, epoch, subject_r, registry_l, subject_l, false, $now FROM newest
        """,
        {"id": link_id, "now": stored_time(utc_now())},
    )


def _column(cursor: duckdb.DuckDBPyConnection, sql: str, names: Any = None) -> list[str]:
    return [row[0] for row in duck.rows(cursor, sql, names)]


def _cover(cursor: duckdb.DuckDBPyConnection, covered: Sequence[tuple[str, str]]) -> None:
    cursor.execute("CREATE TEMP TABLE covered (registry_l VARCHAR, registry_r VARCHAR)")
    if covered:
        cursor.executemany("INSERT INTO covered VALUES (?, ?)", [list(pair) for pair in covered])


def _table(found: Sequence[FoundLinks], pass_ids: Sequence[str]) -> pa.Table:
    parts = [_part(each, pass_ids) for each in found]
    return pa.concat_tables([_EMPTY, *parts])


_EMPTY: Final = pa.schema(
    {
        "link_id": pa.string(),
        "registry_l": pa.string(),
        "subject_l": pa.binary(),
        "registry_r": pa.string(),
        "subject_r": pa.binary(),
        "weight": pa.float64(),
        "probability": pa.float64(),
        "above": pa.bool_(),
        "pass_id": pa.string(),
        "levels": pa.binary(),
        "seeker": pa.uint8(),
    }
).empty_table()


def _part(found: FoundLinks, pass_ids: Sequence[str]) -> pa.Table:
    rows = found.count
    passes = pa.array(pass_ids, pa.string()).take(pa.array(found.pass_index.astype(np.int64)))
    return pa.table(
        [
            pa.array(found.ids(), pa.string()),
            pa.array([found.left] * rows, pa.string()),
            _blobs(packed(found.left_subject)),
            pa.array([found.right] * rows, pa.string()),
            _blobs(packed(found.right_subject)),
            pa.array(found.weight, pa.float64()),
            pa.array(found.probability, pa.float64()),
            pa.array(found.linked, pa.bool_()),
            passes,
            _blobs(found.levels),
            pa.array(found.seeker, pa.uint8()),
        ],
        schema=_EMPTY.schema,
    )


def _blobs(octets: U8) -> pa.Array:
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(octets.shape[1]),
        len(octets),
        [None, pa.py_buffer(np.ascontiguousarray(octets).tobytes())],
    )
    return fixed.cast(pa.binary())
