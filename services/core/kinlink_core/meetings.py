"""The order in which the meetings of two records count: the first of them is sealed.

Two records meet in every pass whose value they share. A linkage asks for their meetings in this
order, and where they arrive one after another the registries go by it too, so that what is sealed
in the end depends on which meetings there are, not on when each of them arrived.

One meeting in `SAMPLED_ONE_IN`, chosen by its random handles, comes before all others: models learn
from these. Then passes count in the schema's order, and within a pass random numbers that both
handles give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

SAMPLED_ONE_IN: Final = 16


def drawn(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """A random number of each meeting, the same for both sides, from (n, 16) handles."""
    words: npt.NDArray[np.uint64] = _first_words(one) ^ _first_words(other)
    return words


def places(
    pass_index: int, one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]
) -> list[bytes]:
    """The place of each meeting of one pass, 11 bytes; what sorts first counts."""
    numbers = drawn(one, other)
    behind = (numbers % np.uint64(SAMPLED_ONE_IN) != 0).tolist()
    return [
        bytes([late]) + pass_index.to_bytes(2, "big") + number.to_bytes(8, "big")
        for late, number in zip(behind, numbers.tolist(), strict=True)
    ]


def _first_words(handles: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    words: npt.NDArray[np.uint64] = np.ascontiguousarray(handles).view("<u8").reshape(-1, 2)[:, 0]
    return words
