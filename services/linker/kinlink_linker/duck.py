"""Opening DuckDB the way the linker needs it, and naming what goes wrong.

Memory and threads are always explicit: DuckDB's defaults read the host, not the container.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
from kinlink_core.errors import ConflictError, KinlinkError, Reason, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMORY_LIMIT_DEFAULT = "1GB"
THREADS_DEFAULT = 2

_NO_SPACE = re.compile(r"no space left|disk quota|out of disk", re.IGNORECASE)
_LOCKED = re.compile(r"lock on file|conflicting lock|being used by another", re.IGNORECASE)


@dataclass(frozen=True)
class DuckLimits:
    """What one DuckDB instance may use."""

    memory_limit: str = MEMORY_LIMIT_DEFAULT
    threads: int = THREADS_DEFAULT


def open_file(path: Path, limits: DuckLimits, spill: Path) -> duckdb.DuckDBPyConnection:
    """Open (or create) a database file that spills into `spill`, readable by its owner only.

    Raises:
        UnavailableError: DISK_FULL.
        ConflictError: STORE_BUSY when another process has the file open.
    """
    with naming_faults(path.name):
        connection = duckdb.connect(
            str(path),
            config={
                "memory_limit": limits.memory_limit,
                "threads": limits.threads,
                "temp_directory": str(spill),
            },
        )
    path.chmod(0o600)
    return connection


def open_memory(limits: DuckLimits) -> duckdb.DuckDBPyConnection:
    """Open a database that never touches a disk, not even to spill: for sealed data."""
    return duckdb.connect(
        ":memory:",
        config={
            "memory_limit": limits.memory_limit,
            "threads": limits.threads,
            "temp_directory": "",
        },
    )


def rows(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Any = None) -> list[Any]:
    """Run one statement and fetch it to its end."""
    return cursor.execute(sql, parameters).fetchall()


@contextmanager
def transaction(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what happens inside, or none of it."""
    cursor.execute("BEGIN")
    try:
        yield
    except BaseException:
        _roll_back(cursor)
        raise
    cursor.execute("COMMIT")


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.Error:
        # The failure that led here says more than that there is nothing to roll back.
        return


@contextmanager
def naming_faults(what: str) -> Iterator[None]:
    """Turn a full disk or a locked file into a `KinlinkError` that says so."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise _named(error, what) from error


def _named(error: Exception, what: str) -> KinlinkError:
    text = str(error)
    if _NO_SPACE.search(text):
        return UnavailableError(Reason.DISK_FULL, detail=what, store=what)
    if _LOCKED.search(text):
        return ConflictError(Reason.STORE_BUSY, f"Another process has {what} open.", store=what)
    return KinlinkError(Reason.INTERNAL, detail=f"{what}: {type(error).__name__}", store=what)


def is_own_fault(error: KinlinkError) -> bool:
    """Whether an error is of one of our stores, not of a peer."""
    return "store" in error.metadata
