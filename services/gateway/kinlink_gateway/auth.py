"""Bearer tokens: 256 random bits, shown once, kept only as their SHA-256 in a file of mode 0600.

A fast hash is enough because a token is not a password: there is nothing to guess. Whoever can
write the file can let anyone in; whoever can read it learns names and roles, and no token.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from kinlink_core.errors import InvalidInputError, NotFoundError, PreconditionError, Reason
from kinlink_core.runtime.files import SECRET_FILE_MODE, read_secret_file, write_secret_file

from kinlink_gateway.limits import NAME_CHARS_MAX, TOKEN_DAYS_DEFAULT
from kinlink_gateway.roles import Principal, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN_BYTES = 32
TOKEN_PREFIX = "kinlink_"  # noqa: S105 - makes a leaked token findable, is none itself
FILE_VERSION = 1
_NAME = re.compile(rf"\w[\w .@-]{{0,{NAME_CHARS_MAX - 1}}}")


@dataclass(frozen=True)
class TokenEntry:
    """One line of the tokens file. Times are ISO 8601 in UTC; `sha256` is of the whole token."""

    id: str
    name: str
    role: Role
    registry: str
    sha256: str
    created_at: str
    expires_at: str

    def expired(self, now: datetime) -> bool:
        """Whether the token no longer lets anyone in."""
        return bool(self.expires_at) and now >= datetime.fromisoformat(self.expires_at)

    @property
    def principal(self) -> Principal:
        """The person this token stands for."""
        return Principal(self.id, self.name, self.role, self.registry)


def token_digest(token: str) -> str:
    """Hex SHA-256 of a token as it is presented."""
    return hashlib.sha256(token.encode()).hexdigest()


class TokenFile:
    """The tokens file; a running gateway sees changes at once, so a revoked token ends at once."""

    def __init__(
        self, path: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._entries: tuple[TokenEntry, ...] = ()

    def entries(self) -> tuple[TokenEntry, ...]:
        """All tokens, read again whenever the file changed.

        Raises:
            InvalidInputError: FILE_UNREADABLE, others may read the file.
            PreconditionError: CONFIG_INVALID or STORE_VERSION, it is malformed or of another build.
        """
        with self._lock:
            stamp = self._stat()
            if stamp != self._stamp:
                self._entries = self._read() if stamp else ()
                self._stamp = stamp
            return self._entries

    def find(self, token: str) -> Principal | None:
        """The person a token stands for, or None. Compares with every entry in constant time."""
        digest = token_digest(token)
        found: TokenEntry | None = None
        for entry in self.entries():
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        if found is None or found.expired(self._clock()):
            return None
        return found.principal

    def by_id(self, token_id: str) -> Principal | None:
        """The person of a token that is still valid; None once it is revoked or expired."""
        now = self._clock()
        for entry in self.entries():
            if entry.id == token_id and not entry.expired(now):
                return entry.principal
        return None

    def create(
        self, *, role: Role, name: str, registry: str = "", days: int = TOKEN_DAYS_DEFAULT
    ) -> tuple[str, TokenEntry]:
        """Add a token, returned and stored nowhere; `days` of 0 means it never expires.

        Raises:
            InvalidInputError: a bad or taken name, or a registry where none or one is needed.
        """
        _check_new(role=role, name=name, registry=registry, days=days)
        token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        now = self._clock()
        entry = TokenEntry(
            id=secrets.token_hex(8),
            name=name,
            role=role,
            registry=registry,
            sha256=token_digest(token),
            created_at=now.isoformat(timespec="seconds"),
            expires_at=(now + timedelta(days=days)).isoformat(timespec="seconds") if days else "",
        )
        with self._rewriting() as entries:
            if any(other.name == name and not other.expired(now) for other in entries):
                raise InvalidInputError(
                    Reason.REQUEST_MALFORMED,
                    f"There is already a token named {name}. Revoke it or choose another name.",
                )
            entries[:] = [other for other in entries if other.name != name] + [entry]
        return token, entry

    def revoke(self, name: str) -> TokenEntry:
        """Remove the token of that name.

        Raises:
            NotFoundError: there is none.
        """
        with self._rewriting() as entries:
            for entry in entries:
                if entry.name == name:
                    entries.remove(entry)
                    return entry
        raise NotFoundError(
            Reason.PEER_UNKNOWN, f"No token is named {name}. `tokens list` shows all names."
        )

    def _stat(self) -> tuple[int, ...] | None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_mode

    def _read(self) -> tuple[TokenEntry, ...]:
        try:
            document = json.loads(read_secret_file(self._path))
            if document["version"] != FILE_VERSION:
                raise PreconditionError(
                    Reason.STORE_VERSION,
                    f"The tokens file has version {document['version']}, "
                    f"this build reads {FILE_VERSION}.",
                )
            return tuple(_entry(row) for row in document["tokens"])
        except (ValueError, KeyError, TypeError) as error:
            raise PreconditionError(
                Reason.CONFIG_INVALID,
                "The tokens file is malformed. Restore it or remove it and create tokens anew.",
                detail=repr(error),
            ) from error

    @contextmanager
    def _rewriting(self) -> Iterator[list[TokenEntry]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, SECRET_FILE_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = list(self._read() if self._path.exists() else ())
            before = tuple(entries)
            yield entries
            if tuple(entries) != before:
                self._write(entries)
        finally:
            os.close(lock)

    def _write(self, entries: list[TokenEntry]) -> None:
        document = {"version": FILE_VERSION, "tokens": [asdict(entry) for entry in entries]}
        text = json.dumps(document, ensure_ascii=False, indent=2)
        write_secret_file(self._path, text.encode())


def _entry(row: dict[str, Any]) -> TokenEntry:
    entry = TokenEntry(**row)
    return replace(entry, role=Role(entry.role))


def _check_new(*, role: Role, name: str, registry: str, days: int) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED,
            f"A name has 1 to {NAME_CHARS_MAX} letters, digits, spaces or any of . _ @ -",
        )
    if (role is Role.PROVINCE) != bool(registry):
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED,
            "A province token names one registry: add --registry NAME."
            if role is Role.PROVINCE
            else f"Only a province token names a registry, not one of role {role.value}.",
        )
    if days < 0:
        raise InvalidInputError(Reason.REQUEST_MALFORMED, "Days must be 0 or more.")
