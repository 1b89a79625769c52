"""Around every request: its id, security headers, body limit, address rate, metrics, and the audit.

The audit entry is written before the first byte of an answer leaves. When it cannot be written, the
answer is withheld: no access without a trace.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog
from kinlink_core.errors import KinlinkError
from kinlink_core.runtime.ids import new_id
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request

from kinlink_gateway.access import Trail, client_address, too_many_requests
from kinlink_gateway.limits import REQUEST_BODY_BYTES_MAX
from kinlink_gateway.problems import problem_json, problem_of, problem_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from kinlink_gateway.parts import Gateway

HSTS_SECONDS = 365 * 24 * 60 * 60
STATIC_PREFIX = "/static/"
NO_ROUTE = "unmatched"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()"),
)

_log = structlog.get_logger("kinlink.gateway")


class Envelope:
    """The outermost layer: every answer of the gateway passes here."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self._app, self._gateway, scope, receive, send).run()


class _WithheldError(Exception):
    """Stops the making of an answer that could not be audited."""


class _Exchange:
    """One request on its way in and its answer on its way out."""

    def __init__(
        self, app: ASGIApp, gateway: Gateway, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._app = app
        self._gateway = gateway
        self._scope = scope
        self._receive = receive
        self._send = send
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._state["request_id"] = new_id()
        self._request = Request(scope)
        self._at_end: list[Callable[[], None]] = []
        self._state["at_end"] = self._at_end
        self._body_bytes = 0
        self._status = 0
        self._withheld: KinlinkError | None = None
        self._started_at = time.perf_counter()

    async def run(self) -> None:
        """Pass the request on and see its answer out."""
        try:
            self._check_on_entry()
            await self._app(self._scope, self._limited_receive, self._audited_send)
        except Exception as error:  # noqa: BLE001 - the last place that can answer anything
            if self._withheld:
                await self._answer_withheld(self._withheld)
            else:
                await self._answer_fault(error)
        finally:
            for callback in self._at_end:
                callback()
            self._measure()

    def _check_on_entry(self) -> None:
        length = Headers(scope=self._scope).get("content-length", "0")
        if not length.isdigit() or int(length) > REQUEST_BODY_BYTES_MAX:
            raise HTTPException(413)
        if self._scope["path"].startswith(STATIC_PREFIX):
            return
        wait = self._gateway.limits.address.take(client_address(self._request))
        if wait:
            raise too_many_requests(wait)

    async def _limited_receive(self) -> Message:
        message = await self._receive()
        self._body_bytes += len(message.get("body", b""))
        if self._body_bytes > REQUEST_BODY_BYTES_MAX:
            raise HTTPException(413)
        return message

    async def _audited_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._write_audit(int(message["status"]))
            self._status = int(message["status"])
            self._add_headers(message)
        await self._send(message)

    async def _write_audit(self, status: int) -> None:
        trail: Trail | None = self._state.pop("trail", None)
        if trail is None:
            return
        try:
            await run_in_threadpool(self._gateway.audit.write, trail.access(status))
        except KinlinkError as error:
            _log.error("audit_not_written", reason=error.reason.value, detail=error.detail)
            self._withheld = error
            raise _WithheldError from error

    async def _answer_withheld(self, error: KinlinkError) -> None:
        problem = problem_of(error)
        self._status = problem.status
        response = problem_json(problem, request_id=self._state["request_id"])
        await response(self._scope, self._receive, self._headed_send)

    async def _headed_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._add_headers(message)
        await self._send(message)

    async def _answer_fault(self, error: Exception) -> None:
        if self._status:
            _log.error("answer_broke_off", request_id=self._state["request_id"], exc_info=error)
            raise error
        response = await run_in_threadpool(problem_response, self._request, error)
        await response(self._scope, self._receive, self._audited_send)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in SECURITY_HEADERS:
            headers[name] = value
        headers["X-Request-Id"] = self._state["request_id"]
        if self._scope["path"].startswith(STATIC_PREFIX):
            headers["Cache-Control"] = "no-cache"
        else:
            headers["Cache-Control"] = "no-store"
            headers["Vary"] = "Accept-Language, Authorization, Cookie"
        if self._scope["scheme"] == "https":
            headers["Strict-Transport-Security"] = f"max-age={HSTS_SECONDS}"

    def _measure(self) -> None:
        route = getattr(self._scope.get("route"), "path", NO_ROUTE)
        method = self._scope["method"] if route != NO_ROUTE else NO_ROUTE
        metrics = self._gateway.metrics
        metrics.http_requests.labels(route, method, str(self._status)).inc()
        metrics.http_seconds.labels(route, method).observe(time.perf_counter() - self._started_at)
