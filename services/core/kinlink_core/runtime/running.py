"""A process that serves: its ports, its readiness, and its graceful end."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from kinlink_core.runtime.ready import announced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent import futures
    from pathlib import Path

    import grpc

    from kinlink_core.runtime.health import MetricsServer, Readiness
    from kinlink_core.runtime.identity import Identity

STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Listener:
    """A started gRPC server, the threads that serve it, and where it listens."""

    server: grpc.Server
    pool: futures.ThreadPoolExecutor
    address: str

    def stop(self, grace_seconds: float) -> None:
        """Take no more calls, and cut those that still run after `grace_seconds`."""
        self.server.stop(grace_seconds).wait()
        self.pool.shutdown(wait=False, cancel_futures=True)


class RunningServer:
    """The listeners of a process, until `stop`."""

    def __init__(
        self,
        *,
        identity: Identity,
        api: Listener,
        health: Listener,
        probes: MetricsServer,
        readiness: Readiness,
        drain_seconds: float,
        grace_seconds: float,
    ) -> None:
        self.identity = identity
        self.stopping = threading.Event()
        self._api = api
        self._health = health
        self._probes = probes
        self._readiness = readiness
        self._drain_seconds = drain_seconds
        self._grace_seconds = grace_seconds
        self._stop_lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def addresses(self) -> Mapping[str, str]:
        """`HOST:PORT` of the `api`, `health` and `metrics` listeners."""
        return {
            "api": self._api.address,
            "health": self._health.address,
            "metrics": self._probes.address,
        }

    @property
    def api_port(self) -> int:
        """Port of the mutual TLS listener."""
        return port_of(self._api.address)

    @property
    def health_port(self) -> int:
        """Port of the plaintext gRPC health listener."""
        return port_of(self._health.address)

    @property
    def metrics_port(self) -> int:
        """Port of the HTTP listener of metrics and probes."""
        return port_of(self._probes.address)

    def set_ready(self, *, ready: bool) -> None:
        """Say that calls are answered, or that they are not for a while."""
        self._readiness.set(ready=ready)

    def stop(self, grace: float | None = None) -> None:
        """Turn health off, drain, let running calls end for `grace` seconds, close everything.

        A handler of a long stream ends it when `stopping` is set; what still runs after the grace
        is cut, and its caller sees `CANCELLED` or `UNAVAILABLE`.
        """
        with self._stop_lock:
            if self._stopped.is_set():
                return
            _log.info("server_stopping")
            self._readiness.set(ready=False)
            self._stopped.wait(self._drain_seconds)
            self.stopping.set()
            self._api.stop(self._grace_seconds if grace is None else grace)
            self._health.stop(0)
            self._probes.stop()
            self._stopped.set()
            _log.info("server_stopped")

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until `stop` has ended; False when the time ran out before."""
        return self._stopped.wait(timeout)

    def run_until_signal(self, home: Path | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then stop gracefully; main thread only.

        With `home` its `ready.json` stands from when signals are heeded until the stop begins.
        A second signal does not hurry the stop, which the grace bounds.
        """
        with caught_signals() as wait:
            with announced(home, self.addresses) if home else nullcontext():
                wait()
            self.stop()


@contextmanager
def caught_signals() -> Iterator[Callable[[], None]]:
    """Yield a function that waits for SIGTERM or SIGINT, which do nothing else meanwhile.

    The wait is on a socket that the C handler writes to: a Python handler that sets an event can
    meet its own lock, and a signal that another thread receives would not end a wait on a lock.
    """
    receiver, sender = socket.socketpair()
    sender.settimeout(0)
    descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, lambda *_: None) for number in STOP_SIGNALS}
    with receiver, sender:
        try:
            yield lambda: _wait_for_stop(receiver)
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in previous.items():
                signal.signal(number, handler)


def _wait_for_stop(receiver: socket.socket) -> None:
    """Read the numbers of signals until one of ours comes; others may share the descriptor."""
    while not STOP_SIGNALS & set(receiver.recv(64)):
        pass


def port_of(address: str) -> int:
    """The port of a `HOST:PORT`."""
    return int(address.rpartition(":")[2])
