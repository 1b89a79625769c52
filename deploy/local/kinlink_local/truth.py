"""The truth file: which record is about whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinlink_local.errors import BadInputError
from kinlink_local.inputs import RECORD_ID, REGISTRY_COLUMN, scan_sql

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import duckdb


def load_truth(
    connection: duckdb.DuckDBPyConnection, files: Mapping[str, Path], truth: Path
) -> None:
    """Make table `truth (registry, record_id, person)` from the registries' files and the truth's.

    Records the truth does not name are left out; they have no partner. A record id that stands in
    several registries is told apart by a column `registry` in the truth, if it has one.

    Raises:
        BadInputError: The truth names one record twice, with different persons.
    """
    columns = [row[0] for row in connection.execute(f"describe from {scan_sql(truth)}").fetchall()]
    by_registry = REGISTRY_COLUMN in columns
    told = f"{REGISTRY_COLUMN}, " if by_registry else ""
    held = " union all ".join(
        f"select '{name}' as registry, {RECORD_ID}::varchar as record_id from {scan_sql(path)}"
        for name, path in files.items()
    )
    joined = "registry, record_id" if by_registry else "record_id"
    connection.execute(
        "create or replace table truth as select distinct held.registry, record_id, person "
        f"from ({held}) held join (select {told}{RECORD_ID}::varchar as record_id, "
        f"person_id::varchar as person from {scan_sql(truth)}) named using ({joined})"
    )
    repeated = "select 1 from truth group by registry, record_id having count(*) > 1"
    twice = connection.execute(f"select count(*) from ({repeated})").fetchall()[0][0]
    if twice:
        raise BadInputError([f"truth: {truth} gives {twice} records more than one person"])
