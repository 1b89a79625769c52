"""The tokens of one epoch: one DuckDB file that is deleted when the epoch retires.

It holds what the registries' feeds told: which random handle of which registry stands under which
opaque token, pass by pass. Nothing here can be compared for likeness, and no handle joins two
passes.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from kinlink_core.wire import FeedEvent

from kinlink_linker import duck
from kinlink_linker.token_rows import Changes, Held, changes_of, delete_handles, rows_under

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import duckdb

    from kinlink_linker.domain import U16, Bools, Ids
    from kinlink_linker.peer import FeedRows

REGISTRIES_MAX = 250

_FILE_NAME = re.compile(r"^tokens-([A-Za-z0-9._-]{1,64})\.duckdb$")

_TABLES = """
CREATE TABLE IF NOT EXISTS registry (
  code UTINYINT PRIMARY KEY, name VARCHAR UNIQUE NOT NULL,
  feed_id VARCHAR NOT NULL DEFAULT '', sequence UBIGINT NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS token (
  registry UTINYINT NOT NULL, pass_index USMALLINT NOT NULL,
  handle_a UBIGINT NOT NULL, handle_b UBIGINT NOT NULL,
  token_a UBIGINT NOT NULL, token_b UBIGINT NOT NULL
);
"""


# Told of each change of an epoch's tokens after it was stored; None: all of a registry's went.
Listener = Callable[[str, "Changes | None"], None]


@dataclass(frozen=True)
class FeedPosition:
    """Up to where a registry's feed has been read."""

    feed_id: str = ""
    sequence: int = 0


class TokenFile:
    """Tokens of one epoch; safe to use from several threads."""

    def __init__(
        self,
        path: Path,
        limits: duck.DuckLimits,
        told: Callable[[Changes | None], None] = lambda _changes: None,
    ) -> None:
        self.path = path
        self._told = told
        self._spill = path.with_suffix(".spill")
        self._limits = limits
        self._connection = duck.open_file(path, limits, self._spill)
        self._write = threading.Lock()
        self._codes_lock = threading.Lock()
        self._feed_locks: dict[str, threading.Lock] = {}
        with duck.naming_faults(path.name):
            self._connection.execute(_TABLES)
            self._codes = dict(
                duck.rows(self._connection, "SELECT name, code FROM registry ORDER BY code")
            )

    def code(self, registry: str) -> int:
        """The small number that stands for a registry in this file."""
        with self._codes_lock:
            if registry not in self._codes:
                if len(self._codes) >= REGISTRIES_MAX:
                    raise ValueError(f"more than {REGISTRIES_MAX} registries in one epoch")
                code = max(self._codes.values(), default=-1) + 1
                with self.cursor() as cursor, duck.naming_faults(self.path.name):
                    cursor.execute(
                        "INSERT INTO registry (code, name) VALUES (?, ?)", [code, registry]
                    )
                self._codes[registry] = code
            return int(self._codes[registry])

    def feed_lock(self, registry: str) -> threading.Lock:
        """Held by whoever reads a registry's feed: two readers would apply events twice."""
        with self._codes_lock:
            return self._feed_locks.setdefault(registry, threading.Lock())

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own to the same file; close it after use."""
        return self._connection.cursor()

    def position(self, registry: str) -> FeedPosition:
        """Up to where this registry was read; the start if it never was."""
        code = self.code(registry)
        with self.cursor() as cursor:
            found = duck.rows(
                cursor, "SELECT feed_id, sequence FROM registry WHERE code = ?", [code]
            )
        return FeedPosition(found[0][0], int(found[0][1]))

    def rows_of(self, registry: str) -> int:
        """Token rows held of a registry."""
        code = self.code(registry)
        with self.cursor() as cursor:
            found = duck.rows(cursor, "SELECT count(*) FROM token WHERE registry = ?", [code])
        return int(found[0][0])

    def registries(self) -> list[str]:
        """Registries that something is or was held of."""
        with self._codes_lock:
            return sorted(self._codes)

    def rewrite_without(self, registries: Iterable[str]) -> None:
        """Drop all trace of registries, from the disk as well; nobody else may use the file.

        DuckDB leaves deleted rows on its pages until they are overwritten, so what stays is copied
        into a new file.
        """
        draft = self.path.with_name(self.path.name + ".rewrite")
        codes = [self._codes[name] for name in registries]
        _unlink(draft)
        try:
            self._copy_without(codes, draft)
            draft.chmod(0o600)
            self.close()
            draft.replace(self.path)
        finally:
            _unlink(draft)
        self._connection = duck.open_file(self.path, self._limits, self._spill)
        self._codes = {name: code for name, code in self._codes.items() if code not in codes}

    def _copy_without(self, codes: list[int], draft: Path) -> None:
        with self._write, duck.naming_faults(self.path.name), self.cursor() as cursor:
            cursor.execute(f"ATTACH '{str(draft).replace(chr(39), chr(39) * 2)}' AS rewritten")
            try:
                cursor.execute(_TABLES.replace("NOT EXISTS ", "NOT EXISTS rewritten."))
                for table, column in (("registry", "code"), ("token", "registry")):
                    cursor.execute(
                        f"INSERT INTO rewritten.{table} SELECT * FROM {table}"
                        f" WHERE NOT list_contains(?, {column})",
                        [codes],
                    )
            finally:
                cursor.execute("DETACH rewritten")

    def forget(self, registry: str) -> None:
        """Drop all that is held of a registry in this epoch."""
        code = self.code(registry)
        with self._writing() as cursor:
            cursor.execute("DELETE FROM token WHERE registry = ?", [code])
            cursor.execute("UPDATE registry SET feed_id = '', sequence = 0 WHERE code = ?", [code])
        self._told(None)

    def apply(self, registry: str, feed_id: str, batch: FeedRows) -> None:
        """Apply events and move the position, in one transaction.

        Subjects that the batch retires are the caller's to erase, before.
        """
        if len(batch.sequence) == 0:
            return
        code = self.code(registry)
        retired = batch.handle[batch.event == FeedEvent.HANDLE_RETIRED]
        fresh = batch.event == FeedEvent.TOKEN_ADDED
        with self._writing() as cursor:
            _insert(cursor, code, batch, fresh)
            gone = delete_handles(cursor, code, retired)
            cursor.execute(
                "UPDATE registry SET feed_id = ?, sequence = ? WHERE code = ?",
                [feed_id, int(batch.sequence[-1]), code],
            )
        self._told(changes_of(registry, batch, fresh, gone))

    def index(self) -> None:
        """Make single tokens and handles quick to find; for who looks up change by change."""
        with self._writing() as cursor:
            cursor.execute("CREATE INDEX IF NOT EXISTS token_by_token ON token (token_a)")
            cursor.execute("CREATE INDEX IF NOT EXISTS token_by_handle ON token (handle_a)")

    def under(self, pass_index: U16, token: Ids) -> Held:
        """All rows that stand under some tokens, one (pass, token) a row of the arguments."""
        with self.cursor() as cursor, duck.naming_faults(self.path.name):
            return rows_under(cursor, pass_index, token)

    def move(self, registry: str, feed_id: str, sequence: int) -> None:
        """Set the position where a feed had nothing to tell."""
        code = self.code(registry)
        with self._writing() as cursor:
            cursor.execute(
                "UPDATE registry SET feed_id = ?, sequence = ? WHERE code = ?",
                [feed_id, sequence, code],
            )

    def close(self) -> None:
        """Close the file and drop what was spilled beside it."""
        self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def delete(self) -> None:
        """Close the file and remove it from the disk: the epoch has retired."""
        self.close()
        for suffix in ("", ".wal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with (
            self._write,
            duck.naming_faults(self.path.name),
            self.cursor() as cursor,
            duck.transaction(cursor),
        ):
            yield cursor


def _insert(cursor: duckdb.DuckDBPyConnection, code: int, batch: FeedRows, which: Bools) -> None:
    if not which.any():
        return
    columns = {
        "pass_index": batch.pass_index[which],
        "handle_a": batch.handle[which, 0],
        "handle_b": batch.handle[which, 1],
        "token_a": batch.token[which, 0],
        "token_b": batch.token[which, 1],
    }
    cursor.register("fed", pa.table(columns))
    cursor.execute(
        "INSERT INTO token SELECT ?::UTINYINT, pass_index, handle_a, handle_b, token_a, token_b "
        "FROM fed",
        [code],
    )
    cursor.unregister("fed")


def _unlink(path: Path) -> None:
    for each in (path, path.with_name(path.name + ".wal")):
        each.unlink(missing_ok=True)


class TokenFiles:
    """All live epochs of a home directory, each opened when it is first asked for."""

    def __init__(self, directory: Path, limits: duck.DuckLimits) -> None:
        self._directory = directory
        self._limits = limits
        self._open: dict[str, TokenFile] = {}
        self._users: dict[str, int] = {}
        self._condemned: set[str] = set()
        self._lock = threading.Lock()
        self.listener: Listener = lambda _epoch, _changes: None
        for stale in directory.glob("tokens-*.spill"):
            shutil.rmtree(stale, ignore_errors=True)

    def epochs(self) -> list[str]:
        """Epochs that have a file here."""
        names = (_FILE_NAME.match(path.name) for path in self._directory.iterdir())
        return sorted(match.group(1) for match in names if match)

    @contextmanager
    def borrowed(self, epoch: str) -> Iterator[TokenFile]:
        """The file of an epoch, kept for the block even if the epoch retires meanwhile."""
        file = self._borrow(epoch)
        try:
            yield file
        finally:
            self._give_back(epoch)

    def retire(self, epochs: Iterable[str]) -> None:
        """Delete the files of epochs, at once or when the last linkage on one ends."""
        with self._lock:
            for epoch in epochs:
                if self._users.get(epoch, 0):
                    self._condemned.add(epoch)
                else:
                    self._drop(epoch)

    def keep_only(self, epoch: str, registries: set[str]) -> list[str]:
        """Delete what an epoch's file holds of all others; those it held.

        A file that a linkage uses waits for the next time.
        """
        with self.borrowed(epoch) as file, self._lock:
            strangers = sorted(set(file.registries()) - registries)
            if not strangers or self._users[epoch] > 1:
                return []
            file.rewrite_without(strangers)
        return strangers

    @property
    def size_bytes(self) -> int:
        """Bytes of all files on the disk."""
        return sum(path.stat().st_size for path in self._directory.glob("tokens-*.duckdb*"))

    def close(self) -> None:
        """Close every file."""
        with self._lock:
            for opened in self._open.values():
                opened.close()
            self._open.clear()

    def _borrow(self, epoch: str) -> TokenFile:
        if not _FILE_NAME.match(f"tokens-{epoch}.duckdb"):
            raise ValueError("an epoch is named by letters, digits, dots, dashes and underscores")
        with self._lock:
            if epoch not in self._open:
                path = self._directory / f"tokens-{epoch}.duckdb"
                told = partial(self._tell, epoch)
                self._open[epoch] = TokenFile(path, self._limits, told)
            self._users[epoch] = self._users.get(epoch, 0) + 1
            self._condemned.discard(epoch)
            return self._open[epoch]

    def _tell(self, epoch: str, changes: Changes | None) -> None:
        self.listener(epoch, changes)

    def _give_back(self, epoch: str) -> None:
        with self._lock:
            self._users[epoch] -= 1
            if self._users[epoch] == 0 and epoch in self._condemned:
                self._drop(epoch)

    def _drop(self, epoch: str) -> None:
        self._condemned.discard(epoch)
        opened = self._open.pop(epoch, None)
        if opened is None:
            opened = TokenFile(self._directory / f"tokens-{epoch}.duckdb", self._limits)
        opened.delete()
