"""B4 and B5: what every stage costs at growing sizes, and with many registries.

Kinlink links dupehell's persons (`duplicates.py`) by `kinlink rehearse`, plaintext Splink with six
exact rules beside it, size by size. Told of each stage: wall seconds, processor seconds of all
processes, the largest peak memory of one process. Exponents are slopes of least squares on
logarithms of records and figure, over sizes of at least 100k records; nothing is fitted to fewer
than two. A stage of a few milliseconds has an exponent too, which says little.

Figures of a size are written as soon as they are there. A run that was ended goes on where it
stopped if it is given the same file. B5 is 31 registries, 1,024,003 records:

    python bench/growth.py CACHE [--sizes 10k,30k,100k,300k,1m,3m] [--seed N] [--repeat N]
        [--fit-from RECORDS] [--json FILE] [--plot FILE]
    python bench/growth.py CACHE --registries 31 --sizes 1m [...]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from charts import lines
from duplicates import REGISTRIES, make, size_of
from harness import environment, rehearse, write_json
from memory import Sampler
from million import LINK_STAGES, SCHEMA, of_kinlink, of_splink, run_peer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SIZES_DEFAULT: Final = "10k,30k,100k,300k,1m,3m"
SEED_DEFAULT: Final = 8
FIT_FROM_RECORDS: Final = 100_000
EXPONENT_MAX: Final = 1.1
PEER: Final = "exact_rules"
OFFICE: Final = ".office"

Figures = dict[str, Any]


def measure(cache: Path, size: int, seed: int, registries: int) -> Figures:
    """One size, both sides once."""
    data = make(cache, size, seed, registries=registries)
    peer = of_splink(run_peer(PEER, data, cache))
    load = [round(os.getloadavg()[0], 2)]
    with tempfile.TemporaryDirectory(prefix="kinlink-growth-") as scratch, Sampler() as memory:
        report = rehearse(SCHEMA, data.registries, data.truth, Path(scratch) / "out")
    load.append(round(os.getloadavg()[0], 2))
    return {
        "size": size,
        "records": data.records,
        "true_pairs": data.true_pairs,
        "load": load,
        "kinlink": figures_of(report, [*data.registries], memory),
        "splink": {
            name: peer[name]
            for name in ("f1", "f1_at_half", "link_seconds", "link_cpu_seconds", "ingest_seconds")
        }
        | {"peak_mb": peer["peak_rss_mb"]["all"]},
    }


def figures_of(report: Figures, registries: Sequence[str], memory: Sampler) -> Figures:
    """What a rehearsal's report says of time and memory, by stage and by kind of process."""
    whole, stages = of_kinlink(report), report["stages"]
    peaks = report["peak_rss_mb"]
    offices = [f"{name}{OFFICE}" for name in registries]
    kept = ("f1", "f1_at_half", "pair_completeness", "link_seconds", "link_cpu_seconds")
    return {
        **{name: whole[name] for name in (*kept, "ingest_seconds", "read_seconds")},
        "candidate_pairs": report["candidate_pairs"],
        "dropped": report["dropped"],
        "total_seconds": report["seconds"]["total"],
        "wall_seconds": {
            stage: taken for stage, taken in report["seconds"].items() if stage != "total"
        },
        "cpu_seconds": {
            stage: sum(each["cpu_seconds"] for each in used.values())
            for stage, used in stages.items()
        },
        # The largest of the registries, of their offices' sessions, and the linker.
        "peak_mb": {
            stage: {
                kind: max((used[name]["peak_rss_mb"] for name in names if name in used), default=0)
                for kind, names in (
                    ("registry", registries),
                    ("office", offices),
                    ("linker", ["linker"]),
                )
            }
            for stage, used in stages.items()
        },
        "peak_mb_of_process": {
            "registry": max(peaks[name] for name in registries),
            "linker": peaks["linker"],
            "rehearse": peaks["rehearse"],
        },
        "peak_mb_of_all": memory.peak_mb,
        "processes": memory.processes_max,
    }


def quantities(side: Figures) -> dict[str, float]:
    """What is fitted of Kinlink's figures: each with a name of two words."""
    found = {f"{name} wall": taken for name, taken in side["wall_seconds"].items()}
    found |= {f"{name} cpu": taken for name, taken in side["cpu_seconds"].items()}
    found |= {f"{name} memory": max(each.values()) for name, each in side["peak_mb"].items()}
    found |= {"link wall": side["link_seconds"], "link cpu": side["link_cpu_seconds"]}
    found |= {f"{kind} memory": peak for kind, peak in side["peak_mb_of_process"].items()}
    return found | {"all memory": side["peak_mb_of_all"]}


def of_peer(side: Figures) -> dict[str, float]:
    """What is fitted of Splink's."""
    return {
        "link wall": side["link_seconds"],
        "link cpu": side["link_cpu_seconds"],
        "process memory": side["peak_mb"],
    }


def medians(
    runs: Iterable[Figures], side: str, read: Any = quantities
) -> dict[int, dict[str, float]]:
    """Records → quantity → median of the runs of that size."""
    found: dict[int, dict[str, list[float]]] = {}
    for run in runs:
        of_size = found.setdefault(run["records"], {})
        for name, value in read(run[side]).items():
            of_size.setdefault(name, []).append(value)
    return {
        records: {name: statistics.median(values) for name, values in found[records].items()}
        for records in sorted(found)
    }


