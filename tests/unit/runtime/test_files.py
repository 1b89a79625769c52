from __future__ import annotations

from pathlib import Path

import pytest
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.files import (
    check_secret_file,
    read_file,
    read_secret_file,
    write_file,
    write_secret_file,
)


def test_a_secret_file_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret_file(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_secret_file(path) == b"secret"


def test_writing_replaces_a_file_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    write_secret_file(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600
    write_file(path, b"newer")
    assert read_file(path) == b"newer"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o700, 0o644])
def test_a_secret_file_open_to_others_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(mode)
    with pytest.raises(InvalidInputError, match=f"has mode {mode:04o}; chmod it to 0600"):
        read_secret_file(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_file_of_its_owner_is_accepted(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(mode)
    check_secret_file(path)


def test_a_secret_that_an_orchestrator_mounts_may_be_readable_by_our_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kinlink_core.runtime.files.os.geteuid", lambda: 1000)
    check_secret_file(Path("/etc/shadow"))  # root's, at most 0640
    with pytest.raises(InvalidInputError, match="has mode 0644"):
        check_secret_file(Path("/etc/passwd"))


def test_a_missing_file_or_a_directory_is_named(tmp_path: Path) -> None:
    for path, text in ((tmp_path / "no", "cannot be read"), (tmp_path, "not a regular file")):
        with pytest.raises(InvalidInputError, match=text) as caught:
            read_secret_file(path)
        assert caught.value.reason is Reason.FILE_UNREADABLE
        assert str(path) in caught.value.public
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_file(tmp_path)
