"""The doctor beside a registry that serves, with a real key server and a real linker around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support import key_server
from support.servers import serving
from unit.registry.rig import EPOCH, Rig, must, people, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = (sys.executable, "-c", "from kinlink_registry.cli import main; main()")
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0


@contextmanager
def served(home: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [*COMMAND, "--home", str(home), "serve"],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )
    try:
        until = time.monotonic() + READY_SECONDS_MAX
        while not (home / "ready.json").exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(STOP_SECONDS_MAX)


def told(home: Path, *arguments: str) -> dict[str, list[tuple[str, str]]]:
    findings: list[dict[str, Any]] = json.loads(run(home, "doctor", "--json", *arguments).stdout)[
        "findings"
    ]
    areas: dict[str, list[tuple[str, str]]] = {}
    for each in findings:
        areas.setdefault(each["area"], []).append((each["state"], each["text"]))
    return areas


def test_a_served_registry_its_key_server_and_the_linker_are_looked_at(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    declared = key_server.make_home(
        rig.federation, tmp_path / "keyserver", {"anhui": 4}, rig.schema_path
    )
    with key_server.serving(declared) as (_, addresses):
        home = rig.registry("anhui", key_server=addresses["api"])
        must(home, "keys", "create", EPOCH)
        rig.fill(home, people(1, 2, 3))
        linker = rig.federation.tls("linker", "linker")
        with served(home), serving(linker, []) as there:
            found = told(home, "--linker", there.target)
            problems = [each for area in found.values() for each in area if each[0] == "problem"]
            assert problems == []
            assert found["ports"][0][1].endswith("and is ready.")
            assert "open in the process that serves" in found["vault"][0][1]
            assert "all 3 records are encoded; its canary is" in found["epochs"][0][1]
            assert found["key server"][0][1].endswith(f"it serves the epochs {EPOCH}.")
            assert found["linker"][0][0] == "ok"
            assert "key server" not in found["settings"][1][1]
    found = told(home)
    assert found["ports"][0][0] == "warning"
    assert found["key server"][0][0] == "problem"
