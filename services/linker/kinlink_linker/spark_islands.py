"""Islands on Spark: the same rows as `islands.split_file`, found by a cluster.

Rows of the linking registries leave the token file as bytes, and what belongs to an island comes
back as the same bytes; the linker numbers and sorts it. Nothing here sees a sealed field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kinlink_linker import duck
from kinlink_linker.islands import Crowded, IslandSet, Split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb
    from pyspark.sql import DataFrame, SparkSession

    from kinlink_linker.domain import I64, Bools
    from kinlink_linker.spark_session import Session
    from kinlink_linker.spark_store import Rows
    from kinlink_linker.tokens import TokenFile

ROWS_A_BATCH = 1 << 20
TABLE = "tokens"

# One token row as bytes. Pass and token together name a place where records may meet.
TOKEN_ROW = np.dtype([
    ("registry", "u1"),
    ("pass_index", "<u2"),
    ("token", "<u8", 2),
    ("handle", "<u8", 2),
])  # fmt: skip
_PLACE_BYTES = 18
_HOLDER = np.dtype([("registry", "u1"), ("pass_index", "<u2"), ("token", "<u8", 2)])
_CAP = np.dtype("<u2")

_TOKENS = """
SELECT registry, pass_index, token_a, token_b, handle_a, handle_b FROM token
WHERE registry IN (SELECT code FROM linking)
"""
_SPLIT = f"""
SELECT substring(row, 1, 1) AS registry, substring(row, 2, {_PLACE_BYTES}) AS place, row
FROM {{tokens}}
"""
_SHARED = """
SELECT place, size > cap AS crowded
FROM (
  SELECT place, count(*) AS size FROM {token}
  GROUP BY place HAVING min(registry) <> max(registry)
) JOIN {caps} AS caps ON substring(place, 1, 2) = caps.pass_index
"""
_MEMBERS = """
SELECT token.row FROM {token} AS token JOIN {shared} AS shared ON token.place = shared.place
WHERE NOT shared.crowded
"""
_HOLDERS = """
SELECT concat(token.registry, token.place) AS holder, count(*) AS records
FROM {token} AS token JOIN {shared} AS shared ON token.place = shared.place
WHERE shared.crowded GROUP BY token.registry, token.place
"""


def split_on_spark(
    session: Session, file: TokenFile, linking: Sequence[int], caps: Sequence[int]
) -> Split:
    """Find the islands among the rows of a token file; arguments and result as `split_file`'s."""
    by_pass = np.zeros(len(caps), np.int64)
    with file.cursor() as cursor, duck.transaction(cursor):
        session.store.write(TABLE, _batches(cursor, linking, by_pass))
    spark = session.spark
    tokens = session.store.read(spark, TABLE, TOKEN_ROW.itemsize)
    token = spark.sql(_SPLIT, tokens=tokens)
    shared = spark.sql(_SHARED, token=token, caps=_caps(spark, caps)).persist()
    members = spark.sql(_MEMBERS, token=token, shared=shared).toArrow()
    holders = spark.sql(_HOLDERS, token=token, shared=shared).toArrow()
    return Split(
        island_set(_rows(members["row"], TOKEN_ROW)),
        _crowded(_rows(holders["holder"], _HOLDER), holders["records"], max(linking) + 1),
        by_pass,
    )


def _batches(
    cursor: duckdb.DuckDBPyConnection, linking: Sequence[int], by_pass: I64
) -> Iterator[Rows]:
    """Token rows as bytes; counts them by pass on the way."""
    cursor.register("linking", pa.table({"code": np.asarray(linking, np.uint8)}))
    reader: Any = cursor.sql(_TOKENS).to_arrow_reader(ROWS_A_BATCH)
    for batch in reader:
        rows = np.empty(len(batch), TOKEN_ROW)
        column = {name: batch.column(name).to_numpy() for name in batch.schema.names}
        rows["registry"] = column["registry"]
        rows["pass_index"] = column["pass_index"]
        for name in ("token", "handle"):
            rows[name][:, 0] = column[f"{name}_a"]
            rows[name][:, 1] = column[f"{name}_b"]
        by_pass += np.bincount(rows["pass_index"], minlength=len(by_pass))
        yield rows.view(np.uint8).reshape(-1, TOKEN_ROW.itemsize)
    cursor.unregister("linking")


def _caps(spark: SparkSession, caps: Sequence[int]) -> DataFrame:
    index = [_CAP.type(index).tobytes() for index in range(len(caps))]
    return spark.createDataFrame(pa.table({"pass_index": index, "cap": list(caps)}))


def _rows(column: pa.ChunkedArray, kind: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Fixed-width binary values as records."""
    parts = [
        np.frombuffer(chunk.cast(pa.binary(kind.itemsize)).buffers()[1], kind, len(chunk), 0)
        for chunk in column.chunks
        if len(chunk)
    ]
    return np.concatenate([np.empty(0, kind), *parts])


def island_set(rows: npt.NDArray[np.void]) -> IslandSet:
    """Number islands by pass and token; sort members by island, registry and handle."""
    rows = rows[_order(rows, rows["handle"][:, 0], rows["registry"])]
    first = _firsts(rows)
    return IslandSet(
        pass_index=rows["pass_index"][first],
        token=rows["token"][first],
        island=(np.cumsum(first) - 1).astype(np.uint32),
        registry=rows["registry"],
        handle=rows["handle"],
    )


def _crowded(rows: npt.NDArray[np.void], records: pa.ChunkedArray, registries: int) -> Crowded:
    order = _order(rows)
    rows = rows[order]
    first = _firsts(rows)
    holders = np.zeros((int(first.sum()), registries), np.int64)
    holders[np.cumsum(first) - 1, rows["registry"]] = records.to_numpy()[order]
    return Crowded(rows["pass_index"][first], rows["token"][first], holders)


def _order(rows: npt.NDArray[np.void], *last: npt.NDArray[Any]) -> I64:
    return np.lexsort((*last, rows["token"][:, 1], rows["token"][:, 0], rows["pass_index"]))


def _firsts(rows: npt.NDArray[np.void]) -> Bools:
    """Where a row is at another place than the row before it."""
    same = (rows["token"][1:] == rows["token"][:-1]).all(axis=1)
    same &= rows["pass_index"][1:] == rows["pass_index"][:-1]
    return np.concatenate([np.ones(min(len(rows), 1), np.bool_), ~same])
