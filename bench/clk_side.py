"""The classical side, run by the peer's own interpreter: clkhash encodes, anonlink compares all.

    PEER_PYTHON bench/clk_side.py SCHEMA.json OUT.npz FLOOR REGISTRY.csv ...
    PEER_PYTHON bench/clk_side.py --encode SCHEMA.json REGISTRY.csv ...

Each CSV has a header, a record id first and then the schema's features. Every pair of records of
two registries is compared by the Dice coefficient of their CLKs, in as many processes as there are
cores, as the anonlink entity service does it in chunks. Pairs at or above FLOOR go to OUT.npz as
numbers of registries and rows. Matching is done three times, on a quarter of each registry, on half
and on all of it, so that its growth is measured. Prints seconds and counts as JSON.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from anonlink.concurrency import split_to_chunks
from anonlink.similarities import dice_coefficient_accelerated
from clkhash.clk import generate_clks
from clkhash.schema import from_json_dict

SECRET = "bench"  # noqa: S105 - it protects nothing here
COMPARISONS_A_CHUNK = 100_000_000
SHARES = (4, 2, 1)

_filters: list[Any] = []  # of each registry; workers inherit it by fork


def read(path: Path) -> list[tuple[str, ...]]:
    """Features of each record."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        return [tuple(row[1:]) for row in rows]


def compare(work: tuple[dict[str, Any], float]) -> list[np.ndarray]:
    """Similar pairs of one chunk: similarities, row of the one registry, row of the other."""
    chunk, floor = work
    sides = [_filters[number] for number in chunk["datasetIndices"]]
    parts = [side[slice(*reach)] for side, reach in zip(sides, chunk["ranges"], strict=True)]
    similarity, (left, right) = dice_coefficient_accelerated(parts, floor, None)
    offsets = [reach[0] for reach in chunk["ranges"]]
    return [
        np.frombuffer(similarity, float),
        np.frombuffer(left, np.uintc).astype(np.int64) + offsets[0],
        np.frombuffer(right, np.uintc).astype(np.int64) + offsets[1],
        np.full(len(similarity), chunk["datasetIndices"][0], np.int8),
        np.full(len(similarity), chunk["datasetIndices"][1], np.int8),
    ]


def match(floor: float, share: int, processes: int) -> tuple[float, int, list[np.ndarray]]:
    """Seconds, comparisons and similar pairs of the first `1/share` of every registry."""
    sizes = [len(each) // share for each in _filters]
    comparisons = sum(a * b for n, a in enumerate(sizes) for b in sizes[n + 1 :])
    began = time.perf_counter()
    chunks = split_to_chunks(COMPARISONS_A_CHUNK // share**2, dataset_sizes=sizes)
    work = [(chunk, floor) for chunk in _plain(chunks)]
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        found = list(pool.imap_unordered(compare, work))
    pairs = [np.concatenate(column) for column in zip(*found, strict=True)]
    return time.perf_counter() - began, comparisons, pairs


def _plain(chunks: Any) -> list[dict[str, Any]]:
    """Chunks by number of registry and range of rows."""
    return [
        {
            "datasetIndices": [side["datasetIndex"] for side in chunk],
            "ranges": [tuple(side["range"]) for side in chunk],
        }
        for chunk in chunks
    ]


def cpu_seconds() -> float:
    """Processor time of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def encode(schema_path: str, files: list[str], processes: int) -> dict[str, float]:
    """Make the CLKs of every registry; seconds and records."""
    schema = from_json_dict(json.loads(Path(schema_path).read_text(encoding="utf-8")))
    records = [read(Path(path)) for path in files]
    began, spent = time.perf_counter(), cpu_seconds()
    _filters.extend(
        generate_clks(rows, schema, SECRET, validate=False, max_workers=processes)
        for rows in records
    )
    return {
        "records": sum(map(len, records)),
        "encoding_seconds": time.perf_counter() - began,
        "encoding_cpu_seconds": cpu_seconds() - spent,
    }


def main() -> int:
    """Encode, compare, write."""
    processes = len(os.sched_getaffinity(0))
    if sys.argv[1] == "--encode":
        print(json.dumps(encode(sys.argv[2], sys.argv[3:], processes)))
        return 0
    schema_path, out, floor, *files = sys.argv[1:]
    encoded = encode(schema_path, files, processes)
    weights = [each.count() for side in _filters for each in side[:1000]]
    matching = []
    for share in SHARES:
        spent = cpu_seconds()
        seconds, comparisons, pairs = match(float(floor), share, processes)
        spent = cpu_seconds() - spent
        rows = sum(len(each) // share for each in _filters)
        matching.append(
            {
                "records": rows,
                "comparisons": comparisons,
                "seconds": seconds,
                "cpu_seconds": spent,
            }
        )
    np.savez(
        out, similarity=pairs[0], row_l=pairs[1], row_r=pairs[2], side_l=pairs[3], side_r=pairs[4]
    )
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    result = {
        **encoded,
        "matching": matching,
        "pairs": len(pairs[0]),
        "bits_set_mean": float(np.mean(weights)),
        "processes": processes,
        "peak_rss_mb": peak / 1024,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
