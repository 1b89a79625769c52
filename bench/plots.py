"""Plots of the benches, drawn from their figures: `bench/results/*.json` to `docs/img/bench-*.svg`.

A result is what a bench writes with `--json`; its `bench` says which it is, and its file's name
which plot it goes to. Plots can so be drawn again, and differently, without measuring again.

    python bench/plots.py [--out DIR] [RESULTS.json ...]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import growth
from charts import bars, lines
from harness import BENCH

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS: Final = BENCH / "results"
IMAGES: Final = BENCH.parent / "docs" / "img"
SIDES: Final = {
    "kinlink": "Kinlink",
    "exact_rules": "Splink in plain, six exact rules",
    "same_passes": "Splink in plain, Kinlink's passes",
    "classical": "clkhash + anonlink",
}

REUNION_SHOWN: Final = {
    "ideal": "ideal linker",
    "kinlink": "Kinlink",
    "fixed weights": "fixed weights",
}

Result = dict[str, Any]


def million(result: Result) -> str:
    """B1: F1, and seconds of linking, of each side."""
    rows = []
    for name, words in SIDES.items():
        side = result["kinlink"] if name == "kinlink" else result["peers"].get(name, {})
        if "f1" in side:
            rows.append((f"{words}: F1", side["f1"], f"{side['f1']:.3f}"))
    longest = max(side["link_seconds"] for side in (result["kinlink"], *result["peers"].values()))
    for name, words in SIDES.items():
        side = result["kinlink"] if name == "kinlink" else result["peers"].get(name)
        if side:
            told = f"{side['link_seconds']:.0f} s" + (
                " (extrapolated)" if side.get("extrapolated") else ""
            )
            rows.append((f"{words}: time", side["link_seconds"] / longest, told))
    return bars(f"B1: {result['records']:,} records, F1 and seconds of linking", rows)


def encode(result: Result) -> str:
    """B2: records a second on one core."""
    told = (
        ("Kinlink: sketches", "sketches_a_second"),
        ("clkhash: CLKs of 1,024 bits", "clks_a_second"),
        ("Kinlink: with blocking values", "with_blocking_a_second"),
    )
    rows = [(words, result[name], f"{result[name]:,.0f}") for words, name in told]
    return bars(f"B2: records a second on one core, {result['records']:,} records", rows)


def arrive(result: Result) -> str:
    """B3: the share of arrivals whose link was there after so many seconds."""
    names = {
        "let_out": "from the officer's decision",
        "appeared": "from before the ingest",
    }
    series = {
        words: sorted(
            (seconds, 100.0 if name == "max" else float(name.removeprefix("p")))
            for name, seconds in result[which].items()
        )
        for which, words in names.items()
    }
    title = f"B3: seconds from arrival to link, {result['records']:,} records, load beside"
    return lines(title, series, x="seconds", y="% linked", log=False)


def reunion(result: Result) -> str:
    """Recall at 10 of each linker in a search for missing children, by regime and size."""
    rows = []
    for each in result["summary"]:
        if each["linker"] in REUNION_SHOWN:
            recall = each["median"][1]
            label = f"{REUNION_SHOWN[each['linker']]}: {each['regime']}, {each['notices']:,}"
            label += ", with faces" if each.get("photos") else ""
            rows.append((label, recall, f"{recall:.3f}"))
    return bars("Search for missing children: the child is among the first ten", rows)


DRAWN: Final[dict[str, Callable[[Result], str]]] = {
    "million": million,
    "encode": encode,
    "arrive": arrive,
    "growth": growth.draw,
    "reunion": reunion,
}


def draw(path: Path) -> str:
    """The SVG of one file of figures.

    Raises:
        KeyError: No plot is drawn of this bench, or a figure is missing.
    """
    result: Result = json.loads(path.read_text(encoding="utf-8"))
    return DRAWN[result["bench"]](result)


def main() -> int:
    """Draw all plots, or those of the files named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="*", help="by default all of bench/results")
    parser.add_argument("--out", type=Path, default=IMAGES)
    options = parser.parse_args()
    for path in options.results or sorted(RESULTS.glob("*.json")):
        image = options.out / f"bench-{path.stem}.svg"
        image.write_text(draw(path), encoding="utf-8")
        print(image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
