"""Real servers on loopback with real mutual TLS, and channels to them."""

from __future__ import annotations

import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

from kinlink_core.runtime.channel import open_channel
from kinlink_core.runtime.metrics import RuntimeMetrics
from kinlink_core.runtime.server import RunningServer, ServerSettings, Service, start_server
from prometheus_client import CollectorRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import grpc
    from kinlink_core.runtime.tls import TlsFiles

LOOPBACK = "127.0.0.1:0"
VERSION = "0.0.test"


def new_metrics(service: str = "test") -> RuntimeMetrics:
    return RuntimeMetrics(CollectorRegistry(), service, VERSION)


@dataclass
class Server:
    """A started server and its metrics."""

    running: RunningServer
    metrics: RuntimeMetrics = field(repr=False)

    @property
    def target(self) -> str:
        return self.running.addresses["api"]

    def sample(self, name: str, **labels: str) -> float:
        """One value out of the metrics; 0 where there is none yet."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of a GET on the metrics listener."""
        return http_get(f"http://{self.running.addresses['metrics']}{path}")


@contextmanager
def serving(tls: TlsFiles, services: Sequence[Service], **settings: Any) -> Iterator[Server]:
    """A server for the length of the block."""
    metrics = new_metrics()
    listens = {"listen": LOOPBACK, "health_listen": LOOPBACK, "metrics_listen": LOOPBACK}
    running = start_server(ServerSettings(tls=tls, **{**listens, **settings}), services, metrics)
    try:
        yield Server(running, metrics)
    finally:
        running.stop(grace=0)


@contextmanager
def dialling(
    target: str, tls: TlsFiles, role: str, name: str, metrics: RuntimeMetrics | None = None
) -> Iterator[grpc.Channel]:
    """A channel for the length of the block."""
    channel = open_channel(target, tls, role=role, name=name, metrics=metrics)
    try:
        yield channel
    finally:
        channel.close()


def http_get(url: str) -> tuple[int, str]:
    """Status and body; an error status is an answer too."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - loopback
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return HTTPStatus(error.code), error.read().decode()
