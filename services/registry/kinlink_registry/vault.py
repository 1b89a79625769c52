"""The registry's store: one DuckDB file, one writer at a time, a cursor for every reader.

The process that opens a vault owns it: a second one cannot open the file, not even to read. All
bulky or telling columns are sealed (`cipher`), and the file never spills to disk.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import duckdb
from kinlink_core.errors import KinlinkError, PreconditionError, Reason
from kinlink_core.runtime.files import SECRET_FILE_MODE

from kinlink_registry.gate import Gate
from kinlink_registry.migrations import MIGRATIONS, migrate
from kinlink_registry.session import Session, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.migrations import Migration

DRAIN_SECONDS_MAX = 60.0
# Of the pages in memory, so many are given back, and so many stay.
RELEASED_ABOVE_BYTES = 128 << 20
RELEASED_TO = "64MB"
FEED_ID_BYTES = 8

_KEPT_BYTES = "SELECT sum(memory_usage_bytes) FROM duckdb_memory()"
_KEY_CHECK = "key_check"
FEED_ID = "feed_id"
NEXT_REF = "next_ref"
LAST_SEQUENCE = "last_sequence"
# Counts records whose handles were taken back.
UNPUBLISHED = "unpublished"


DuckDBConfig = dict[str, "str | bool | int | float | list[str]"]


class Vault:
    """An open vault; every method may be called from any thread."""

    def __init__(
        self,
        path: Path,
        cipher: VaultCipher,
        *,
        memory_limit: str,
        threads: int,
        migrations: tuple[Migration, ...] = MIGRATIONS,
    ) -> None:
        """Open or create the file, migrate it forward and check the key.

        Raises:
            UnavailableError: another process has it open.
            PreconditionError: it is newer than this program, no vault, or sealed under another key.
        """
        self.path = path
        self.cipher = cipher
        self._config = vault_config(memory_limit, threads)
        self._migrations = migrations
        self._writer = threading.RLock()
        self._gate = Gate(DRAIN_SECONDS_MAX)
        self._generation = 0
        self._committed = threading.Condition()
        self._root = self._open()

    @property
    def generation(self) -> int:
        """Counts commits: what was read under one number still holds under the same number."""
        return self._generation

    @property
    def closing(self) -> bool:
        """Whether someone waits for all readers to leave; long readers should."""
        return self._gate.closing

    def _open(self) -> duckdb.DuckDBPyConnection:
        root = connect(self.path, self._config)
        try:
            self.path.chmod(SECRET_FILE_MODE)
            session = Session(root)
            migrate(session, self._migrations)
            check_key(session, self.cipher)
        except BaseException:
            root.close()
            raise
        return root

    def close(self) -> None:
        """Write everything out and release the file, once all readers are gone."""
        with self._writer, self._gate.alone():
            self._root.close()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one consistent state of the vault, whatever is written meanwhile."""
        with self._gate.shared():
            session = self._session()
            try:
                session.run("BEGIN TRANSACTION")
                yield session
            finally:
                _end(session)

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Keep other writers out while a change is prepared; may be nested with `writing`."""
        with self._writer:
            yield

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes become visible together at the end, or not at all."""
        with self._writer, self._alive(), self._gate.shared():
            session = self._session()
            try:
                session.run("BEGIN TRANSACTION")
                yield session
                session.run("COMMIT")
            finally:
                _end(session)
            self._count_commit()

    def replaced(self, exchange: Callable[[], None]) -> None:
        """Close the file, let `exchange` put another in its place, and open that one."""
        with self._writer, self._gate.alone():
            self._root.close()
            try:
                exchange()
            finally:
                self._root = self._open()
            self._count_commit()

    def release(self, above_bytes: int = RELEASED_ABOVE_BYTES) -> None:
        """Give back the memory of pages that were read and are not in use, if it is much.

        DuckDB keeps pages until it reaches its limit, also those that nobody will read again. It
        drops them before it takes a lower limit, which then stands for the moment between two
        statements. While somebody writes nothing is given back: what is written might need more in
        that moment.
        """
        if not self._writer.acquire(blocking=False):
            return
        try:
            self._release(above_bytes)
        finally:
            self._writer.release()

    def _release(self, above_bytes: int) -> None:
        session = self._session()
        try:
            if session.value(_KEPT_BYTES) <= above_bytes:
                return
            # What is in use stays, and DuckDB says so; the rest is given back all the same.
            with suppress(KinlinkError, duckdb.Error):
                session.run("SET memory_limit = ?", [RELEASED_TO])
            session.run("SET memory_limit = ?", [self._config["memory_limit"]])
        finally:
            session.close()

    def await_commit(self, generation: int, seconds: float) -> None:
        """Wait until something was committed after a generation, or for so long."""
        with self._committed:
            self._committed.wait_for(lambda: self._generation != generation, seconds)

    def _count_commit(self) -> None:
        with self._committed:
            self._generation += 1
            self._committed.notify_all()

    def revive(self) -> None:
        """Reopen the file if it does not answer any more."""
        with self._writer:
            if not self._answers():
                self.replaced(lambda: None)

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Reopen the file after a failure that DuckDB does not survive, such as a full disk."""
        try:
            yield
        except (KinlinkError, duckdb.Error):
            self.revive()
            raise

    def _answers(self) -> bool:
        try:
            session = self._session()
            session.run("SELECT count(*) FROM meta")
            session.close()
        except (KinlinkError, duckdb.Error):
            return False
        return True

    def _session(self) -> Session:
        with translated():
            return Session(self._root.cursor())


def _end(session: Session) -> None:
    with suppress(KinlinkError, duckdb.Error):
        session.run("ROLLBACK")
    session.close()


def vault_config(memory_limit: str, threads: int) -> DuckDBConfig:
    """DuckDB settings of a vault connection: bounded, offline, never spilling."""
    return {
        "memory_limit": memory_limit,
        "threads": threads,
        "temp_directory": "",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "arrow_lossless_conversion": True,
    }


def connect(
    path: Path, config: DuckDBConfig, *, read_only: bool = False
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file; `PreconditionError` when it is none."""
    try:
        with translated():
            return duckdb.connect(str(path), read_only=read_only, config=config)
    except (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException) as error:
        raise PreconditionError(
            Reason.STORE_VERSION, f"{path.name} is damaged or is no vault.", detail=str(path)
        ) from error


