"""The doctor finds each fault by its area, says what to do, and changes nothing."""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import shutil
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pytest
from kinlink_core.encoding import features
from kinlink_core.runtime.files import write_file
from kinlink_registry import doctor_home, doctor_reach
from kinlink_registry.home import Home
from unit.registry.rig import EPOCH, Rig, must, people, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FUTURE_SECONDS = 4_000_000_000


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A registry that is ready but for being served."""
    made = Rig(tmp_path_factory.mktemp("ready"))
    home = made.registry("anhui")
    must(home, "keys", "create", EPOCH)
    made.fill(home, people(1, 2, 3))
    return made


@pytest.fixture
def rig(ready: Rig, tmp_path: Path) -> Rig:
    """A copy of it to spoil."""
    shutil.copytree(ready.directory, tmp_path, dirs_exist_ok=True)
    mine = copy.copy(ready)
    mine.directory, mine.homes = tmp_path, {"anhui": tmp_path / "anhui"}
    mine.schema_path = tmp_path / ready.schema_path.name
    edited(mine.homes["anhui"], "registry.toml", str(ready.directory), str(tmp_path))
    return mine


@pytest.fixture
def home(rig: Rig) -> Path:
    return rig.homes["anhui"]


def found(home: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    result = run(home, "doctor", "--json", *arguments)
    document = json.loads(result.stdout)
    assert document["ready"] == (result.exit_code == 0)
    return result.exit_code, document["findings"]


def of(findings: list[dict[str, Any]], state: str) -> dict[str, str]:
    """Text and advice of each finding of a state, by area."""
    return {
        each["area"]: f"{each['text']} {each['advice']}"
        for each in findings
        if each["state"] == state
    }


def test_a_ready_node_is_told_area_by_area_and_nothing_is_changed(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    result = run(home, "doctor")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    _, findings = found(home)
    assert list(dict.fromkeys(each["area"] for each in findings)) == [
        "settings", "schema", "encoding", "keys", "certificate", "clock", "vault", "epochs",
        "audit", "disk", "files", "ports",
    ]  # fmt: skip
    assert f"{EPOCH}: all 3 records are encoded; its canary is" in result.stdout
    assert lines[-1] == "Ready, with 3 warnings."
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()} == before


def test_a_node_that_is_new_is_told_what_comes_next(tmp_path: Path) -> None:
    code, findings = found(Rig(tmp_path).registry("anhui"))
    assert code == 1
    assert list(of(findings, "problem")) == ["epochs"]
    assert "keys create" in of(findings, "problem")["epochs"]
    assert "Ingest" in of(findings, "warning")["vault"]
    code, findings = found(tmp_path / "nowhere")
    assert code == 1
    assert "or run init in an empty home" in of(findings, "problem")["settings"]


class Fault(NamedTuple):
    """What somebody did to a home, and in which area which words say so."""

    done: Callable[[Rig, Path], object]
    area: str
    said: str


def reissue(rig: Rig, home: Path, **options: Any) -> None:
    name = options.pop("name", "anhui")
    request = Home(home).enrolment.request.read_bytes()
    certificate = rig.federation.authority.issue(request, "registry", name, (), **options)
    write_file(Home(home).enrolment.certificate, certificate)


def days_from_now(days: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)


def edited(home: Path, name: str, old: str, new: str) -> None:
    path = home / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def newer_vault(_rig: Rig, home: Path) -> None:
    with duckdb.connect(str(home / "vault.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'store_version'").fetchall()


def aged_epoch(_rig: Rig, home: Path) -> None:
    path = home / "keys/epochs" / f"{EPOCH}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "kept_at": "2020-01-01T00:00:00+00:00"}))


PROBLEMS = {
    "settings": Fault(lambda _r, h: edited(h, "registry.toml", "name =", "nome ="), "settings",
                      "nome: Extra inputs are not permitted"),
    "schema": Fault(lambda r, _h: edited(r.directory, "schema.yaml", "kind: date", "kind: day"),
                    "schema", "the same for all registries"),
    "vault key": Fault(lambda _r, h: (h / "vault.key").unlink(), "keys", "run init"),
    "key open to others": Fault(lambda _r, h: (h / "vault.key").chmod(0o644), "files",
                                "Others on this machine can open vault.key"),
    "no certificate": Fault(lambda _r, h: (h / "tls/cert.pem").unlink(), "certificate",
                            "then install-cert"),
    "expired": Fault(lambda r, h: reissue(r, h, days=5, not_before=days_from_now(-9)),
                     "certificate", "expired 4 days ago"),
    "not yet valid": Fault(lambda r, h: reissue(r, h, not_before=days_from_now(2)),
                           "certificate", "in the future. Set the clock"),
    "expires": Fault(lambda r, h: reissue(r, h, days=2), "certificate", "lasts 2 days"),
    "other name": Fault(lambda r, h: reissue(r, h, name="gansu"), "certificate",
                        "for name gansu, not anhui"),
    "other key": Fault(
        lambda r, h: shutil.copy(r.federation.tls("registry", "x").cert, h / "tls/cert.pem"),
        "certificate", "another private key"),
    "clock": Fault(
        lambda _r, h: os.utime(h / "audit.jsonl", (FUTURE_SECONDS, FUTURE_SECONDS)),
        "clock", "audit.jsonl were written in the future"),
    "newer vault": Fault(newer_vault, "vault", "Use the newer program again"),
    "no vault": Fault(lambda _r, h: (h / "vault.duckdb").unlink(), "vault", "Run init"),
    "other schema": Fault(
        lambda r, _h: edited(r.directory, "schema.yaml", "given: exact, dob: exact",
                             "given: soundex, dob: exact"),
        "vault", "blocking pass given_birth"),
    "audit": Fault(lambda _r, h: edited(h, "audit.jsonl", '"added":3', '"added":2'), "audit",
                   "was changed"),
}  # fmt: skip


@pytest.mark.parametrize("fault", PROBLEMS)
def test_each_fault_is_a_problem_of_its_area_and_says_what_to_do(
    rig: Rig, home: Path, fault: str
) -> None:
    PROBLEMS[fault].done(rig, home)
    code, findings = found(home)
    assert code == 1
    problems = of(findings, "problem")
    assert PROBLEMS[fault].said in problems[PROBLEMS[fault].area]
    texts = [each["text"] for each in findings if each["state"] == "problem"]
    assert len(texts) == len(set(texts)) or any(text.startswith("Not looked at") for text in texts)


def test_what_will_not_last_is_a_warning(
    rig: Rig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reissue(rig, home, days=9)
    aged_epoch(rig, home)
    must(home, "protect", "p1", "--approval")
    usage = shutil.disk_usage(home)._replace(free=10**9)
    monkeypatch.setattr(doctor_home.shutil, "disk_usage", lambda _path: usage)
    code, findings = found(home)
    assert code == 0
    warnings = of(findings, "warning")
    assert set(warnings) == {"settings", "certificate", "epochs", "disk", "ports"}
    assert "Renew it" in warnings["certificate"]
    assert "has been in use for" in warnings["epochs"]
    assert "1 GB free" in warnings["disk"]


def test_a_table_or_transform_that_moved_since_the_release_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(features._TRANSFORMS, "suffix", lambda _f, value, n: value[:n])
    _, findings = found(home)
    assert "otherwise than the release: blocking pass days" in of(findings, "problem")["encoding"]


def test_a_port_that_somebody_else_has_is_a_problem(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        edited(
            home,
            "registry.toml",
            'listen = "127.0.0.1:0"\nhealth',
            f'listen = "127.0.0.1:{port}"\nhealth',
        )
        _, findings = found(home)
    assert f"listen 127.0.0.1:{port}: address already in use" in of(findings, "problem")["ports"]


def test_a_linker_that_is_not_reached_is_a_problem_only_when_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setattr(doctor_reach, "REACH_SECONDS_MAX", 0.5)
        code, findings = found(home, "--linker", address)
    assert code == 1
    assert f"{address} is not reached" in of(findings, "problem")["linker"]
