"""How what is drawn for pairs is read, and the shuffle that draws make.

Part of `seal` and `sieve` of this package, which are what others import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kinlink_core.encoding.sketch import Bytes

# A bit goes to the place of its 16-bit random rank among all ranks; ties by place.
RANK_BYTES: Final = 2
# Bits that are carried to their places by one sort: what is left of 32 bits beside rank and place.
_CARRIED_BITS: Final = 8


class Reader:
    """Hands out the columns of a byte matrix from left to right."""

    def __init__(self, matrix: Bytes) -> None:
        self._matrix = matrix
        self._at = 0

    def take(self, width: int) -> Bytes:
        """The next `width` columns, (n, width)."""
        start, self._at = self._at, self._at + width
        return self._matrix[:, start : self._at]


def shuffled(columns: Sequence[Bytes], ranks: Bytes) -> Iterator[Bytes]:
    """Columns of (n, bits) zeros and ones, each row in the order of its (n, 2 · bits) random ranks.

    All columns of a row are shuffled alike. Sorting the ranks with the bits in their lowest places
    carries the bits along, which takes a tenth of the time of an `argsort`.
    """
    rows, bits = len(ranks), ranks.shape[1] // RANK_BYTES
    # From the lowest byte: the bits that are carried, the place, the rank.
    slots = np.empty((rows, bits, 2 + RANK_BYTES), np.uint8)
    slots[:, :, 1] = np.arange(bits)
    slots[:, :, 2:] = ranks.reshape(rows, bits, RANK_BYTES)
    for start in range(0, len(columns), _CARRIED_BITS):
        group = columns[start : start + _CARRIED_BITS]
        carried = slots.copy()
        carried[:, :, 0] = sum(column << number for number, column in enumerate(group))
        carried.view("<u4").sort(axis=1)
        placed = np.ascontiguousarray(carried[:, :, 0])
        for number in range(len(group)):
            yield placed >> np.uint8(number) & np.uint8(1)
