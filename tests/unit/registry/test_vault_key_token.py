"""A registry whose vault key is wrapped by a token, as its officer sees it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from kinlink_core.runtime.key_source import FileKeySource
from support.softhsm import SoftHsm
from unit.registry.rig import EPOCH, Rig, must, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs_softhsm
OURS = "ours"


def use(home: Path, hsm: SoftHsm, token: str) -> None:
    """Write the token into the settings, as the how-to says."""
    text = (home / "registry.toml").read_text().partition("\n[vault.pkcs11]")[0]
    text = text.replace('\nkey_source = "pkcs11"', "")
    text = text.replace("[vault]", '[vault]\nkey_source = "pkcs11"')
    (home / "registry.toml").write_text(f"{text}\n[vault.pkcs11]\n{hsm.settings(token)}")


def canary(home: Path) -> str:
    """Follows from the epoch's secret, which the vault key opens."""
    return str(json.loads(must(home, "status", "--json"))["epochs"][0]["canary"])


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    made = SoftHsm.make(tmp_path / "hsm", monkeypatch)
    made.add(OURS)
    return made


def test_a_vault_key_is_wrapped_and_shares_bring_it_to_another_token(
    hsm: SoftHsm, tmp_path: Path
) -> None:
    home = Rig(tmp_path).registry("anhui")
    must(home, "keys", "create", EPOCH)
    assert run(home, "vault-key", "wrap").exit_code == 1
    key = FileKeySource(home / "vault.key").read()
    before = canary(home)
    use(home, hsm, OURS)
    assert "wrap it" in run(home, "status").stderr
    assert "no plain file" in must(home, "vault-key", "wrap")
    assert canary(home) == before
    stored = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert base64.b64encode(key) not in stored
    told = " ".join(run(home, "doctor").output.split())
    assert "wrapped by key 'kinlink-test' of token 'ours'" in told
    assert '"wrap-vault-key"' in (home / "audit.jsonl").read_text()

    shares = tmp_path / "shares"
    must(home, "vault-key", "escrow", "--threshold", "2", "--shares", "2", "--out", shares)
    hsm.add("spare")
    use(home, hsm, "spare")
    assert "has no key" in run(home, "status").stderr
    (home / "vault.key").unlink()
    must(home, "vault-key", "recover", *sorted(shares.iterdir()))
    assert canary(home) == before
    assert base64.b64encode(key) not in (home / "vault.key").read_bytes()


def test_a_registry_may_begin_with_a_token(
    hsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINLINK_REGISTRY_VAULT__KEY_SOURCE", "pkcs11")
    for line in hsm.settings(OURS).splitlines():
        name, _, value = line.partition(" = ")
        monkeypatch.setenv(f"KINLINK_REGISTRY_VAULT__PKCS11__{name.upper()}", value)
    home = Rig(tmp_path).registry("anhui")
    must(home, "keys", "create", EPOCH)
    assert (home / "vault.key").read_bytes().startswith(b"kinlink/v1 wrapped key: ")
    monkeypatch.delenv("KINLINK_REGISTRY_VAULT__KEY_SOURCE")
    assert "wrapped by a token" in run(home, "status").stderr


def test_settings_that_name_no_token_are_refused(tmp_path: Path, hsm: SoftHsm) -> None:
    home = Rig(tmp_path).registry("anhui")
    use(home, hsm, OURS)
    text = (home / "registry.toml").read_text()
    (home / "registry.toml").write_text(text.partition("\n[vault.pkcs11]")[0])
    refused = run(home, "status")
    assert refused.exit_code == 2
    assert 'vault: key_source "pkcs11" needs the table pkcs11' in refused.stderr
