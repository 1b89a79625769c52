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
    numbers: npt.NDArray[np.uint64] = _words(one)[:, 0] ^ _words(other)[:, 0]
    return numbers


def places(
    pass_index: int, one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint64]:
    """The place of each meeting of one pass, (n, 3) words; what sorts first counts.

    No other meeting of the two records has the same place but by a chance of 2^-128: it is what
    both handles give.
    """
    both = _words(one) ^ _words(other)
    behind = (both[:, 0] % np.uint64(SAMPLED_ONE_IN) != 0).astype(np.uint64)
    front = behind << np.uint64(16) | np.uint64(pass_index)
    return np.column_stack([front, both])


def _words(handles: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    words: npt.NDArray[np.uint64] = np.ascontiguousarray(handles).view("<u8").reshape(-1, 2)
    return words
