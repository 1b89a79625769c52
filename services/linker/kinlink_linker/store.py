"""The linker's own DuckDB file: who may write it, and how it comes to its present version.

Readers each take a cursor and see a snapshot; writers take turns. A write happens wholly or not at
all.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb
from kinlink_core.errors import PreconditionError, Reason

from kinlink_linker import duck
from kinlink_linker.migrations import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FILE_NAME = "linker.duckdb"


class Store:
    """One open store; safe to use from several threads."""

    def __init__(
        self,
        directory: Path,
        limits: duck.DuckLimits,
        migrations: Sequence[str] = MIGRATIONS,
    ) -> None:
        self._path = directory / FILE_NAME
        self._spill = directory / "linker.spill"
        self._limits = limits
        self._write = threading.RLock()
        shutil.rmtree(self._spill, ignore_errors=True)
        self._connection = duck.open_file(self._path, limits, self._spill)
        with duck.naming_faults(FILE_NAME):
            _migrate(self._connection, migrations)

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor on a snapshot of the store."""
        with duck.naming_faults(FILE_NAME), self._cursor() as cursor:
            cursor.execute("BEGIN READ ONLY")
            yield cursor

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor in a transaction that commits at the end of the block, or rolls back."""
        with (
            self._write,
            duck.naming_faults(FILE_NAME),
            self._cursor() as cursor,
            duck.transaction(cursor),
        ):
            yield cursor

    @property
    def size_bytes(self) -> int:
        """Bytes of the file and its log on the disk."""
        files = (self._path, self._path.with_name(FILE_NAME + ".wal"))
        return sum(path.stat().st_size for path in files if path.exists())

    def close(self) -> None:
        """Write everything into the file and close it."""
        with self._write:
            self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.cursor()
        except duckdb.Error:
            return self._reopened().cursor()

    def _reopened(self) -> duckdb.DuckDBPyConnection:
        """A database that met a full disk refuses all work until it is opened again."""
        with self._write:
            self._connection.close()
            self._connection = duck.open_file(self._path, self._limits, self._spill)
            return self._connection


def _migrate(connection: duckdb.DuckDBPyConnection, migrations: Sequence[str]) -> None:
    with duck.transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS meta (version INTEGER NOT NULL)")
        found = duck.rows(connection, "SELECT version FROM meta")
        version = int(found[0][0]) if found else 0
        if version > len(migrations):
            raise PreconditionError(
                Reason.STORE_VERSION,
                f"{FILE_NAME} has version {version}; this linker knows up to {len(migrations)}. "
                "Run the newer linker, or restore an older copy.",
            )
        for step in migrations[version:]:
            connection.execute(step)
        if not found:
            connection.execute("INSERT INTO meta VALUES (?)", [len(migrations)])
        else:
            connection.execute("UPDATE meta SET version = ?", [len(migrations)])
