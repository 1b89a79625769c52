"""A search for missing children as a rehearsal, beside what is the best that its notices allow.

    python bench/reunion.py [--notices 1000] [--seeds 6 7 8 9 10] [--regimes hard informative]
                            [--photos 0 0.6] [--registries 2] [--out DIR] [--json FILE]

Synthetic notices become registries of one side each; `kinlink rehearse` links them with
`reunion.yaml`. For every family whose child is on the other side the rank of that child among its
candidates is taken by match weight, ties count half; a child that is no candidate is not found.

To see ranks below the schema's disclosure floor, the rehearsal runs with a floor of 0. What the
floor takes away is counted: `kinlink` ends its lists at the schema's floor, `kinlink, no floor`
does not. Beside them, on the same pairs: the same levels and m in plain, and the ideal linker; and
on all pairs the ideal linker, fixed weights, and an exact join. Seeds 1 to 5 are for tuning.

`--photos` is the share of families that have a photograph; without any it is a search by
demographics, on notices that are the same in all else. Scores of faces are simulated
(docs/explanation/population.md), so what they add is a yardstick and no claim. In plain faces are
compared by the levels of their angles.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import astuple, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
from harness import environment, rehearse, write_json
from kinlink_core.encoding.schema import load_schema, packaged_schema
from kinlink_linker.score import score, train
from kinlink_local.reunion.assumptions import PHOTO_SHARE, REGIMES
from kinlink_local.reunion.baselines import ExactJoin, FixedWeights
from kinlink_local.reunion.columns import schema_columns
from kinlink_local.reunion.ideal import IdealLinker
from kinlink_local.reunion.offline import canonical_columns, encoder_of
from kinlink_local.reunion.population import Config, Population, make_population, write_population
from kinlink_local.reunion.ranking import BLOCK_ROWS, ranks, recall
from reunion_levels import PlainComparison

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

SEEDS: Final = (6, 7, 8, 9, 10)
SIZES: Final = (1_000,)
REGISTRIES: Final = 2
FLOOR: Final = re.compile(r"^disclosure_floor_probability: .*$", re.MULTILINE)
BINS: Final = 10
BURDEN_RECALLS: Final = (0.5, 0.6)
# Of most candidates it is only said that they are unlikely; calibration is also told without them.
LIKELY: Final = 0.01
CHANCE_PAIRS: Final = 250_000


@dataclass(frozen=True)
class Scored:
    """Pairs of families' and found people's notices, by their rows; all arrays are (pairs,)."""

    family: Ints
    found: Ints
    weight: Floats
    probability: Floats

    def __len__(self) -> int:
        return len(self.family)

    def at_least(self, probability: float) -> Scored:
        """Those that a floor leaves."""
        some = self.probability >= probability
        return Scored(*(getattr(self, each.name)[some] for each in fields(self)))


def measure(config: Config, registries: int, folder: Path) -> dict[str, Any]:
    """One population, linked and judged."""
    population = make_population(config)
    write_population(population, folder / "notices", registries=registries)
    path = folder / "reunion.yaml"
    text = packaged_schema("reunion").read_text("utf-8")
    path.write_text(FLOOR.sub("disclosure_floor_probability: 0.0", text), "utf-8")
    held = folder / "notices" / "registries"
    files = {each.stem: each for each in sorted(held.glob("*-*.csv"))}
    started = time.monotonic()
    report = rehearse(path, files, held / "truth.csv", folder / "out")
    seconds = time.monotonic() - started
    pairs = read_pairs(folder / "out" / "pairs.parquet", population)
    floor = load_schema(packaged_schema("reunion")).disclosure_floor_probability
    return {
        "regime": config.regime,
        "notices": config.notices,
        "photos": config.photos,
        "seed": config.seed,
        **judge(population.partner, pairs, floor),
        "recall": recalls(population, pairs, floor),
        "seconds": seconds,
        "stages": report["seconds"],
        "linker_cpu_seconds": sum(report["linker_cpu_seconds"].values()),
        "peak_rss_mb": report["peak_rss_mb"],
        "candidate_pairs": report["candidate_pairs"],
        "dropped": report["dropped"],
    }


def read_pairs(path: Path, population: Population) -> Scored:
    """What a rehearsal wrote."""
    read = duckdb.execute(
        "select record_id_l, record_id_r, match_weight, match_probability from read_parquet(?)",
        [str(path)],
    ).fetchnumpy()
    rows = {
        name: row
        for side in (population.family, population.found)
        for row, name in enumerate(side["record_id"])
    }
    left, right = (np.array([rows[each] for each in read[f"record_id_{end}"]]) for end in "lr")
    # Ids say their side: A of families, B of found people.
    seeks = np.array([name.startswith("A") for name in read["record_id_l"]])
    family, found = np.where(seeks, left, right), np.where(seeks, right, left)
    return Scored(family, found, read["match_weight"], read["match_probability"])


def judge(partner: Ints, pairs: Scored, floor: float) -> dict[str, Any]:
    """Completeness, reduction, calibration and burden of scored pairs."""
    right = partner[pairs.family] == pairs.found
    true = int((partner >= 0).sum())
    probability = pairs.probability
    likely, listed = probability >= LIKELY, probability >= floor
    return {
        "true_pairs": true,
        "pairs": len(pairs),
        "pair_completeness": float(right.sum() / true),
        "reduction": 1 - len(pairs) / len(partner) ** 2,
        "listed_pairs": int(listed.sum()),
        "listed_completeness": float(right[listed].sum() / true),
        "expected_matches": float(probability.sum()),
        "ece": expected_calibration_error(probability, right),
        "ece_likely": expected_calibration_error(probability[likely], right[likely]),
        "brier": float(((probability - right) ** 2).mean()) if len(right) else 0.0,
        "false_leads_per_true": {
            str(recall_): burden(pairs.weight, right, true, recall_) for recall_ in BURDEN_RECALLS
        },
    }


def expected_calibration_error(probability: Floats, right: Bools) -> float:
    """Mean distance of probability and share of true pairs over `BINS` equal bins, by pairs."""
    if not len(right):
        return 0.0
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    expected = np.bincount(bins, probability, BINS)
    return float(np.abs(expected - np.bincount(bins, right, BINS)).sum() / len(right))


def burden(weight: Floats, right: Bools, true: int, share: float) -> float | None:
    """False pairs a true one, best first, until a share of all true pairs is found; or None."""
    order = np.argsort(-weight, kind="stable")
    hits = np.cumsum(right[order])
    enough = np.searchsorted(hits, share * true)
    if enough >= len(hits):
        return None
    return float((enough + 1 - hits[enough]) / hits[enough])


def recalls(population: Population, pairs: Scored, floor: float) -> dict[str, tuple[float, ...]]:
    """Recall at 1, 10 and 100 of each linker."""
    family, found, partner = population.family, population.found, population.partner
    ideal = IdealLinker(family, found, population.config.regime)
    in_plain = replace(pairs, weight=plain_weights(population, pairs))
    by_ideal = replace(pairs, weight=ideal_weights(ideal, pairs))
    of = {
        "kinlink": ranks_of_pairs(pairs.at_least(floor), partner),
        "kinlink, no floor": ranks_of_pairs(pairs, partner),
        "in plain, same pairs": ranks_of_pairs(in_plain, partner),
        "ideal, same pairs": ranks_of_pairs(by_ideal, partner),
        "ideal": ranks(lambda rows: ideal.scores(rows) + ideal.face_scores(rows), partner),
        "fixed weights": ranks(FixedWeights(family, found).scores, partner),
        "exact join": ranks(ExactJoin(family, found).scores, partner),
    }
    return {name: astuple(recall(each)) for name, each in of.items()}


def ranks_of_pairs(pairs: Scored, partner: Ints) -> Floats:
    """Rank of each partnered family's child among the family's pairs, infinite without a pair."""
    family, found, weight = pairs.family, pairs.found, pairs.weight
    partnered = np.flatnonzero(partner >= 0)
    true = np.full(len(partner), np.nan)
    right = partner[family] == found
    true[family[right]] = weight[right]
    above = np.bincount(family[weight > true[family]], minlength=len(partner))
    tied = np.bincount(family[weight == true[family]], minlength=len(partner)) - 1
    rank = np.where(np.isnan(true), np.inf, 1 + above + tied / 2)
    return rank[partnered]


def plain_weights(population: Population, pairs: Scored) -> Floats:
    """The linker's own weights, of the levels of plain values."""
    schema = load_schema(packaged_schema("reunion"))
    number = population.config.notices
    columns = canonical_columns(
        schema, schema_columns(population.family), schema_columns(population.found)
    )
    compared = PlainComparison(schema, encoder_of(schema), columns, number)
    strangers = np.random.default_rng(population.config.seed).integers(0, number, (2, CHANCE_PAIRS))
    met = compared.levels(pairs.family, pairs.found)
    # All m are given, so a pair weighs the same in whichever pass it meets.
    name = schema.passes[0].id
    model = train(schema, {name: met}, compared.levels(*strangers), [(number, number)])
    return score(schema, model, name, met).weight


