"""Where each family's child ends up in its list of found people, and what the lists cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion.found_side import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
BLOCK_ROWS: Final = 128


@dataclass(frozen=True)
class Recall:
    """Share of the children whose notice is among the first 1, 10, 100 of the family's list."""

    at_1: float
    at_10: float
    at_100: float


def ranks(scores: Callable[[Ints], NDArray[np.float32]], partner: Ints) -> Floats:
    """Rank of each partnered family's child (pairs,): 1 is best, ties count half.

    Args:
        scores: rows of the family side to their scores (rows, found).
        partner: row of the found side for each family's notice, or NOBODY.
    """
    rows = np.flatnonzero(partner != NOBODY)
    found = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK_ROWS):
        some = rows[start : start + BLOCK_ROWS]
        block = scores(some)
        true = block[np.arange(len(some)), partner[some]][:, None]
        above = (block > true).sum(axis=1)
        tied = (block == true).sum(axis=1) - 1
        found[start : start + len(some)] = 1 + above + tied / 2
    return found


def recall(of: Floats) -> Recall:
    """Recall at 1, 10 and 100 from ranks."""
    return Recall(*(float((of <= k).mean()) for k in (1, 10, 100)))
