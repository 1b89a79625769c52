"""The commands of the key server's officers, each as they type it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from kinlink_keyserver.app import opened
from kinlink_keyserver.home import Home
from support.key_server import SCHEMA, must, run
from support.pki import FEDERATION, Federation
from support.softhsm import SoftHsm

if TYPE_CHECKING:
    from pathlib import Path

WHO = ("--federation", FEDERATION, "--name", "keyserver")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    must(made, "init", *WHO, "--schema", SCHEMA, "--registry", "anhui=992", "--registry", "gansu=2")
    return made


def test_enrol_and_install_cert_make_an_identity_of_the_key_servers_role(tmp_path: Path) -> None:
    federation, home = Federation(tmp_path / "pki"), tmp_path / "home"
    must(home, "enrol", *WHO, "--host", "keys.example.org")
    request = (home / "tls/request.pem").read_bytes()
    (tmp_path / "ca.pem").write_bytes(federation.authority.cert_pem)
    for role, name, code in (("registry", "keyserver", 2), ("keyserver", "other", 2)):
        (tmp_path / "cert.pem").write_bytes(federation.authority.issue(request, role, name))
        result = run(home, "install-cert", tmp_path / "cert.pem", "--ca", tmp_path / "ca.pem")
        assert result.exit_code == code
        assert not (home / "tls/cert.pem").exists()
    answer = federation.authority.issue(request, "keyserver", "keyserver")
    (tmp_path / "cert.pem").write_bytes(answer)
    must(home, "install-cert", tmp_path / "cert.pem", "--ca", tmp_path / "ca.pem")
    assert (home / "tls/cert.pem").read_bytes() == answer
    assert (home / "tls/key.pem").stat().st_mode & 0o777 == 0o600
    key = (home / "tls/key.pem").read_bytes()
    must(home, "enrol")
    assert (home / "tls/key.pem").read_bytes() == key
    assert "already" in run(home, "enrol", "--name", "other").stderr


def test_init_writes_settings_key_and_ledger_once(home: Path) -> None:
    settings, key = (home / "keyserver.toml").read_text(), (home / "keyserver.key").read_bytes()
    assert 'name = "anhui"\nrecords = 992' in settings
    assert (home / "keyserver.key").stat().st_mode & 0o777 == 0o600
    must(home, "init")
    assert (home / "keyserver.toml").read_text() == settings
    assert (home / "keyserver.key").read_bytes() == key


def test_officers_together_give_a_lost_seed_back_but_not_a_retired_one(
    tmp_path: Path, home: Path
) -> None:
    must(home, "epochs", "create", "2026-11")
    before = (home / "keys/epochs/2026-11.json").read_bytes()
    split = ("--threshold", "2", "--shares", "3", "--out", tmp_path / "shares")
    must(home, "epochs", "escrow", "2026-11", *split)
    first, _, third = sorted((tmp_path / "shares").iterdir())
    assert run(home, "epochs", "recover", "2026-11", first, third).exit_code == 1
    (home / "keys/epochs/2026-11.json").unlink()
    assert run(home, "epochs", "recover", "2026-11", first).exit_code == 2
    assert run(home, "epochs", "recover", "2026-12", first, third).exit_code == 2
    must(home, "epochs", "recover", "2026-11", first, third)
    assert served_key(home) == served_key(home, before)
    must(home, "epochs", "retire", "2026-11", "--yes")
    result = run(home, "epochs", "recover", "2026-11", first, third)
    assert result.exit_code == 1
    assert "retired for good" in result.stderr
    entries = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    actions = [entry["action"] for entry in entries]
    assert actions == ["create-epoch", "escrow", "recover-epoch", "retire-epoch"]


def served_key(home: Path, seed_file: bytes | None = None) -> dict[str, bytes]:
    """The public keys of an epoch, after putting a seed's file in its place if one is given."""
    if seed_file is not None:
        (home / "keys/epochs/2026-11.json").write_bytes(seed_file)
    with opened(Home(home)) as office:
        return dict(office.epochs.get("2026-11").public_keys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--registry NAME=RECORDS"),
        (("--registry", "anhui"), "NAME=RECORDS"),
        (("--registry", "anhui=-1"), "NAME=RECORDS"),
        (("--registry", "An Hui=1"), "registry name"),
        (("--registry", "anhui=1", "--registry", "anhui=2"), "stands there twice"),
        (("--registry", "anhui=0"), "greater than or equal to 1"),
    ],
)
def test_init_says_what_is_wrong_with_a_declaration(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = run(tmp_path / "home", "init", *WHO, "--schema", SCHEMA, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_lost_ledger_is_not_made_anew_after_it_was_used(home: Path) -> None:
    must(home, "epochs", "create", "2026-11")
    (home / "ledger.sqlite").unlink()
    for command in ("init", "status"):
        result = run(home, command)
        assert result.exit_code == 1
        assert "restore it" in result.stderr
    assert not (home / "ledger.sqlite").exists()


def test_epochs_are_made_listed_and_retired_and_all_of_it_is_audited(home: Path) -> None:
    assert "no epoch yet" in must(home, "epochs", "list")
    must(home, "epochs", "create", "2026-11")
    must(home, "epochs", "create", "2026-12")
    assert run(home, "epochs", "create", "2026-12").exit_code == 1
    assert run(home, "epochs", "retire", "2026-11").exit_code == 1  # asked, and not answered
    must(home, "epochs", "retire", "2026-11", "--yes")
    found = [json.loads(line) for line in must(home, "epochs", "list", "--json").splitlines()]
    assert [(each["epoch"], each["state"]) for each in found] == [
        ("2026-12", "served"),
        ("2026-11", "retired"),
    ]
    assert "retired" in must(home, "epochs", "list")
    entries = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    assert [(each["action"], each["fields"]["epoch"]) for each in entries] == [
        ("create-epoch", "2026-11"),
        ("create-epoch", "2026-12"),
        ("retire-epoch", "2026-11"),
    ]
    must(home, "audit", "verify")
    text = (home / "audit.jsonl").read_text()
    (home / "audit.jsonl").write_text(text.replace("2026-12", "2026-13"))
    assert run(home, "audit", "verify").exit_code == 1


def test_status_and_budgets_tell_what_is_granted_and_spent(home: Path) -> None:
    assert run(home, "budgets").exit_code == 1
    must(home, "epochs", "create", "2026-11")
    found = [json.loads(line) for line in must(home, "budgets", "--json").splitlines()]
    phone = next(each for each in found if (each["registry"], each["pass"]) == ("anhui", "phone"))
    assert (phone["budget"], phone["spent"], phone["left"]) == (1_100, 0, 1_100)
    assert "reach" in must(home, "budgets", "--epoch", "2026-11")
    status = json.loads(must(home, "status", "--json"))
    assert [each["name"] for each in status["registries"]] == ["anhui", "gansu"]
    assert (status["serves"], status["certificate_days_left"]) == (False, None)
    assert "does not serve" in must(home, "status")


def test_a_pass_of_the_settings_that_the_schema_lacks_is_a_fault(home: Path) -> None:
    with (home / "keyserver.toml").open("a") as file:
        file.write('[[passes]]\nid = "nothing"\nrows_per_record = 1.0\n')
    result = run(home, "status")
    assert result.exit_code == 2
    assert "the schema has no nothing" in result.stderr


def test_serve_refuses_without_a_certificate_of_its_own_name(tmp_path: Path, home: Path) -> None:
    assert "no certificate" in run(home, "serve").stderr
    federation = Federation(tmp_path / "pki")
    for role, name in (("registry", "keyserver"), ("keyserver", "other")):
        (home / "tls").mkdir(exist_ok=True)
        federation.tls(role, name).key.parent.rename(tmp_path / "made")
        (home / "tls").rmdir()
        (tmp_path / "made").rename(home / "tls")
        result = run(home, "serve")
        assert result.exit_code == 2
        assert "certificate is for" in result.stderr
        (home / "tls").rename(tmp_path / f"old-{name}")


@pytest.mark.needs_softhsm
def test_the_key_may_be_wrapped_by_a_token(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm = SoftHsm.make(tmp_path / "hsm", monkeypatch)
    hsm.add("ours")
    must(home, "epochs", "create", "2026-11")
    plain, settings = (home / "keyserver.key").read_bytes(), home / "keyserver.toml"
    text = 'key_source = "pkcs11"\n' + settings.read_text()
    settings.write_text(f"{text}\n[pkcs11]\n{hsm.settings('ours')}")
    assert run(home, "epochs", "list").exit_code == 1
    assert "of token 'ours'" in must(home, "wrap-key")
    assert "served" in must(home, "epochs", "list")
    must(home, "epochs", "create", "2026-12")
    assert plain.strip() not in (home / "keyserver.key").read_bytes()
    hsm.pin_file.write_text("000000")
    assert "refused the PIN" in run(home, "epochs", "list").stderr
