"""An append-only audit log: JSON lines, each sealed to the one before it by a hash.

A line's `hash` is SHA-256 over the line without it, and `prev` is the hash of the line before. A
head file beside the log holds the last sequence and hash. `verify` finds edited, removed, inserted
and reordered lines, and a shortened log. Not guaranteed: one who may write both files can rewrite
all of it; `verify` with a head noted elsewhere finds that as well.

What is written is what happened, by whom and to which job or link; never a value of a record.
"""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import hashlib
import json
import os
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from kinlink_core.errors import InvalidInputError, KinlinkError, PreconditionError, Reason
from kinlink_core.runtime.files import write_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AUDIT_FILE_MODE: Final = 0o600
HEAD_SUFFIX: Final = ".head"
ENTRY_BYTES_MAX: Final = 16 << 10
GENESIS: Final = "0" * 64
REPAIRED: Final = "audit-repaired"

_PLAIN: Final = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Head:
    """The last line of a log: its sequence (0 when empty) and its hash."""

    sequence: int
    hash: str


@dataclass(frozen=True)
class AuditReport:
    """What `verify` found: every fault with its line, and the head of what is there."""

    entries: int
    head: Head
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the chain holds."""
        return not self.faults


class AuditLog:
    """Writes entries; threads and processes may share one file, which is locked for each entry."""

    def __init__(self, path: Path, on_write: Callable[[str], None] = lambda _action: None) -> None:
        self._path = path
        self._on_write = on_write
        self._lock = threading.Lock()
        path.touch(AUDIT_FILE_MODE, exist_ok=True)

    def write(self, action: str, actor: str, **fields: Any) -> Head:
        """Append an entry and have it on the disk when this returns.

        Raises:
            KinlinkError: `DISK_FULL` or `INTERNAL`, with the log as it was.
            PreconditionError: `AUDIT_BROKEN`: the log does not end where its head says.
        """
        for name, value in fields.items():
            _check_plain(name, value)
        with self._lock, self._path.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            head = self._recover(file)
            head = self._append(file, head, action, actor, fields)
        self._on_write(action)
        return head

    def _recover(self, file: IO[bytes]) -> Head:
        """The head to go on from; cuts off a line that a crash left unfinished.

        A log that does not end where its head says takes no more entries, or the next one would
        hide that it was cut or rewritten.
        """
        head = _read_head(self._path)
        torn = 0
        found = Head(0, GENESIS)
        last = _last_lines(file)
        if last and not last[-1].endswith(b"\n"):
            torn = len(last.pop())
        if last:
            found = _head_of(last[-1])
        if not _continues(head or Head(0, GENESIS), found, last):
            raise PreconditionError(Reason.AUDIT_BROKEN)
        if torn:
            file.truncate(os.fstat(file.fileno()).st_size - torn)
            return self._append(file, found, REPAIRED, "system", {"bytes": torn})
        return found

    def _append(
        self, file: IO[bytes], head: Head, action: str, actor: str, fields: dict[str, Any]
    ) -> Head:
        entry: dict[str, Any] = {
            "sequence": head.sequence + 1,
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "action": action,
            "actor": actor,
            "fields": fields,
            "prev": head.hash,
        }
        entry["hash"] = _digest(entry)
        line = _canonical(entry) + b"\n"
        if len(line) > ENTRY_BYTES_MAX:
            raise InvalidInputError(Reason.REQUEST_MALFORMED, "An audit entry is too long.")
        start = file.seek(0, os.SEEK_END)
        try:
            _write_all(file, line)
            os.fsync(file.fileno())
            written = Head(entry["sequence"], entry["hash"])
            _write_head(self._path, written)
        except OSError as error:
            _undo(file, start)
            raise _failed(error) from error
        return written


def verify(path: Path, expected: Head | None = None) -> AuditReport:
    """Check a whole log against its head file, and against a head that was noted elsewhere."""
    faults: list[str] = []
    head = Head(0, GENESIS)
    hashes = {0: GENESIS}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            fault = _fault_of(line, head)
            if fault:
                faults.append(f"line {number}: {fault}")
            if line.endswith(b"\n"):
                head = _head_of(line, default=Head(head.sequence + 1, head.hash))
            hashes[head.sequence] = head.hash
    for name, known in (("its head file", _read_head(path)), ("the given head", expected)):
        if known is not None and hashes.get(known.sequence) != known.hash:
            faults.append(f"the log does not contain the entry that {name} names")
    if head.sequence and _read_head(path) is None:
        faults.append("the head file is missing")
    return AuditReport(head.sequence, head, tuple(faults))


def _fault_of(line: bytes, before: Head) -> str:
    if not line.endswith(b"\n"):
        return "is not finished"
    try:
        entry = json.loads(line)
        claimed = entry.pop("hash")
    except (ValueError, KeyError, AttributeError):
        return "is not an entry"
    if entry.get("sequence") != before.sequence + 1:
        return "does not follow the entry before it in sequence"
    if entry.get("prev") != before.hash:
        return "is not chained to the entry before it"
    return "" if _digest(entry) == claimed else "was changed"


def _continues(head: Head, found: Head, last: list[bytes]) -> bool:
    """Whether a log ends at its head, or one entry later: a crash came before the head file."""
    if found.sequence == head.sequence:
        return found.hash == head.hash
    return found.sequence == head.sequence + 1 and json.loads(last[-1]).get("prev") == head.hash


def _canonical(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(entry: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(entry)).hexdigest()


def _last_lines(file: IO[bytes]) -> list[bytes]:
    """The last line or two of a log, each with its newline if it has one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2 * ENTRY_BYTES_MAX))
    return file.read().splitlines(keepends=True)[-2:]


def _head_of(line: bytes, default: Head | None = None) -> Head:
    try:
        entry = json.loads(line)
        return Head(int(entry["sequence"]), str(entry["hash"]))
    except (ValueError, KeyError, TypeError) as error:
        if default is not None:
            return default
        raise PreconditionError(Reason.AUDIT_BROKEN) from error


def _head_path(path: Path) -> Path:
    return path.with_name(path.name + HEAD_SUFFIX)


def _read_head(path: Path) -> Head | None:
    try:
        return _head_of(_head_path(path).read_bytes())
    except FileNotFoundError:
        return None


def _write_head(path: Path, head: Head) -> None:
    content = _canonical({"sequence": head.sequence, "hash": head.hash}) + b"\n"
    write_file(_head_path(path), content, AUDIT_FILE_MODE)


def _write_all(file: IO[bytes], line: bytes) -> None:
    while line:
        line = line[file.write(line) :]


def _undo(file: IO[bytes], size: int) -> None:
    """Leave the log as it was before a write that failed."""
    try:
        file.truncate(size)
    except OSError:
        return  # the next write finds the torn line and cuts it


def _failed(error: OSError) -> KinlinkError:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    reason = Reason.DISK_FULL if full else Reason.INTERNAL
    return KinlinkError(reason, "The audit log could not be written.", detail=str(error.strerror))


def _check_plain(name: str, value: Any) -> None:
    items = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(item, _PLAIN) for item in items):
        raise TypeError(f"audit field {name} must be plain text, numbers or a list of them")
