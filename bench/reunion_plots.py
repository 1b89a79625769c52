"""Draws `docs/img/population.svg`: what synthetic notices look like, beside what is published.

python bench/reunion_plots.py [OUT]
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion.divisions import divisions
from kinlink_local.reunion.population import Config, Population, make_population

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SEED, NOTICES = 1, 20_000
WIDTH, HEIGHT, MARGIN = 420, 220, 36
OURS, PUBLISHED = "#2a6f97", "#c1666b"
PANELS_ACROSS = 2


def main() -> None:
    """Draw one population of each regime."""
    informative, hard = (
        make_population(Config(SEED, NOTICES, regime)) for regime in ("informative", "hard")
    )
    panels = [ages(informative), years(informative), flows(informative), errors(informative, hard)]
    rows = -(-len(panels) // PANELS_ACROSS)
    size = f"0 0 {WIDTH * PANELS_ACROSS} {HEIGHT * rows}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        x, y = number % PANELS_ACROSS * WIDTH, number // PANELS_ACROSS * HEIGHT
        parts += [f'<g transform="translate({x},{y})">', *panel, "</g>"]
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/img/population.svg")
    out.write_text("\n".join([*parts, "</svg>\n"]), "utf-8")


def ages(population: Population) -> list[str]:
    """Ages at loss, with the published bands spread over their years."""
    age = np.array([int(cell) for cell in population.family["age_at_loss"]])
    total = sum(count for _, _, count in assumed.AGE_COUNTS)
    ours = [np.mean((age >= a) & (age <= b)) for a, b, _ in assumed.AGE_COUNTS]
    published = [count / total for _, _, count in assumed.AGE_COUNTS]
    labels = [f"{a} to {b}" for a, b, _ in assumed.AGE_COUNTS]
    return bars("Age at loss, years (red: published)", labels, ours, published)


def years(population: Population) -> list[str]:
    """Years of loss."""
    lost = population.children.lost[:NOTICES].astype("datetime64[D]")
    year = lost.astype("datetime64[Y]").astype(int) + 1970
    names, counts = np.unique(year, return_counts=True)
    labels = [str(name) if name % 10 == 0 else "" for name in names]
    return bars("Year of loss", labels, (counts / NOTICES).tolist())


def flows(population: Population) -> list[str]:
    """Where children of Sichuan are found."""
    rows = np.flatnonzero(population.partner >= 0)
    home = np.array([code[:2] for code in population.family["lost_place"]])[rows]
    away = np.array([code[:2] for code in population.found["found_place"]])
    there = away[population.partner[rows]][home == "51"]
    where = divisions()
    share = np.array([(there == code).mean() for code in where.provinces])
    order = np.argsort(-share)[:8]
    labels = [where.registries[i][:9] for i in order]
    return bars("Lost in Sichuan, found in", labels, share[order].tolist())


def errors(informative: Population, hard: Population) -> list[str]:
    """Stated minus true birth."""
    edges = np.array([-1500, -360, -120, -30, 31, 121, 361, 1500])
    labels = ["< -360", "to -121", "to -31", "-30 to 30", "to 120", "to 360", "> 360"]
    shares = [_histogram(population, edges) for population in (informative, hard)]
    title = "Stated minus true birth, days (blue: informative, red: hard)"
    return bars(title, labels, *(share.tolist() for share in shares))


def _histogram(population: Population, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    births = population.found["birth_date"]
    rows = [row for row, text in enumerate(births) if len(text) == 10]
    stated = np.array([births[row] for row in rows], "datetime64[D]").astype(int)
    counts, _ = np.histogram(stated - population.children.born[NOTICES:][rows], edges)
    share: NDArray[np.float64] = counts / counts.sum()
    return share


def bars(
    title: str, labels: Sequence[str], ours: Sequence[float], other: Sequence[float] = ()
) -> list[str]:
    """A panel of upright bars, one or two a label."""
    top = max([*ours, *other])
    wide = (WIDTH - 2 * MARGIN) / len(labels)
    room = HEIGHT - 2 * MARGIN
    parts = [f'<text x="{MARGIN}" y="20" font-size="13">{escape(title)}</text>']
    series = [(ours, OURS)] + ([(other, PUBLISHED)] if other else [])
    for number, (values, colour) in enumerate(series):
        each = wide * 0.85 / len(series)
        for place, value in enumerate(values):
            x, tall = MARGIN + place * wide + number * each, room * value / top
            parts.append(
                f'<rect x="{x:.1f}" y="{HEIGHT - MARGIN - tall:.1f}" width="{each:.1f}" '
                f'height="{tall:.1f}" fill="{colour}"/>'
            )
    for place, label in enumerate(labels):
        x = MARGIN + (place + 0.4) * wide
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 12}" font-size="8" text-anchor="middle">'
            f"{escape(label)}</text>"
        )
    parts.append(f'<text x="4" y="{MARGIN + 4}" font-size="9">{100 * top:.0f} %</text>')
    return parts


if __name__ == "__main__":
    main()
