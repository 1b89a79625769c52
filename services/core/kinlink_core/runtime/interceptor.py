"""The one door of every served call: identity, policy, deadline, limits, errors, metrics, log.

All four kinds of calls are served as raw streams and (de)serialised here, so that a malformed or
too large message, a refused peer and a bug end alike: in one `google.rpc.Status`, one metric and
one log line that names method, peer, code, seconds and request id, and never a value.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError

from kinlink_core.errors import (
    CancelledError,
    DeadlineError,
    ForbiddenError,
    InvalidInputError,
    KinlinkError,
    QuotaError,
    Reason,
    UnauthenticatedError,
    UnsupportedError,
)
from kinlink_core.runtime.ids import is_id, new_id
from kinlink_core.runtime.limits import CALL_SECONDS_MAX, MESSAGE_BYTES_MAX
from kinlink_core.runtime.logging import frames_of
from kinlink_core.runtime.status import DETAILS_KEY, status_code, to_status

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from kinlink_core.runtime.identity import Identity, Role
    from kinlink_core.runtime.metrics import RuntimeMetrics

    ServerInterceptor = grpc.ServerInterceptor[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
else:
    ServerInterceptor = grpc.ServerInterceptor

REQUEST_ID_KEY: Final = "x-request-id"
UNKNOWN_METHOD: Final = "unknown"
# How long the end of a call may lag behind its last message.
SETTLE_SECONDS: Final = 0.2

_log = structlog.get_logger(__name__)
_caller: ContextVar[Identity] = ContextVar("kinlink_caller")


def caller() -> Identity:
    """Who makes the call that is being handled; raises `UnauthenticatedError` outside of one."""
    try:
        return _caller.get()
    except LookupError:
        raise UnauthenticatedError(Reason.IDENTITY_MISSING) from None


@contextmanager
def calling_as(identity: Identity) -> Generator[None]:
    """Handle the block as if `identity` had called: for in-process use and tests of handlers."""
    reset = _caller.set(identity)
    try:
        yield
    finally:
        _caller.reset(reset)


@dataclass(frozen=True)
class Policy:
    """Which roles may call which method, by full name (`/package.Service/Method`)."""

    roles: Mapping[str, frozenset[Role]]

    def check(self, method: str, identity: Identity) -> None:
        """Refuse what no row allows."""
        if identity.role not in self.roles.get(method, frozenset()):
            raise ForbiddenError(Reason.ROLE_FORBIDDEN)


@dataclass(frozen=True)
class Gate(ServerInterceptor):
    """The server interceptor; `authenticate` turns a call's context into its caller."""

    policy: Policy
    federation: str
    authenticate: Callable[[grpc.ServicerContext], Identity]
    metrics: RuntimeMetrics

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler of a call; a method without one is answered here too."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method

        def serve(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return _Call(self, method, handler, context).run(requests)

        return grpc.stream_stream_rpc_method_handler(serve)


class _Call:
    """One call from its first byte to its log line."""

    def __init__(
        self, gate: Gate, method: str, handler: Handler | None, context: grpc.ServicerContext
    ) -> None:
        self._gate = gate
        self._metrics = gate.metrics
        self._full_method = method
        service, _, name = method.lstrip("/").rpartition("/")
        self._labels = (service, name) if handler else (UNKNOWN_METHOD, UNKNOWN_METHOD)
        self._handler = handler
        self._context = context
        self._request_id = _request_id(context)
        self._peer = ""

    def run(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the serialised responses; whatever is raised becomes the status of the call."""
        started = time.monotonic()
        error: KinlinkError | None = None
        in_flight = self._metrics.rpc_in_flight.labels(self._labels[0])
        in_flight.inc()
        try:
            yield from self._responses(requests)
        except GeneratorExit:
            error = self._gone()
            raise
        except KinlinkError as raised:
            error = raised
            self._answer(error)
        except Exception as raised:  # noqa: BLE001 - the last resort of every call
            error = self._unexpected(raised)
            self._answer(error)
        finally:
            in_flight.dec()
            self._account(error, time.monotonic() - started)

    def _responses(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        identity = self._admit()
        _caller.set(identity)
        structlog.contextvars.bind_contextvars(request_id=self._request_id, peer=self._peer)
        handler = self._handler
        if handler is None:
            raise UnsupportedError(Reason.METHOD_UNKNOWN)
        if self._context.time_remaining() > CALL_SECONDS_MAX:
            raise InvalidInputError(Reason.DEADLINE_MISSING)
        messages = self._read(handler, requests)
        argument = messages if handler.request_streaming else self._only(messages)
        answer = _behavior(handler)(argument, self._context)
        for response in answer if handler.response_streaming else (answer,):
            yield self._write(handler, response)

    def _admit(self) -> Identity:
        identity = self._gate.authenticate(self._context)
        self._peer = str(identity)
        if identity.federation != self._gate.federation:
            raise ForbiddenError(Reason.FEDERATION_DIFFERS)
        if self._handler is not None:
            self._gate.policy.check(self._full_method, identity)
        return identity

    def _read(self, handler: Handler, requests: Iterator[bytes]) -> Iterator[Any]:
        received = self._metrics.rpc_received_bytes.labels(*self._labels)
        for raw in requests:
            received.inc(len(raw))
            if len(raw) > MESSAGE_BYTES_MAX:
                raise _too_large()
            try:
                yield _codec(handler.request_deserializer)(raw)
            except DecodeError as error:
                raise InvalidInputError(Reason.REQUEST_MALFORMED) from error

    def _only(self, messages: Iterator[Any]) -> Any:
        with suppress(grpc.RpcError):  # what a call that has ended says instead of a message
            for message in messages:
                return message
        raise self._absent()

    def _absent(self) -> KinlinkError:
        """Why a call that needs one request had none.

        The transport drops a message over its own limit and ends the call, telling only the
        caller. On this side that looks like a caller who cancelled before the request was sent.
        """
        ended = threading.Event()
        if self._context.add_callback(ended.set) and not ended.wait(SETTLE_SECONDS):
            return InvalidInputError(Reason.REQUEST_MALFORMED, "The call carried no request.")
        if self._context.time_remaining() <= 0:
            return DeadlineError(Reason.DEADLINE)
        return QuotaError(Reason.MESSAGE_TOO_LARGE, detail="refused by the transport, or cancelled")

    def _write(self, handler: Handler, response: Any) -> bytes:
        raw: bytes = _codec(handler.response_serializer)(response)
        if len(raw) > MESSAGE_BYTES_MAX:
            raise _too_large()
        self._metrics.rpc_sent_bytes.labels(*self._labels).inc(len(raw))
        return raw

    def _gone(self) -> KinlinkError:
        """Why a call ended that its peer no longer waits for."""
        if self._context.time_remaining() <= 0:
            return DeadlineError(Reason.DEADLINE)
        return CancelledError(Reason.CANCELLED)

    def _unexpected(self, raised: Exception) -> KinlinkError:
        if isinstance(raised, grpc.RpcError) and not self._context.is_active():
            return self._gone()  # reading on from a caller who went away
        _log.error(
            "handler_failed",
            method=self._full_method,
            exception=type(raised).__qualname__,
            frames=frames_of(raised),
        )
        return KinlinkError(Reason.INTERNAL)

    def _answer(self, error: KinlinkError) -> None:
        status = to_status(error)
        self._context.set_code(status_code(error))
        self._context.set_details(status.message)
        self._context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))

    def _account(self, error: KinlinkError | None, seconds: float) -> None:
        code = "OK" if error is None else error.code
        self._metrics.rpc_requests.labels(*self._labels, code).inc()
        self._metrics.rpc_seconds.labels(*self._labels).observe(seconds)
        event: dict[str, Any] = {
            "method": self._full_method if self._handler else UNKNOWN_METHOD,
            "peer": self._peer,
            "code": code,
            "seconds": round(seconds, 4),
            "request_id": self._request_id,
        }
        if error is None:
            _log.info("call", **event)
            return
        self._metrics.rpc_errors.labels(*self._labels, error.reason.value).inc()
        _log.warning("call", **event, reason=error.reason.value, detail=error.detail)


def _behavior(handler: Handler) -> Callable[[Any, grpc.ServicerContext], Any]:
    """The servicer's method; a handler has exactly one of the four."""
    kinds = (
        handler.unary_unary,
        handler.unary_stream,
        handler.stream_unary,
        handler.stream_stream,
    )
    return next(kind for kind in kinds if kind is not None)


def _codec(function: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """A (de)serializer; None is gRPC's way to say that messages are bytes."""
    return function or bytes


def _request_id(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == REQUEST_ID_KEY and isinstance(value, str) and is_id(value):
            return value
    return new_id()


def _too_large() -> QuotaError:
    return QuotaError(Reason.MESSAGE_TOO_LARGE, limit_bytes=str(MESSAGE_BYTES_MAX))
