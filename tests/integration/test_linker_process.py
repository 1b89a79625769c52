"""The `kinlink-linker` process: killed or stopped in the middle of a linkage, and started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from kinlink_linker.linker_client import LinkerClient
from support.servers import http_get
from unit.linker.federation import RealFederation, federation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY_SECONDS = 60


@contextmanager
def process(made: RealFederation) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """`kinlink-linker serve`; its addresses once it is ready."""
    ready = made.linker_home / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-c", "from kinlink_linker.cli import main; main()"]
    running = subprocess.Popen(
        [*command, "--home", str(made.linker_home), "serve"], stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + READY_SECONDS
        while not ready.exists():
            assert running.poll() is None, "the linker ended before it was ready"
            assert time.monotonic() < until, "the linker is not ready in time"
            time.sleep(0.05)
        yield running, json.loads(ready.read_text())
    finally:
        if running.poll() is None:
            running.kill()
        running.wait(30)


def client(made: RealFederation, addresses: dict[str, Any]) -> LinkerClient:
    return LinkerClient(addresses["api"], made.operator)


def begin(linker: LinkerClient) -> dict[str, Any]:
    """Start a linkage and wait until it runs."""
    begun = linker.create(probability=None, weight=None, registries=[], model="", purpose="")
    for step in linker.watch(begun["id"]):
        if step["stages"]:
            break
    return begun


def link(linker: LinkerClient) -> dict[str, Any]:
    begun = linker.create(probability=None, weight=None, registries=[], model="", purpose="")
    *_, last = linker.watch(begun["id"])
    return last


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_linker_that_ends_in_the_middle_of_a_linkage_can_run_it_again(
    tmp_path: Path, how: signal.Signals
) -> None:
    shares = {"anhui": range(120), "gansu": range(120)}
    with federation(tmp_path, shares, serve=False) as made:
        with process(made) as (running, addresses), client(made, addresses) as linker:
            begun = begin(linker)
            running.send_signal(how)
            code = running.wait(60)
            assert code == (0 if how is signal.SIGTERM else -signal.SIGKILL)
            assert (made.linker_home / "ready.json").exists() is (how is signal.SIGKILL)
        with process(made) as (_, addresses), client(made, addresses) as linker:
            left = linker.linkage(begun["id"])
            assert left["state"] == "LINKAGE_STATE_FAILED"
            assert left["error_reason"] == "INTERRUPTED"
            assert "Start it again" in left["error_detail"]
            again = link(linker)
            assert again["state"] == "LINKAGE_STATE_SUCCEEDED"
            assert int(again["links"]) == 120


def test_the_process_reports_what_it_does(tmp_path: Path) -> None:
    shares = {"anhui": range(40), "gansu": range(40)}
    with (
        federation(tmp_path, shares, serve=False) as made,
        process(made) as (_, addresses),
        client(made, addresses) as linker,
    ):
        link(linker)
        status, text = http_get(f"http://{addresses['metrics']}/metrics")
        assert status == 200
        samples = dict(
            line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")
        )
        assert samples['kinlink_linker_linkages_total{state="succeeded"}'] == "1.0"
        assert samples['kinlink_linker_registry_state{registry="anhui",state="ready"}'] == "1.0"
        assert float(samples['kinlink_linker_tokens{registry="gansu"}']) == 80
        assert float(samples['kinlink_linker_sync_lag_events{registry="gansu"}']) == 0
        assert 0 <= float(samples['kinlink_linker_sync_age_seconds{registry="gansu"}']) < 60
        assert float(samples['kinlink_linker_received_bytes_total{registry="anhui"}']) > 0
        assert float(samples['kinlink_linker_islands_total{pass_id="name_birth"}']) > 0
        assert float(samples['kinlink_linker_em_iterations{pass_id="all"}']) > 0
        linked = [float(v) for k, v in samples.items() if k.startswith("kinlink_linker_links{")]
        assert sum(linked) == 40
        assert float(samples["kinlink_linker_persons"]) == 40
        assert float(samples["kinlink_linker_store_bytes"]) > 0
