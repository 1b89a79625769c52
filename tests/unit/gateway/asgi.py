"""HTTP to an ASGI application without a socket, for `httpx.Client`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

CLIENT = ("192.0.2.7", 40_000)
SECONDS_MAX = 30.0


class AsgiTransport(httpx.BaseTransport):
    """Runs each request to its end on an event loop of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(request)
        asyncio.run(asyncio.wait_for(exchange.run(self._app), SECONDS_MAX))
        return exchange.response()


class _Exchange:
    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._body = request.read()
        self._sent = False
        self._done = asyncio.Event()
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []

    async def run(self, app: ASGIApp) -> None:
        url = self._request.url
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "root_path": "",
            "query_string": url.query,
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "server": (url.host, url.port),
            "client": CLIENT,
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._done.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
        else:
            self._pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                self._done.set()

    def response(self) -> httpx.Response:
        return httpx.Response(
            self._status,
            headers=self._headers,
            content=b"".join(self._pieces),
            request=self._request,
        )
