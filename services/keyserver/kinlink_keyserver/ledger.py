"""What was evaluated, for whom: booked before it is answered, so no crash gives a budget back.

One SQLite file in WAL mode with full synchronisation: a booking is on the disk when `book` returns.
Other processes may read and write it while the key server runs.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kinlink_core.errors import ConflictError, KinlinkError, PreconditionError, QuotaError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE_VERSION: Final = 1
BUSY_SECONDS_MAX: Final = 10.0

_TABLES: Final = """
BEGIN IMMEDIATE;
CREATE TABLE spent (
  epoch TEXT NOT NULL, registry TEXT NOT NULL, pass_id TEXT NOT NULL,
  evaluations INTEGER NOT NULL,
  PRIMARY KEY (epoch, registry, pass_id)
) WITHOUT ROWID;
CREATE TABLE epoch (name TEXT NOT NULL PRIMARY KEY, created_at TEXT NOT NULL, retired_at TEXT);
PRAGMA user_version = 1;
COMMIT;
"""
_BOOK: Final = """
INSERT INTO spent VALUES (:epoch, :registry, :pass_id, :count)
ON CONFLICT DO UPDATE SET evaluations = evaluations + excluded.evaluations
WHERE evaluations + excluded.evaluations <= :budget
RETURNING evaluations
"""


@dataclass(frozen=True)
class EpochEntry:
    """An epoch that was ever made here."""

    name: str
    created_at: str
    retired_at: str | None


class Ledger:
    """The open file; threads take turns."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not (create or path.exists()):
            raise PreconditionError(
                Reason.KEY_MISSING, f"There is no ledger at {path}: run init, or restore it."
            )
        self._lock = threading.Lock()
        with _translated():
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS_MAX, isolation_level=None, check_same_thread=False
            )
            self._prepare()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def book(self, *, epoch: str, registry: str, pass_id: str, count: int, budget: int) -> int:
        """Book evaluations within a budget, whole or not at all; returns how many are left.

        Raises:
            QuotaError: `QUOTA_EXCEEDED`, with `budget_left` in its metadata.
        """
        if count <= budget:
            values = {"epoch": epoch, "registry": registry, "pass_id": pass_id}
            rows = self._rows(_BOOK, {**values, "count": count, "budget": budget})
            if rows:
                return budget - int(rows[0][0])
        left = budget - self.spent(registry).get((epoch, pass_id), 0)
        raise over_budget(left)

    def spent(self, registry: str) -> dict[tuple[str, str], int]:
        """Evaluations booked for a registry, by epoch and pass."""
        rows = self._rows(
            "SELECT epoch, pass_id, evaluations FROM spent WHERE registry = ?", (registry,)
        )
        return {(epoch, pass_id): count for epoch, pass_id, count in rows}

    def epochs(self) -> list[EpochEntry]:
        """Every epoch that was ever made here, newest first (by name)."""
        rows = self._rows("SELECT name, created_at, retired_at FROM epoch ORDER BY name DESC")
        return [EpochEntry(*row) for row in rows]

    def note_created(self, epoch: str) -> None:
        """Remember a new epoch."""
        self._rows("INSERT INTO epoch VALUES (?, ?, NULL) ON CONFLICT DO NOTHING", (epoch, _now()))

    def note_retired(self, epoch: str) -> None:
        """Remember that an epoch has ended, whether it was known or not."""
        self._rows(
            "INSERT INTO epoch VALUES (:epoch, :now, :now)"
            " ON CONFLICT DO UPDATE SET retired_at = coalesce(retired_at, excluded.retired_at)",
            {"epoch": epoch, "now": _now()},
        )

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        (version,) = run("PRAGMA user_version").fetchone()
        if version > STORE_VERSION:
            raise PreconditionError(Reason.STORE_VERSION)
        if version == 0:
            self._connection.executescript(_TABLES)

    def _rows(self, sql: str, values: tuple[str, ...] | dict[str, str | int] = ()) -> list[Any]:
        with self._lock, _translated():
            return self._connection.execute(sql, values).fetchall()


def over_budget(left: int) -> QuotaError:
    """What a batch over its budget is refused with; `left` evaluations are left."""
    left = max(0, left)
    return QuotaError(
        Reason.QUOTA_EXCEEDED,
        f"The batch is larger than what is left of the budget: {left} evaluations.",
        budget_left=str(left),
    )


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what SQLite raises for causes outside this program into errors with a reason."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code == sqlite3.SQLITE_FULL:
            raise QuotaError(
                Reason.DISK_FULL, "The disk of the ledger is full; nothing was evaluated."
            ) from error
        if code == sqlite3.SQLITE_BUSY:
            raise ConflictError(
                Reason.STORE_BUSY, "Another process writes the ledger; try again."
            ) from error
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise PreconditionError(
                Reason.STORE_VERSION, "The ledger is damaged, or is no ledger."
            ) from error
        raise KinlinkError(
            Reason.INTERNAL, "The ledger failed.", detail=type(error).__qualname__
        ) from error
