"""Expected precision, recall and F1 at any threshold, and which threshold to choose.

Under the model a pair with probability p is a match p times in one. So of the pairs from a weight
on the expected matches are the sum of their p, and what is expected of precision, recall and F1 are
ratios of such sums (for sums this large, the ratio of expectations is near the expected ratio).
Pairs below the disclosure floor are in the sums. Where the model's probabilities are wrong, so is
all of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_linker.arrays import summed
from kinlink_linker.links import probability_of
from kinlink_linker.quality import Advice, Expected, WeightBin, rounded, share

if TYPE_CHECKING:
    from kinlink_linker.domain import F64, I64
    from kinlink_linker.patterns import Patterns

# Thresholds are advised in steps, so that none is the weight of a pair.
STEPS_A_BIT: Final = 10
PRECISIONS_ADVISED: Final = (0.9, 0.95, 0.99)
BITS_MIN: Final = -20
BITS_MAX: Final = 40
# A threshold of probability 1 has infinitely many bits, which JSON cannot say.
THRESHOLD_BITS_MAX: Final = 1_000.0


@dataclass(frozen=True)
class Curve:
    """Compared pairs by weight, in steps of 1/`STEPS_A_BIT` bits, lowest first.

    `missed_low` and `missed_high` are the matches that were not compared, by two estimates; None
    where there is none.
    """

    step: I64  # (n,)
    pairs: I64  # (n,) in each step
    matches: F64  # (n,) expected in each step
    missed_low: float | None = None
    missed_high: float | None = None

    @property
    def compared(self) -> float:
        """Expected matches among all compared pairs."""
        return float(self.matches.sum())

    def at(self, step: int) -> Expected:
        """What links from a step on would be."""
        above = self.step >= step
        links, matches = int(self.pairs[above].sum()), float(self.matches[above].sum())
        return self.of(step / STEPS_A_BIT, links, matches)

    def of(self, weight: float, links: int, matches: float) -> Expected:
        """What some links are worth, of which so many are expected to be right."""
        low, high = self._all(self.missed_high), self._all(self.missed_low)
        precision = share(matches, links)
        recall_high = None if high is None else share(matches, high)
        return Expected(
            weight=min(max(weight, -THRESHOLD_BITS_MAX), THRESHOLD_BITS_MAX),
            probability=probability_of(weight),
            links=rounded(links),
            matches=rounded(matches),
            precision=precision,
            recall_compared=share(matches, self.compared),
            recall_low=None if low is None else share(matches, low),
            recall_high=recall_high,
            f1=None
            if high is None or precision is None or recall_high is None
            else share(2 * matches, rounded(links) + rounded(high)),
        )

    def advise(self, floor_weight: float) -> tuple[Advice, ...]:
        """The thresholds of highest expected F1, and the lowest ones of some precisions.

        None is below the floor in bits, since no pair below it can become a link.
        """
        possible = self.step >= floor_weight * STEPS_A_BIT
        step = self.step[possible]
        if not len(step):
            return ()
        links = np.cumsum(self.pairs[possible][::-1])[::-1]
        matches = np.cumsum(self.matches[possible][::-1])[::-1]
        every = self.compared + (self.missed_low or 0.0)
        best = int(np.argmax(2 * matches / (links + every)))
        found = [Advice("f1", self.at(int(step[best])))]
        for wanted in PRECISIONS_ADVISED:
            enough = np.flatnonzero(matches >= wanted * links)
            if len(enough):
                found.append(Advice(f"precision_{wanted}", self.at(int(step[enough[0]]))))
        return tuple(found)

    def bins(self) -> tuple[WeightBin, ...]:
        """Pairs and expected matches a bit, without what is empty at either end."""
        bit = np.clip(self.step // STEPS_A_BIT, BITS_MIN, BITS_MAX) - BITS_MIN
        count = BITS_MAX - BITS_MIN + 1
        pairs = np.bincount(bit, self.pairs, minlength=count)
        matches = np.bincount(bit, self.matches, minlength=count)
        shown = np.flatnonzero([rounded(each) for each in pairs])
        if not len(shown):
            return ()
        return tuple(
            WeightBin(
                float(BITS_MIN + i),
                float(BITS_MIN + i + 1),
                rounded(pairs[i]),
                min(rounded(matches[i]), rounded(pairs[i])),
            )
            for i in range(shown[0], shown[-1] + 1)
        )

    def _all(self, missed: float | None) -> float | None:
        return None if missed is None else self.compared + missed


def curve_of(patterns: Patterns, missed_low: float | None, missed_high: float | None) -> Curve:
    """The curve of all compared pairs."""
    steps = np.floor(patterns.weight * STEPS_A_BIT).astype(np.int64)
    step, number = np.unique(steps, return_inverse=True)
    return Curve(
        step,
        np.bincount(number, patterns.count, minlength=len(step)).astype(np.int64),
        summed(number, patterns.matches, len(step)),
        missed_low,
        missed_high,
    )
