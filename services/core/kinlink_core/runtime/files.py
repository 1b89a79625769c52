"""Reading files that others rely on: clear errors, and no secret that others could read."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from kinlink_core.errors import InvalidInputError, Reason

if TYPE_CHECKING:
    from pathlib import Path

SECRET_FILE_MODE: Final = 0o600
# A secret that an orchestrator mounts is root's and readable by the pod's group.
ROOT_SECRET_FILE_MODE: Final = 0o640
PRIVATE_DIRECTORY_MODE: Final = 0o700


def keep_files_private() -> None:
    """Let this process make no file that others can read: logs and write-ahead files included."""
    os.umask(stat.S_IRWXG | stat.S_IRWXO)


def read_file(path: Path) -> bytes:
    """The bytes of a file; raises `InvalidInputError` naming the path and the cause."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_secret_file(path: Path) -> bytes:
    """As `read_file`, for a file that passes `check_secret_file`."""
    check_secret_file(path)
    return read_file(path)


def check_secret_file(path: Path) -> None:
    """Refuse a secret file that is missing or open to more than its owner.

    The rule is PostgreSQL's for its server key: mode 0600 or less, or 0640 or less when the file
    is root's and this process is not root.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInputError(Reason.FILE_UNREADABLE, f"{path} is not a regular file.")
    mode = stat.S_IMODE(status.st_mode)
    mounted = status.st_uid == 0 and os.geteuid() != 0
    if mode & ~(ROOT_SECRET_FILE_MODE if mounted else SECRET_FILE_MODE):
        raise InvalidInputError(
            Reason.FILE_UNREADABLE,
            f"{path} holds a secret and has mode {mode:04o}; chmod it to 0600.",
        )


def make_directory(path: Path) -> None:
    """Make a directory, and its parents, that only its owner may enter."""
    if not path.exists():
        make_directory(path.parent)
        path.mkdir(mode=PRIVATE_DIRECTORY_MODE, exist_ok=True)


def write_secret_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; it appears whole or not at all."""
    _write(path, content, SECRET_FILE_MODE)


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that appears whole or not at all."""
    _write(path, content, mode)


def _write(path: Path, content: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _unreadable(path: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(Reason.FILE_UNREADABLE, f"{path} cannot be read: {error.strerror}.")
