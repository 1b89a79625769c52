"""Graph matching: the same people in two graphs, by who is similar to whom and nothing else.

Written from the idea of the published attacks on record linkage (similarities survive encoding, so
the encoded graph and the plaintext graph are nearly one) and of the FAQ algorithm (Vogelstein et
al. 2015): a first assignment by how each node's similarities are distributed, then repeated linear
assignments of how alike two nodes are to everyone else under the assignment so far.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm, rankdata

Matrix = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

ROUNDS_MAX: Final = 15
NEIGHBOURS: Final = 10
QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
# How much each feature of a node says: its own weight, mean and spread, quantiles, neighbours.
WEIGHTS: Final = (3.0, 1.5, 1.0, *[0.7] * len(QUANTILES), *[0.5] * NEIGHBOURS)
FORBIDDEN: Final = 1e9


def match(
    left: npt.NDArray[Any],
    right: npt.NDArray[Any],
    left_size: npt.NDArray[Any] | None = None,
    right_size: npt.NDArray[Any] | None = None,
    *,
    barred: npt.NDArray[np.bool_] | None = None,
    comparable: bool = False,
) -> I64:
    """Match the nodes of two similarity graphs.

    Args:
        left: (n, n) symmetric similarities; 0 where nothing is known.
        right: (m, m) similarities; their scale may differ.
        left_size: (n,) a size of each node, such as the bits of a filter, if there is one.
        right_size: (m,) the same.
        barred: (n, m) pairs that are known to be different.
        comparable: both graphs measure similarity alike, so values are compared, not ranks.

    Returns:
        (n,) node of `right` for each node of `left`, -1 where none is left. Time: some assignments
        of size max(n, m); a second for a thousand nodes.
    """
    never: Matrix = np.zeros((len(left), len(right)))
    if barred is not None:
        never[barred] = FORBIDDEN
    one, other = _standard(left), _standard(right)
    features = _features(left, left_size), _features(right, right_size)
    scaled = _in_steps(*features) if comparable else tuple(map(_scores, features))
    cost = never.copy()
    for weight, mine, theirs in zip(WEIGHTS, *(each.T for each in scaled), strict=True):
        cost += weight * (mine[:, None] - theirs[None, :]) ** 2
    found = _assigned(cost)
    for _ in range(ROUNDS_MAX):
        matched = np.flatnonzero(found >= 0)
        seen, known = one[:, matched], other[:, found[matched]]
        apart = (seen**2).sum(axis=1)[:, None] + (known**2).sum(axis=1)[None, :]
        better = _assigned(never + apart - 2 * seen @ known.T)
        if np.array_equal(better, found):
            break
        found = better
    return found


def _standard(similarity: npt.NDArray[Any]) -> Matrix:
    """Zero mean and unit variance between different nodes; what a node is to itself counts too."""
    apart = ~np.eye(len(similarity), dtype=bool)
    values = similarity[apart]
    spread = values.std() or 1.0
    standard: Matrix = (similarity - values.mean()) / spread
    own = np.diag(similarity)
    standard[~apart] = (own - own.mean()) / spread
    return standard


def _features(similarity: npt.NDArray[Any], size: npt.NDArray[Any] | None) -> Matrix:
    """Each node's size, mean, spread, quantiles and nearest neighbours."""
    others = similarity.astype(np.float64)
    np.fill_diagonal(others, np.nan)
    nearest = -np.sort(-np.nan_to_num(others), axis=1)[:, :NEIGHBOURS]
    nearest = np.pad(nearest, ((0, 0), (0, NEIGHBOURS - nearest.shape[1])))
    columns = np.column_stack(
        [
            np.diag(similarity) if size is None else size,
            np.nanmean(others, axis=1),
            np.nanstd(others, axis=1),
            np.nanquantile(others, QUANTILES, axis=1).T,
            nearest,
        ]
    )
    return np.asarray(columns, np.float64)


def _scores(features: Matrix) -> Matrix:
    """Normal scores, feature by feature: only the order of nodes counts."""
    return np.asarray(norm.ppf((rankdata(features, axis=0) - 0.5) / len(features)), np.float64)


def _in_steps(one: Matrix, other: Matrix) -> tuple[Matrix, Matrix]:
    """Both sides in standard deviations of the second."""
    spread = other.std(axis=0)
    spread[spread == 0] = 1.0
    return one / spread, other / spread


def _assigned(cost: Matrix) -> I64:
    found = np.full(len(cost), -1)
    rows, columns = linear_sum_assignment(cost)
    found[rows] = columns
    return found
