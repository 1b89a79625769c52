"""The objects a gateway is made of, as request handlers find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from kinlink_core.runtime.metrics import GatewayMetrics, RuntimeMetrics
    from starlette.requests import HTTPConnection

    from kinlink_gateway.audit import AuditTrail
    from kinlink_gateway.auth import TokenFile
    from kinlink_gateway.decisions import Decisions
    from kinlink_gateway.limits import Limits
    from kinlink_gateway.linker import Linker
    from kinlink_gateway.render import Renderer
    from kinlink_gateway.sessions import Sessions
    from kinlink_gateway.store import Store


@dataclass(frozen=True)
class Gateway:
    """One gateway process."""

    federation: str
    linker: Linker
    store: Store
    tokens: TokenFile
    sessions: Sessions
    audit: AuditTrail
    decisions: Decisions
    limits: Limits
    renderer: Renderer
    metrics: GatewayMetrics
    runtime_metrics: RuntimeMetrics
    stopping: threading.Event
    cookie_secure: bool = False

    @property
    def session_cookie(self) -> str:
        """The cookie's name; the prefix makes browsers insist on Secure, Path=/ and no Domain."""
        return "__Host-kinlink" if self.cookie_secure else "kinlink_session"


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway that serves a request."""
    return cast("Gateway", connection.app.state.gateway)


def at_end(connection: HTTPConnection, callback: Callable[[], None]) -> None:
    """Have `callback` called once the answer has left, or will never leave."""
    connection.state.at_end.append(callback)
