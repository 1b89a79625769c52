"""Looking for values in bytes: whether anything that should have stayed in a registry got out.

Thousands of values are looked for at once: every place of the content is looked up in a table of
how values begin, and what begins alike is compared whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Shorter values are everywhere by chance; `searchable` leaves them out.
ASCII_BYTES_MIN: Final = 8
OTHER_BYTES_MIN: Final = 6
# How much of each value's beginning a table of bits knows.
KNOWN_BYTES: Final = 3
CHUNK_BYTES: Final = 4 << 20


def searchable(values: Iterable[str]) -> set[bytes]:
    """The values long enough to mean something when they are found, as UTF-8."""
    found = {value.encode() for value in values}
    return {
        value
        for value in found
        if len(value) >= (ASCII_BYTES_MIN if value.isascii() else OTHER_BYTES_MIN)
    }


class Seeker:
    """Looks for many values, each of at least `OTHER_BYTES_MIN` bytes, in any content."""

    def __init__(self, values: Iterable[bytes]) -> None:
        self._by_start: dict[bytes, list[bytes]] = {}
        for value in values:
            self._by_start.setdefault(value[:OTHER_BYTES_MIN], []).append(value)
        self._begins = np.zeros(1 << (8 * KNOWN_BYTES), np.bool_)
        for start in self._by_start:
            self._begins[int.from_bytes(start[:KNOWN_BYTES], "little")] = True

    def found_in(self, content: bytes) -> set[bytes]:
        """Which of the values occur anywhere in the content; time grows with its length.

        Digits behind the point of a number are none: a model's parameters hold any date by chance.
        """
        found: set[bytes] = set()
        for place in self._places(content):
            for value in self._by_start.get(content[place : place + OTHER_BYTES_MIN], ()):
                if not content.startswith(value, place):
                    continue
                if not (value.isdigit() and _behind_point(content, place)):
                    found.add(value)
        return found

    def files_that_hold(self, folder: Path) -> dict[Path, set[bytes]]:
        """Every file below a folder that holds one of the values, and which."""
        holding = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                found = self.found_in(path.read_bytes())
                if found:
                    holding[path] = found
        return holding

    def _places(self, content: bytes) -> Iterator[int]:
        """Where one of the values may begin."""
        octets = np.frombuffer(content, np.uint8)
        for start in range(0, len(octets), CHUNK_BYTES):
            part = octets[start : start + CHUNK_BYTES + KNOWN_BYTES - 1].astype(np.uint32)
            if len(part) >= KNOWN_BYTES:
                words = part[:-2] | part[1:-1] << np.uint32(8) | part[2:] << np.uint32(16)
                yield from (np.flatnonzero(self._begins[words]) + start).tolist()


def _behind_point(content: bytes, place: int) -> bool:
    """Whether all that stands between a decimal point and this place are digits."""
    start = place
    while start and content[start - 1 : start].isdigit():
        start -= 1
    return content[start - 1 : start] == b"."