def exponents(
    by_records: Mapping[int, Mapping[str, float]], least: int = FIT_FROM_RECORDS
) -> dict[str, dict[str, float]]:
    """Quantity → exponent of records and the points it was fitted to.

    The slope of a least-squares line through logarithms; figures of 0 have none and are left out.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for records, of_size in by_records.items():
        for name, value in of_size.items():
            if records >= least and value > 0:
                points.setdefault(name, []).append((math.log(records), math.log(value)))
    return {
        name: {
            "exponent": statistics.linear_regression(*zip(*each, strict=True)).slope,
            "points": len(each),
        }
        for name, each in points.items()
        if len(each) > 1
    }


def summarise(result: Figures, least: int) -> None:
    """Put the fits of all runs so far into the result."""
    result["fitted_from_records"] = least
    result["exponents"] = {
        "kinlink": exponents(medians(result["runs"], "kinlink"), least),
        "splink": exponents(medians(result["runs"], "splink", of_peer), least),
    }


def load(path: Path, seed: int, registries: int) -> Figures:
    """The result of an earlier run to go on with, or an empty one.

    Raises:
        SystemExit: The file holds the figures of something else.
    """
    wanted = {"bench": "growth", **environment(), "seed": seed, "registries": registries}
    if not path.exists():
        return {**wanted, "runs": []}
    found: Figures = json.loads(path.read_text(encoding="utf-8"))
    if any(found.get(name) != value for name, value in wanted.items()):
        raise SystemExit(f"{path} holds the figures of another bench, seed or machine")
    return found


def show(result: Figures) -> None:
    """Print a line a quantity: medians by size, exponent, points."""
    for side, read in (("kinlink", quantities), ("splink", of_peer)):
        by_records = medians(result["runs"], side, read)
        print(f"\n{side:20}" + "".join(f"{records:>12,}" for records in by_records) + "  exponent")
        fits = result["exponents"][side]
        for name in sorted({name for of_size in by_records.values() for name in of_size}):
            cells = "".join(
                f"{of_size.get(name, math.nan):12.2f}" for of_size in by_records.values()
            )
            told = ""
            if name in fits:
                fit = fits[name]
                over = " over" if fit["exponent"] > EXPONENT_MAX else ""
                told = f"  {fit['exponent']:.2f} ({fit['points']} points){over}"
            print(f"{name:20}{cells}{told}")
    print("\nF1 and seconds of linking, Kinlink and Splink, ratio:")
    for run in result["runs"]:
        ours, theirs = run["kinlink"], run["splink"]
        ratio = ours["link_seconds"] / theirs["link_seconds"]
        print(
            f"{run['records']:>12,}: {ours['f1']:.4f} {theirs['f1']:.4f}; "
            f"{ours['link_seconds']:.1f} {theirs['link_seconds']:.1f} {ratio:.1f}; "
            f"{ours['processes']} processes, {ours['peak_mb_of_all']:.0f} MB in all; "
            f"load {run['load']}"
        )


def draw(result: Figures) -> str:
    """An SVG: wall seconds of stages that matter, and of Splink, by records."""
    ours = medians(result["runs"], "kinlink")
    theirs = medians(result["runs"], "splink", of_peer)
    drawn = ("ingest", *LINK_STAGES, "results")
    series = {
        stage: [(records, each[f"{stage} wall"]) for records, each in ours.items()]
        for stage in drawn
        if any(each[f"{stage} wall"] >= 1 for each in ours.values())
    }
    series["all of linking"] = [(records, each["link wall"]) for records, each in ours.items()]
    series["plaintext Splink"] = [(records, each["link wall"]) for records, each in theirs.items()]
    title = f"Wall seconds of each stage by records, {result['registries']} registries"
    return lines(title, series, x="records", y="seconds")


def main() -> int:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path, help="folder for sets and environments")
    parser.add_argument("--sizes", default=SIZES_DEFAULT, help="of the generator, commas between")
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT)
    parser.add_argument("--registries", type=int, default=len(REGISTRIES))
    parser.add_argument("--repeat", type=int, default=1, help="runs of each size; medians are told")
    parser.add_argument("--fit-from", type=int, default=FIT_FROM_RECORDS, help="records")
    parser.add_argument("--json", type=Path, help="figures; by default in the cache")
    parser.add_argument("--plot", type=Path, help="write an SVG to this file")
    options = parser.parse_args()
    path = options.json or (options.cache / f"growth-{options.registries}-seed{options.seed}.json")
    result = load(path, options.seed, options.registries)
    for turn in range(options.repeat):
        for size in map(size_of, options.sizes.split(",")):
            if sum(run["size"] == size for run in result["runs"]) <= turn:
                run = measure(options.cache, size, options.seed, options.registries)
                result["runs"].append(run)
                summarise(result, options.fit_from)
                write_json(path, result)
    summarise(result, options.fit_from)
    write_json(path, result)
    show(result)
    if options.plot is not None:
        options.plot.write_text(draw(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
