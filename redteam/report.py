"""What is written from results: JSON of every figure, the table of the page, the plots.

JSON holds all runs; rows of attacks that ran again are replaced. Table and plots are always made
from all of it and show the worse of the seeds.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redteam.bars import Bar, chart
from redteam.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
PAGE: Final = DOCS / "explanation/privacy.md"
JSON: Final = DOCS / "explanation/redteam.json"
PLOTS: Final = DOCS / "img"
BEGIN: Final = "<!-- red team: begin -->"
END: Final = "<!-- red team: end -->"
LABEL_CHARACTERS_MAX: Final = 64
HEAD: Final = (
    "| # | attack | setting | measured | classical | Kinlink | target | |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def write(found: Sequence[Result]) -> None:
    """Put new results into the JSON, and write page and plots again."""
    results = merged(load(), found)
    JSON.write_text(_dumped(results), encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_table(page, results), encoding="utf-8")
    for name, text in plots(results).items():
        (PLOTS / name).write_text(text, encoding="utf-8")


def load() -> list[Result]:
    """The results of earlier runs."""
    if not JSON.exists():
        return []
    return [
        Result.from_json(row) for row in json.loads(JSON.read_text(encoding="utf-8"))["results"]
    ]


def merged(old: Iterable[Result], new: Iterable[Result]) -> list[Result]:
    """Old results but for those that were measured again, in the order of the table."""
    rows = {_place(each): each for each in (*old, *new)}
    return sorted(rows.values(), key=_order)


def with_table(page: str, results: Sequence[Result]) -> str:
    """The page with the table between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"{PAGE.name} lacks the markers of the table")
    return f"{before}{BEGIN}\n{table(results)}{END}{after}"


def table(results: Sequence[Result]) -> str:
    """A row for each attack, setting and measure: the worse of its seeds."""
    lines = [HEAD]
    for each, seeds in _worst(results):
        shown = shown_value(each, each.value)
        target = "reported" if each.target is None else f"≤ {shown_value(each, each.target)}"
        classical = "" if each.classical is None else shown_value(each, each.classical)
        mark = "✓" if each.passed else "**missed**" if not each.held else "**baseline stands**"
        seeds_shown = "" if seeds == 1 else f" ({seeds} seeds)"
        lines.append(
            f"| {each.id} | {each.title} | {each.setting}{seeds_shown} | {each.measure}"
            f" | {classical} | {shown} | {target} | {mark if each.target is not None else ''} |\n"
        )
    return "".join(lines)


def line(each: Result) -> str:
    """One result for a terminal."""
    target = "" if each.target is None else f", target ≤ {shown_value(each, each.target)}"
    classical = ""
    if each.classical is not None:
        classical = f", classical {shown_value(each, each.classical)}"
    state = "ok" if each.passed else "MISSED" if not each.held else "BASELINE STANDS"
    return (
        f"{state:8} {each.id:4} {each.title}: {each.measure} {shown_value(each, each.value)}"
        f"{classical}{target}. {each.detail}"
    )


def shown_value(each: Result, value: float) -> str:
    """A value in its unit."""
    if each.unit == "number":
        return f"{value:.3g}"
    percent = 100 * value
    return f"{percent:.2f} %" if abs(percent) < 10 else f"{percent:.1f} %"


def plots(results: Sequence[Result]) -> dict[str, str]:
    """File name → SVG: one picture of all attacks that have a classical side, one by registries."""
    pairs = [each for each, _ in _worst(results) if each.unit == "share"]
    beside = [
        Bar(_label(each), each.value, each.classical, each.target)
        for each in pairs
        if each.classical is not None
    ]
    alone = [
        Bar(_label(each), each.value, None, each.target) for each in pairs if each.classical is None
    ]
    return {
        "redteam-baselines.svg": chart("Kinlink beside classical encodings", beside),
        "redteam-others.svg": chart("Attacks without a classical side", alone),
    }


def _label(each: Result) -> str:
    """What a bar is, in one line: id, measure, setting in short."""
    setting = each.setting.replace("provinces correlated", "correlated")
    setting = setting.replace("provinces independent", "independent")
    _, _, part = each.title.partition(": ")
    measure = f"{part}, {each.measure}" if part else each.measure
    if len(measure) > LABEL_CHARACTERS_MAX:
        measure = measure[: LABEL_CHARACTERS_MAX - 1].rstrip() + "…"
    return f"{each.id} {measure} · {setting}"


def _worst(results: Sequence[Result]) -> list[tuple[Result, int]]:
    """For each row of the table the worst seed, and how many seeds there were."""
    found = []
    for _, group in groupby(sorted(results, key=_order), key=_row):
        seeds = list(group)
        worst = max(seeds, key=lambda each: (not each.passed, each.value))
        found.append((worst, len(seeds)))
    return found


def _row(each: Result) -> tuple[str, ...]:
    return each.id, each.title, each.setting, each.measure


def _place(each: Result) -> tuple[str, ...]:
    return (*_row(each), str(each.seed))


def _order(each: Result) -> tuple[object, ...]:
    return each.id[:1] != "T", each.id[:1], int(each.id[1:]), *_place(each)[1:]


def _dumped(results: Sequence[Result]) -> str:
    content = {
        "note": "Synthetic people. Attacks are lower bounds of what an attacker can do.",
        "python": ".".join(map(str, sys.version_info[:2])),
        "results": [each.to_json() for each in results],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
