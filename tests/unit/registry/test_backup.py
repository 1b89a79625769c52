"""Backups: of one state, sealed, and checked before they replace anything."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import duckdb
import pytest
from unit.registry.rig import EPOCH, Rig, must, people, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    home = made.registry("anhui")
    must(home, "keys", "create", EPOCH)
    made.fill(home, people(1, 2, 3))
    return made


def state(home: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(must(home, "status", "--json"))
    del found["vault"]["disk_free_bytes"]
    return found


def test_a_restored_vault_has_the_records_of_then_and_a_feed_of_its_own(
    rig: Rig, tmp_path: Path
) -> None:
    home, copy = rig.homes["anhui"], tmp_path / "copy.duckdb"
    assert "3 records" in must(home, "backup", copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    before = state(home)
    rig.fill(home, people(4, 5))
    must(home, "restore", copy, "--yes")
    after = state(home)
    assert after["records"] == before["records"]
    assert after["epochs"] == before["epochs"]
    assert after["feed"]["id"] != before["feed"]["id"]
    rig.fill(home, people(1, 4))
    assert state(home)["records"]["live"] == 4
    assert sorted(path.name for path in home.glob("vault.duckdb*")) == ["vault.duckdb"]


def test_a_backup_does_not_overwrite_a_file(rig: Rig, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_text("precious")
    assert run(rig.homes["anhui"], "backup", copy).exit_code == 1
    assert copy.read_text() == "precious"


def test_a_backup_into_a_directory_that_is_not_there_is_refused(rig: Rig, tmp_path: Path) -> None:
    result = run(rig.homes["anhui"], "backup", tmp_path / "nowhere" / "copy.duckdb")
    assert result.exit_code in {1, 2}
    assert "kinlink-registry:" in result.stderr


@pytest.mark.parametrize(
    "fault", ["missing", "garbage", "cut", "other database", "other key", "newer"]
)
def test_a_file_that_cannot_be_restored_changes_nothing(
    rig: Rig, tmp_path: Path, fault: str
) -> None:
    home, copy = rig.homes["anhui"], tmp_path / "copy.duckdb"
    must(home, "backup", copy)
    if fault == "missing":
        copy.unlink()
    elif fault == "garbage":
        copy.write_bytes(b"x" * 10_000)
    elif fault == "cut":
        copy.write_bytes(copy.read_bytes()[:9000])
    elif fault == "other database":
        copy.unlink()
        with duckdb.connect(str(copy)) as connection:
            connection.execute("CREATE TABLE t (i INTEGER)").fetchall()
    elif fault == "other key":
        other = rig.registry("sichuan")
        copy.unlink()
        must(other, "backup", copy)
    else:
        with duckdb.connect(str(copy)) as connection:
            connection.execute(
                "UPDATE meta SET value = '99' WHERE name = 'store_version'"
            ).fetchall()
    before = state(home)
    result = run(home, "restore", copy, "--yes")
    assert result.exit_code in {1, 2}, result.output
    assert "kinlink-registry: " in result.stderr or "does not exist" in result.stderr
    assert state(home) == before
    assert not list(home.glob("*.restoring*"))


def test_a_restore_asks_first(rig: Rig, tmp_path: Path) -> None:
    home, copy = rig.homes["anhui"], tmp_path / "copy.duckdb"
    must(home, "backup", copy)
    before = state(home)
    assert run(home, "restore", copy).exit_code == 1
    assert state(home) == before


def test_a_backup_needs_the_vault_key_to_be_of_use(rig: Rig, tmp_path: Path) -> None:
    home, copy = rig.homes["anhui"], tmp_path / "copy.duckdb"
    must(home, "backup", copy)
    content = copy.read_bytes()
    key = base64.b64decode((home / "vault.key").read_bytes())
    assert key not in content
    assert not any(row["family"].encode() in content for row in people(1, 2, 3))
