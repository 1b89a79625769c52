"""The command line of a registry: who it is, what it refuses, what it prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from kinlink_core.runtime.files import write_file
from kinlink_core.runtime.pki import make_csr, make_key
from unit.registry.rig import EPOCH, Rig, must, people, run

if TYPE_CHECKING:
    from pathlib import Path


def test_enrolling_makes_a_private_key_and_a_request_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    must(home, "enrol", "--federation", "demo", "--name", "anhui", "--host", "127.0.0.1")
    key = home / "tls" / "key.pem"
    first = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    must(home, "enrol", "--host", "localhost")
    assert key.read_bytes() == first
    assert run(home, "enrol", "--name", "gansu").exit_code == 1


def test_enrolling_needs_a_name(tmp_path: Path) -> None:
    assert run(tmp_path, "enrol").exit_code == 2
    assert run(tmp_path, "enrol", "--federation", "demo", "--name", "An Hui").exit_code == 2


@pytest.mark.parametrize("fault", ["other key", "other name", "other role", "other authority"])
def test_a_certificate_that_does_not_fit_is_not_installed(tmp_path: Path, fault: str) -> None:
    rig, home = Rig(tmp_path), tmp_path / "home"
    authority = rig.federation.authority
    federation = authority.federation
    must(home, "enrol", "--federation", federation, "--name", "anhui")
    request = (home / "tls" / "request.pem").read_bytes()
    role, name, ca = "registry", "anhui", authority.cert_pem
    if fault == "other key":
        request = make_csr(make_key(), federation, "registry", "anhui", [])
    elif fault == "other name":
        name = "gansu"
    elif fault == "other role":
        role = "linker"
    else:
        ca = Rig(tmp_path / "other").federation.authority.cert_pem
    certificate, trusted = tmp_path / "cert.pem", tmp_path / "trusted.pem"
    write_file(certificate, authority.issue(request, role, name, [], 30))
    write_file(trusted, ca)
    result = run(home, "install-cert", certificate, "--ca", trusted)
    assert result.exit_code == 2
    assert not (home / "tls" / "cert.pem").exists()


def test_init_may_run_again_and_keeps_what_is_there(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    home = rig.registry("anhui")
    must(home, "keys", "create", EPOCH)
    rig.fill(home, people(1))
    kept = {name: (home / name).read_bytes() for name in ("vault.key", "registry.toml")}
    must(home, "init")
    assert all((home / name).read_bytes() == content for name, content in kept.items())
    assert json.loads(must(home, "status", "--json"))["records"]["live"] == 1
    assert run(home, "init", "--name", "gansu").exit_code == 1


def test_init_refuses_a_schema_with_faults_and_names_them_all(tmp_path: Path) -> None:
    schema = tmp_path / "schema.yaml"
    schema.write_text("name: x\nfields:\n  - {name: a, kind: nonsense}\npasses: []\n")
    home = tmp_path / "home"
    who = ("--federation", "demo", "--name", "anhui")
    result = run(home, "init", *who, "--schema", schema, "--plain")
    assert result.exit_code == 2
    assert "nonsense" in result.stderr or "kind" in result.stderr
    assert not (home / "registry.toml").exists()


@pytest.mark.parametrize("mode", [(), ("--plain", "--key-server", "192.0.2.1:7447")])
def test_init_leaves_the_choice_of_a_mode_to_nobody_but_the_officer(
    tmp_path: Path, mode: tuple[str, ...]
) -> None:
    rig, home = Rig(tmp_path), tmp_path / "home"
    who = ("--federation", "demo", "--name", "anhui")
    result = run(home, "init", *who, "--schema", rig.schema_path, *mode)
    assert result.exit_code == 2
    assert "--key-server" in result.stderr
    assert not (home / "registry.toml").exists()


def test_a_mode_that_contradicts_the_key_server_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    home = Rig(tmp_path).registry("anhui")
    settings = home / "registry.toml"
    text = settings.read_text()
    assert '\nmode = "plain"\n' in text
    settings.write_text(text + '\n[key_server]\naddress = "192.0.2.1:7447"\n')
    assert "plain mode has no [key_server]" in run(home, "status").stderr
    settings.write_text(text.replace('mode = "plain"', 'mode = "key-server"'))
    assert "needs a [key_server]" in run(home, "status").stderr


def test_all_faults_of_the_settings_are_named_at_once(tmp_path: Path) -> None:
    home = Rig(tmp_path).registry("anhui")
    settings = home / "registry.toml"
    settings.write_text(settings.read_text() + "\n[policy]\npartner_share_max = 7\nnonsense = 1\n")
    result = run(home, "status")
    assert result.exit_code == 2
    assert "policy.partner_share_max" in result.stderr
    assert "policy.nonsense" in result.stderr


def test_a_home_without_settings_says_so(tmp_path: Path) -> None:
    result = run(tmp_path, "status")
    assert result.exit_code == 2
    assert "registry.toml" in result.stderr


def test_serving_without_a_certificate_says_what_to_do(tmp_path: Path) -> None:
    rig, home = Rig(tmp_path), tmp_path / "home"
    who = ("--federation", "demo", "--name", "anhui")
    must(home, "init", *who, "--schema", rig.schema_path, "--plain")
    result = run(home, "serve")
    assert result.exit_code == 1
    assert "run enrol and install-cert" in result.stderr


def test_an_empty_registry_has_a_status_and_no_links(tmp_path: Path) -> None:
    home = Rig(tmp_path).registry("anhui")
    assert "no epoch secret yet" in must(home, "status")
    assert must(home, "links").strip() == "No links."
    assert must(home, "links", "--id", "p1").strip() == "No links of this person."


def test_a_broken_audit_is_found(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    home = rig.registry("anhui")
    assert run(home, "audit", "verify").exit_code in {0, 2}
    must(home, "keys", "create", EPOCH)
    rig.fill(home, people(1))
    assert must(home, "audit", "head").startswith("2:")
    log = home / "audit.jsonl"
    log.write_text(log.read_text().replace('"added":1', '"added":2'))
    result = run(home, "audit", "verify")
    assert result.exit_code == 1
    assert "was changed" in result.stderr


@pytest.mark.parametrize(
    "command",
    ["enrol", "install-cert", "init", "serve", "keys", "ingest", "consent", "status", "links",
     "backup", "restore", "audit"],
)  # fmt: skip
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    output = must(tmp_path, command, "--help")
    assert len(output.splitlines()) > 4