def ideal_weights(ideal: IdealLinker, pairs: Scored) -> Floats:
    """The ideal linker's log likelihood ratios of pairs."""
    family, found = pairs.family, pairs.found
    weight = np.empty(len(family))
    rows = np.unique(family)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        scores = ideal.scores(block) + ideal.face_scores(block)
        here = np.flatnonzero((family >= block[0]) & (family <= block[-1]))
        weight[here] = scores[np.searchsorted(block, family[here]), found[here]]
    return weight


def summarise(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median, least and most over seeds by regime, size and figure."""
    rows = []
    named = ("regime", "notices", "photos")
    for of in dict.fromkeys(tuple(run[name] for name in named) for run in runs):
        some = [run for run in runs if tuple(run[name] for name in named) == of]
        figures = {name: [run["recall"][name] for run in some] for name in some[0]["recall"]}
        for name, values in figures.items():
            table = np.array(values)
            rows.append(
                {
                    **dict(zip(named, of, strict=True)),
                    "linker": name,
                    "median": np.median(table, axis=0).round(3).tolist(),
                    "least": table.min(axis=0).round(3).tolist(),
                    "most": table.max(axis=0).round(3).tolist(),
                }
            )
    return rows


def show(run: dict[str, Any]) -> None:
    """Print one run."""
    print(
        f"# {run['regime']}, {run['notices']} a side, seed {run['seed']},"
        f" photographs {run['photos']:.0%}"
    )
    for name, values in run["recall"].items():
        print(f"{name:22}" + "".join(f"{value:8.3f}" for value in values))
    leads = "  ".join(
        f"{'–' if found is None else f'{found:.1f}'} at recall {share}"
        for share, found in run["false_leads_per_true"].items()
    )
    print(
        f"completeness {run['pair_completeness']:.3f} ({run['listed_completeness']:.3f} listed)"
        f"  reduction {run['reduction']:.4f}  pairs {run['pairs']} ({run['listed_pairs']} listed)\n"
        f"ECE {run['ece']:.4f} (likely {run['ece_likely']:.3f})  Brier {run['brier']:.5f}"
        f"  expected matches {run['expected_matches']:.0f} of {run['true_pairs']}"
        f"  false leads a true one: {leads}"
        f"  {run['seconds']:.0f} s",
        flush=True,
    )


def main() -> None:
    """Print every run, and write all as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notices", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--regimes", nargs="+", default=[*REGIMES])
    parser.add_argument("--photos", type=float, nargs="+", default=(0.0, PHOTO_SHARE))
    parser.add_argument("--registries", type=int, default=REGISTRIES, help="of each side")
    parser.add_argument("--out", type=Path, help="keep notices and results here")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory(prefix="kinlink-reunion-") as scratch:
        wanted = product(options.regimes, options.notices, options.photos, options.seeds)
        for regime, notices, photos, seed in wanted:
            config = Config(seed, notices, regime, photos=photos)
            folder = (options.out or Path(scratch)) / f"{regime}-{notices}-{photos}-{seed}"
            folder.mkdir(parents=True)
            run = measure(config, options.registries, folder)
            show(run)
            runs.append(run)
    result = {"bench": "reunion", **environment(), "runs": runs, "summary": summarise(runs)}
    write_json(options.json, result)


if __name__ == "__main__":
    main()
