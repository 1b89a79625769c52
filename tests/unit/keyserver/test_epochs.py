"""Epochs are made once, served while their seed is here, and gone for good when retired."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PreconditionError,
    Reason,
)
from kinlink_core.runtime.key_source import FileKeySource, make_key
from kinlink_keyserver.epochs import EPOCHS_MAX, Epochs, open_epochs
from kinlink_keyserver.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PASSES = ("phone", "name_birth")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.sqlite", create=True)
    yield made
    made.close()


@pytest.fixture
def opened(tmp_path: Path, ledger: Ledger) -> Callable[[], Epochs]:
    """The epochs of one home, as one process after the other opens them."""
    source = FileKeySource(tmp_path / "keyserver.key")
    make_key(source)
    return lambda: open_epochs(tmp_path / "epochs", source, ledger, "demo", PASSES)


def test_an_epoch_has_a_key_pair_for_each_pass_that_a_restart_keeps(
    opened: Callable[[], Epochs],
) -> None:
    first = opened()
    first.create("2026-11")
    first.create("2026-12")
    keys = first.get("2026-11").public_keys
    assert tuple(keys) == PASSES
    assert [each.name for each in first.served()] == ["2026-12", "2026-11"]
    assert opened().get("2026-11").public_keys == keys
    everything = {*keys.values(), *first.get("2026-12").public_keys.values()}
    assert len(everything) == 4


def test_what_another_process_makes_or_retires_holds_at_once(
    opened: Callable[[], Epochs],
) -> None:
    serving, officer = opened(), opened()
    officer.create("2026-11")
    assert serving.get("2026-11").name == "2026-11"
    officer.retire("2026-11")
    with pytest.raises(NotFoundError):
        serving.get("2026-11")
    assert serving.served() == []
    assert serving._opened == {}


def test_a_retired_seed_is_deleted_and_its_name_never_used_again(
    tmp_path: Path, opened: Callable[[], Epochs], ledger: Ledger
) -> None:
    epochs = opened()
    epochs.create("2026-11")
    stolen = (tmp_path / "epochs/2026-11.json").read_bytes()
    epochs.retire("2026-11")
    assert list((tmp_path / "epochs").iterdir()) == []
    with pytest.raises(ConflictError, match="already"):
        epochs.create("2026-11")
    (tmp_path / "epochs/2026-11.json").write_bytes(stolen)  # somebody puts a backup back
    with pytest.raises(NotFoundError):
        epochs.get("2026-11")
    assert [bool(each.retired_at) for each in ledger.epochs()] == [True]
    epochs.retire("2026-11")
    assert list((tmp_path / "epochs").iterdir()) == []


def test_a_seed_that_is_gone_damaged_or_under_another_key_is_missed(
    tmp_path: Path, opened: Callable[[], Epochs]
) -> None:
    epochs = opened()
    for name in ("2026-10", "2026-11", "2026-12"):
        epochs.create(name)
    (tmp_path / "epochs/2026-10.json").unlink()
    damaged = tmp_path / "epochs/2026-11.json"
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert epochs.missing() == ["2026-11", "2026-10"]
    assert [each.name for each in epochs.served()] == ["2026-12"]
    for name in ("2026-10", "2026-11"):
        with pytest.raises(NotFoundError) as raised:
            epochs.get(name)
        assert raised.value.reason is Reason.EPOCH_UNKNOWN
    (tmp_path / "keyserver.key").unlink()
    make_key(FileKeySource(tmp_path / "keyserver.key"))
    assert opened().missing() == ["2026-12", "2026-11", "2026-10"]


def test_a_seed_cannot_stand_in_for_another_epochs(
    tmp_path: Path, opened: Callable[[], Epochs]
) -> None:
    epochs = opened()
    epochs.create("2026-11")
    epochs.create("2026-12")
    (tmp_path / "epochs/2026-11.json").replace(tmp_path / "epochs/2026-12.json")
    assert epochs.missing() == ["2026-12", "2026-11"]


def test_there_are_only_so_many_epochs_and_names_that_sort(opened: Callable[[], Epochs]) -> None:
    epochs = opened()
    for n in range(EPOCHS_MAX):
        epochs.create(f"2026-{n:02}")
    with pytest.raises(PreconditionError, match="first retire one"):
        epochs.create("2026-99")
    with pytest.raises(InvalidInputError):
        epochs.create("../2026")
    with pytest.raises(NotFoundError):
        epochs.retire("2027-01")
    for name in ("", "../x", "2026-99", "x" * 100):
        with pytest.raises(NotFoundError):
            epochs.get(name)
    epochs.retire("2026-00")
    epochs.create("2026-99")
