"""Opening the listeners of a process: the only place that makes gRPC servers.

Three listeners: the API over mutual TLS, gRPC health in plaintext, metrics and probes over HTTP.
A registry also has a local socket for its officer (mode 0600, no TLS: the file mode is the lock).
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import stat
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kinlink_core.errors import ConflictError, InvalidInputError, Reason, UnavailableError
from kinlink_core.runtime import limits
from kinlink_core.runtime.address import host_and_port, join
from kinlink_core.runtime.health import MetricsServer, Readiness
from kinlink_core.runtime.identity import LOCAL_NAME, Identity, Role
from kinlink_core.runtime.interceptor import Gate, Policy
from kinlink_core.runtime.running import Listener, RunningServer
from kinlink_core.runtime.tls import (
    TlsFiles,
    certificate_days_left,
    peer_identity,
    server_credentials,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from kinlink_core.runtime.metrics import RuntimeMetrics

__all__ = [
    "RunningServer",
    "ServerSettings",
    "Service",
    "local_socket_server",
    "start_server",
]

WORKERS: Final = 16
GRACE_SECONDS: Final = 10.0
HEALTH_WORKERS: Final = 2
HEALTH_CALLS_MAX: Final = 32
LOCAL_WORKERS: Final = 4
LOCAL_CALLS_MAX: Final = 16
MS_PER_SECOND: Final = 1000
PING_STRIKES_MAX: Final = 3
SOCKET_PATH_BYTES_MAX: Final = 107
SOCKET_PROBE_SECONDS: Final = 1.0

_REFLECTION_METHOD: Final = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Service:
    """A servicer and who may call it; a method without a row in `policy` is refused to all."""

    add_to_server: Callable[[Any, grpc.Server], None]
    servicer: object
    full_name: str
    policy: Mapping[str, frozenset[Role]]

    def rules(self) -> dict[str, frozenset[Role]]:
        """The policy by full method name; a row for a method that does not exist is an error."""
        service = descriptor_pool.Default().FindServiceByName(self.full_name)
        strangers = sorted(set(self.policy) - {method.name for method in service.methods})
        if strangers:
            raise ValueError(f"{self.full_name} has no method {', '.join(strangers)}")
        return {f"/{self.full_name}/{method}": roles for method, roles in self.policy.items()}


@dataclass(frozen=True)
class ServerSettings:
    """Where a process listens, and its limits; every port may be 0.

    `drain_seconds` is how long calls are still taken after health turned off, so that a load
    balancer can look away first.
    """

    listen: str
    health_listen: str
    metrics_listen: str
    tls: TlsFiles
    grace_seconds: float = GRACE_SECONDS
    drain_seconds: float = 0.0
    workers: int = WORKERS
    max_concurrent_rpcs: int = 2 * WORKERS
    reflection: bool = False


def start_server(
    settings: ServerSettings, services: Sequence[Service], metrics: RuntimeMetrics
) -> RunningServer:
    """Open the three listeners and serve; the process is ready when this returns.

    Raises:
        InvalidInputError: a TLS file that is missing, open to others, or of another key.
        UnavailableError: an address that cannot be listened on.
    """
    identity = settings.tls.load().identity
    metrics.certificate_days_left.set_function(lambda: _days_left(settings.tls.cert))
    readiness = Readiness(metrics, [service.full_name for service in services])
    credentials = server_credentials(
        settings.tls, lambda outcome: metrics.certificate_reloads.labels(outcome).inc()
    )
    rules = {name: roles for service in services for name, roles in service.rules().items()}
    if settings.reflection:
        rules[_REFLECTION_METHOD] = frozenset({Role.OPERATOR})
    gate = Gate(Policy(rules), identity.federation, peer_identity, metrics)
    with contextlib.ExitStack() as opened:
        server, pool = _server(settings.workers, settings.max_concurrent_rpcs, gate)
        _add(services, server)
        if settings.reflection:
            names = [service.full_name for service in services]
            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
        api = _listen(server, pool, settings.listen, credentials)
        opened.callback(api.stop, 0)
        server, pool = _server(HEALTH_WORKERS, HEALTH_CALLS_MAX)
        health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, server)
        health = _listen(server, pool, settings.health_listen)
        opened.callback(health.stop, 0)
        probes = MetricsServer(settings.metrics_listen, metrics, readiness)
        opened.pop_all()
    running = RunningServer(
        identity=identity,
        api=api,
        health=health,
        probes=probes,
        readiness=readiness,
        drain_seconds=settings.drain_seconds,
        grace_seconds=settings.grace_seconds,
    )
    readiness.set(ready=True)
    _log.info("server_started", identity=str(identity), **running.addresses)
    return running


def local_socket_server(
    path: Path, services: Sequence[Service], metrics: RuntimeMetrics, *, federation: str
) -> Listener:
    """Serve on a Unix socket that only this user may reach; callers are `operator/local`.

    Raises:
        ConflictError: another process serves on this socket.
        InvalidInputError: the path is longer than the system allows.
    """
    _check_socket(path)
    operator = Identity(federation, Role.OPERATOR, LOCAL_NAME)
    rules = {name: roles for service in services for name, roles in service.rules().items()}
    gate = Gate(Policy(rules), federation, lambda _context: operator, metrics)
    server, pool = _server(LOCAL_WORKERS, LOCAL_CALLS_MAX, gate)
    _add(services, server)
    previous = os.umask(stat.S_IRWXG | stat.S_IRWXO)
    try:
        server.add_insecure_port(f"unix:{path}")
    finally:
        os.umask(previous)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    server.start()
    return Listener(server, pool, f"unix:{path}")


def _days_left(path: Path) -> float:
    """For a scrape: a file that cannot be read is not a number, and no reason to fail."""
    try:
        return certificate_days_left(path)
    except InvalidInputError:
        return math.nan


def _server(
    workers: int, calls_max: int, gate: Gate | None = None
) -> tuple[grpc.Server, futures.ThreadPoolExecutor]:
    pool = futures.ThreadPoolExecutor(workers, thread_name_prefix="kinlink-rpc")
    server = grpc.server(
        pool,
        interceptors=[gate] if gate else [],
        maximum_concurrent_rpcs=calls_max,
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", limits.TRANSPORT_MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", limits.TRANSPORT_MESSAGE_BYTES_MAX),
            ("grpc.max_metadata_size", limits.METADATA_BYTES_MAX),
            ("grpc.keepalive_time_ms", limits.KEEPALIVE_SECONDS * MS_PER_SECOND),
            ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_SECONDS * MS_PER_SECOND),
            ("grpc.keepalive_permit_without_calls", 1),
            (
                "grpc.http2.min_ping_interval_without_data_ms",
                limits.KEEPALIVE_SECONDS_MIN * MS_PER_SECOND,
            ),
            ("grpc.http2.max_ping_strikes", PING_STRIKES_MAX),
            ("grpc.max_connection_age_ms", limits.CONNECTION_SECONDS_MAX * MS_PER_SECOND),
            ("grpc.max_connection_age_grace_ms", int(limits.CALL_SECONDS_MAX) * MS_PER_SECOND),
            ("grpc.server_handshake_timeout_ms", limits.HANDSHAKE_SECONDS_MAX * MS_PER_SECOND),
            ("grpc.max_concurrent_streams", limits.STREAMS_PER_CONNECTION_MAX),
        ],
    )
    return server, pool


def _add(services: Sequence[Service], server: grpc.Server) -> None:
    for service in services:
        service.add_to_server(service.servicer, server)


def _listen(
    server: grpc.Server,
    pool: futures.ThreadPoolExecutor,
    listen: str,
    credentials: grpc.ServerCredentials | None = None,
) -> Listener:
    host, port = host_and_port(listen)
    address = join(host, port)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise UnavailableError(
            Reason.UNREACHABLE, f"Cannot listen on {listen}: in use, or not this host's."
        ) from error
    server.start()
    return Listener(server, pool, join(host, port))


def _check_socket(path: Path) -> None:
    """Refuse a path that is too long or served; remove a socket nobody serves any more."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise InvalidInputError(
            Reason.CONFIG_INVALID,
            f"The socket path {path} is longer than {SOCKET_PATH_BYTES_MAX} bytes.",
        )
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(SOCKET_PROBE_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise ConflictError(Reason.STORE_BUSY, f"Another process serves on {path}.")
