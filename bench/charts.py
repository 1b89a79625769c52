"""Charts as SVG text, without a library: small, the same from run to run, readable as a diff.

`redteam/bars.py` draws shares between 0 and 1 beside their targets; these draw any positive figure.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WIDTH: Final = 760
LEFT: Final = 70
PLOT_WIDTH: Final = 470
PLOT_HEIGHT: Final = 330
TOP: Final = 44
BOTTOM: Final = 46
ROW_HEIGHT: Final = 24
LABEL_WIDTH: Final = 300
BAR_WIDTH: Final = 340
COLOURS: Final = (
    "#2a6f97", "#c1666b", "#6a994e", "#bc6c25", "#7b2cbf", "#e09f3e",
    "#118ab2", "#9d0208", "#5c677d", "#386641", "#b5838d", "#003049", "#222222",
)  # fmt: skip

Point = tuple[float, float]


def lines(
    title: str, series: Mapping[str, Sequence[Point]], *, x: str, y: str, log: bool = True
) -> str:
    """An SVG of one line a series.

    Args:
        title: what is shown.
        series: points by name; on logarithmic axes those with a figure that is not positive are
            left out.
        x: words of the horizontal axis.
        y: words of the vertical axis.
        log: logarithmic axes; else linear ones, the vertical one from 0.
    """
    drawn = {
        name: [point for point in points if not log or min(point) > 0]
        for name, points in series.items()
    }
    height = TOP + max(PLOT_HEIGHT, 18 * len(drawn)) + BOTTOM
    across = _Scale([point[0] for each in drawn.values() for point in each], LEFT, PLOT_WIDTH, log)
    up = _Scale(
        [*([] if log else [0.0]), *(point[1] for each in drawn.values() for point in each)],
        TOP + PLOT_HEIGHT,
        -PLOT_HEIGHT,
        log,
    )
    foot = TOP + PLOT_HEIGHT
    body = [*_head(title, height)]
    for value in across.ticks():
        body.append(_line(across(value), TOP, across(value), foot, "#dddddd"))
        body.append(_text(across(value), foot + 16, _figure(value), anchor="middle", size=10))
    for value in up.ticks():
        body.append(_line(LEFT, up(value), LEFT + PLOT_WIDTH, up(value), "#dddddd"))
        body.append(_text(LEFT - 6, up(value) + 4, _figure(value), anchor="end", size=10))
    body.append(_text(LEFT + PLOT_WIDTH / 2, foot + 36, x, anchor="middle", size=11))
    body.append(_text(LEFT - 6, TOP - 8, y, anchor="end", size=11))
    for number, (name, points) in enumerate(drawn.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across(one), up(other)) for one, other in points]
        path = " ".join(f"{one:.1f},{other:.1f}" for one, other in places)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in places]
        beside = LEFT + PLOT_WIDTH + 20
        body.append(_rect(beside, TOP + 18 * number, 12, 4, colour))
        body.append(_text(beside + 18, TOP + 18 * number + 6, name, size=11))
    return _svg(body)


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """An SVG of one horizontal bar a row: its label, its length, the figure in words.

    All bars share one linear scale from 0.
    """
    height = TOP + ROW_HEIGHT * len(rows) + 16
    most = max((value for _, value, _ in rows), default=1.0) or 1.0
    body = [*_head(title, height)]
    for number, (label, value, told) in enumerate(rows):
        top, length = TOP + ROW_HEIGHT * number, max(BAR_WIDTH * value / most, 1)
        colour = COLOURS[0] if label.startswith("Kinlink") else COLOURS[1]
        body.append(_text(LABEL_WIDTH - 8, top + 13, label, anchor="end", size=11))
        body.append(_rect(LABEL_WIDTH, top + 3, length, 13, colour))
        body.append(_text(LABEL_WIDTH + length + 6, top + 13, told, size=10))
    return _svg(body)


class _Scale:
    """From figures to places along an axis."""

    def __init__(self, values: Sequence[float], begin: float, length: float, log: bool) -> None:  # noqa: FBT001
        self._log, self._begin, self._length = log, begin, length
        low, high = min(values, default=1.0), max(values, default=1.0)
        if log:
            low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        self._low = low
        self._high = high if high > low else low * 10 + (low == 0)

    def __call__(self, value: float) -> float:
        place = (self._of(value) - self._of(self._low)) / (
            self._of(self._high) - self._of(self._low)
        )
        return self._begin + self._length * place

    def ticks(self) -> Iterable[float]:
        """Powers of ten, or about five round figures."""
        if self._log:
            first, last = round(math.log10(self._low)), round(math.log10(self._high))
            return [10.0**power for power in range(first, last + 1)]
        span = self._high - self._low
        power = 10.0 ** math.floor(math.log10(span / 4))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= span / 5)
        first = math.ceil(self._low / step)
        return [number * step for number in range(first, math.floor(self._high / step) + 1)]

    def _of(self, value: float) -> float:
        return math.log10(value) if self._log else value


def _figure(value: float) -> str:
    for unit, least in (("M", 1e6), ("k", 1e3)):
        if value >= least:
            return f"{value / least:g}{unit}"
    return f"{value:g}"


def _head(title: str, height: float) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}">',
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>',
        _text(10, 20, title, size=15),
    ]


def _svg(body: Sequence[str]) -> str:
    return "\n".join([*body, "</svg>\n"])


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    look = f'font-family="sans-serif" font-size="{size}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>'
