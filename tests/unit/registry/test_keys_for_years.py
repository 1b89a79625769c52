"""Epochs destroyed for good, registries revoked, secrets escrowed: an officer's work over years."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import stat
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_core.errors import ForbiddenError, PreconditionError, Reason
from kinlink_registry import app
from kinlink_registry.home import Home
from kinlink_registry.rotation import EpochState, advice
from unit.registry.rig import EPOCH, Rig, meet, must, people, run

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_registry.node import Node

NEW = "2026-12"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A registry with people in one epoch, and one without any, to be copied."""
    rig = Rig(tmp_path_factory.mktemp("filled"))
    left, _ = rig.pair()
    rig.fill(left, people(*range(12)))
    return rig


@pytest.fixture
def home(filled: Rig, tmp_path: Path) -> Path:
    return shutil.copytree(filled.homes["anhui"], tmp_path / "anhui")


@pytest.fixture
def other(filled: Rig, tmp_path: Path) -> Path:
    return shutil.copytree(filled.homes["sichuan"], tmp_path / "sichuan")


def sealed_in(node: Node, epoch: str) -> list[bytes]:
    """Sealed keys and sketches of an epoch, and its tokens, as they lie in the file."""
    with node.vault.reading() as session:
        number = node.epochs.number(session, epoch)
        found = [
            row[0]
            for table in ("token_key", "sketch")
            for row in session.rows(f"SELECT sealed FROM {table} WHERE epoch_id = ?", [number])
        ]
        tokens = session.rows("SELECT token FROM handle WHERE epoch_id = ?", [number])
    return found + [token.bytes[8:][::-1] for (token,) in tokens]


def seen_in(path: Path, items: list[bytes]) -> int:
    content = path.read_bytes()
    return sum(item in content for item in items)


def test_a_retired_epoch_leaves_no_byte_in_the_vault_whether_it_serves_or_not(home: Path) -> None:
    must(home, "keys", "create", NEW)
    with app.opened(Home(home)) as node:
        node.epochs.sync()
        old, new = sealed_in(node, EPOCH), sealed_in(node, NEW)
    vault = Home(home).vault
    # Both are found before, so the search does find what is there.
    assert seen_in(vault, old) == len(old) > 40
    copy = shutil.copytree(home, home.with_name("copy"))
    assert "holds nothing of it" in must(home, "keys", "retire", EPOCH, "--yes")
    with app.opened(Home(copy)) as node:
        before = node.vault.generation
        node.keyring.retire(EPOCH)
        node.epochs.sync()
        assert node.vault.generation > before
        with node.vault.reading() as session:
            assert [each.name for each in node.epochs.encoded(session)] == [NEW]
            assert session.value("SELECT count(*) FROM record") == 12
    for each in (vault, Home(copy).vault):
        assert seen_in(each, old) == 0
        assert seen_in(each, new) == len(new)
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    assert not list(home.glob("*.rewriting*"))
    assert not list(copy.glob("*.wal"))


