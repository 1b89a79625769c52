"""One thread's access to a DuckDB file: results are always fetched to their end.

A `Session` wraps a cursor of its own, because a DuckDB connection must not be shared between
threads and a half-read result blocks the next statement.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
from kinlink_core.errors import ConflictError, KinlinkError, QuotaError, Reason, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    Params = Sequence[Any] | Mapping[str, Any]

_LOCK_WORDS = ("could not set lock on file", "conflicting lock is held")
# A commit or a checkpoint that lacks memory raises something else than OutOfMemoryException.
_MEMORY_WORDS = ("out of memory", "could not allocate", "failed to allocate")
_FULL_WORDS = ("no space left on device", "disk quota exceeded")


class Session:
    """A cursor with three ways to ask."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def run(self, sql: str, params: Params = (), **inputs: pa.Table) -> None:
        """Execute a statement that answers nothing; `inputs` are Arrow tables it may name."""
        self.rows(sql, params, **inputs)

    def rows(self, sql: str, params: Params = (), **inputs: pa.Table) -> list[Any]:
        """Execute a statement and fetch all of its rows as tuples."""
        with self._named(inputs), translated():
            return self._connection.execute(sql, _bound(params)).fetchall()

    def table(self, sql: str, params: Params = (), **inputs: pa.Table) -> Any:
        """Execute a query and fetch its result as an Arrow table."""
        with self._named(inputs), translated():
            return self._connection.sql(sql, params=_bound(params)).to_arrow_table()

    def value(self, sql: str, params: Params = ()) -> Any:
        """Return the first column of the first row, or None."""
        rows = self.rows(sql, params)
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Give the cursor back."""
        self._connection.close()

    @contextmanager
    def _named(self, inputs: dict[str, pa.Table]) -> Iterator[None]:
        for name, table in inputs.items():
            self._connection.register(name, table)
        try:
            yield
        finally:
            for name in inputs:
                self._connection.unregister(name)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what DuckDB raises for causes outside this program into errors with a reason."""
    try:
        yield
    except duckdb.Error as error:
        raise domain_error(error) from error


def domain_error(error: duckdb.Error) -> Exception:
    """Name the cause of a DuckDB error, or return it as it is when it is a fault of ours."""
    text = str(error).lower()
    found: KinlinkError | None = None
    if any(words in text for words in _LOCK_WORDS):
        found = UnavailableError(
            Reason.STORE_BUSY, "Another process has the vault open; wait for it, or stop it."
        )
    elif any(words in text for words in _FULL_WORDS):
        found = QuotaError(
            Reason.DISK_FULL, "The disk of the vault is full; what was stored before is unharmed."
        )
    elif isinstance(error, duckdb.OutOfMemoryException) or any(
        words in text for words in _MEMORY_WORDS
    ):
        found = QuotaError(
            Reason.QUOTA_EXCEEDED,
            "The vault's memory limit is too small; raise vault.memory_limit.",
        )
    elif isinstance(error, duckdb.ConnectionException):
        found = UnavailableError(Reason.STORE_BUSY, "The vault is being opened again; try later.")
    elif isinstance(error, duckdb.TransactionException):
        found = ConflictError(Reason.STORE_BUSY, "The vault changed meanwhile; try again.")
    return found or error


def _bound(params: Params) -> list[Any] | dict[str, Any]:
    return list(params) if isinstance(params, (list, tuple)) else dict(params)
