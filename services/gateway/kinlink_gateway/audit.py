"""The append-only, hash-chained record of every access: who, as what, did what, to which object.

Entry n carries SHA-256 over entry n-1's hash and its own columns. The chain shows any entry that
was changed, removed or put in between. It does not by itself show that someone with full control of
the database rewrote the whole chain: for that, note the head (`audit verify` prints it) elsewhere
from time to time and pass it back with `--anchor`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kinlink_core.runtime.audit import AuditReport, Head
from sqlalchemy import insert, select, update

from kinlink_gateway.store import GENESIS_HASH, audit_head_table, audit_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinlink_gateway.store import Store

VERIFY_ROWS_AT_ONCE = 2_000
ANONYMOUS = "-"
STATUS_ASKED = 100


@dataclass(frozen=True)
class Access:
    """What is about to be written. `status` is the HTTP status; STATUS_ASKED precedes a change."""

    actor: str
    role: str
    action: str
    object_id: str
    status: int
    request_id: str
    row_count: int | None = None


@dataclass(frozen=True)
class AuditEntry:
    """One written entry."""

    sequence: int
    at: str
    actor: str
    role: str
    action: str
    object_id: str
    status: int
    row_count: int | None
    request_id: str
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class AuditQuery:
    """Which entries are shown, newest first; `before` is a sequence to go on from."""

    actor: str = ""
    action: str = ""
    before: int | None = None
    limit: int = 100


class AuditTrail:
    """Writes and reads the audit of one database. Safe among threads and processes."""

    def __init__(
        self,
        store: Store,
        *,
        on_write: Callable[[str], None] = lambda _action: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._on_write = on_write
        self._clock = clock

    def write(self, access: Access) -> AuditEntry:
        """Append one entry; when this returns, it is on disk.

        Raises:
            UnavailableError: it could not be written, so the access must not go on.
        """
        with self._store.write() as connection:
            head = connection.execute(
                select(audit_head_table.c.sequence, audit_head_table.c.hash)
                .where(audit_head_table.c.id == 1)
                .with_for_update()
            ).one()
            row: dict[str, Any] = {
                "sequence": head.sequence + 1,
                "at": self._clock().astimezone(UTC).isoformat(timespec="microseconds"),
                "actor": access.actor,
                "role": access.role,
                "action": access.action,
                "object_id": access.object_id,
                "status": access.status,
                "row_count": access.row_count,
                "request_id": access.request_id,
                "previous_hash": head.hash,
            }
            entry = AuditEntry(**row, hash=entry_hash(row))
            connection.execute(insert(audit_table).values(**row, hash=entry.hash))
            connection.execute(
                update(audit_head_table)
                .where(audit_head_table.c.id == 1)
                .values(sequence=entry.sequence, hash=entry.hash)
            )
        self._on_write(access.action)
        return entry

    def entries(self, query: AuditQuery) -> tuple[AuditEntry, ...]:
        """Entries that match, newest first, at most `query.limit`."""
        statement = select(audit_table).order_by(audit_table.c.sequence.desc()).limit(query.limit)
        if query.actor:
            statement = statement.where(audit_table.c.actor == query.actor)
        if query.action:
            statement = statement.where(audit_table.c.action == query.action)
        if query.before is not None:
            statement = statement.where(audit_table.c.sequence < query.before)
        with self._store.read() as connection:
            return tuple(AuditEntry(**row) for row in connection.execute(statement).mappings())

    def verify(self, anchor: Head | None = None) -> AuditReport:
        """Walk the chain from its first entry to its head, or to the first fault.

        Args:
            anchor: a head noted earlier; the chain must still contain it.
        """
        head_sequence, head_hash = self._head()
        count, last_hash, anchored = 0, GENESIS_HASH, anchor is None
        while batch := self._between(count, head_sequence):
            for entry in batch:
                fault = _fault(entry, sequence=count + 1, previous_hash=last_hash)
                if fault:
                    return _report(count, last_hash, fault)
                count, last_hash = entry.sequence, entry.hash
                if anchor and anchor.sequence == count:
                    anchored = hmac.compare_digest(anchor.hash, last_hash)
        if count < head_sequence:
            return _report(count, last_hash, f"entries {count + 1} to {head_sequence} are missing")
        if not hmac.compare_digest(last_hash, head_hash):
            return _report(count, last_hash, f"entry {count} is not the head of the chain")
        if self._beyond_head():
            return _report(count, last_hash, f"entries after {count} are not in the chain")
        if not anchored:
            return _report(count, last_hash, "the chain does not contain the anchor")
        return _report(count, last_hash)

    def _between(self, after: int, last: int) -> Sequence[AuditEntry]:
        statement = (
            select(audit_table)
            .where(audit_table.c.sequence > after, audit_table.c.sequence <= last)
            .order_by(audit_table.c.sequence)
            .limit(VERIFY_ROWS_AT_ONCE)
        )
        with self._store.read() as connection:
            return [AuditEntry(**row) for row in connection.execute(statement).mappings()]

    def _head(self) -> tuple[int, str]:
        with self._store.read() as connection:
            row = connection.execute(select(audit_head_table)).one()
        return row.sequence, row.hash

    def _beyond_head(self) -> bool:
        head = select(audit_head_table.c.sequence).scalar_subquery()
        statement = select(audit_table.c.sequence).where(audit_table.c.sequence > head).limit(1)
        with self._store.read() as connection:
            return connection.scalar(statement) is not None


def _report(count: int, last_hash: str, *faults: str) -> AuditReport:
    return AuditReport(count, Head(count, last_hash), faults)


def entry_hash(row: dict[str, Any]) -> str:
    """Hex SHA-256 over the columns of an entry in their order, each with its length before it."""
    digest = hashlib.sha256(b"kinlink/gateway-audit/v1")
    for column in audit_table.columns:
        if column.name == "hash":
            continue
        value = row[column.name]
        part = b"\x00" if value is None else b"\x01" + str(value).encode()
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()


def _fault(entry: AuditEntry, *, sequence: int, previous_hash: str) -> str:
    if entry.sequence != sequence:
        return f"entry {sequence} is missing"
    if entry.previous_hash != previous_hash:
        return f"entry {sequence} does not follow the one before it"
    row = {name: getattr(entry, name) for name in AuditEntry.__dataclass_fields__}
    if not hmac.compare_digest(entry_hash(row), entry.hash):
        return f"entry {sequence} was changed after it was written"
    return ""
