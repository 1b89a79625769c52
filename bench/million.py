"""B1: a federated link of 100,000 or a million records, beside plaintext Splink and the classics.

The records are dupehell's (`duplicates.py`), in three registries. Kinlink links them by `kinlink
rehearse` with `schemas/kyc.yaml`, in plain mode. Peers, each in a process of its own, on the same
canonical values of the same six fields:

`exact_rules`  plaintext Splink, all records in one process, six exact blocking rules, Jaro-Winkler
               and Damerau-Levenshtein levels, EM.
`same_passes`  the same with the passes of the schema instead, without caps and sieve.
`classical`    clkhash and anonlink, every record with every other, 1,024-bit CLKs, the best
               threshold by the truth. Above 100k records it runs on 100k ones and its seconds are
               extrapolated: by the record for encoding, by the comparison for matching.

Seconds: `link` is what happens between loaded registries and links published, which is what
Splink's training and prediction give; `read` is how the offices get the links by their own record
ids; `ingest` is loading with all encoding, beside which stands Splink's reading of values. Starting
processes and certificates are in none. `link_cpu_seconds` is the processor time of all processes
while they link, `central_cpu_seconds` that of the linker's stages `candidates` and `score`: what
Splink does. Wall clock means little on a machine that does other work.

With `--repeat` all sides take turns so many times. Figures and ratios are then of medians, ranges
stand beside them, and details (stages, quality) are those of the last turn.

    python bench/million.py CACHE [--size 100k|1m] [--seed N] [--split hash|place]
        [--peer NAME ...] [--repeat N] [--out DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from classical import extrapolate
from duplicates import SEED_DEFAULT, SIZES, SPLITS, Duplicates, make, size_of
from harness import BENCH, CENTRAL_STAGES, environment, rehearse, show_estimates, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA: Final = BENCH / "schemas" / "kyc.yaml"
CLASSICAL_SIZE_MAX: Final = SIZES["100k"]
PEERS: Final = ("exact_rules", "same_passes", "classical")
EXACT_RULES: Final = (
    "given_name+family_name",
    "family_name+birth_date",
    "given_name+birth_date",
    "address",
    "birth_date+postcode",
    "given_name+postcode+city",
)
# Two sessions reach every field.
TRAINED_BY: Final = ("given_name+family_name", "birth_date+postcode")
LINK_STAGES: Final = (
    "connect", "collect", "candidates", "sieve", "chance", "seal", "score", "disclose", "persons",
    "publish",
)  # fmt: skip


def run_peer(name: str, data: Duplicates, cache: Path) -> dict[str, Any]:
    """A peer's figures, from a process of its own."""
    command = [sys.executable, BENCH / ("classical.py" if name == "classical" else "plaintext.py")]
    command += [SCHEMA, "--truth", data.truth]
    for registry, path in data.registries.items():
        command += ["--registry", f"{registry}={path}"]
    if name == "classical":
        command += ["--cache", cache]
    else:
        command += [word for rule in TRAINED_BY for word in ("--train", rule)]
    if name == "exact_rules":
        command += [word for rule in EXACT_RULES for word in ("--rule", rule)]
    run = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def of_kinlink(report: dict[str, Any]) -> dict[str, Any]:
    """Kinlink's figures out of a rehearsal's report."""
    seconds, cpu = report["seconds"], report["linker_cpu_seconds"]
    return {
        "f1": report["quality"]["best"]["f1"],
        "f1_at_half": report["quality"]["at_threshold"]["f1"],
        "pair_completeness": report["blocking"]["pair_completeness"],
        "link_seconds": sum(seconds[stage] for stage in LINK_STAGES),
        "read_seconds": seconds["results"],
        "ingest_seconds": seconds["ingest"],
        "link_cpu_seconds": sum(report["cpu_seconds"].values()),
        "central_cpu_seconds": sum(cpu.get(stage, 0.0) for stage in CENTRAL_STAGES),
        "linker_cpu_seconds": cpu,
        "cpu_seconds": report["cpu_seconds"],
        "sealed_pairs": report["candidate_pairs"],
        "dropped": report["dropped"],
        "quality": report["quality"],
        "estimates": report["estimates"],
        "seconds": seconds,
        "peak_rss_mb": report["peak_rss_mb"],
    }


def of_splink(result: dict[str, Any]) -> dict[str, Any]:
    """Plaintext Splink's figures under Kinlink's names."""
    return {
        "f1": result["f1"],
        "f1_at_half": result["quality"]["at_threshold"]["f1"],
        "link_seconds": result["central_wall_seconds"],
        "ingest_seconds": result["prepare_seconds"],
        "link_cpu_seconds": result["central_cpu_seconds"],
        "central_cpu_seconds": result["central_cpu_seconds"],
        "pairs": result["pairs"],
        "quality": result["quality"],
        "peak_rss_mb": {"all": result["peak_rss_mb"]},
    }


