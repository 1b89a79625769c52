"""Pair completeness: which share of the true pairs the blocking passes make candidates at all.

A rehearsal owns every file, so it may ask what a linker never can. The schema's passes are
evaluated here on all files, under a secret of the moment, with the linker's rule for islands: a
token held by at least two registries and by no more records than the pass's cap; larger ones are
refined, or dropped. Passes without LSH parts give exactly the linker's candidates; LSH tables are
drawn anew, so their share is that of another draw of the same size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.keys import MODE_PLAIN, Context, EpochSecret, KeySchedule
from kinlink_core.encoding.normalize import join_columns, normalize_column

from kinlink_local.inputs import RECORD_ID, scan_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt
    from kinlink_core.encoding.encode import BlockingRows
    from kinlink_core.encoding.schema import Schema
    from kinlink_core.encoding.sketch import Bytes

BATCH_ROWS: Final = 20_000
EPOCH: Final = "completeness"
WORD_BYTES: Final = 8

Columns: TypeAlias = dict[str, list[str | None]]

# Rows of `token` are (registry, record_id, pass_index, level, token, parent), ids as 64-bit words.
_LEVEL_SQL = """
create or replace temp table reached as
select registry, record_id, pass_index, token from token
where level = {level} and ({level} = 0 or (pass_index, parent) in (from crowded));
create or replace temp table island as
select pass_index, token, size > cap as crowded from (
  select pass_index, token, count(*) as size from reached
  group by all having min(registry) <> max(registry)
) join caps using (pass_index);
insert into found
with member as (
  select pass_index, token, registry, record_id, person
  from reached join island using (pass_index, token) join truth using (registry, record_id)
  where not crowded
)
select l.registry, l.record_id, r.registry, r.record_id
from member l join member r using (pass_index, token, person)
where l.registry < r.registry;
create or replace temp table crowded as select pass_index, token from island where crowded;
"""
_SETUP_SQL = """
create temp table crowded (pass_index integer, token ubigint);
create temp table found (
  registry_l varchar, record_id_l varchar, registry_r varchar, record_id_r varchar
);
"""


def pair_completeness(
    connection: duckdb.DuckDBPyConnection, schema: Schema, files: Mapping[str, Path]
) -> int:
    """How many true pairs of table `truth` the schema's passes make candidates.

    Args:
        connection: holds `truth (registry, record_id, person)`; gains temporary tables.
        schema: the schema that was linked with.
        files: each registry's file, with a column `record_id`.
    """
    secret = EpochSecret.generate(EPOCH)
    context = Context(MODE_PLAIN, EPOCH, EPOCH, schema.fingerprint())
    encoder = Encoder(schema, KeySchedule(context, secret))
    caps = [each.cap for each in schema.passes]
    connection.register(
        "caps", pa.table({"pass_index": pa.array(range(len(caps)), pa.int32()), "cap": caps})
    )
    batches = [
        _tokens(registry, ids, encoder.encode(columns).blocking)
        for registry, path in files.items()
        for ids, columns in read_batches(schema, path)
    ]
    connection.register("token", pa.concat_tables(batches))
    connection.execute(_SETUP_SQL)
    for level in range(1 + max((len(each.refine) for each in schema.passes), default=0)):
        connection.execute(_LEVEL_SQL.format(level=level))
    counted = connection.execute("select count(*) from (select distinct * from found)").fetchall()
    connection.unregister("token")
    return int(counted[0][0])


def read_batches(schema: Schema, path: Path) -> Iterator[tuple[pa.Array, Columns]]:
    """Record ids and canonical values of a file, a batch at a time."""
    with duckdb.connect() as connection:
        reader = connection.sql(f"from {scan_sql(path)}").to_arrow_reader(BATCH_ROWS)
        for batch in reader:
            raw = {name: _texts(batch.column(name)) for name in batch.schema.names}
            columns = {
                field.name: normalize_column(field, join_columns(field, raw)).values
                for field in schema.fields
            }
            yield batch.column(RECORD_ID).cast(pa.string()), columns


def _texts(column: pa.Array) -> list[str | None]:
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return texts


def _tokens(registry: str, ids: pa.Array, blocking: BlockingRows) -> pa.Table:
    def words(column: Bytes) -> npt.NDArray[np.uint64]:
        return np.ascontiguousarray(column[:, :WORD_BYTES]).view(np.uint64).reshape(-1)

    return pa.table(
        {
            "registry": pa.repeat(pa.scalar(registry), len(blocking.row)),
            "record_id": ids.take(pa.array(blocking.row)),
            "pass_index": blocking.pass_index.astype(np.int32),
            "level": blocking.level,
            "token": words(blocking.token),
            "parent": words(blocking.parent),
        }
    )
