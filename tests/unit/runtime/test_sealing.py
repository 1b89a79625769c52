"""What is sealed opens in its own place, under its own key, and nowhere else."""

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
from kinlink_core.runtime.epochs import EpochFiles
from kinlink_core.runtime.sealing import Sealer

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(32))
SECRET = b"s" * 32


@pytest.fixture
def files(tmp_path: Path) -> EpochFiles:
    return EpochFiles(tmp_path / "epochs", Sealer(KEY, "test"), "seed", 2)


def test_a_blob_opens_only_in_its_place_under_its_key_and_for_its_store() -> None:
    sealer = Sealer(KEY, "test")
    blob = sealer.seal(b"here", SECRET)
    assert sealer.open(b"here", blob) == SECRET
    assert sealer.seal(b"here", SECRET) != blob
    others = [
        (sealer, b"there", blob),
        (Sealer(KEY, "other"), b"here", blob),
        (Sealer(bytes(32), "test"), b"here", blob),
        (sealer, b"here", blob[:-1]),
        (sealer, b"here", b""),
    ]
    for opener, place, content in others:
        with pytest.raises(PreconditionError) as raised:
            opener.open(place, content)
        assert raised.value.reason is Reason.KEY_MISSING
    assert "0102" not in repr(sealer)


def test_a_secret_of_an_epoch_is_kept_read_and_destroyed(files: EpochFiles) -> None:
    assert files.names() == []
    assert files.stamp("2026-11") is None
    files.keep("2026-11", SECRET)
    files.keep("2026-12", bytes(32))
    assert files.names() == ["2026-12", "2026-11"]
    assert files.read("2026-11") == SECRET
    assert SECRET not in (files.folder / "2026-11.json").read_bytes()
    assert (files.folder / "2026-11.json").stat().st_mode & 0o777 == 0o600
    files.destroy("2026-11")
    assert files.names() == ["2026-12"]
    for ask in (files.read, files.destroy):
        with pytest.raises(NotFoundError) as raised:
            ask("2026-11")
        assert raised.value.reason is Reason.EPOCH_UNKNOWN


def test_no_epoch_is_overwritten_and_no_more_are_kept_than_allowed(files: EpochFiles) -> None:
    files.keep("2026-11", SECRET)
    with pytest.raises(ConflictError, match="already"):
        files.keep("2026-11", bytes(32))
    files.keep("2026-12", SECRET)
    with pytest.raises(PreconditionError, match="2 epochs at most"):
        files.keep("2027-01", SECRET)
    assert files.read("2026-11") == SECRET


@pytest.mark.parametrize("name", ["", "../x", "A", ".hidden", "x" * 33, "a/b"])
def test_a_name_that_could_be_a_path_is_refused(files: EpochFiles, name: str) -> None:
    for ask in (files.read, files.destroy, files.stamp):
        with pytest.raises(InvalidInputError):
            ask(name)
    with pytest.raises(InvalidInputError):
        files.keep(name, SECRET)


def test_a_damaged_file_says_so_and_a_strange_one_is_no_epoch(files: EpochFiles) -> None:
    files.keep("2026-11", SECRET)
    path = files.folder / "2026-11.json"
    for content in (b"{", b"[]", b"{}", b'{"sealed": 3}', b'{"sealed": "AAAA"}'):
        path.write_bytes(content)
        with pytest.raises(PreconditionError) as raised:
            files.read("2026-11")
        assert raised.value.reason is Reason.KEY_MISSING
    (files.folder / "Notes of mine.json").write_text("{}")
    assert files.names() == ["2026-11"]
