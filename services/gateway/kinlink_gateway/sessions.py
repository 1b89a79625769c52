"""Browser sessions: the cookie holds 256 random bits, the database their SHA-256 and a token's id.

A session ends when it is idle, too old, signed out, or when its token is revoked. The form token of
a session is derived from the cookie, so a page of another site, which cannot read it, cannot post.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, or_, select, update

from kinlink_gateway.limits import SESSION_IDLE_SECONDS_MAX, SESSION_SECONDS_MAX
from kinlink_gateway.store import session_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from kinlink_gateway.auth import TokenFile
    from kinlink_gateway.roles import Principal
    from kinlink_gateway.store import Store

SESSION_BYTES = 32
SEEN_SECONDS_STEP = 60


@dataclass(frozen=True, repr=False)
class Session:
    """A signed-in browser. `secret` is the cookie's value."""

    secret: str
    principal: Principal

    @property
    def form_token(self) -> str:
        """What every form of this session must carry."""
        return form_token(self.secret)


def form_token(secret: str) -> str:
    """Derive a form token from a cookie's value; the cookie cannot be computed back from it."""
    return hashlib.sha256(b"kinlink/form-token/v1" + secret.encode()).hexdigest()


def form_token_fits(secret: str, presented: str) -> bool:
    """Compare a form's token with the cookie's, in constant time."""
    return hmac.compare_digest(form_token(secret), presented)


class Sessions:
    """Opens, finds and closes sessions in the database."""

    def __init__(
        self,
        store: Store,
        tokens: TokenFile,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock

    def open(self, principal: Principal) -> Session:
        """Start a session under a fresh id, and sweep out those that ended."""
        secret = secrets.token_urlsafe(SESSION_BYTES)
        now = self._clock()
        with self._store.write() as connection:
            connection.execute(
                delete(session_table).where(
                    or_(
                        session_table.c.created_at <= now - timedelta(seconds=SESSION_SECONDS_MAX),
                        session_table.c.seen_at
                        <= now - timedelta(seconds=SESSION_IDLE_SECONDS_MAX),
                    )
                )
            )
            connection.execute(
                insert(session_table).values(
                    id_sha256=_digest(secret),
                    token_id=principal.token_id,
                    created_at=now,
                    seen_at=now,
                )
            )
        return Session(secret, principal)

    def find(self, secret: str) -> Session | None:
        """The live session of a cookie, or None."""
        now = self._clock()
        of_this = session_table.c.id_sha256 == _digest(secret)
        with self._store.read() as connection:
            row = connection.execute(select(session_table).where(of_this)).one_or_none()
        if row is None:
            return None
        if now - row.created_at >= timedelta(seconds=SESSION_SECONDS_MAX):
            return None
        if now - row.seen_at >= timedelta(seconds=SESSION_IDLE_SECONDS_MAX):
            return None
        principal = self._tokens.by_id(row.token_id)
        if principal is None:
            return None
        if now - row.seen_at >= timedelta(seconds=SEEN_SECONDS_STEP):
            with self._store.write() as connection:
                connection.execute(update(session_table).where(of_this).values(seen_at=now))
        return Session(secret, principal)

    def close(self, secret: str) -> None:
        """End a session at once."""
        with self._store.write() as connection:
            connection.execute(
                delete(session_table).where(session_table.c.id_sha256 == _digest(secret))
            )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
