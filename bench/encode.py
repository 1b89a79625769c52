"""B2: encoding, records a second on one core, beside clkhash on the same values of the same fields.

What is timed starts from canonical values in memory and ends with encodings in memory: sketches of
every field and of the record on Kinlink's side, CLKs of 1,024 bits on clkhash's. Blocking values,
which clkhash has none of, are timed apart: keys and tokens of all passes in plain mode. Both sides
take turns, each repetition in a process of its own that may use one core; ratios are of medians.

Kinlink sketches a distinct value once, so what it costs depends on how often values repeat: the
share of distinct values is told.

    python bench/encode.py CACHE [--size 100k|N] [--seed N] [--repeat N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from classical import REQUIREMENTS, clk_schema, write_values
from duplicates import SEED_DEFAULT, SIZES, make, size_of
from harness import BENCH, environment, write_json
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.keys import MODE_PLAIN, Context, EpochSecret, KeySchedule
from kinlink_core.encoding.schema import Schema, load_schema
from kinlink_local.blocking import read_batches
from own_venv import own_python

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import Column

SCHEMA: Final = BENCH / "schemas" / "kyc.yaml"
SIDE: Final = BENCH / "clk_side.py"
REPEAT_DEFAULT: Final = 5
RATIO_MIN: Final = 5.0
EPOCH: Final = "bench"


def read(schema: Schema, files: Sequence[Path]) -> list[dict[str, Column]]:
    """Canonical values, a batch at a time."""
    return [columns for path in files for _, columns in read_batches(schema, path)]


def distinct_share(batches: list[dict[str, Column]]) -> float:
    """Distinct values of a batch and field among all present ones."""
    values = [column for columns in batches for column in columns.values()]
    present = sum(sum(value is not None for value in column) for column in values)
    return sum(len({*column} - {None}) for column in values) / present


def encode(files: Sequence[Path]) -> dict[str, float]:
    """Processor seconds of sketches and of sketches with blocking values; what was encoded."""
    schema = load_schema(SCHEMA)
    context = Context(MODE_PLAIN, EPOCH, EPOCH, schema.fingerprint())
    encoder = Encoder(schema, KeySchedule(context, EpochSecret.generate(EPOCH)))
    batches = read(schema, files)
    started = time.process_time()
    for columns in batches:
        encoder.sketch(columns)
    sketched = time.process_time()
    tokens = sum(len(encoder.encode(columns).blocking.row) for columns in batches)
    ended = time.process_time()
    return {
        "records": sum(len(columns[schema.fields[0].name]) for columns in batches),
        "sketch_seconds": sketched - started,
        "encode_seconds": ended - sketched,
        "blocking_values": tokens,
        "distinct_share": distinct_share(batches),
    }


def on_one_core(command: Sequence[object]) -> dict[str, Any]:
    """What a process on one core prints last."""
    core = min(os.sched_getaffinity(0))
    run = subprocess.run(
        [*map(str, command)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def measure(cache: Path, size: int, seed: int, repeat: int) -> dict[str, Any]:
    """Medians of both sides, in turns."""
    data, schema = make(cache, size, seed), load_schema(SCHEMA)
    python = own_python(cache, "anonlink", REQUIREMENTS)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="kinlink-encode-") as scratch:
        folder = Path(scratch)
        (folder / "schema.json").write_text(json.dumps(clk_schema(schema)), encoding="utf-8")
        files = [folder / f"{name}.csv" for name in data.registries]
        for path, out in zip(data.registries.values(), files, strict=True):
            write_values(schema, path, out)
        for _ in range(repeat):
            ours.append(on_one_core([sys.executable, __file__, "--own", *data.registries.values()]))
            theirs.append(on_one_core([python, SIDE, "--encode", folder / "schema.json", *files]))
    records = ours[0]["records"]
    sketch, whole = (
        statistics.median(each[name] for each in ours)
        for name in ("sketch_seconds", "encode_seconds")
    )
    clk = statistics.median(each["encoding_cpu_seconds"] for each in theirs)
    blocking = ours[0]["blocking_values"]
    return {
        "records": records,
        "distinct_share": ours[0]["distinct_share"],
        "sketches_a_second": records / sketch,
        "clks_a_second": records / clk,
        "ratio": clk / sketch,
        "with_blocking_a_second": records / whole,
        "blocking_values_a_second": blocking / max(whole - sketch, 1e-9),
        "repetitions": {"kinlink": ours, "clkhash": theirs},
    }


def main() -> int:
    """Run the bench; the target is shown beside the figure."""
    if sys.argv[1:2] == ["--own"]:
        print(json.dumps(encode([Path(name) for name in sys.argv[2:]])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path, help="folder for sets and environments")
    parser.add_argument("--size", type=size_of, default=SIZES["100k"])
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT)
    parser.add_argument("--repeat", type=int, default=REPEAT_DEFAULT)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    figures = measure(options.cache, options.size, options.seed, options.repeat)
    result = {"bench": "encode", **environment(), "seed": options.seed, **figures}
    write_json(options.json, result)
    records, distinct = result["records"], result["distinct_share"]
    print(f"{records} records, {distinct:.0%} of values distinct, one core, a second:")
    print(f"  Kinlink, sketches of all fields: {result['sketches_a_second']:9.0f} records")
    print(f"  clkhash, 1,024 bits:             {result['clks_a_second']:9.0f} records")
    print(f"  ratio of medians:                {result['ratio']:9.1f} (target {RATIO_MIN:.0f})")
    print(f"  Kinlink with blocking values:    {result['with_blocking_a_second']:9.0f} records")
    print(f"  blocking values:                 {result['blocking_values_a_second']:9.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
