"""Small free functions on arrays that several stages share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_linker.domain import F64, I64, U64


def runs(starts: I64, lengths: I64) -> I64:
    """Positions of all runs, one after another: start, start + 1, … for each run."""
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    offsets = np.arange(total) - np.repeat(ends - lengths, lengths)
    positions: I64 = np.repeat(starts, lengths) + offsets
    return positions


def slices_by_weight(weights: I64, limit: int) -> Iterator[slice]:
    """Cut a sequence into consecutive slices whose weights sum to at most `limit`.

    An item heavier than the limit gets a slice of its own.
    """
    ends = np.cumsum(weights)
    start = 0
    done = 0
    while start < len(weights):
        stop = int(np.searchsorted(ends, done + limit, side="right"))
        stop = max(stop, start + 1)
        yield slice(start, stop)
        done = int(ends[stop - 1])
        start = stop


def slices_of(rows: int, limit: int) -> Iterator[slice]:
    """Cut `rows` rows into consecutive slices of at most `limit`."""
    for start in range(0, rows, limit):
        yield slice(start, min(start + limit, rows))


def first_of_each(rows: U64) -> I64:
    """Where each distinct row of an (n, k) array stands first; ascending."""
    order = np.lexsort(rows.T)
    fresh = np.ones(len(order), bool)
    fresh[1:] = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    first: I64 = np.sort(order[fresh])
    return first


def summed(number: I64, weights: F64, count: int) -> F64:
    """The sum of the weights of each number below `count`."""
    sums: F64 = np.bincount(number, weights, minlength=count).astype(np.float64)
    return sums
