"""Dialling a peer: mutual TLS to exactly the expected identity, retries, deadlines, metrics.

gRPC compares the DNS SAN of the server's certificate with the expected identity's stable name, so
a certificate of another registry is refused in the handshake, before any request leaves. Calls
that fail with `UNAVAILABLE` before their first message are retried by gRPC itself (service
config); after it, a feed goes on with `resume.resumed`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog

from kinlink_core.runtime import limits
from kinlink_core.runtime.identity import Identity, Role
from kinlink_core.runtime.ids import is_id, new_id
from kinlink_core.runtime.interceptor import REQUEST_ID_KEY
from kinlink_core.runtime.status import translate, translated
from kinlink_core.runtime.tls import TlsFiles, client_credentials

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kinlink_core.runtime.metrics import RuntimeMetrics

    UnaryInterceptor = grpc.UnaryUnaryClientInterceptor[Any, Any]
    StreamInterceptor = grpc.UnaryStreamClientInterceptor[Any, Any]
else:
    UnaryInterceptor = grpc.UnaryUnaryClientInterceptor
    StreamInterceptor = grpc.UnaryStreamClientInterceptor

__all__ = ["open_channel", "open_local_channel", "translate", "translated", "wait_until_ready"]

CONNECT_SECONDS: Final = 10.0
RETRY_ATTEMPTS_MAX: Final = 4
# A request is kept for a retry up to this size; gRPC's default would not keep one frame.
RETRY_BUFFER_BYTES_MAX: Final = 2 << 20
RECONNECT_MS_MIN: Final = 200
RECONNECT_MS_MAX: Final = 5_000
MS_PER_SECOND: Final = 1000

# These start something each time they are called, so a lost answer must not call them again.
NEVER_RETRIED: Final = (
    ("kinlink.linker.v1.LinkerService", "CreateLinkage"),
    ("kinlink.registry.v1.ControlService", "Ingest"),
)


def open_channel(
    target: str,
    tls: TlsFiles,
    *,
    role: str,
    name: str,
    metrics: RuntimeMetrics | None = None,
) -> grpc.Channel:
    """A channel to the peer that is `role`/`name` in our own federation; close it after the job.

    Connecting is lazy: an unreachable or wrong peer shows at the first call, or in
    `wait_until_ready`.
    """
    material = tls.load()
    expected = Identity(material.identity.federation, Role(role), name)
    options = [*_options(), ("grpc.ssl_target_name_override", expected.dns_name)]
    channel = grpc.secure_channel(target, client_credentials(material), options)
    return grpc.intercept_channel(channel, Outgoing(name, metrics))


def open_local_channel(path: Path, *, metrics: RuntimeMetrics | None = None) -> grpc.Channel:
    """A channel to the process that serves on a Unix socket of this user."""
    channel = grpc.insecure_channel(f"unix:{path}", _options())
    return grpc.intercept_channel(channel, Outgoing("local", metrics))


def wait_until_ready(channel: grpc.Channel, seconds: float = CONNECT_SECONDS) -> bool:
    """Whether the connection stands, TLS included, within `seconds`."""
    future = grpc.channel_ready_future(channel)
    try:
        future.result(timeout=seconds)
    except grpc.FutureTimeoutError:
        return False
    finally:
        future.cancel()
    return True


def service_config() -> str:
    """Retries as gRPC reads them (gRFC A6)."""
    retry = {
        "maxAttempts": RETRY_ATTEMPTS_MAX,
        "initialBackoff": "0.2s",
        "maxBackoff": "3s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    never = [{"service": service, "method": method} for service, method in NEVER_RETRIED]
    return json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": retry}, {"name": never}]})


def _request_id() -> str:
    """That of the call or HTTP request being handled, so that logs can be joined, or a new one."""
    bound = structlog.contextvars.get_contextvars().get("request_id")
    return bound if isinstance(bound, str) and is_id(bound) else new_id()


def _options() -> list[tuple[str, Any]]:
    return [
        ("grpc.service_config", service_config()),
        ("grpc.enable_retries", 1),
        ("grpc.per_rpc_retry_buffer_size", RETRY_BUFFER_BYTES_MAX),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", limits.TRANSPORT_MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", limits.TRANSPORT_MESSAGE_BYTES_MAX),
        ("grpc.max_metadata_size", limits.METADATA_BYTES_MAX),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS_MIN),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
        ("grpc.keepalive_time_ms", limits.KEEPALIVE_SECONDS * MS_PER_SECOND),
        ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_SECONDS * MS_PER_SECOND),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


@dataclass(frozen=True)
class Outgoing(UnaryInterceptor, StreamInterceptor):
    """Gives each call a deadline and a request id, and counts how it ends."""

    peer: str
    metrics: RuntimeMetrics | None

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Make a call with one answer."""
        return self._make(continuation, details, request, limits.CALL_SECONDS)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        """Make a call that is answered by a stream."""
        return self._make(continuation, details, request, limits.STREAM_SECONDS)

    def _make(
        self, continuation: Callable[..., Any], details: Any, request: Any, seconds: float
    ) -> Any:
        started = time.monotonic()
        timeout = seconds if details.timeout is None else details.timeout
        metadata = [*(details.metadata or ()), (REQUEST_ID_KEY, _request_id())]
        details = details._replace(timeout=timeout, metadata=metadata)
        call = continuation(details, request)
        method = details.method.rpartition("/")[2]
        call.add_done_callback(lambda done: self._account(method, done, started))
        return call

    def _account(self, method: str, call: Any, started: float) -> None:
        if self.metrics is None:
            return
        self.metrics.client_requests.labels(self.peer, method, call.code().name).inc()
        seconds = time.monotonic() - started
        self.metrics.client_seconds.labels(self.peer, method).observe(seconds)
