"""`kinlink demo`, as someone who has just cloned the project runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = (sys.executable, "-m", "kinlink_local.cli", "demo")
SECONDS_MAX = 240
TEMPORARY = "kinlink-"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder whose path is short enough for a registry's socket below it."""
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        yield Path(folder)


def run(*options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(folder), "COLUMNS": "120"}
    return subprocess.run(
        [*COMMAND, *options],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env=environment,
        check=False,
    )


def processes_below(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def test_the_demo_finds_the_child_shows_why_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = run("--exit", "--story", "registers", "--records", "300", folder=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    shown = done.stdout
    for expected in (
        "Registries",
        "blinded values",
        "left the building",
        "The surest link",
        "The child lost in Xi'an on 17 October 1988",
        "linked at probability",
        "$ kinlink-registry links --id SN-",
        "$ kinlink-registry links --id SC-",
        "match weight",
        "synthetic truth",
    ):
        assert expected in shown
    assert "FAILS" not in shown
    assert "token to log in with" not in shown  # no door is left to open
    # Each officer's record is shown beside that office only; the linker's evidence has no value.
    evidence = shown[shown.index("Why: the linker's evidence") :]
    assert "苗知远" not in evidence
    assert "卓明川" not in evidence
    assert list(tmp_path.iterdir()) == []
    assert processes_below(tmp_path) == []


def test_the_search_goes_on_and_the_page_stays_open_until_it_is_told_to_end(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    process = subprocess.Popen(
        [*COMMAND, "--plain", "--records", "150", "--no-browser", "--dir", str(kept)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        shown = ""
        deadline = time.monotonic() + SECONDS_MAX
        while "Ctrl-C ends everything" not in shown and time.monotonic() < deadline:
            line = process.stdout.readline()
            assert line, f"the demo ended early:\n{shown}"
            shown += line
        # By each step he is shown where he stands on the family's list, in the end at its top.
        for expected in (
            "The boy lost in Xi'an on 17 October 1988",
            "$ kinlink-registry links --id A61-REPLAY",
            "what both notices say",
            "a tip, attached to his notice",
            "a photograph of him",
            "the linker's evidence, without a value",
        ):
            assert expected in shown
        assert "FAILS" not in shown
        address = re.search(r"http://127\.0\.0\.1:\d+/", shown)
        assert address is not None
        assert httpx.get(address[0], follow_redirects=True, timeout=10).status_code == 200
        token = re.search(r"token to log in with:\s*(\S+)", shown)
        assert token is not None
        answer = httpx.get(
            f"{address[0]}api/v1/links", headers={"Authorization": f"Bearer {token[1]}"}, timeout=10
        )
        assert answer.status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    assert processes_below(kept) == []
    assert (kept / "data" / "registries" / "found-1.csv").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_it_in_the_middle_ends_every_process_and_removes_the_folder(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--exit", "--records", "200"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    deadline = time.monotonic() + SECONDS_MAX
    while len(processes_below(tmp_path)) < 3 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(60) in {130, 128 + number}
    assert processes_below(tmp_path) == []
    assert list(tmp_path.glob(f"{TEMPORARY}*")) == []


def test_bad_options_are_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    done = run("--exit", "--records", "5", "--dir", str(tmp_path / "full"), folder=tmp_path)
    assert done.returncode == 2
    assert "give at least 100" in done.stderr
    assert "is not empty" in done.stderr


def test_a_folder_whose_path_is_too_long_for_a_socket_is_refused_with_a_reason(
    tmp_path: Path,
) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    done = run("--exit", "--records", "200", "--dir", str(deep), folder=tmp_path)
    assert done.returncode == 1
    assert "too long for a socket" in done.stderr
