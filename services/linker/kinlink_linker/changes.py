"""Which token rows came and went, in the order they were stored, for whoever follows or links.

Nothing is kept while nobody reads. A reader holds its place: what came after it stays until the
reader has taken it, or lets go. A log that grows too long is emptied, and its readers are told that
they missed something.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kinlink_linker.token_rows import Changes

# About 50 bytes each.
ROWS_MAX: Final = 5_000_000


@dataclass(frozen=True, eq=False)
class Entry:
    """Rows that were stored together; None where all of a registry's went."""

    number: int
    epoch: str
    at: float  # monotonic seconds
    changes: Changes | None


class ChangeLog:
    """The changes since the places of its readers; may be used from any thread."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._moved = threading.Condition()
        self._entries: deque[Entry] = deque()
        self._rows = 0
        self._next = 0
        self._places: dict[str, int] = {}
        self._missed: set[str] = set()

    def note(self, epoch: str, changes: Changes | None) -> None:
        """Token rows were stored."""
        with self._moved:
            if not self._places or (changes is not None and not changes.count):
                return
            self._entries.append(Entry(self._next, epoch, time.monotonic(), changes))
            self._next += 1
            self._rows += changes.count if changes else 0
            if self._rows > self._rows_max:
                self._missed.update(self._places)
                self._drop_before(self._next)
            self._moved.notify_all()

    def hold(self, reader: str) -> None:
        """Keep what comes from now on for a reader."""
        with self._moved:
            self._places[reader] = self._next
            self._missed.discard(reader)

    def let_go(self, reader: str) -> None:
        """Keep nothing for a reader any more."""
        with self._moved:
            self._places.pop(reader, None)
            self._missed.discard(reader)
            self._trim()

    def inherit(self, reader: str, other: str) -> bool:
        """Give a reader the place of another, who lets go; False if that one missed something."""
        with self._moved:
            whole = other in self._places and other not in self._missed
            self._places[reader] = self._places.pop(other, self._next)
            self._missed -= {reader, other}
            self._trim()
            self._moved.notify_all()
        return whole

    def take(self, reader: str, seconds: float) -> tuple[list[Entry], bool]:
        """What came since a reader's place, waiting for it; and whether something was missed."""
        with self._moved:
            place = self._places.get(reader)
            if place is None:
                return [], False
            if place == self._next:
                self._moved.wait(seconds)
            found = [each for each in self._entries if each.number >= self._places.get(reader, 0)]
            missed = reader in self._missed
            self._missed.discard(reader)
            if reader in self._places:
                self._places[reader] = self._next
            self._trim()
        return found, missed

    def oldest(self, reader: str) -> float | None:
        """When the first change came that a reader has not taken; None if there is none."""
        with self._moved:
            place = self._places.get(reader, self._next)
            return next((each.at for each in self._entries if each.number >= place), None)

    def wake(self) -> None:
        """End the wait of readers."""
        with self._moved:
            self._moved.notify_all()

    def _trim(self) -> None:
        self._drop_before(min(self._places.values(), default=self._next))

    def _drop_before(self, number: int) -> None:
        while self._entries and self._entries[0].number < number:
            gone = self._entries.popleft()
            self._rows -= gone.changes.count if gone.changes else 0
