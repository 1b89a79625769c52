"""A real Prometheus scrapes our metrics, loads our rules and sends an alert with its runbook."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kinlink_core.runtime.health import MetricsServer, Readiness
from kinlink_core.runtime.metrics import (
    GatewayMetrics,
    KeyServerMetrics,
    LinkerMetrics,
    RegistryMetrics,
    RuntimeMetrics,
)
from prometheus_client import CollectorRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.needs_prometheus

MONITORING = Path(__file__).resolve().parents[2] / "deploy/k8s/monitoring"
WAIT_SECONDS_MAX = 60.0
REQUEST_SECONDS_MAX = 5.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(what: str, answer: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            found = answer()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"waited in vain for {what}")


@contextmanager
def process(name: str, declare: type | None = None) -> Iterator[tuple[str, RuntimeMetrics, Any]]:
    """A process's metrics listener: its address, its runtime metrics, its own group."""
    runtime = RuntimeMetrics(CollectorRegistry(), name, "0.0.test")
    group = declare(runtime.registry) if declare else None
    readiness = Readiness(runtime)
    readiness.set(ready=True)
    server = MetricsServer("127.0.0.1:0", runtime, readiness)
    try:
        yield server.address, runtime, group
    finally:
        server.stop()


@contextmanager
def alertmanager() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """What Prometheus needs of an Alertmanager: a place that takes alerts."""
    received: queue.Queue[dict[str, Any]] = queue.Queue()

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            for alert in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
                received.put(alert)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        server.server_close()


class Prometheus:
    """The HTTP API of one that runs."""

    def __init__(self, address: str) -> None:
        self._base = f"http://{address}"

    def get(self, path: str, **parameters: str) -> Any:
        url = f"{self._base}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=REQUEST_SECONDS_MAX) as response:  # noqa: S310
            body = response.read()
        return json.loads(body)["data"] if path.startswith("/api") else body

    def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["result"]
        return result


@contextmanager
def prometheus(folder: Path, targets: dict[str, str], pager: str) -> Iterator[Prometheus]:
    """Debian's Prometheus on loopback with our configuration, only faster and with our targets."""
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    config["global"] = {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [pager]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (folder / "rules.yaml").write_text((MONITORING / "rules.yaml").read_text())
    entries = [{"labels": {"job": job}, "targets": [at]} for job, at in targets.items()]
    (folder / "targets.yaml").write_text(yaml.safe_dump(entries))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        running = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        server = Prometheus(address)
        wait_for("Prometheus", lambda: server.get("/-/ready"))
        yield server
    finally:
        running.terminate()
        running.wait(WAIT_SECONDS_MAX)


def test_an_alert_fires_and_reaches_the_pager_with_its_runbook(tmp_path: Path) -> None:
    with (
        process("registry", RegistryMetrics) as (registry, runtime, _),
        process("linker", LinkerMetrics) as (linker, _, linkages),
        process("gateway", GatewayMetrics) as (gateway, _, _),
        process("keyserver", KeyServerMetrics) as (keyserver, _, evaluations),
        alertmanager() as (pager, pages),
        prometheus(
            tmp_path,
            {
                "kinlink-registry": registry,
                "kinlink-linker": linker,
                "kinlink-gateway": gateway,
                "kinlink-keyserver": keyserver,
            },
            pager,
        ) as server,
    ):
        wait_for("four scraped processes", lambda: len(server.query("up == 1")) == 4)

        loaded = [r for g in server.get("/api/v1/rules")["groups"] for r in g["rules"]]
        written = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
        assert {r["name"] for r in loaded} == {r["alert"] for g in written for r in g["rules"]}

        runtime.rpc_requests.labels("service", "method", "PERMISSION_DENIED").inc()
        linkages.linkages.labels("failed").inc()
        evaluations.refused_batches.labels("henan", "QUOTA_EXCEEDED").inc()
        alerts: dict[str, dict[str, Any]] = {}
        expected = {"ForbiddenCalls", "LinkageFailed", "KeyServerBudgetSpent"}
        while not expected <= set(alerts):
            alert = pages.get(timeout=WAIT_SECONDS_MAX)
            alerts[alert["labels"]["alertname"]] = alert
        assert set(alerts) == expected
        knock = alerts["ForbiddenCalls"]
        assert knock["labels"]["instance"] == registry
        assert knock["annotations"]["runbook_url"].endswith("runbook.md#forbiddencalls")
        assert alerts["LinkageFailed"]["labels"]["severity"] == "critical"

        healthy = [r for g in server.get("/api/v1/rules")["groups"] for r in g["rules"]]
        assert {r["name"]: r.get("lastError", "") for r in healthy if r["health"] != "ok"} == {}

        dashboard = json.loads((MONITORING / "dashboard.json").read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".+")
                assert isinstance(server.query(expression), list), panel["title"]
