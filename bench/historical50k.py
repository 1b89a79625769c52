"""50,578 records of historical persons in three registries, beside plaintext Splink in one run.

The records are split by a hash of `unique_id`; `cluster` is the person. Kinlink links them with
`bench/schemas/historical50k.yaml`; Splink links the same canonical values in plain, with the same
passes (every blocking value as the schema derives it, LSH bands included, no caps) and levels that
mean the same. Printed: F1 at the best threshold of both, and the central time of both.

Central time is what the centre computes to find candidates, train and score: processor seconds of
the linker in those stages, and of Splink's training and prediction (its blocking is part of it).
Wall seconds are shown too; the linker's hold the registries' answers to its questions, which on one
machine run on the same cores. Narrower: training and prediction alone, in wall seconds. Wider: the
whole linker, which also reads and compares sealed pairs, clusters and publishes.

    python bench/historical50k.py DATA.parquet [--out DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from harness import BENCH, CENTRAL_STAGES, environment, rehearse, show_estimates, write_json
from kinlink_core.encoding.schema import load_schema
from plaintext import link_in_plain

SCHEMA = BENCH / "schemas" / "historical50k.yaml"
REGISTRIES = ("alpha", "beta", "gamma")


def write_inputs(data: Path, folder: Path) -> tuple[dict[str, Path], Path]:
    """Write three registries' files, split by a hash of `unique_id`, and the truth."""
    table = duckdb.sql(f"from '{data}' order by unique_id").to_arrow_table()
    ids = table.column("unique_id").to_pylist()
    shares = [hashlib.sha256(each.encode()).digest()[0] % len(REGISTRIES) for each in ids]
    columns = [name for name in table.column_names if name not in {"unique_id", "cluster"}]
    records = table.select(["unique_id", *columns]).rename_columns(["record_id", *columns])
    paths = {}
    for number, name in enumerate(REGISTRIES):
        paths[name] = folder / f"{name}.parquet"
        pq.write_table(records.filter(pa.array([each == number for each in shares])), paths[name])
    truth = folder / "truth.parquet"
    pq.write_table(
        table.select(["unique_id", "cluster"]).rename_columns(["record_id", "person_id"]), truth
    )
    return paths, truth


def summarise(report: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """Both sides' figures, and Kinlink's as a ratio of Splink's."""
    seconds, cpu = report["seconds"], report["linker_cpu_seconds"]
    kinlink = {
        "f1": report["quality"]["best"]["f1"],
        "central_wall_seconds": sum(seconds[stage] for stage in CENTRAL_STAGES),
        "central_cpu_seconds": sum(cpu[stage] for stage in CENTRAL_STAGES),
        "linker_cpu_seconds": cpu,
        "quality": report["quality"],
        "blocking": report["blocking"],
        "estimates": report["estimates"],
        "seconds": seconds,
        "peak_rss_mb": report["peak_rss_mb"],
    }
    compared = ("f1", "central_wall_seconds", "central_cpu_seconds")
    return {
        "bench": "historical50k",
        **environment(),
        "kinlink": kinlink,
        "splink": plain,
        "ratio": {name: kinlink[name] / plain[name] for name in compared},
    }


def show(result: dict[str, Any]) -> None:
    """Print the comparison, and central time as it may also be read, narrower and wider."""
    print(f"{'':24}{'kinlink':>12}{'splink':>12}{'ratio':>10}")
    for name, ratio in result["ratio"].items():
        ours, theirs = result["kinlink"][name], result["splink"][name]
        print(f"{name:24}{ours:12.4f}{theirs:12.4f}{ratio:10.3f}")
    whole = sum(result["kinlink"]["linker_cpu_seconds"].values())
    beside = {
        "train + predict, wall": (result["kinlink"]["seconds"]["score"], "central_wall_seconds"),
        "whole linker, cpu": (whole, "central_cpu_seconds"),
    }
    for name, (ours, peer) in beside.items():
        theirs = result["splink"][peer]
        print(f"{name:24}{ours:12.4f}{theirs:12.4f}{ours / theirs:10.3f}")


def main() -> int:
    """Run the bench; 1 where Kinlink is worse than Splink in F1 or slower at the centre."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="historical_figures_with_errors_50k.parquet")
    parser.add_argument("--out", type=Path, help="keep the rehearsal's results here")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kinlink-historical50k-") as scratch:
        registries, truth = write_inputs(options.data, Path(scratch))
        report = rehearse(SCHEMA, registries, truth, options.out or Path(scratch) / "out")
        plain = link_in_plain(load_schema(SCHEMA), registries, truth)
    result = summarise(report, plain)
    write_json(options.json, result)
    show(result)
    show_estimates(report)
    ratio = result["ratio"]
    return 0 if ratio["f1"] >= 1 and ratio["central_cpu_seconds"] <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
