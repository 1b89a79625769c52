"""How far the ideal Bayes linker and two simple ones get on synthetic notices.

    python bench/reunion_ideal.py [--notices 1000 5000] [--seeds 6 7 8 9 10] [--json FILE]

Recall at 1, 10 and 100 over the families whose child is on the other side: median and range over
the seeds. Seeds 1 to 5 are for tuning, 6 to 10 for reports.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from kinlink_local.reunion.assumptions import PHOTO_SHARE, REGIMES
from kinlink_local.reunion.baselines import ExactJoin, FixedWeights
from kinlink_local.reunion.ideal import IdealLinker
from kinlink_local.reunion.population import Config, make_population
from kinlink_local.reunion.ranking import BLOCK_ROWS, ranks, recall

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEEDS = (6, 7, 8, 9, 10)
SIZES = (1_000, 5_000)


def measure(regime: str, notices: int, seed: int) -> dict[str, tuple[float, ...]]:
    """Recalls of every linker on one population."""
    everywhere = make_population(Config(seed, notices, regime, photos=1.0))
    some = make_population(Config(seed, notices, regime, photos=PHOTO_SHARE))
    has_photo = np.array([bool(cell) for cell in some.family["photo_age"]])
    family, found, partner = everywhere.family, everywhere.found, everywhere.partner
    rows = np.flatnonzero(partner >= 0)
    ideal = IdealLinker(family, found, regime)
    found_ranks: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        scores = ideal.scores(block)
        faces = ideal.face_scores(block)
        for name, total in (
            ("ideal, demographics", scores),
            ("ideal, face 60 %", scores + faces * has_photo[block][:, None]),
            ("ideal, face for all", scores + faces),
        ):
            true = total[np.arange(len(block)), partner[block]][:, None]
            rank = 1 + (total > true).sum(axis=1) + ((total == true).sum(axis=1) - 1) / 2
            found_ranks.setdefault(name, []).append(rank)
    results = {name: np.concatenate(parts) for name, parts in found_ranks.items()}
    results["exact join"] = ranks(ExactJoin(family, found).scores, partner)
    results["fixed weights"] = ranks(FixedWeights(family, found).scores, partner)
    return {name: astuple(recall(of)) for name, of in results.items()}


def main() -> None:
    """Print a table, and write it as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notices", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--regimes", nargs="+", default=[*REGIMES])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = []
    for regime in options.regimes:
        for notices in options.notices:
            started = time.monotonic()
            runs = [measure(regime, notices, seed) for seed in options.seeds]
            for name in runs[0]:
                values = np.array([run[name] for run in runs])
                row = {
                    "regime": regime,
                    "notices": notices,
                    "linker": name,
                    "median": np.median(values, axis=0).round(3).tolist(),
                    "least": values.min(axis=0).round(3).tolist(),
                    "most": values.max(axis=0).round(3).tolist(),
                }
                report.append(row)
                print(*row.values(), sep="  ", flush=True)
            print(f"# {time.monotonic() - started:.0f} s", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
