"""Every process we start is ended by us: when asked, on failure, and when it will not go."""

from __future__ import annotations

import os
import textwrap
import threading
import time
from typing import TYPE_CHECKING

import pytest
from kinlink_local import processes
from kinlink_local.errors import ProcessFailedError
from kinlink_local.processes import Supervisor
from kinlink_local.procfs import cpu_seconds, peak_rss_mib

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = """
import json, os, pathlib, signal, sys, time
import click

@click.command()
@click.option("--home", type=pathlib.Path)
@click.argument("words", nargs=-1)
def main(home, words):
    print("hello from", click.get_current_context().info_name, *words, flush=True)
    if "crash" in words:
        print("the reason", file=sys.stderr)
        sys.exit(3)
    if "divide" in words:
        1 / 0
    if "stubborn" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "slow" not in words:
        ready = {"pid": os.getpid(), "api": "127.0.0.1:1", "health": "h:2", "metrics": "m:3"}
        (home / "ready.json").write_text(json.dumps(ready))
    if "answer" not in words:
        time.sleep(60)
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    (tmp_path / "pretend.py").write_text(textwrap.dedent(SERVICE), encoding="utf-8")
    with Supervisor({"PYTHONPATH": str(tmp_path)}) as made:
        yield made


def home(tmp_path: Path) -> Path:
    path = tmp_path / "service"
    path.mkdir()
    return path


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_service_is_ready_when_it_has_said_where_it_listens(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    service = supervisor.start("one", "pretend", home(tmp_path), "serve")
    assert supervisor.wait_ready(service).api == "127.0.0.1:1"
    supervisor.stop()
    assert not alive(service.pid)
    assert service.process.returncode == 0
    assert service.peak_rss_mib > 1
    assert "hello from pretend serve" in service.tail()


def test_an_old_ready_file_of_another_process_is_not_believed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    service = supervisor.start("one", "pretend", home(tmp_path), "slow")
    stale = '{"pid": 1, "api": "x", "health": "x", "metrics": "x"}'
    (service.home / "ready.json").write_text(stale, encoding="utf-8")
    with pytest.raises(ProcessFailedError, match="one was not ready"):
        supervisor.wait_ready(service, seconds=0.4)


def test_a_service_that_crashes_is_reported_with_the_end_of_its_log(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    service = supervisor.start("one", "pretend", home(tmp_path), "crash")
    with pytest.raises(ProcessFailedError, match=r"ended with status 3(.|\n)*the reason"):
        supervisor.wait_ready(service)


def test_a_session_runs_command_after_command_and_says_what_failed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    office = supervisor.open_office("pretend", home(tmp_path))
    assert office.run("answer") == "hello from pretend answer\n"
    with pytest.raises(
        ProcessFailedError, match=r"`pretend crash` ended with status 3(.|\n)*the reason"
    ):
        office.run("crash")
    with pytest.raises(ProcessFailedError, match=r"status 2(.|\n)*No such option"):
        office.run("--unknown")
    with pytest.raises(ProcessFailedError, match=r"status 1(.|\n)*ZeroDivisionError"):
        office.run("divide")
    assert office.run("answer", "again") == "hello from pretend answer again\n"


def test_a_service_that_ignores_the_request_is_killed(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS_MAX", 0.3)
    service = supervisor.start("one", "pretend", home(tmp_path), "stubborn")
    supervisor.wait_ready(service)
    supervisor.stop()
    assert not alive(service.pid)


def test_leaving_in_the_middle_of_a_command_ends_the_command(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    place = home(tmp_path)
    office = supervisor.open_office("pretend", place)
    failures: list[ProcessFailedError] = []

    def run() -> None:
        try:
            office.run("stubborn")
        except ProcessFailedError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not (place / "ready.json").exists():
        time.sleep(0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "STOP_SECONDS_MAX", 0.3)
        supervisor.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert "was cut off" in str(failures[0])
    with pytest.raises(ProcessFailedError, match="being stopped"):
        supervisor.start("late", "pretend", place)


def test_the_peak_memory_of_this_process_is_known() -> None:
    assert 10 < peak_rss_mib(os.getpid()) < 100_000


def test_the_processor_time_of_this_process_is_known_and_grows() -> None:
    before = cpu_seconds(os.getpid())
    assert before > 0
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass
    assert cpu_seconds(os.getpid()) > before
