"""Which stored pairs are links where a subject has one partner a registry, after some changed.

Which of a subject's pairs is taken depends on what its partners are taken by, and so on: all pairs
that hang together with a changed one are decided anew, as a full run decides them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_linker import duck
from kinlink_linker.domain import ids_of
from kinlink_linker.pair_state import SETTLED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from kinlink_linker.domain import Ids
    from kinlink_linker.links import LinkRule

_ENDS: Final = """
SELECT DISTINCT registry_l, registry_r, subject_l, subject_r FROM link
WHERE list_contains($links, link_id)
"""
# A settled pair is not found by a full run, so it takes nobody there.
_HANGING: Final = f"""
SELECT link_id, subject_l, subject_r, weight, above
FROM link LEFT JOIN verdict USING (link_id)
WHERE standing AND registry_l = $left AND registry_r = $right
  AND (list_contains($lefts, subject_l) OR list_contains($rights, subject_r))
  AND NOT {SETTLED}
"""
_DECIDE: Final = """
UPDATE link SET above = NOT above, linked = NOT above WHERE standing AND list_contains(?, link_id)
"""


def decide_anew(
    cursor: duckdb.DuckDBPyConnection, rule: LinkRule, changed: Sequence[str]
) -> list[str]:
    """Take pairs one to one around some changed or fallen links; returns those that turned."""
    groups: dict[tuple[str, str], tuple[set[bytes], set[bytes]]] = {}
    for left, right, one, other in duck.rows(cursor, _ENDS, {"links": list(changed)}):
        lefts, rights = groups.setdefault((left, right), (set(), set()))
        lefts.add(one)
        rights.add(other)
    turned: list[str] = []
    for (left, right), (lefts, rights) in sorted(groups.items()):
        turned += _turned(_hanging(cursor, left, right, lefts, rights), rule)
    cursor.execute(_DECIDE, [turned])
    return turned


def _hanging(
    cursor: duckdb.DuckDBPyConnection, left: str, right: str, lefts: set[bytes], rights: set[bytes]
) -> list[tuple[str, bytes, bytes, float, bool]]:
    while True:
        found: list[tuple[str, bytes, bytes, float, bool]] = duck.rows(
            cursor,
            _HANGING,
            {
                "left": left,
                "right": right,
                "lefts": sorted(lefts),
                "rights": sorted(rights),
            },
        )
        before = len(lefts) + len(rights)
        lefts |= {row[1] for row in found}
        rights |= {row[2] for row in found}
        if len(lefts) + len(rights) == before:
            return found


def _turned(rows: list[tuple[str, bytes, bytes, float, bool]], rule: LinkRule) -> list[str]:
    links = [row[0] for row in rows]
    linked = rule.linked(
        _ids([row[1] for row in rows]),
        _ids([row[2] for row in rows]),
        np.array([row[3] for row in rows], np.float64),
        lambda: links,
    )
    return [
        link
        for link, now, before in zip(links, linked.tolist(), rows, strict=True)
        if now != before[4]
    ]


def _ids(rows: list[bytes]) -> Ids:
    return ids_of(np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16))
