"""A gateway that serves: its listeners, its housekeeping, and its graceful end on SIGTERM."""

from __future__ import annotations

import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import structlog
import uvicorn
from kinlink_core.errors import InvalidInputError, KinlinkError, Reason
from kinlink_core.runtime.address import host_and_port, join
from kinlink_core.runtime.health import MetricsServer, Readiness
from kinlink_core.runtime.ready import announced
from kinlink_core.runtime.running import STOP_SIGNALS
from kinlink_core.runtime.tls import certificate_days_left

from kinlink_gateway.app import create_app
from kinlink_gateway.audit import ANONYMOUS, Access
from kinlink_gateway.decisions import forget_removed
from kinlink_gateway.limits import CONNECTIONS_MAX
from kinlink_gateway.roles import Action

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_gateway.app import Assembly
    from kinlink_gateway.parts import Gateway
    from kinlink_gateway.settings import GatewaySettings, HttpsSettings

STARTUP_SECONDS_MAX = 20.0
STARTUP_POLL_SECONDS = 0.02
GRACE_SECONDS = 10
KEEP_ALIVE_SECONDS = 30
HEADER_BYTES_MAX = 32 * 1024
BACKLOG = 256
SYSTEM_ACTOR = "gateway"

_log = structlog.get_logger("kinlink.gateway")


class GatewayServer:
    """The HTTP listener of a gateway, served by a thread of its own."""

    def __init__(self, assembly: Assembly) -> None:
        self._gateway = assembly.gateway
        settings = assembly.settings
        self._socket = _listen(settings.listen)
        self._config = _config(assembly)
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http"
        )
        self._https = settings.https
        self._https_stamp = _stamp(settings.https)

    @property
    def address(self) -> str:
        """`HOST:PORT` it listens on."""
        return join(*self._socket.getsockname()[:2])

    @property
    def alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Serve; returns once connections are accepted.

        Raises:
            KinlinkError: the server ended while it started.
        """
        self._thread.start()
        deadline = time.monotonic() + STARTUP_SECONDS_MAX
        while not self._server.started:
            if not self.alive or time.monotonic() > deadline:
                raise KinlinkError(Reason.INTERNAL, "The HTTP server did not start; see the log.")
            time.sleep(STARTUP_POLL_SECONDS)

    def reload_certificate(self) -> None:
        """Use a rotated HTTPS certificate for new connections."""
        stamp = _stamp(self._https)
        if self._https is None or stamp == self._https_stamp or self._config.ssl is None:
            return
        try:
            self._config.ssl.load_cert_chain(self._https.cert, self._https.key)
        except OSError as error:
            _log.warning("https_certificate_unusable", error=type(error).__name__)
            return
        self._https_stamp = stamp
        _log.info("https_certificate_reloaded")

    def stop(self) -> None:
        """Let running requests end, then close the listener."""
        self._gateway.stopping.set()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def serve(home: Path, assembly: Assembly) -> None:
    """Serve until SIGTERM or SIGINT; main thread only. `home/ready.json` stands while it serves."""
    gateway, settings = assembly.gateway, assembly.settings
    asked = threading.Event()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: asked.set())
    readiness = Readiness(gateway.runtime_metrics)
    server = GatewayServer(assembly)
    probes = MetricsServer(settings.metrics_listen, gateway.runtime_metrics, readiness)
    try:
        server.start()
        readiness.set(ready=True)
        addresses = {"api": server.address, "health": probes.address, "metrics": probes.address}
        _log.info("gateway_serving", https=settings.https is not None, **addresses)
        with announced(home, addresses):
            _housekeep(assembly, server, asked)
    finally:
        readiness.set(ready=False)
        server.stop()
        probes.stop()
        gateway.linker.close()
        gateway.store.close()
    _log.info("gateway_stopped")


def _housekeep(assembly: Assembly, server: GatewayServer, asked: threading.Event) -> None:
    gateway, settings = assembly.gateway, assembly.settings
    while server.alive:
        _note_certificate(gateway, settings)
        server.reload_certificate()
        try:
            forget_deleted(gateway)
        except KinlinkError as error:
            _log.warning("housekeeping_failed", reason=error.reason.value, detail=error.detail)
        if asked.wait(settings.forget_seconds):
            return
    raise KinlinkError(Reason.INTERNAL, "The HTTP server ended by itself; see the log.")


def forget_deleted(gateway: Gateway) -> None:
    """Forget verdicts on links the linker no longer has; the audit keeps only that it happened."""
    for link_id in forget_removed(gateway.decisions, gateway.linker):
        gateway.audit.write(
            Access(
                actor=SYSTEM_ACTOR,
                role=ANONYMOUS,
                action=Action.DECISION_FORGET.value,
                object_id=link_id,
                status=200,
                request_id="",
            )
        )


def _note_certificate(gateway: Gateway, settings: GatewaySettings) -> None:
    try:
        days = certificate_days_left(settings.tls_dir / "cert.pem")
    except KinlinkError as error:
        _log.warning("certificate_unreadable", reason=error.reason.value)
        return
    gateway.runtime_metrics.certificate_days_left.set(days)


def _config(assembly: Assembly) -> uvicorn.Config:
    settings = assembly.settings
    config = uvicorn.Config(
        create_app(assembly.gateway),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        ssl_certfile=settings.https.cert if settings.https else None,
        ssl_keyfile=settings.https.key if settings.https else None,
    )
    try:
        config.load()
    except OSError as error:
        raise InvalidInputError(
            Reason.CONFIG_INVALID,
            "https.cert and https.key cannot be used: both must be PEM files that belong together.",
            detail=str(error),
        ) from error
    return config


def _listen(address: str) -> socket.socket:
    host, port = host_and_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidInputError(
            Reason.CONFIG_INVALID, f"Cannot listen on {address}: {error.strerror}."
        ) from error


def _stamp(https: HttpsSettings | None) -> tuple[int, ...]:
    if https is None:
        return ()
    try:
        return tuple(path.stat().st_mtime_ns for path in (https.cert, https.key))
    except OSError:
        return ()
