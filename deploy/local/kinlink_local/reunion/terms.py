"""Marks on a body and memories of a home: sets of terms, each there or not, independently."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.people import MARK_SIDES
from kinlink_local.reunion.notices import LIST_SEPARATOR
from kinlink_local.tables import words

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
# The n-th commonest term has a share of 1 / (n + this).
TERM_OFFSET: Final = 10
SHARE_MAX: Final = 0.6
NONE_KNOWN: Final = "none"  # the field is known, and nothing is in it
_SHUFFLE_SEED: Final = 8


@cache
def marks() -> tuple[str, ...]:
    """Side, site and kind, with `/` between."""
    return tuple("/".join(parts) for parts in product(
        (*MARK_SIDES, "中"), words("mark_sites"), words("mark_kinds")
    ))  # fmt: skip


def memories() -> tuple[str, ...]:
    """The controlled vocabulary of what may be recalled of a home."""
    return words("memory_terms")


@cache
def shares(size: int, mean: float) -> Floats:
    """P(each of `size` terms is there), in a fixed mixed order, `mean` of them on average."""
    weight = 1 / (np.arange(size) + TERM_OFFSET)
    weight = np.random.default_rng(_SHUFFLE_SEED).permutation(weight)
    found: Floats = np.minimum(weight / weight.sum() * mean, SHARE_MAX)
    return found


def draw(rng: np.random.Generator, size: int, share: Floats) -> Bools:
    """Sets, as rows (size, terms)."""
    return rng.random((size, len(share)), np.float32) < share


def thin(rng: np.random.Generator, sets: Bools, kept: Floats | float) -> Bools:
    """The sets with each term kept with probability `kept`, one for all or one a row."""
    rate = np.broadcast_to(np.asarray(kept), len(sets))[:, None]
    return sets & (rng.random(sets.shape, np.float32) < rate)


def write(sets: Bools, known: Bools, vocabulary: tuple[str, ...]) -> list[str]:
    """Cells with the terms of each row; empty where the field is not known."""
    return [
        (LIST_SEPARATOR.join(vocabulary[i] for i in np.flatnonzero(row)) or NONE_KNOWN)
        if given
        else ""
        for row, given in zip(sets, known.tolist(), strict=True)
    ]


def read(cells: list[str], vocabulary: tuple[str, ...]) -> tuple[Bools, Bools]:
    """Sets of cells (n, terms), and where the field is known (n,); other terms are left out."""
    number = {term: index for index, term in enumerate(vocabulary)}
    sets = np.zeros((len(cells), len(vocabulary)), bool)
    for row, cell in enumerate(cells):
        for term in cell.split(LIST_SEPARATOR):
            if term in number:
                sets[row, number[term]] = True
    return sets, np.array([bool(cell) for cell in cells])
