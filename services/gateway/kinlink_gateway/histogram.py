"""The geometry of a histogram of match weights: pairs a bit, and how many of them are matches.

Only numbers are made here; `templates/_quality.html` draws them with classes, as the waterfall.
Heights grow with the square root, so that few uncertain pairs are seen beside many sure ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_gateway.waterfall import Tick, ticks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_gateway.linkage_quality import WeightBin

WIDTH = 920
HEIGHT = 220
AXIS_HEIGHT = 28
LEFT = 12
TOP = 8
GAP = 1.5


@dataclass(frozen=True)
class Column:
    """One bin in pixels: matches stand below, other pairs on top of them."""

    bin: WeightBin
    x: float
    width: float
    top: float
    matches_top: float


@dataclass(frozen=True)
class Histogram:
    """All that the template draws."""

    columns: tuple[Column, ...]
    ticks: tuple[Tick, ...]
    threshold_x: float | None
    axis_y: float = TOP + HEIGHT
    width: int = WIDTH
    height: int = TOP + HEIGHT + AXIS_HEIGHT


def draw_weights(bins: Sequence[WeightBin], threshold: float | None = None) -> Histogram | None:
    """Lay out bins of one bit each; None where there are none.

    Args:
        bins: consecutive, lowest first.
        threshold: the link threshold in bits; left out where it lies outside.
    """
    if not bins:
        return None
    low, high = bins[0].low, bins[-1].high
    most = max(each.pairs for each in bins) or 1
    scale = (WIDTH - 2 * LEFT) / (high - low)

    def x(bits: float) -> float:
        return round(LEFT + (bits - low) * scale, 2)

    def y(pairs: int) -> float:
        return round(TOP + HEIGHT * (1 - math.sqrt(pairs / most)), 2)

    columns = tuple(
        Column(
            each,
            x(each.low),
            round(max(x(each.high) - x(each.low) - GAP, 1.0), 2),
            y(each.pairs),
            y(each.matches),
        )
        for each in bins
    )
    inside = threshold is not None and low <= threshold <= high
    return Histogram(
        columns,
        tuple(Tick(x(bits), f"{bits:+d}" if bits else "0") for bits in ticks_of(low, high)),
        x(threshold) if inside and threshold is not None else None,
    )
