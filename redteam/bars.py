"""Bar charts as SVG text: small, the same from run to run, readable as a diff."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL_WIDTH: Final = 720
BAR_WIDTH: Final = 360
ROW_HEIGHT: Final = 26
TOP: Final = 56
MARGIN: Final = 90
TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

OURS: Final = "#2a6f97"
CLASSICAL: Final = "#c1666b"
TARGET: Final = "#222222"


@dataclass(frozen=True)
class Bar:
    """One row: shares between 0 and 1."""

    label: str
    value: float
    classical: float | None
    target: float | None


def chart(title: str, bars: Sequence[Bar]) -> str:
    """An SVG of horizontal bars, one row each."""
    width = LABEL_WIDTH + BAR_WIDTH + MARGIN
    height = TOP + ROW_HEIGHT * max(len(bars), 1) + 30
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(10, 20, title, size=15),
        *_legend(classical=any(bar.classical is not None for bar in bars)),
        *(_tick(share, height) for share in TICKS),
    ]
    for number, bar in enumerate(bars):
        body += _row(bar, TOP + number * ROW_HEIGHT)
    return "\n".join([*body, "</svg>\n"])


def _row(bar: Bar, top: int) -> list[str]:
    marks = [_text(LABEL_WIDTH - 8, top + 15, bar.label, anchor="end", size=11)]
    if bar.classical is not None:
        marks.append(_rect(top + 3, bar.classical, CLASSICAL))
    marks.append(_rect(top + 12, bar.value, OURS))
    if bar.target is not None:
        x = _x(bar.target)
        marks.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 1}" y2="{top + 22}" stroke="{TARGET}"/>'
        )
    marks.append(_text(_x(bar.value) + 4, top + 20, f"{100 * bar.value:.2f} %", size=10))
    return marks


def _rect(top: int, share: float, colour: str) -> str:
    length = max(_x(share) - LABEL_WIDTH, 1)
    return f'<rect x="{LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="8" fill="{colour}"/>'


def _x(share: float) -> float:
    return LABEL_WIDTH + BAR_WIDTH * min(max(share, 0.0), 1.0)


def _tick(share: float, height: int) -> str:
    x = _x(share)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - 24}" stroke="#dddddd"/>'
        + _text(x, height - 8, f"{100 * share:.0f} %", anchor="middle", size=10)
    )


def _legend(*, classical: bool) -> list[str]:
    words = [("Kinlink", OURS), *([("classical", CLASSICAL)] if classical else [])]
    marks = []
    for number, (word, colour) in enumerate((*words, ("| target", TARGET))):
        x = LABEL_WIDTH + 90 * number
        if colour != TARGET:
            marks.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{colour}"/>')
        marks.append(_text(x + 14, 40, word, size=11))
    return marks


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    look = f'font-family="sans-serif" font-size="{size}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y}" {look}>{escape(text)}</text>'
