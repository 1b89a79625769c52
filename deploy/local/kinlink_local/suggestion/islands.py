"""How large islands become across offices, from how rows fall into groups inside each office.

A row that has k others in its group inside one office is taken as a Poisson draw with a rate of its
own; the distribution of rates is found from the sizes by nonparametric maximum likelihood (Laird
1978; EM on a grid). In a federation of R rows the same value then gathers Poisson(rate · R / rows)
others: offices are taken to be samples of one population. Where they are not (each its own towns),
fewer records meet than is predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.planning.statistics_file import SIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from kinlink_core.planning.statistics_file import PassStatistics

    F64 = npt.NDArray[np.float64]

RATES: Final = np.concatenate([[0.0], np.geomspace(0.003, 8192.0, 56)])
ITERATIONS: Final = 300
_SMALLEST: Final = 1e-300


@dataclass(frozen=True)
class Islands:
    """What to expect of one candidate over all offices, by cap."""

    within: dict[int, float]  # share of rows whose island holds at most the cap
    crowded: dict[int, float]  # share of rows in an island above half the cap, but within
    pairs: dict[int, float]  # pairs across offices within the cap
    pairs_in_all: float  # without a cap


def rates(statistics: Sequence[PassStatistics]) -> F64:
    """The distribution of rates over `RATES` of each; (len(statistics), len(RATES))."""
    from scipy.stats import poisson

    edges = np.array([-1, *(size - 1 for size in SIZES), np.inf])
    likelihood = np.diff(poisson.cdf(edges[:, None], RATES[None, :]), axis=0)  # (bins, rates)
    counts = np.array([each.sizes for each in statistics], float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    weights = np.full((len(shares), len(RATES)), 1 / len(RATES))
    for _ in range(ITERATIONS):
        expected = np.maximum(weights @ likelihood.T, _SMALLEST)
        weights *= (shares / expected) @ likelihood
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), _SMALLEST)
    return weights


def forecast(rows: Sequence[int], weights: F64, caps: Sequence[int], tables: int) -> Islands:
    """Islands of one candidate.

    Args:
        rows: of each office; at least two offices have some.
        weights: (offices, rates) of `rates`.
        caps: to look at.
        tables: LSH tables; 1 for a pass without.
    """
    from scipy.stats import poisson

    counts = np.array(rows, float)
    total = counts.sum()
    others = RATES[None, :] * (total / counts)[:, None]  # (offices, rates)
    elsewhere = RATES[None, :] * ((total - counts) / counts)[:, None]
    per_row = weights * counts[:, None]
    in_all = float((per_row * elsewhere).sum() / 2 * tables)
    within, crowded, pairs = {}, {}, {}
    for cap in caps:
        # A pair fits where the others of both are at most the cap less two.
        pair_fits = poisson.cdf(cap - 2, others)
        within[cap] = float((per_row * pair_fits).sum() / total)
        pairs[cap] = float((per_row * elsewhere * pair_fits).sum() / 2 * tables)
        above_half = poisson.cdf(cap - 1, others) - poisson.cdf(cap // 2 - 1, others)
        crowded[cap] = float((per_row * above_half).sum() / total)
    return Islands(within, crowded, pairs, in_all)