def of_classical(result: dict[str, Any], records: int) -> dict[str, Any]:
    """The classical peer's figures for so many records; F1 only where nothing is extrapolated."""
    measured = result["records"] == records
    figures = extrapolate(result, records)
    return {
        **({"f1": result["f1"]} if measured else {"f1_of_fewer_records": result["f1"]}),
        "extrapolated": not measured,
        "link_seconds": figures["matching_seconds"],
        "ingest_seconds": figures["encoding_seconds"],
        "link_cpu_seconds": figures["matching_cpu_seconds"],
        "measured": result,
    }


def in_the_middle(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last turn with the median of each figure, and `range`: its least and its most."""
    found = dict(turns[-1])
    figures = [name for name, value in found.items() if type(value) in {int, float}]
    for name in figures:
        found[name] = statistics.median(turn[name] for turn in turns)
    found["range"] = {
        name: [pick(turn[name] for turn in turns) for pick in (min, max)] for name in figures
    }
    return found


def compare(kinlink: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    """Kinlink's figures over a peer's, where both have them; F1 as a difference."""
    whole = {
        name: each["ingest_seconds"] + each["link_seconds"]
        for name, each in (("kinlink", kinlink), ("peer", peer))
    }
    ratios = {
        f"{name}_ratio": kinlink[name] / peer[name]
        for name in ("link_seconds", "link_cpu_seconds", "central_cpu_seconds")
        if name in peer
    }
    gains = {
        f"{name}_gain": kinlink[name] - peer[name] for name in ("f1", "f1_at_half") if name in peer
    }
    return {**gains, **ratios, "with_ingest_ratio": whole["kinlink"] / whole["peer"]}


def show(result: dict[str, Any]) -> None:
    """Print a column a side and Kinlink beside each peer."""
    sides = {"kinlink": result["kinlink"], **result["peers"]}
    print(f"{result['records']} records, {result['true_pairs']} true pairs, seed {result['seed']}")
    print(f"{result['repeat']} turns; figures are medians")
    print(f"{'':24}" + "".join(f"{name:>14}" for name in sides))
    rows = ("f1", "f1_at_half", "pair_completeness", "link_seconds", "read_seconds")
    for row in (*rows, "ingest_seconds", "link_cpu_seconds", "central_cpu_seconds"):
        cells = [f"{side[row]:14.4g}" if row in side else f"{'–':>14}" for side in sides.values()]
        print(f"{row:24}" + "".join(cells))
    for name, figures in result["compared"].items():
        told = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
        extrapolated = " (extrapolated)" if result["peers"][name].get("extrapolated") else ""
        print(f"over {name}{extrapolated}: {told}")
    for name, side in sides.items() if result["repeat"] > 1 else ():
        told = ", ".join(
            f"{row} {least:.4g}–{most:.4g}"
            for row, (least, most) in side["range"].items()
            if least != most
        )
        print(f"range, {name}: {told}")
    for name, side in sides.items():
        if "peak_rss_mb" in side:
            peaks = ", ".join(f"{who} {mb:.0f}" for who, mb in side["peak_rss_mb"].items())
            print(f"peak MB, {name}: {peaks}")


def take_turn(data: Duplicates, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Figures of each peer and of Kinlink, one after another."""
    found = {}
    for name in options.peer or PEERS:
        if name == "classical":
            size = min(options.size, CLASSICAL_SIZE_MAX)
            fewer = make(options.cache, size, options.seed, options.split)
            found[name] = of_classical(run_peer(name, fewer, options.cache), data.records)
        else:
            found[name] = of_splink(run_peer(name, data, options.cache))
    with tempfile.TemporaryDirectory(prefix="kinlink-million-") as scratch:
        out = options.out or Path(scratch) / "out"
        found["kinlink"] = of_kinlink(rehearse(SCHEMA, data.registries, data.truth, out))
    return found


def main() -> int:
    """Run the bench; it has no bar of its own yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path, help="folder for sets and environments")
    parser.add_argument("--size", type=size_of, default=SIZES["100k"])
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT)
    parser.add_argument("--split", choices=SPLITS, default=SPLITS[0])
    parser.add_argument("--peer", choices=PEERS, action="append", help="only these; all by default")
    parser.add_argument("--repeat", type=int, default=1, help="turns of every side; medians")
    parser.add_argument("--out", type=Path, help="keep the rehearsal's results here")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    data = make(options.cache, options.size, options.seed, options.split)
    load = [os.getloadavg()[0]]
    turns = [take_turn(data, options) for _ in range(options.repeat)]
    sides = {name: in_the_middle([turn[name] for turn in turns]) for name in turns[0]}
    kinlink, peers = sides.pop("kinlink"), sides
    result = {
        "bench": "million",
        **environment(),
        "load": [*load, os.getloadavg()[0]],
        "records": data.records,
        "true_pairs": data.true_pairs,
        "seed": options.seed,
        "split": options.split,
        "repeat": options.repeat,
        "kinlink": kinlink,
        "peers": peers,
        "compared": {name: compare(kinlink, peer) for name, peer in peers.items()},
    }
    write_json(options.json, result)
    show(result)
    show_estimates(result["kinlink"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
