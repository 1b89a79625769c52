"""Splink on Spark: comparison levels travel through the store, weights come back."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kinlink_linker.compare import NULL_LEVEL
from kinlink_linker.splink_database import NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyspark.sql import DataFrame, SparkSession
    from splink.internals.database_api import DatabaseAPI

    from kinlink_linker.compare import Levels
    from kinlink_linker.spark_session import Session
    from kinlink_linker.spark_store import Rows

ROWS_A_BATCH = 1 << 20
_NUMBER_BYTES = 8
_PATTERNS = "__splink__agreement_pattern_counts"
# Every iteration of EM is another query on a few thousand patterns: compiling it would take longer
# than running it, and a second task would only wait for the first.
_SMALL = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "1",
}
# Spark reads one byte of text as a number more cheaply than a byte: levels travel as ASCII.
_NULL_CODE = 0x7F


@dataclass(frozen=True)
class SparkDatabase:
    """A `Database` on a Spark session; safe to use from several threads."""

    session: Session
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def opened(
        self, fields: Sequence[str], levels: Levels
    ) -> Iterator[tuple[DatabaseAPI[Any], DataFrame]]:
        """As `Database.opened`."""
        # Views of a session are its own, and Splink names its views alike in every use.
        spark = self.session.spark.newSession()
        name = f"levels-{next(self._numbers)}"
        store = self.session.store
        store.write(name, _packed(levels))
        api = _api(spark)
        try:
            rows = store.read(spark, name, _NUMBER_BYTES + levels.shape[1])
            yield api, rows.selectExpr(*_unpacked(fields))
        finally:
            for table in api._created_tables:  # noqa: SLF001 - Splink does not release what it persisted
                spark.table(table).unpersist()
            store.drop(name)


def _api(spark: SparkSession) -> DatabaseAPI[Any]:
    from splink import SparkAPI

    class Api(SparkAPI):
        """Splink counts patterns of levels once; left lazy, Spark would in every iteration."""

        def _break_lineage_and_repartition(
            self, spark_df: DataFrame, templated_name: str, physical_name: str
        ) -> DataFrame:
            if templated_name != _PATTERNS:
                return super()._break_lineage_and_repartition(  # type: ignore[no-untyped-call]
                    spark_df, templated_name, physical_name
                )
            for key, value in _SMALL.items():
                spark.conf.set(key, value)
            return spark.createDataFrame(spark_df.toArrow()).coalesce(1)

    # By default Splink writes intermediate results to a folder, in the clear.
    return Api(  # type: ignore[no-untyped-call]
        spark_session=spark, break_lineage_method="persist", register_udfs_automatically=False
    )


def _packed(levels: Levels) -> Iterator[Rows]:
    """Rows of a number and one byte a field, in batches."""
    for start in range(0, len(levels), ROWS_A_BATCH):
        part = levels[start : start + ROWS_A_BATCH]
        rows = np.empty((len(part), _NUMBER_BYTES + levels.shape[1]), np.uint8)
        numbers = np.arange(start, start + len(part), dtype=">u8")
        rows[:, :_NUMBER_BYTES] = numbers.view(np.uint8).reshape(-1, _NUMBER_BYTES)
        rows[:, _NUMBER_BYTES:] = np.where(part == NULL_LEVEL, _NULL_CODE, part)
        yield rows


def _unpacked(fields: Sequence[str]) -> Iterator[str]:
    number = f"hex(substring(row, 1, {_NUMBER_BYTES}))"
    yield f"cast(conv({number}, 16, 10) AS bigint) AS {NUMBER}"
    for index, name in enumerate(fields):
        code = f"ascii(cast(substring(row, {_NUMBER_BYTES + 1 + index}, 1) AS string))"
        yield f"if({code} = {_NULL_CODE}, {NULL_LEVEL}, {code}) AS level_{name}"
