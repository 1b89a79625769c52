"""Capture and recapture over blocking passes: how many matches no pass found.

A pass *captures* a match if it compares the pair: the two records share its token, its island fits,
the sieve lets them through. Each pass is one occasion, matches are the population. The linker is
not told which passes a pair meets in, because a pair is sealed once; what it has is

* of each pass a random sample of all its pairs, with their levels;
* of each compared pair its levels, the pass that compared it, and with it that no earlier pass
  would have, unless it was sampled.

Of pairs with given levels, those that a pass captures are told by its sample, scaled to the pass;
those of them that no earlier pass captured are what was compared in it. The difference was captured
before: divided by all that was captured before, it is the rate at which the pass captures pairs of
these levels, as in Lincoln and Petersen's index. *Assumed* is that passes capture independently
among pairs with equal levels in the fields of the pass. A match counts by its probability, so all
figures are expectations under the model. Pairs of the samples, which come before their turn, are
made up for by what the others stand for (Horvitz and Thompson).

From the number of matches captured by one pass, two, three and so on follow

* the lower bound of Chao (1987, Biometrics 43: 783-791) for unequal catchability, corrected for
  bias, for K occasions: f1(f1 - 1)/2(f2 + 1) · (K - 1)/K. It is one where errors come together or
  by themselves; it is too high where an error in one field makes one in another less likely;
* the beta-binomial model (Burnham 1972; Dorazio and Royle 2003, Biometrics 59: 351-364), which
  lets catchability vary without end, by maximum likelihood on the matches that were captured.

No estimator is right for all populations: others that fit as well differ as widely as these two
(Link 2003, Biometrics 59: 1123-1130). So both are given, and nothing between them is preferred.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.meetings import SAMPLED_ONE_IN

from kinlink_linker.arrays import summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.domain import F64, I64, U8, Bools
    from kinlink_linker.patterns import Patterns

# Fewer occasions than parameters and one tell nothing about how catchability varies.
PASSES_MIN: Final = 3
RECAPTURES_MIN: Final = 2
# What one capture outside the sample stands for.
UNSAMPLED: Final = SAMPLED_ONE_IN / (SAMPLED_ONE_IN - 1)
# Rates and what pairs stand for follow from each other; the fourth round changes nothing.
ROUNDS: Final = 4
GRID_POINTS: Final = 41
GRID_ROUNDS: Final = 6
GRID_SHRINKS: Final = 0.25
# Log-odds of the mean, and log of the sum of both shape parameters.
MEAN_ODDS: Final = (-9.0, 9.0)
SHAPES_SUM: Final = (-5.0, 9.0)


def captured_by_count(schema: Schema, patterns: Patterns, met: Sequence[float]) -> F64:
    """Expected matches by the number of passes that capture them.

    Args:
        schema: whose passes captured.
        patterns: all compared pairs.
        met: (K,) near pairs of each pass, those included that had been compared in another.

    Returns:
        (registry pairs, K + 1); column 0 is empty, a row adds up to the matches that were compared.
    """
    passes = [_Pass.of(schema, patterns, index, count) for index, count in enumerate(met)]
    later = np.zeros((len(passes), len(patterns.count)))
    for _ in range(ROUNDS):
        stands_for = _stands_for(patterns, later)
        for each in passes:
            later[each.index] = each.rate(patterns, stands_for)
    drawn_from = np.zeros((len(patterns.count), len(passes) + 1))
    drawn_from[:, 1] = np.where(patterns.sampled, 0.0, patterns.matches * UNSAMPLED)
    for rate in later:
        # A pass captures once more, and leaves a pair out of the sample once more.
        kept = drawn_from * (1 - rate[:, None])
        kept[:, 1:] += drawn_from[:, :-1] * (rate * UNSAMPLED)[:, None]
        drawn_from = kept
    found = np.zeros((len(patterns.registry_pairs), len(passes) + 1))
    np.add.at(found, patterns.between, drawn_from)
    compared = summed(patterns.between, patterns.matches, len(found))
    whole = found.sum(axis=1)
    scale = np.divide(compared, whole, out=np.zeros(len(whole)), where=whole > 0)
    found *= scale[:, None]
    # Where the sample took all there was, nothing tells more than one capture.
    found[:, 1] += np.where(whole > 0, 0.0, compared)
    return found


def missed_at_least(captured: F64) -> float | None:
    """Chao's lower bound of the matches that no pass captured.

    Args:
        captured: (K + 1,) matches by the number of passes that capture them.

    Returns:
        None where there is but one pass.
    """
    passes = len(captured) - 1
    if passes < RECAPTURES_MIN:
        return None
    once, twice = float(captured[1]), float(captured[2])
    return (passes - 1) / passes * once * max(once - 1, 0.0) / (2 * (twice + 1))


def missed_beta_binomial(captured: F64) -> float | None:
    """Matches that no pass captured if catchability is beta distributed.

    Args:
        captured: (K + 1,) matches by the number of passes that capture them.

    Returns:
        None where there are too few passes to tell.
    """
    passes = len(captured) - 1
    total = captured[1:].sum()
    if passes < PASSES_MIN or total <= 0:
        return None
    mean, shapes = np.mean(MEAN_ODDS), np.mean(SHAPES_SUM)
    mean_span, shapes_span = np.ptp(MEAN_ODDS) / 2, np.ptp(SHAPES_SUM) / 2
    steps = np.linspace(-1, 1, GRID_POINTS)
    for _ in range(GRID_ROUNDS):
        means = np.clip(mean + mean_span * steps, *MEAN_ODDS)[:, None]
        sums = np.clip(shapes + shapes_span * steps, *SHAPES_SUM)[None, :]
        log_likelihood, none = _beta_binomial(captured / total, means, sums)
        best = np.unravel_index(np.argmax(log_likelihood), log_likelihood.shape)
        mean, shapes = means[best[0], 0], sums[0, best[1]]
        mean_span, shapes_span = mean_span * GRID_SHRINKS, shapes_span * GRID_SHRINKS
    return float(total * none[best] / (1 - none[best]))


def _beta_binomial(share: F64, mean_odds: F64, shapes_sum: F64) -> tuple[F64, F64]:
    """Log-likelihood of shares (K + 1,) given at least one capture, and the probability of none."""
    passes = len(share) - 1
    mean = 1 / (1 + np.exp(-mean_odds))
    total = np.exp(shapes_sum)
    alpha, beta = mean * total, (1 - mean) * total
    # log of a(a+1)…(a+i-1) for i up to K.
    rising_a, rising_b = _rising(alpha, passes), _rising(beta, passes)
    whole = _rising(alpha + beta, passes)[passes]
    choose = [math.log(math.comb(passes, i)) for i in range(passes + 1)]
    log_mass = [choose[i] + rising_a[i] + rising_b[passes - i] - whole for i in range(passes + 1)]
    none = np.clip(np.exp(log_mass[0]), 0, 1 - 1e-12)
    likelihood = sum(share[i] * log_mass[i] for i in range(1, passes + 1)) - np.log1p(-none)
    return likelihood, none


def _rising(start: F64, upto: int) -> list[F64]:
    logs = [np.zeros_like(start)]
    for i in range(upto):
        logs.append(logs[-1] + np.log(start + i))
    return logs


def _columns(schema: Schema, index: int) -> list[int]:
    """The fields that a pass looks at."""
    names = {part.field for part in schema.passes[index].parts}
    return [i for i, field in enumerate(schema.fields) if field.name in names]


def _drawn(patterns: Patterns, index: int) -> Bools:
    drawn: Bools = patterns.sampled & (patterns.pass_index == index)
    return drawn


def _scale(patterns: Patterns, index: int, met: float) -> float:
    """How many pairs of a pass one pair of its sample stands for."""
    drawn = patterns.count[_drawn(patterns, index)].sum()
    return met / drawn if drawn else 0.0


@dataclass(frozen=True)
class _Pass:
    """How often a pass captures pairs of given levels that an earlier pass captured."""

    index: int
    cell: I64  # (n,) of each pattern: the levels of the fields that the pass looks at
    captured: F64  # (cells,) matches that the pass captures

    @classmethod
    def of(cls, schema: Schema, patterns: Patterns, index: int, met: float) -> _Pass:
        cell = _cells(patterns.levels[:, _columns(schema, index)])
        drawn = _drawn(patterns, index)
        cells = int(cell.max(initial=-1)) + 1
        here = summed(cell[drawn], patterns.matches[drawn], cells)
        return cls(index, cell, here * _scale(patterns, index, met))

    def rate(self, patterns: Patterns, stands_for: F64) -> F64:
        """(n,) of each pattern; 0 where an earlier pass would have compared the pair."""
        before = patterns.pass_index < self.index
        new = self._sum(stands_for, patterns.pass_index == self.index)
        known = self._sum(stands_for, before)
        again = self.captured - new
        rate = np.divide(again, known, out=np.zeros(len(known)), where=known > 0)
        return np.where(before, np.clip(rate, 0, 1)[self.cell], 0.0)

    def _sum(self, weights: F64, which: Bools) -> F64:
        return summed(self.cell[which], weights[which], len(self.captured))


def _stands_for(patterns: Patterns, later: F64) -> F64:
    """(n,) matches that those of a pattern stand for: each capture may have put one in a sample."""
    again = np.prod(1 + later * (UNSAMPLED - 1), axis=0)
    return np.where(patterns.sampled, 0.0, patterns.matches * UNSAMPLED * again)


def _cells(levels: U8) -> I64:
    """A number for each distinct row."""
    if not len(levels):
        return np.empty(0, np.int64)
    rows = np.ascontiguousarray(levels).view(f"V{levels.shape[1]}").reshape(-1)
    _, number = np.unique(rows, return_inverse=True)
    cells: I64 = number
    return cells
