from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import UnavailableError
from kinlink_core.runtime.health import HTTP_CONNECTIONS_MAX, MetricsServer, Readiness
from kinlink_core.runtime.metrics import (
    GatewayMetrics,
    KeyServerMetrics,
    LinkerMetrics,
    RegistryMetrics,
    RuntimeMetrics,
    declared_metrics,
)
from prometheus_client import CollectorRegistry, generate_latest
from support.servers import LOOPBACK, http_get, new_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

# Labels whose values are many, or say something about a person.
FORBIDDEN_LABELS = {
    *("id", "linkage", "linkage_id", "link", "person", "subject", "token", "handle", "value"),
    *("user", "name", "path", "field", "record", "case"),
}


@pytest.fixture
def probes() -> Iterator[MetricsServer]:
    metrics = new_metrics()
    server = MetricsServer(LOOPBACK, metrics, Readiness(metrics))
    yield server
    server.stop()


def test_every_metric_has_a_prefix_a_help_text_and_few_labels() -> None:
    for metric in declared_metrics():
        assert re.fullmatch(r"kinlink_[a-z][a-z0-9_]*[a-z]", metric.name), metric
        assert metric.text.endswith("."), metric
        assert len(metric.labels) <= 3, metric
        assert not FORBIDDEN_LABELS & set(metric.labels), metric


def test_no_name_is_declared_twice_and_counters_end_in_total() -> None:
    names = [metric.name for metric in declared_metrics()]
    assert len(names) == len(set(names))
    assert all(m.name.endswith("_total") == (m.kind == "counter") for m in declared_metrics())


def test_every_declared_metric_is_exposed_by_its_service() -> None:
    registry = CollectorRegistry()
    RuntimeMetrics(registry, "all", "0")
    RegistryMetrics(registry)
    LinkerMetrics(registry)
    GatewayMetrics(registry)
    KeyServerMetrics(registry)
    text = generate_latest(registry).decode()
    for metric in declared_metrics():
        assert f"# HELP {metric.name} " in text
        assert f"# TYPE {metric.name} {metric.kind}" in text


def test_the_build_is_told_and_the_process_is_measured() -> None:
    text = generate_latest(new_metrics("linker").registry).decode()
    assert re.search(r'kinlink_build_info\{python="3[^"]*",service="linker",version=', text)
    assert "process_resident_memory_bytes" in text


def test_openmetrics_is_served_to_those_who_ask_for_it(probes: MetricsServer) -> None:
    host, port = probes.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(
            b"GET /metrics HTTP/1.0\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"openmetrics-text" in answer
    assert answer.endswith(b"# EOF\n")


def test_idle_connections_do_not_keep_a_probe_out_for_ever(
    probes: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinlink_core.runtime.health._Probes.timeout", 0.3)
    host, port = probes.address.split(":")
    idle = [
        socket.create_connection((host, int(port)), timeout=5) for _ in range(HTTP_CONNECTIONS_MAX)
    ]
    time.sleep(1)
    assert http_get(f"http://{probes.address}/healthz") == (200, "ok\n")
    for connection in idle:
        connection.close()


def test_other_methods_are_not_answered(probes: MetricsServer) -> None:
    host, port = probes.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST /metrics HTTP/1.0\r\n\r\n")
        assert b"501" in connection.recv(4096)


def test_a_port_in_use_is_a_clear_error(probes: MetricsServer) -> None:
    metrics = new_metrics()
    with pytest.raises(UnavailableError, match="Cannot listen on"):
        MetricsServer(probes.address, metrics, Readiness(metrics))
