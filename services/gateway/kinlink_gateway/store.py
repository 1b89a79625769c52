"""The gateway's own database: SQLite by default, PostgreSQL by URL, through SQLAlchemy Core.

It holds the audit, browser sessions and the history of verdicts; links stay at the linker. The
audit table refuses UPDATE and DELETE by trigger. Writers take the write lock first, so
read-then-write (the audit chain) is safe among threads, processes and hosts.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kinlink_core.errors import InvalidInputError, PreconditionError, Reason, UnavailableError
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Dialect

STORE_VERSION = 2
BUSY_SECONDS_MAX = 10
POOL_CONNECTIONS_MAX = 10
_WRITE = "kinlink_write"


class UtcTime(TypeDecorator[datetime]):
    """A point in time, stored without an offset and always read back as UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To a naive UTC time."""
        del dialect
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From a naive UTC time."""
        del dialect
        return None if value is None else value.replace(tzinfo=UTC)


_BIG = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()
meta_table = Table(
    "gateway_meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
audit_table = Table(
    "audit_entry",
    metadata,
    Column("sequence", _BIG, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("role", String(16), nullable=False),
    Column("action", String(64), nullable=False, index=True),
    Column("object_id", String(128), nullable=False),
    Column("status", Integer, nullable=False),
    Column("row_count", Integer),
    Column("request_id", String(64), nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
# One row: who writes locks it, and a cut-off tail shows.
audit_head_table = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", _BIG, nullable=False),
    Column("hash", String(64), nullable=False),
)
session_table = Table(
    "session",
    metadata,
    Column("id_sha256", String(64), primary_key=True),
    Column("token_id", String(32), nullable=False, index=True),
    Column("created_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
)
decision_table = Table(
    "decision",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("link_id", String(128), nullable=False),
    Column("linkage_id", String(128), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", String(128), nullable=False),
    Column("decided_at", UtcTime, nullable=False),
    Column("ruled_out_by", String(16), nullable=False, server_default=""),
    Index("decision_by_link", "link_id", "id"),
)

GENESIS_HASH = "0" * 64


class Store:
    """A pool of connections to one database, with transactions that read or write."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)

    def migrate(self) -> None:
        """Create what is missing, and bring an older database up to date.

        Raises:
            PreconditionError: STORE_VERSION, the database was written by a newer build.
            UnavailableError: it cannot be reached or written.
        """
        with self.write() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(hashtext('kinlink_gateway'))")
                )
            if inspect(connection).has_table(meta_table.name):
                _upgrade(connection)
                _check_version(connection)
                return
            metadata.create_all(connection)
            for statement in _APPEND_ONLY[self._engine.dialect.name]:
                connection.execute(text(statement))
            connection.execute(
                insert(meta_table).values(key="store_version", value=str(STORE_VERSION))
            )
            connection.execute(insert(audit_head_table).values(id=1, sequence=0, hash=GENESIS_HASH))

    def require(self) -> None:
        """Make sure that a gateway made this database; create nothing.

        Raises:
            PreconditionError: STORE_VERSION, it is no gateway's, or a newer build's.
            UnavailableError: it cannot be reached.
        """
        with self.read() as connection:
            if not inspect(connection).has_table(meta_table.name):
                raise PreconditionError(
                    Reason.STORE_VERSION, "This database was not made by a gateway."
                )
            _check_version(connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads.

        Raises:
            UnavailableError: STORE_BUSY or UNREACHABLE.
        """
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write; on SQLite it holds the write lock from its start.

        Raises:
            UnavailableError: STORE_BUSY, DISK_FULL or UNREACHABLE; nothing was written.
        """
        with _translated():
            writer = self._engine.execution_options(**{_WRITE: True})
            with writer.begin() as connection:
                yield connection

    def scrub(self) -> None:
        """Make sure that what was deleted is gone from SQLite's log too; elsewhere vacuum does."""
        if self._engine.dialect.name != "sqlite":
            return
        with _translated(), self._engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            if raw is not None:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def check(self) -> None:
        """Raise `UnavailableError` unless the database answers."""
        with self.read() as connection:
            connection.execute(select(meta_table.c.value))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


# From a version to the next; a step is never edited once released.
_STEPS = {
    "1": "ALTER TABLE decision ADD COLUMN ruled_out_by VARCHAR(16) NOT NULL DEFAULT ''",
}


def _upgrade(connection: Connection) -> None:
    at_version = meta_table.c.key == "store_version"
    while (found := connection.scalar(select(meta_table.c.value).where(at_version))) in _STEPS:
        connection.execute(text(_STEPS[found]))
        connection.execute(update(meta_table).where(at_version).values(value=str(int(found) + 1)))


def _check_version(connection: Connection) -> None:
    found = connection.scalar(select(meta_table.c.value).where(meta_table.c.key == "store_version"))
    if found != str(STORE_VERSION):
        raise PreconditionError(
            Reason.STORE_VERSION,
            f"The gateway's database has version {found}, this build reads {STORE_VERSION}.",
        )


_APPEND_ONLY = {
    "sqlite": tuple(
        f"CREATE TRIGGER audit_entry_no_{verb.lower()} BEFORE {verb} ON audit_entry "
        "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        """CREATE FUNCTION audit_entry_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$""",
        """CREATE TRIGGER audit_entry_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
        FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_append_only()""",
    ),
}


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in _APPEND_ONLY:
            raise InvalidInputError(
                Reason.CONFIG_INVALID,
                "The database URL must begin with sqlite:/// or postgresql+psycopg://",
            )
        if parsed.get_backend_name() == "postgresql":
            return create_engine(
                parsed,
                pool_size=POOL_CONNECTIONS_MAX,
                pool_pre_ping=True,
                connect_args={"connect_timeout": BUSY_SECONDS_MAX},
            )
        engine = create_engine(
            parsed, pool_size=POOL_CONNECTIONS_MAX, connect_args={"timeout": BUSY_SECONDS_MAX}
        )
    except (ArgumentError, NoSuchModuleError) as error:
        raise InvalidInputError(
            Reason.CONFIG_INVALID, "The database URL cannot be read.", detail=str(error)
        ) from error
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            Reason.CONFIG_INVALID, f"This database needs the Python package {error.name}."
        ) from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None
    try:
        with closing(dbapi_connection.cursor()) as cursor:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA secure_delete=ON")
    except BaseException:
        # The pool does not know it yet, so nobody else would close it.
        dbapi_connection.close()
        raise


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        message = str(error.orig).lower()
        if "full" in message or "no space" in message:
            raise UnavailableError(
                Reason.DISK_FULL,
                "The gateway's database has no space left.",
                detail=str(error.orig),
            ) from error
        if "locked" in message or "timeout" in message:
            raise UnavailableError(
                Reason.STORE_BUSY, "The gateway's database is busy. Try again.", detail=message
            ) from error
        raise UnavailableError(
            Reason.UNREACHABLE, "The gateway's database cannot be used.", detail=message
        ) from error
