"""A door that many may pass together, or one alone: readers of the vault, and its replacement."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kinlink_core.errors import ConflictError, Reason, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Gate:
    """Whoever wants to be alone keeps newcomers out and waits for the others to leave."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._changed = threading.Condition()
        self._inside = 0
        self.closing = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Be inside with others; `UnavailableError` when the door stays closed."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self.closing, self._seconds_max):
                raise UnavailableError(Reason.STORE_BUSY, "The vault is being replaced; try again.")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be inside alone; `ConflictError` when the others do not leave in time."""
        with self._changed:
            self.closing = True
            if not self._changed.wait_for(lambda: self._inside == 0, self._seconds_max):
                self._open()
                raise ConflictError(Reason.STORE_BUSY, "Readers did not leave the vault in time.")
        try:
            yield
        finally:
            with self._changed:
                self._open()

    def _open(self) -> None:
        self.closing = False
        self._changed.notify_all()