def test_a_disk_without_room_for_a_second_file_leaves_the_rewriting_for_later(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kinlink_registry import rewrite

    must(home, "keys", "create", NEW)
    with app.opened(Home(home)) as node:
        node.epochs.sync()
        old = sealed_in(node, EPOCH)
        node.keyring.retire(EPOCH)
        monkeypatch.setattr(rewrite, "FREE_SHARE_MIN", 1e15)
        node.epochs.sync()
        monkeypatch.undo()
        with node.vault.reading() as session:
            assert session.value("SELECT count(DISTINCT epoch_id) FROM handle") == 1
        node.epochs.sync()
    assert seen_in(Home(home).vault, old) == 0


def test_a_number_given_again_does_not_bring_back_what_was_open_of_the_old_epoch(
    home: Path,
) -> None:
    with app.opened(Home(home)) as node:

        def opened(epoch: str) -> np.ndarray:
            with node.vault.reading() as session:
                (found,) = [each for each in node.epochs.encoded(session) if each.name == epoch]
                return node.shelf.fetch(session, found, np.empty(0, np.int32)).fixed

        old = opened(EPOCH)
        node.keyring.retire(EPOCH)
        node.keyring.create(NEW)
        node.epochs.sync()
        assert (opened(NEW) != old).any()


def test_a_stolen_backup_of_an_old_epoch_matches_nothing_of_the_federation_as_it_is_now(
    filled: Rig, home: Path, other: Path, tmp_path: Path
) -> None:
    # The thief has it all: the vault as it was, its key and the secret of that epoch.
    must(home, "backup", tmp_path / "stolen.duckdb")
    thief = shutil.copytree(home, tmp_path / "thief")
    shutil.copy(tmp_path / "stolen.duckdb", Home(thief).vault)
    filled.fill(other, people(*range(12)))
    with app.opened(Home(thief)) as node, app.opened(Home(other)) as partner:
        stolen, live = tokens_of(node), tokens_of(partner)
        assert len(stolen & live) == len(stolen) > 20
        old = sealed_in(node, EPOCH)
    must(home, "keys", "create", NEW)
    must(other, "keys", "card", "--out", tmp_path / "card.json")
    must(home, "keys", "seal", NEW, "--to", tmp_path / "card.json", "--out", tmp_path / "new.json")
    must(other, "keys", "import", tmp_path / "new.json")
    for each in (home, other):
        must(each, "keys", "retire", EPOCH, "--yes")
    with app.opened(Home(home)) as node, app.opened(Home(other)) as partner:
        node.epochs.sync()
        partner.epochs.sync()
        live = tokens_of(node)
        assert live == tokens_of(partner)
        assert len(live) == len(stolen)
        assert not stolen & live
    # Put back under the new keys, the old copy holds nothing of the epoch it was made in.
    must(home, "restore", tmp_path / "stolen.duckdb", "--yes")
    with app.opened(Home(home)) as node:
        assert tokens_of(node) == live
    assert seen_in(tmp_path / "stolen.duckdb", old) == len(old)
    assert seen_in(Home(home).vault, old) == 0


def tokens_of(node: Node) -> set[bytes]:
    with node.vault.reading() as session:
        return {token.bytes for (token,) in session.rows("SELECT token FROM handle")}


def test_a_revoked_registry_is_refused_at_once_and_trusted_again_when_it_is_undone(
    filled: Rig, home: Path, other: Path, tmp_path: Path
) -> None:
    filled.fill(other, people(*range(12)))
    rig = filled
    card = tmp_path / "card.json"
    must(other, "keys", "card", "--out", card)
    with rig.linker(home) as left, rig.linker(other) as right:
        met = meet(left, right)
        assert not left.seal(met.to_left).refusal.any()
        assert "make a new one without it" in must(home, "revoke", "sichuan")
        calls = (
            lambda: left.seal(met.to_left),
            lambda: left.sieve(met.to_left),
            lambda: left.chance(met.to_left.card, 12),
            lambda: left.exchange(met.to_left.card),
            lambda: left.disclose(
                met.to_left.card, met.to_left.own, met.to_left.theirs, np.zeros((12, 32), np.uint8)
            ),
        )
        for call in calls:
            with pytest.raises(ForbiddenError) as caught:
                call()
            assert caught.value.reason is Reason.REVOKED
        sealing = run(home, "keys", "seal", EPOCH, "--to", card)
        assert (sealing.exit_code, "was revoked here" in sealing.stderr) == (1, True)
        assert run(home, "revoke", "sichuan").exit_code == 1
        (listed,) = json.loads(must(home, "revocations", "--json"))
        assert (listed["registry"], listed["serials"]) == ("sichuan", [])
        assert "all certificates" in must(home, "revocations")
        must(home, "revoke", "sichuan", "--undo")
        assert not left.seal(met.to_left).refusal.any()
        # Another certificate of it, by its serial number; then its own.
        must(home, "revoke", "sichuan", "--serial", "0A:BC")
        assert not left.seal(met.to_left).refusal.any()
        from kinlink_core.runtime.chain import certificate_serial

        serial = certificate_serial((other / "tls" / "cert.pem").read_bytes())
        must(home, "revoke", "sichuan", "--serial", serial.upper())
        with pytest.raises(ForbiddenError):
            left.seal(met.to_left)
        # A list that cannot be read trusts nobody.
        Home(home).revoked.write_text("[{")
        with pytest.raises(PreconditionError):
            left.seal(met.to_left)
        Home(home).revoked.unlink()
    actions = [json.loads(line)["action"] for line in Home(home).audit.read_text().splitlines()]
    assert actions.count("revoke") == 3
    assert actions.count("unrevoke") == 1


def test_what_cannot_be_revoked_is_said(home: Path) -> None:
    for arguments in (("anhui",), ("No Name",), ("sichuan", "--serial", "xyz")):
        assert run(home, "revoke", *arguments).exit_code == 2, arguments
    assert run(home, "revoke", "sichuan", "--undo").exit_code == 1
    assert json.loads(must(home, "revocations", "--json")) == []


def test_an_epochs_secret_comes_back_from_any_shares_of_its_officers(
    home: Path, other: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shares"
    options = ("--threshold", "2", "--shares", "3", "--out", out)
    said = must(home, "keys", "escrow", EPOCH, *options)
    files = sorted(out.iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600] * 3
    words = {word for path in files for word in path.read_text().partition("words:")[2].split()}
    before = json.loads(must(home, "status", "--json"))["epochs"][0]["canary"]
    must(home, "keys", "retire", EPOCH, "--yes")
    too_few = run(home, "keys", "recover", EPOCH, files[0])
    assert (too_few.exit_code, "2 shares are needed" in too_few.stderr) == (2, True)
    wrong = run(home, "keys", "recover", "2031-01", *files[:2])
    assert (wrong.exit_code, "of another secret" in wrong.stderr) == (2, True)
    said += too_few.output + wrong.output + must(home, "keys", "recover", EPOCH, files[2], files[0])
    assert json.loads(must(home, "status", "--json"))["epochs"][0]["canary"] == before
    assert len(words - set(said.split())) > 0.9 * len(words)
    assert run(home, "keys", "recover", EPOCH, *files[:2]).exit_code == 1
    # The same shares give the same secret to another registry.
    must(other, "keys", "retire", EPOCH, "--yes")
    must(other, "keys", "recover", EPOCH, *files[1:])
    assert json.loads(must(other, "status", "--json"))["epochs"][0]["canary"] == before


def test_the_vault_key_comes_back_from_shares_and_a_wrong_one_is_not_written(
    home: Path, other: Path, tmp_path: Path
) -> None:
    key = Home(home).vault_key
    content = key.read_bytes()
    must(home, "vault-key", "escrow", "--threshold", "2", "--shares", "2", "--out", tmp_path / "a")
    must(other, "vault-key", "escrow", "--threshold", "2", "--shares", "2", "--out", tmp_path / "b")
    ours, theirs = (sorted((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert run(home, "vault-key", "recover", *ours).exit_code == 1
    key.unlink()
    assert run(home, "status").exit_code == 1
    assert run(home, "vault-key", "recover", *theirs).exit_code == 2
    for path in theirs:
        # Without its head a share does not say whose it is: the vault does.
        path.write_text(path.read_text().partition("words:")[2])
    refused = run(home, "vault-key", "recover", *theirs)
    assert (refused.exit_code, "another vault key" in refused.stderr) == (1, True)
    assert not key.exists()
    must(home, "vault-key", "recover", *ours)
    assert key.read_bytes() == content
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    must(home, "status")


def test_keys_status_says_which_epoch_is_complete_and_what_to_do(home: Path) -> None:
    assert "Nothing to do: epoch 2026-11 is complete." in must(home, "keys", "status")
    must(home, "keys", "create", NEW)
    found = json.loads(must(home, "keys", "status", "--json"))
    assert [each["epoch"] for each in found["epochs"]] == [NEW, EPOCH]
    assert all(each["served"] and each["age_days"] < 1 for each in found["epochs"])
    assert found["advice"] == [f"Keep {EPOCH}: no linkage in {NEW} has told us links yet."]


NOW = dt.datetime(2027, 1, 10, tzinfo=dt.UTC)
LINKED = dt.datetime(2027, 1, 5, tzinfo=dt.UTC)


def state(name: str, days: int, *, left: int = 0, linked: dt.datetime | None = None) -> EpochState:
    return EpochState(name, NOW - dt.timedelta(days=days), left == 0, left, linked)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        ([], ["There is no epoch secret here"]),
        ([state("b", 3)], ["Nothing to do: epoch b is complete"]),
        ([state("b", 3, left=9)], ["b is being encoded and not served yet"]),
        ([state("b", 40)], ["b is 40 days old; an epoch lasts 35 at most"]),
        ([state("b", 1, left=9), state("a", 33)], ["Keep a: b is still being encoded, 9 records"]),
        ([state("b", 1), state("a", 33)], ["Keep a: no linkage in b has told us links yet"]),
        ([state("b", 1, linked=LINKED), state("a", 33)], ["a can be destroyed (keys retire a): b"]),
    ],
)
def test_the_advice_follows_from_the_epochs(epochs: list[EpochState], expected: list[str]) -> None:
    said = advice(epochs, 35, NOW)
    assert len(said) == len(expected)
    for sentence, part in zip(said, expected, strict=True):
        assert part in sentence


def test_an_older_vault_learns_what_partners_call_the_records_of_its_links(tmp_path: Path) -> None:
    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.migrations import MIGRATIONS
    from kinlink_registry.vault import Vault

    path, cipher = tmp_path / "vault.duckdb", VaultCipher(bytes(32))
    limits = {"memory_limit": "256MB", "threads": 1}
    vault = Vault(path, cipher, **limits, migrations=MIGRATIONS[:2])
    ids = [f"00000000-0000-0000-0000-{number:012}" for number in range(1, 6)]
    with vault.writing() as session:
        session.run(
            "INSERT INTO disclosed VALUES (1, 'sichuan', 7, $1, $2, $3, $4, 0)",
            [ids[0], ids[1], ids[2], ids[3]],
        )
        for link_id, handle in (("known", ids[3]), ("unknown", ids[4])):
            session.run(
                "INSERT INTO link VALUES ($1, 1, 7, $2, 'sichuan', $2, $3, $4, 1, 1, '', 0, '', [],"
                " now()::TIMESTAMP)",
                [link_id, ids[4], ids[2], handle],
            )
    vault.close()
    vault = Vault(path, cipher, **limits)
    with vault.reading() as session:
        found = dict(session.rows("SELECT link_id, partner_record FROM link"))
    vault.close()
    assert str(found["known"]) == ids[0]
    assert found["unknown"].int == 0
