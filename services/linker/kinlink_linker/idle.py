"""Ends streams that are silent for too long: a deadline bounds a stream, this bounds its pauses."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

CHECKS_A_LIMIT = 10
IDLE_SECONDS = 120.0


class Cancellable(Protocol):
    """A call in flight."""

    def cancel(self) -> Any:
        """End the call; whoever reads it gets an error."""


class IdleGuard:
    """Cancels the calls given to it when nothing came for `seconds`; one thread for all of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._last: dict[Cancellable, float] = {}
        self._silent: set[Cancellable] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def watched(self, call: Any) -> Iterator[Any]:
        """The messages of a call, until it ends or stays silent too long."""
        with self._lock:
            self._last[call] = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="idle", daemon=True)
                self._thread.start()
        try:
            for message in call:
                self._last[call] = time.monotonic()
                yield message
                # The reader's own time between two messages is not the peer's silence.
                self._last[call] = time.monotonic()
        finally:
            with self._lock:
                del self._last[call]
            call.cancel()

    def was_silent(self, call: Any) -> bool:
        """Whether a call was ended by this guard; asked once."""
        with self._lock:
            silent = call in self._silent
            self._silent.discard(call)
            return silent

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(self._seconds / CHECKS_A_LIMIT):
            now = time.monotonic()
            with self._lock:
                silent = [c for c, last in self._last.items() if now - last > self._seconds]
                self._silent.update(silent)
            for call in silent:
                call.cancel()
