"""Health: one switch behind the gRPC health service and the HTTP probes.

`SERVING` and HTTP 200 on `/readyz` mean that calls are answered; `/healthz` says only that the
process lives. Both listeners are plaintext, because an orchestrator's probes carry no certificate;
they tell nothing but this switch and the metrics.
"""

from __future__ import annotations

import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import structlog
from grpc_health.v1 import health, health_pb2
from prometheus_client.exposition import choose_encoder

from kinlink_core.errors import Reason, UnavailableError
from kinlink_core.runtime.address import host_and_port, join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.runtime.metrics import RuntimeMetrics

HTTP_CONNECTIONS_MAX: Final = 16
HTTP_IDLE_SECONDS_MAX: Final = 10

_log = structlog.get_logger(__name__)


class Readiness:
    """Whether this process answers calls; starts as no."""

    def __init__(self, metrics: RuntimeMetrics, services: Sequence[str] = ()) -> None:
        self.servicer = health.HealthServicer()
        self._names = (health.OVERALL_HEALTH, *services)
        self._metrics = metrics
        self._ready = threading.Event()
        self.set(ready=False)

    def set(self, *, ready: bool) -> None:
        """Turn all services of the process on or off."""
        status = health_pb2.HealthCheckResponse
        for name in self._names:
            self.servicer.set(name, status.SERVING if ready else status.NOT_SERVING)
        (self._ready.set if ready else self._ready.clear)()
        self._metrics.ready.set(int(ready))

    def __bool__(self) -> bool:
        return self._ready.is_set()


class MetricsServer:
    """HTTP on its own listener: `/metrics`, `/healthz`, `/readyz`."""

    def __init__(self, listen: str, metrics: RuntimeMetrics, readiness: Readiness) -> None:
        host, port = host_and_port(listen)
        try:
            self._server = _BoundedServer(host, port, metrics, readiness)
        except OSError as error:
            raise UnavailableError(
                Reason.UNREACHABLE, f"Cannot listen on {listen}: {error.strerror}."
            ) from error
        self.address = join(host, self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the listener."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _BoundedServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, metrics: RuntimeMetrics, readiness: Readiness) -> None:
        self.metrics = metrics
        self.readiness = readiness
        self._slots = threading.BoundedSemaphore(HTTP_CONNECTIONS_MAX)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Probes)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a bug; a probe that hangs up is no event."""
        del request, client_address
        if not isinstance(sys.exception(), OSError):
            _log.exception("probe_failed")


class _Probes(BaseHTTPRequestHandler):
    server: _BoundedServer
    timeout = HTTP_IDLE_SECONDS_MAX
    server_version = "kinlink"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a probe or a scrape."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, encode(self.server.metrics.registry), content_type)
        elif path == "/healthz":
            self._answer(HTTPStatus.OK, b"ok\n")
        elif path == "/readyz" and self.server.readiness:
            self._answer(HTTPStatus.OK, b"ready\n")
        elif path == "/readyz":
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"not ready\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"not found\n")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Probes are not logged."""
