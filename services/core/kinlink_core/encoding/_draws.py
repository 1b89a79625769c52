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
# What is left of 32 bits beside the rank: the place, and bits that are carried there by the sort.
_BESIDE_RANK_BITS: Final = 16
_PLACE_BITS_MIN: Final = 8


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
    bits = ranks.shape[1] // RANK_BYTES
    at_once = _BESIDE_RANK_BITS - max((bits - 1).bit_length(), _PLACE_BITS_MIN)
    # From the lowest bit: the bits that are carried, the place, the rank.
    slots = np.ascontiguousarray(ranks).view("<u2").astype(np.uint32) << _BESIDE_RANK_BITS
    slots |= np.arange(bits, dtype=np.uint32) << at_once
    for start in range(0, len(columns), at_once):
        group = columns[start : start + at_once]
        bundled = group[0].copy()
        for number, column in enumerate(group[1:], start=1):
            bundled |= column << np.uint8(number)
        carried = slots | bundled
        carried.sort(axis=1)
        placed = carried.astype(np.uint8)
        for number in range(len(group)):
            yield placed >> np.uint8(number) & np.uint8(1)
