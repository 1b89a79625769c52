"""Where a long-lived secret key of 32 bytes comes from: a file, or a file that a token wraps.

A registry's vault key and a key server's local key come through here; everything else that rests
on a disk is sealed under one of them. With a plain file, whoever has the disk and the file reads
everything. With a token (PKCS#11), the file holds the key wrapped by a key that cannot leave the
token: a stolen disk alone opens nothing.

Not guaranteed: in either case the key is in the memory of the process once it was read; a file
system may keep the blocks of the plain file that `wrap_in_place` replaced.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from kinlink_core.errors import ConflictError, PreconditionError, Reason
from kinlink_core.runtime.files import make_directory, read_secret_file, write_secret_file

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_core.runtime.pkcs11_token import TokenKey

KEY_BYTES: Final = 32

_WRAPPED: Final = b"kinlink/v1 wrapped key: "


class KeySource(Protocol):
    """A place that one key is read from, and written to when it is new or recovered."""

    @property
    def path(self) -> Path:
        """The file on the disk, plain or wrapped."""
        ...

    def read(self) -> bytes:
        """The key, 32 bytes; `PreconditionError` `KEY_MISSING` where there is none."""
        ...

    def keep(self, key: bytes) -> None:
        """Write the key; what lies there is replaced."""
        ...

    def describe(self) -> str:
        """Where the key is, for officers; nothing of the key."""
        ...


@dataclass(frozen=True)
class FileKeySource:
    """A key in a file that its owner alone may read: 32 bytes in base64."""

    path: Path

    def read(self) -> bytes:
        """The key; its file must be readable by its owner alone."""
        content = _content(self.path)
        if content.startswith(_WRAPPED):
            raise _missing(f'{self.path} is wrapped by a token: set key_source to "pkcs11".')
        try:
            return _checked(base64.b64decode(content.strip(), validate=True), self.path)
        except ValueError as error:
            raise _missing(f"{self.path} holds no key.") from error

    def keep(self, key: bytes) -> None:
        """Write the key file; it appears whole or not at all."""
        _write(self.path, base64.b64encode(key))

    def describe(self) -> str:
        """The file's path."""
        return f"the file {self.path}"


@dataclass(frozen=True)
class Pkcs11KeySource:
    """A key in a file, wrapped by a key in a token; `owner` is whose key it is, and bound to it."""

    path: Path
    token: TokenKey
    owner: str

    def read(self) -> bytes:
        """The key, opened by the token."""
        content = _content(self.path)
        if not content.startswith(_WRAPPED):
            raise _missing(f"{self.path} is not wrapped by a token: wrap it, or restore the file.")
        try:
            blob = base64.b64decode(content.removeprefix(_WRAPPED).strip(), validate=True)
        except ValueError as error:
            raise _missing(f"{self.path} is damaged.") from error
        return _checked(self.token.unwrap(blob, self._place()), self.path)

    def keep(self, key: bytes) -> None:
        """Wrap the key, see that the token opens it again, and only then write the file."""
        blob = self.token.wrap(key, self._place())
        if not hmac.compare_digest(self.token.unwrap(blob, self._place()), key):
            raise _missing(f"The {self.token} does not open what it wrapped.")
        _write(self.path, _WRAPPED + base64.b64encode(blob))

    def describe(self) -> str:
        """The file's path, and what wraps it."""
        return f"the file {self.path}, wrapped by {self.token}"

    def _place(self) -> bytes:
        return b"kinlink/v1 wrapped key\n" + self.owner.encode()


def make_key(source: KeySource) -> None:
    """Make a new random key, unless there is one."""
    if not source.path.exists():
        source.keep(secrets.token_bytes(KEY_BYTES))


def wrap_in_place(source: KeySource) -> None:
    """Replace the plain key in a source's file by the same key, wrapped.

    Raises:
        ConflictError: `CONFIG_INVALID`: it is wrapped already, or the settings name no token.
    """
    if not isinstance(source, Pkcs11KeySource):
        raise ConflictError(
            Reason.CONFIG_INVALID,
            'Set key_source to "pkcs11" in the settings first, with the table pkcs11.',
        )
    if _content(source.path).startswith(_WRAPPED):
        raise ConflictError(Reason.CONFIG_INVALID, f"{source.path} is wrapped already.")
    key = FileKeySource(source.path).read()
    source.keep(key)


def _content(path: Path) -> bytes:
    if not path.exists():
        raise _missing(f"There is no key at {path}: run init, or name its file.")
    return read_secret_file(path)


def _checked(key: bytes, path: Path) -> bytes:
    if len(key) != KEY_BYTES:
        raise _missing(f"A key has {KEY_BYTES} bytes; {path} holds another number.")
    return key


def _write(path: Path, content: bytes) -> None:
    make_directory(path.parent)
    write_secret_file(path, content + b"\n")


def _missing(text: str) -> PreconditionError:
    return PreconditionError(Reason.KEY_MISSING, text)
