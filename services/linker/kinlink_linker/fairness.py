"""Whether a registry is served worse than the others, beyond chance.

For each registry three shares are held against those of all the others together: records that are
linked, links that are expected to be right, matches that are expected to be found. The test is that
of two proportions (z with pooled variance), one-sided, at `SIGNIFICANCE` divided by the number of
tests (Bonferroni). Sums of probabilities stand for counts, and pairs that share a record for
independent ones, so small differences in large linkages must not be read as faults: below
`DIFFERENCE_MIN` nothing is named. A share of linked records differs for honest reasons too: people
move between some provinces more than between others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from kinlink_linker.quality import WHOLE_MIN

if TYPE_CHECKING:
    from collections.abc import Mapping

SIGNIFICANCE: Final = 0.01
DIFFERENCE_MIN: Final = 0.02

# A part and the whole of it.
Portion = tuple[float, float]


@dataclass
class Served:
    """What one registry came to, not rounded; parts and wholes by the name of the figure."""

    portions: Mapping[str, Portion] = field(default_factory=dict)
    others: Mapping[str, Portion] = field(default_factory=dict)


def worse_served(served: Mapping[str, Served]) -> dict[str, tuple[str, ...]]:
    """The figures by which each registry is served worse than the others."""
    tests = sum(len(each.portions) for each in served.values())
    z_min = NormalDist().inv_cdf(1 - SIGNIFICANCE / max(tests, 1))
    return {
        name: tuple(
            figure
            for figure, own in each.portions.items()
            if _worse(own, each.others[figure], z_min)
        )
        for name, each in served.items()
    }


def _worse(own: Portion, others: Portion, z_min: float) -> bool:
    if min(own[1], others[1]) < WHOLE_MIN:
        return False
    difference = others[0] / others[1] - own[0] / own[1]
    return difference >= DIFFERENCE_MIN and difference >= z_min * standard_error(own, others)


def standard_error(one: Portion, other: Portion) -> float:
    """Of the difference of two proportions that are equal, pooled."""
    pooled = min(1.0, (one[0] + other[0]) / (one[1] + other[1]))
    return math.sqrt(pooled * (1 - pooled) * (1 / one[1] + 1 / other[1]))
