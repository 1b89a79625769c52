"""The pairs of a linkage by the offices' own record ids.

The linker knows subjects only; each registry tells its own officer which of its records a link
touches. Whoever runs a whole federation is every registry's officer, and may join the sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import duckdb

_SIDE_COLUMNS: Final = {
    "id": pa.string(),
    "link_id": pa.string(),
    "partner": pa.string(),
    "match_weight": pa.float64(),
    "match_probability": pa.float64(),
    "person_id": pa.string(),
}
_PAIRS_SQL: Final = """
create or replace table pairs as
select l.registry as registry_l, l.id as record_id_l, r.registry as registry_r, r.id as record_id_r,
  l.match_weight, l.match_probability, l.link_id, l.person_id <> '' as linked
from side l join side r on l.link_id = r.link_id and l.partner = r.registry
where l.registry < r.registry and r.partner = l.registry
order by l.match_weight desc, l.registry, l.id, r.registry, r.id
"""
_WRITE_SQL: Final = """
copy (select registry_l, record_id_l, registry_r, record_id_r, match_weight, match_probability
      from pairs where {chosen}) to '{path}' (format parquet)
"""


def load_pairs(
    connection: duckdb.DuckDBPyConnection,
    links: Mapping[str, Sequence[Mapping[str, Any]]],
    linkage_id: str,
) -> None:
    """Make table `pairs` from what each registry's officer sees of one linkage.

    Args:
        connection: gains `pairs`, best first, once each, the smaller registry name on the left;
            `linked` says which of them are links (they have a person).
        links: for each registry, its links by its own ids (`kinlink-registry links --json`).
        linkage_id: links of other linkages are left out.
    """
    sides = [
        _side(registry, [link for link in found if link["linkage_id"] == linkage_id])
        for registry, found in links.items()
    ]
    connection.register("side", pa.concat_tables(sides))
    connection.execute(_PAIRS_SQL)
    connection.unregister("side")


def write_pairs(
    connection: duckdb.DuckDBPyConnection, path: Path, *, only_linked: bool = False
) -> int:
    """Write all pairs, or the links among them, to a Parquet file; how many they are."""
    quoted = str(path).replace("'", "''")
    rows = connection.execute(
        _WRITE_SQL.format(chosen="linked" if only_linked else "true", path=quoted)
    ).fetchall()
    return int(rows[0][0])


def _side(registry: str, links: Sequence[Mapping[str, Any]]) -> pa.Table:
    columns = {
        name: pa.array([link[name] for link in links], kind) for name, kind in _SIDE_COLUMNS.items()
    }
    return pa.table({"registry": pa.array([registry] * len(links), pa.string()), **columns})
