"""The geometry of a waterfall chart: from the prior, field by field, to a link's weight in bits.

Only numbers are made here; `templates/waterfall.svg` draws them with classes that the style sheet
colours, because the content security policy forbids inline styles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_gateway.linker import ExplainedLink

REST_BITS_MIN = 0.05
TICKS_MAX = 8
TICK_STEPS_BITS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
PADDING_BITS = 1.0


@dataclass(frozen=True)
class Term:
    """One term of the sum; `kind` is prior, field, rest or total, and only fields have a level."""

    kind: str
    label: str
    level: str
    weight: float
    start: float
    end: float


@dataclass(frozen=True)
class Shape:
    """Pixels of the view box; narrow screens write a term's label above its bar."""

    name: str
    width: int
    label_width: int
    value_width: int
    row_height: int
    bar_top: int
    bar_height: int
    axis_height: int = 30
    top: int = 6


WIDE = Shape("wide", 920, 270, 78, 40, 10, 20)
NARROW = Shape("narrow", 350, 2, 62, 54, 26, 18)


@dataclass(frozen=True)
class Bar:
    """A term in pixels."""

    term: Term
    y: float
    x: float
    width: float
    value_x: float
    next_x: float
    sign: str


@dataclass(frozen=True)
class Tick:
    """A grid line."""

    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """All that the template draws."""

    shape: Shape
    height: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    zero_x: float
    threshold_x: float | None
    axis_y: float


def terms_of(explained: ExplainedLink) -> tuple[Term, ...]:
    """The sum of a link: prior, fields, what is left to the stored weight, total."""
    terms = [Term("prior", "", "", explained.prior_weight, 0.0, explained.prior_weight)]
    at = explained.prior_weight
    for item in explained.evidence:
        terms.append(Term("field", item.field, item.level, item.weight, at, at + item.weight))
        at += item.weight
    total = explained.link.match_weight
    if abs(total - at) >= REST_BITS_MIN:
        terms.append(Term("rest", "", "", total - at, at, total))
    terms.append(Term("total", "", "", total, 0.0, total))
    return tuple(terms)


def threshold_weight(probability: float) -> float | None:
    """A probability as a match weight in bits; None at 0 and 1."""
    if not 0 < probability < 1:
        return None
    return math.log2(probability / (1 - probability))


def draw(terms: Sequence[Term], shape: Shape, *, threshold: float | None = None) -> Chart:
    """Lay the terms out, one a row, on one axis of bits."""
    points = [0.0, *(term.start for term in terms), *(term.end for term in terms)]
    points += [threshold] if threshold is not None else []
    low, high = min(points) - PADDING_BITS, max(points) + PADDING_BITS
    left, right = shape.label_width, shape.width - shape.value_width
    scale = (right - left) / (high - low)

    def x(bits: float) -> float:
        return round(left + (bits - low) * scale, 2)

    bars = []
    for index, term in enumerate(terms):
        start, end = sorted((x(term.start), x(term.end)))
        bars.append(
            Bar(
                term=term,
                y=shape.top + index * shape.row_height,
                x=start,
                width=max(round(end - start, 2), 1.0),
                value_x=end + 7,
                next_x=x(term.end),
                sign=_sign(term),
            )
        )
    axis_y = shape.top + len(terms) * shape.row_height
    return Chart(
        shape=shape,
        height=axis_y + shape.axis_height,
        bars=tuple(bars),
        ticks=tuple(Tick(x(bits), f"{bits:+d}" if bits else "0") for bits in ticks_of(low, high)),
        zero_x=x(0.0),
        threshold_x=None if threshold is None else x(threshold),
        axis_y=axis_y,
    )


def _sign(term: Term) -> str:
    if term.kind in {"prior", "total"}:
        return "total"
    return "for" if term.weight >= 0 else "against"


def ticks_of(low: float, high: float) -> list[int]:
    """Whole bits from `low` to `high` at which an axis is labelled."""
    step = next(
        (step for step in TICK_STEPS_BITS if (high - low) / step <= TICKS_MAX), TICK_STEPS_BITS[-1]
    )
    return list(range(math.ceil(low / step) * step, math.floor(high) + 1, step))
