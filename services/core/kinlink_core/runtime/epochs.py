"""Secrets of epochs: one file each, sealed; deleting the file is how an epoch is retired."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from kinlink_core.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PreconditionError,
    Reason,
)
from kinlink_core.runtime.files import make_directory, read_secret_file, write_secret_file

if TYPE_CHECKING:
    from pathlib import Path

EPOCH_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
SUFFIX: Final = ".json"


class Cipher(Protocol):
    """What seals the files."""

    def seal(self, place: bytes, plaintext: bytes) -> bytes:
        """Seal bytes for one place."""

    def open(self, place: bytes, blob: bytes) -> bytes:
        """Open what was sealed for this place; `PreconditionError` otherwise."""


def check_epoch(epoch: str) -> str:
    """Return a name that may be an epoch's; newer ones should sort later, as 2026-12 does."""
    if not EPOCH_NAME.fullmatch(epoch):
        raise InvalidInputError(
            Reason.CONFIG_INVALID,
            "An epoch's name has 1 to 32 of a-z, 0-9, dot, dash and underscore, such as 2026-11.",
        )
    return epoch


@dataclass(frozen=True)
class EpochFiles:
    """The secrets in one folder, at most `epochs_max` of them; `what` names them in errors."""

    folder: Path
    cipher: Cipher
    what: str
    epochs_max: int

    def names(self) -> list[str]:
        """Epochs whose secret is here, newest first (by name)."""
        stems = {path.stem for path in self.folder.glob(f"*{SUFFIX}")}
        return sorted(filter(EPOCH_NAME.fullmatch, stems), reverse=True)

    def stamp(self, epoch: str) -> tuple[int, int] | None:
        """Changes when the file is another one; None where there is none."""
        try:
            found = self._path(epoch).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def read(self, epoch: str) -> bytes:
        """Open one epoch's secret.

        Raises:
            NotFoundError: `EPOCH_UNKNOWN`: there is none.
            PreconditionError: `KEY_MISSING`: it is damaged, or sealed under another key.
        """
        path = self._path(epoch)
        if not path.exists():
            raise self._unknown(epoch)
        try:
            sealed = base64.b64decode(json.loads(read_secret_file(path))["sealed"])
        except (ValueError, KeyError, TypeError) as error:
            raise PreconditionError(Reason.KEY_MISSING, f"{path} is damaged.") from error
        return self.cipher.open(self._place(epoch), sealed)

    def kept_at(self, epoch: str) -> dt.datetime:
        """When an epoch's secret came here, UTC; as `read` where it is not here or damaged."""
        path = self._path(epoch)
        try:
            return dt.datetime.fromisoformat(json.loads(read_secret_file(path))["kept_at"])
        except (ValueError, KeyError, TypeError) as error:
            raise PreconditionError(Reason.KEY_MISSING, f"{path} is damaged.") from error

    def keep(self, epoch: str, secret: bytes) -> None:
        """Seal and store the secret of an epoch that is not here yet.

        Raises:
            ConflictError: `CONFIG_INVALID`: there is one of this name.
            PreconditionError: `QUOTA_EXCEEDED`: there are `epochs_max` already.
        """
        known = self.names()
        if check_epoch(epoch) in known:
            raise ConflictError(
                Reason.CONFIG_INVALID, f"There is a {self.what} of epoch {epoch!r} already."
            )
        if len(known) >= self.epochs_max:
            raise PreconditionError(
                Reason.QUOTA_EXCEEDED,
                f"{self.epochs_max} epochs at most: first retire one of {', '.join(known)}.",
            )
        content = {
            "epoch": epoch,
            "kept_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "sealed": base64.b64encode(self.cipher.seal(self._place(epoch), secret)).decode(),
        }
        make_directory(self.folder)
        write_secret_file(self._path(epoch), json.dumps(content).encode())

    def destroy(self, epoch: str) -> None:
        """Delete an epoch's secret; `NotFoundError` where there is none."""
        try:
            self._path(epoch).unlink()
        except FileNotFoundError:
            raise self._unknown(epoch) from None

    def _unknown(self, epoch: str) -> NotFoundError:
        return NotFoundError(
            Reason.EPOCH_UNKNOWN, f"There is no {self.what} of epoch {epoch!r} here."
        )

    def _path(self, epoch: str) -> Path:
        return self.folder / f"{check_epoch(epoch)}{SUFFIX}"

    def _place(self, epoch: str) -> bytes:
        return b"epoch secret " + epoch.encode()
