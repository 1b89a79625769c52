"""Registries whose tables, Unicode data or code drifted: caught before a record flows, and named.

Each drifted registry is a real process that loads one real change at its start, as after an update
of a package or of Python: what a `sitecustomize` on its path alters, only that process has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from unit.linker.federation import (
    LINKER,
    RealFederation,
    serve_registry,
    serving_linker,
    write_linker_home,
)
from unit.registry.rig import Rig, must, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = """\
name: drift
fields:
  - {name: person, kind: name_zh, entropy_bits: 13}
  - {name: dob, kind: date, entropy_bits: 14}
  - {name: address, kind: text, entropy_bits: 14}
passes:
  - {id: sound, parts: {person: phonetic, dob: exact}}
  - {id: month, parts: {person: exact, dob: year_month}}
"""
PEOPLE = [
    {"record_id": "a1", "person": "张伟", "dob": "1988-10-17", "address": "西安市碑林区1号"},
    {"record_id": "a2", "person": "顾宁宁", "dob": "1986-02-23", "address": "成都市金牛区2号"},
]
GOOD = ("anhui", "gansu")
PINYIN = """
from pypinyin.pinyin_dict import pinyin_dict
pinyin_dict[ord("伟")] = "wo"
"""
UNICODE = """
import unicodedata
known = unicodedata.normalize
unicodedata.normalize = lambda form, text: text if text in ("Ⅷ", "ⅷ") else known(form, text)
"""
TRANSFORM = """
from kinlink_core.encoding import features
features._TRANSFORMS["year_month"] = lambda field, value, n: value[:4]
"""
# What changes at the start of a process → the reason, and what the operator is told.
DRIFTS = {
    "pinyin": (PINYIN, "SCHEMA_DIFFERS", "in: the pinyin table, the sketch of field person"),
    "unicode": (UNICODE, "SCHEMA_DIFFERS", "in: Unicode data."),
    "transform": (TRANSFORM, "ENCODING_DIFFERS", "in: blocking pass month."),
}
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0


def command(home: Path, drift: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-c", "from kinlink_registry.cli import main; main()",
            "--home", str(home), *arguments,
        ],
        env={**os.environ, "PYTHONPATH": str(drift)},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def patched(directory: Path, name: str) -> Path:
    folder = directory / f"drift-{name}"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(DRIFTS[name][0], "utf-8")
    return folder


@contextmanager
def drifted(made: RealFederation, directory: Path) -> Iterator[dict[str, str]]:
    """Serve one registry a drift; yields their addresses."""
    processes = []
    try:
        for name in DRIFTS:
            home = made.rig.homes[name]
            processes.append(command(home, patched(directory, name), "serve"))
        until = time.monotonic() + START_SECONDS_MAX
        for name, process in zip(DRIFTS, processes, strict=True):
            while not (made.rig.homes[name] / "ready.json").exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
                time.sleep(0.05)
        yield {
            name: json.loads((made.rig.homes[name] / "ready.json").read_text())["api"]
            for name in DRIFTS
        }
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.communicate(timeout=STOP_SECONDS_MAX)


@pytest.fixture(scope="module")
def linkage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealFederation, Any]]:
    """A linkage of two registries that are alike and of all drifted ones."""
    directory = tmp_path_factory.mktemp("drift")
    rig = Rig(directory, SCHEMA)
    homes = [rig.registry(name) for name in (*GOOD, *DRIFTS)]
    rig.share(homes[0], *homes[1:])
    made = RealFederation(rig, directory / LINKER)
    with ExitStack() as stack:
        for name in GOOD:
            rows = write_csv(rig.homes[name] / "in.csv", PEOPLE, tuple(PEOPLE[0]))
            must(rig.homes[name], "ingest", rows)
            made.served[name] = serve_registry(stack, rig.homes[name])
        addresses = stack.enter_context(drifted(made, directory))
        write_linker_home(made)
        settings = made.linker_home / "linker.toml"
        more = "".join(
            f'[[registries]]\nname = "{name}"\naddress = "{address}"\n\n'
            for name, address in addresses.items()
        )
        settings.write_text(settings.read_text().replace("[policy]", more + "[policy]"))
        made.linker = stack.enter_context(serving_linker(made.linker_home))
        yield made, made.link("--purpose", "rehearsal")


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_drifted_registry_is_refused_by_the_name_of_the_part_and_sends_nothing(
    linkage: tuple[RealFederation, Any], drift: str
) -> None:
    made, ended = linkage
    _, reason, said = DRIFTS[drift]
    missing = {each["name"]: each for each in ended["missing_registries"]}
    assert set(missing) == set(DRIFTS)
    assert missing[drift]["reason"] == reason
    assert said in missing[drift]["detail"]
    actions = [
        json.loads(line)["action"]
        for line in (made.rig.homes[drift] / "audit.jsonl").read_text().splitlines()
    ]
    assert "GetRegistry" in actions
    assert "StreamTokens" not in actions


def test_those_that_encode_alike_link_all_the_same(linkage: tuple[RealFederation, Any]) -> None:
    _, ended = linkage
    assert ended["state"] == "LINKAGE_STATE_PARTIAL"
    assert ended["epoch"] == "2026-11"


def test_the_operator_reads_the_part_beside_the_registry(
    linkage: tuple[RealFederation, Any],
) -> None:
    made, _ = linkage
    told = made.must("registries")
    assert "ENCODING_DIFFERS" in told
    assert "transform: The encoding of 2026-11 differs between transform and anhui, gansu" in told
    found = [json.loads(line) for line in made.must("registries", "--json").splitlines()]
    details = {each["name"]: each["detail"] for each in found}
    assert "Unicode data" in details["unicode"]
    assert details["anhui"] == ""


def test_a_vault_that_was_filled_before_its_tables_changed_is_not_opened_after(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, SCHEMA)
    home = rig.registry("anhui")
    must(home, "keys", "create", "2026-11")
    must(home, "ingest", write_csv(home / "in.csv", PEOPLE, tuple(PEOPLE[0])))
    process = command(home, patched(tmp_path, "pinyin"), "status")
    _, errors = process.communicate(timeout=START_SECONDS_MAX)
    assert process.returncode == 1
    assert "by other tables. It differs in: the pinyin table" in errors
