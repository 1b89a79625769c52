"""Epoch secrets: made once, sealed to others, never shown, and what the vault does about them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from unit.registry.rig import EPOCH, Rig, must, people, run

if TYPE_CHECKING:
    from pathlib import Path


def epochs(home: Path) -> dict[str, dict[str, object]]:
    return {each["epoch"]: each for each in json.loads(must(home, "status", "--json"))["epochs"]}


def test_a_secret_travels_sealed_and_both_registries_encode_alike(tmp_path: Path) -> None:
    left, right = Rig(tmp_path).pair()
    assert epochs(left)[EPOCH]["canary"] == epochs(right)[EPOCH]["canary"]
    assert must(right, "keys", "list").split() == [EPOCH]


def test_no_command_prints_or_stores_the_secret_in_clear(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    left, right = rig.registry("anhui"), rig.registry("sichuan")
    output = must(left, "keys", "create", EPOCH)
    must(right, "keys", "card", "--out", tmp_path / "card.json")
    output += must(left, "keys", "seal", EPOCH, "--to", tmp_path / "card.json")
    output += must(left, "keys", "list") + must(left, "status", "--json")
    from kinlink_core.runtime.key_source import FileKeySource
    from kinlink_registry.home import Home
    from kinlink_registry.keyring import Keyring, read_vault_key

    cipher = read_vault_key(FileKeySource(left / "vault.key"))
    secret = Keyring(Home(left), rig.federation.name, cipher).secret(EPOCH)
    assert repr(secret) == f"EpochSecret(epoch='{EPOCH}')"
    spellings = [secret.secret, secret.secret.hex().encode(), base64.b64encode(secret.secret)]
    stored = b"".join(path.read_bytes() for path in left.rglob("*") if path.is_file())
    assert not any(spelling in stored + output.encode() for spelling in spellings)


def test_a_secret_opens_only_where_it_was_sealed_to(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    left, right = rig.pair()
    third = rig.registry("yunnan")
    result = run(third, "keys", "import", right / "sealed.json")
    assert result.exit_code == 1
    assert "it is for 'sichuan'" in result.stderr
    assert run(right, "keys", "import", right / "sealed.json").exit_code == 1
    assert epochs(left).keys() == {EPOCH}


def test_a_sealed_secret_that_was_changed_is_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    left, right = rig.registry("anhui"), rig.registry("sichuan")
    must(left, "keys", "create", EPOCH)
    must(right, "keys", "card", "--out", tmp_path / "card.json")
    sealed = tmp_path / "sealed.json"
    must(left, "keys", "seal", EPOCH, "--to", tmp_path / "card.json", "--out", sealed)
    content = json.loads(sealed.read_text())
    for name, value in (("epoch", "2026-12"), ("federation", "other"), ("envelope", "AAAA")):
        sealed.write_text(json.dumps({**content, name: value}))
        assert run(right, "keys", "import", sealed).exit_code == 1
    for text in ("", "{}", "[1]", '{"kind": "Card"}', json.dumps({**content, "envelope": "!"})):
        sealed.write_text(text)
        assert run(right, "keys", "import", sealed).exit_code == 2


def test_a_secret_is_not_sealed_to_a_card_of_another_authority(tmp_path: Path) -> None:
    home = Rig(tmp_path / "a").registry("anhui")
    stranger = Rig(tmp_path / "b").registry("sichuan")
    must(home, "keys", "create", EPOCH)
    must(stranger, "keys", "card", "--out", tmp_path / "card.json")
    result = run(home, "keys", "seal", EPOCH, "--to", tmp_path / "card.json")
    assert result.exit_code == 1
    assert "card does not verify" in result.stderr


def test_a_new_epoch_is_encoded_beside_the_old_one(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    home = rig.registry("anhui")
    must(home, "keys", "create", EPOCH)
    rig.fill(home, people(1, 2, 3))
    must(home, "keys", "create", "2026-12")
    found = epochs(home)
    assert list(found) == ["2026-12", EPOCH]
    assert {each["handles"] for each in found.values()} == {6}
    assert all(each["served"] for each in found.values())
    assert run(home, "keys", "create", "2027-01").exit_code == 1


def test_a_retired_epoch_is_forgotten(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    home = rig.registry("anhui")
    must(home, "keys", "create", EPOCH)
    must(home, "keys", "create", "2026-12")
    rig.fill(home, people(1, 2, 3))
    must(home, "keys", "retire", EPOCH, "--yes")
    assert list(epochs(home)) == ["2026-12"]
    from kinlink_registry import app
    from kinlink_registry.home import Home

    with app.opened(Home(home)) as node, node.vault.reading() as session:
        for table in ("handle", "sketch", "token_key"):
            assert session.rows(f"SELECT DISTINCT epoch_id FROM {table}") == [(1,)] or session.rows(
                f"SELECT DISTINCT epoch_id FROM {table}"
            ) == [(2,)]


def test_a_secret_replaced_under_its_name_is_encoded_anew(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    home = rig.registry("anhui")
    must(home, "keys", "create", EPOCH)
    rig.fill(home, people(1, 2, 3))
    before = epochs(home)[EPOCH]
    must(home, "keys", "retire", EPOCH, "--yes")
    must(home, "keys", "create", EPOCH)
    after = epochs(home)[EPOCH]
    assert before["canary"] != after["canary"]
    assert after["records"] == 3


@pytest.mark.parametrize("name", ["", "../x", "A", "2026 11", "x" * 40])
def test_a_name_that_is_no_epochs_is_refused(tmp_path: Path, name: str) -> None:
    home = Rig(tmp_path).registry("anhui")
    assert run(home, "keys", "create", name).exit_code == 2


def test_secrets_need_the_vault_key_they_were_kept_under(tmp_path: Path) -> None:
    home = Rig(tmp_path).registry("anhui")
    must(home, "keys", "create", EPOCH)
    key = home / "vault.key"
    key.chmod(0o644)
    result = run(home, "status")
    assert result.exit_code == 2
    assert "chmod it to 0600" in result.stderr
    key.chmod(0o600)
    key.write_bytes(base64.b64encode(bytes(32)))
    result = run(home, "status")
    assert result.exit_code == 1
    assert "another vault key" in result.stderr
    key.unlink()
    result = run(home, "status")
    assert result.exit_code == 1
    assert "There is no key" in result.stderr


def test_the_vault_key_may_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Rig(tmp_path).registry("anhui")
    moved = (home / "vault.key").rename(tmp_path / "elsewhere.key")
    assert run(home, "status").exit_code == 1
    monkeypatch.setenv("KINLINK_REGISTRY_VAULT__KEY_FILE", str(moved))
    must(home, "status")