def check_key(session: Session, cipher: VaultCipher) -> None:
    """Recognise the key of this vault; a new vault takes the key it is opened with."""
    found = read_meta(session, _KEY_CHECK)
    if found is None:
        write_meta(session, _KEY_CHECK, cipher.key_check().hex())
        write_meta(session, FEED_ID, new_feed_id())
        write_meta(session, NEXT_REF, "1")
        write_meta(session, LAST_SEQUENCE, "0")
    elif not cipher.fits(bytes.fromhex(found)):
        raise PreconditionError(
            Reason.KEY_MISSING, "This vault was sealed under another vault key than the one given."
        )


def new_feed_id() -> str:
    """A fresh name for a feed that does not continue an earlier one."""
    return secrets.token_hex(FEED_ID_BYTES)


def read_meta(session: Session, name: str) -> str | None:
    """A named value of the vault."""
    value: str | None = session.value("SELECT value FROM meta WHERE name = ?", [name])
    return value


def write_meta(session: Session, name: str, value: str) -> None:
    """Set a named value of the vault."""
    session.run("DELETE FROM meta WHERE name = ?", [name])
    session.run("INSERT INTO meta VALUES (?, ?)", [name, value])


def take_numbers(session: Session, name: str, count: int) -> int:
    """Reserve `count` numbers of a counter and return the first."""
    first = int(read_meta(session, name) or 0)
    write_meta(session, name, str(first + count))
    return first
