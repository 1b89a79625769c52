"""What computes a linkage: DuckDB in this process, or a Spark cluster.

An engine joins tokens into islands and scores compared pairs. Everything between, which talks to
registries, is the linker's own whatever the engine. Both engines give the same islands, the same m,
u and λ, and the same links.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from kinlink_linker.islands import split_file
from kinlink_linker.scorer import SplinkScorer, TableScorer
from kinlink_linker.spark_database import SparkDatabase
from kinlink_linker.spark_islands import split_on_spark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from kinlink_linker.islands import Split
    from kinlink_linker.scorer import Scorer
    from kinlink_linker.spark_session import SparkCluster
    from kinlink_linker.tokens import TokenFile


class Engine(Protocol):
    """The computing side of a linkage."""

    def split(self, file: TokenFile, linking: Sequence[int], caps: Sequence[int]) -> Split:
        """As `islands.split_file`."""

    def scorer(self) -> AbstractContextManager[Scorer]:
        """What trains and scores, for the length of a block."""


class DuckEngine:
    """DuckDB, beside the linker."""

    def split(self, file: TokenFile, linking: Sequence[int], caps: Sequence[int]) -> Split:
        """As `islands.split_file`."""
        return split_file(file, linking, caps)

    @contextmanager
    def scorer(self) -> Iterator[Scorer]:
        """EM in DuckDB, weights by the model's table."""
        yield TableScorer()


class SparkEngine:
    """A Spark cluster; each stage that uses it has a session of its own."""

    def __init__(self, cluster: SparkCluster) -> None:
        self._cluster = cluster

    def split(self, file: TokenFile, linking: Sequence[int], caps: Sequence[int]) -> Split:
        """As `islands.split_file`."""
        with self._cluster.session() as session:
            return split_on_spark(session, file, linking, caps)

    @contextmanager
    def scorer(self) -> Iterator[Scorer]:
        """EM and weights by Splink on the cluster."""
        with self._cluster.session() as session:
            yield SplinkScorer(SparkDatabase(session))
