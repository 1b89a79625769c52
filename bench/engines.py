"""DuckDB and Spark on the same tokens and pairs: what each size costs, and whether they agree.

    bench/engines.py [--tokens 1000000,4000000] [--pairs 1000000,4000000]

Starts a standalone master and two workers on loopback, each with one core and 1 GB; needs the extra
`spark` and Java. What is measured is an engine's two duties: islands from a token file, weights of
compared pairs. A slope is what each further million costs, which is what sizes a cluster: the
constant part is Spark starting. Beside wall seconds stand the processor seconds of the linker's
process, its JVM and all executors, which other work on the machine moves less.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from kinlink_core.encoding.schema import load_schema
from kinlink_linker.compare import NULL_LEVEL
from kinlink_linker.duck import DuckLimits
from kinlink_linker.engine import DuckEngine, SparkEngine
from kinlink_linker.model import LevelParameters, Model, PassModel, level_labels
from kinlink_linker.spark_session import SparkCluster
from kinlink_linker.tokens import TokenFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinlink_core.encoding.schema import Schema
    from kinlink_linker.engine import Engine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from support.spark_cluster import CONF, cluster  # noqa: E402 - tests are no package

SCHEMA = ROOT / "bench" / "schemas" / "febrl4.yaml"
REGISTRIES = 31
CAP = 12
# A quarter of the places is held by two or more registries.
PLACES_A_ROW = 1.5
FLOOR = 0.01
MILLION = 1e6
EXECUTOR = b"CoarseGrainedExecutorBackend"
EXECUTORS_LEAVE_SECONDS_MAX = 60


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", default="1000000,4000000")
    parser.add_argument("--pairs", default="1000000,4000000")
    options = parser.parse_args()
    schema = load_schema(SCHEMA)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "store").mkdir()
        with cluster(home / "cluster") as running:
            spark = SparkEngine(
                SparkCluster(running.master, home / "store", running.secret_file, CONF)
            )
            engines: list[Engine] = [DuckEngine(), spark]
            pids = running.workers
            report("token rows", numbers(options.tokens), engines, pids, lambda n: islands(home, n))
            report("pairs", numbers(options.pairs), engines, pids, lambda n: weights(schema, n))


def numbers(text: str) -> list[int]:
    """Comma-separated whole numbers."""
    return [int(each) for each in text.split(",")]


def report(
    what: str,
    sizes: Sequence[int],
    engines: Sequence[Engine],
    workers: Sequence[int],
    work: Callable[[int], Callable[[Engine], np.ndarray]],
) -> None:
    """Print what each engine takes for each size, and the slope between the ends."""
    costs: dict[str, list[tuple[float, float]]] = {type(each).__name__: [] for each in engines}
    for size in sizes:
        done = work(size)
        results = []
        for engine in engines:
            processor = processor_seconds(workers)
            wall = time.perf_counter()
            results.append(done(engine))
            wall = time.perf_counter() - wall
            cost = (wall, processor_seconds(workers) - processor)
            costs[type(engine).__name__].append(cost)
        gap = float(np.abs(results[0] - results[1]).max(initial=0.0))
        told = ", ".join(f"{name} {c[-1][0]:.1f} ({c[-1][1]:.1f}) s" for name, c in costs.items())
        print(f"{size:>11,} {what}: {told}; {len(results[0]):,} results, gap {gap:.1e}", flush=True)
    if len(sizes) > 1:
        span = (sizes[-1] - sizes[0]) / MILLION
        for name, each in costs.items():
            wall, processor = (
                (last - first) / span for first, last in zip(each[0], each[-1], strict=True)
            )
            print(
                f"{'':11} {name}: {wall:.2f} ({processor:.2f}) s for each further million",
                flush=True,
            )


def processor_seconds(workers: Sequence[int]) -> float:
    """Of this process, its children (the JVM) and the workers with the executors they had."""
    deadline = time.monotonic() + EXECUTORS_LEAVE_SECONDS_MAX
    # An executor's time counts once its worker has seen it end.
    while any(is_executor(path, workers) for path in Path("/proc").glob("[0-9]*")):
        if time.monotonic() > deadline:
            raise TimeoutError("executors do not leave")
        time.sleep(0.1)
    own = [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(path) == os.getpid()]
    total = 0.0
    for pid in (os.getpid(), *workers, *set(own) - set(workers)):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(each) for each in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return total


def is_executor(process: Path, workers: Sequence[int]) -> bool:
    """Whether a process computes for one of the workers."""
    try:
        return parent(process) in workers and EXECUTOR in (process / "cmdline").read_bytes()
    except OSError:
        return False


def parent(process: Path) -> int:
    """Process id of a process's parent; 0 if it is gone."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def islands(home: Path, rows: int) -> Callable[[Engine], np.ndarray]:
    """Joining a file of so many token rows; the result is its members' handles."""
    rng = np.random.default_rng(rows)
    file = TokenFile(home / f"{rows}.duckdb", DuckLimits("1GB", 2))
    linking = [file.code(f"r{number}") for number in range(REGISTRIES)]
    place = rng.integers(0, int(rows * PLACES_A_ROW), rows).astype(np.uint64)
    table = pa.table(
        {
            "registry": rng.integers(0, REGISTRIES, rows).astype(np.uint8),
            "pass_index": (place % 8).astype(np.uint16),
            "handle_a": rng.integers(0, 1 << 62, rows).astype(np.uint64),
            "handle_b": rng.integers(0, 1 << 62, rows).astype(np.uint64),
            "token_a": place * np.uint64(0x9E3779B97F4A7C15),
            "token_b": place,
        }
    )
    with file.cursor() as cursor:
        cursor.register("fed", table)
        cursor.execute("INSERT INTO token SELECT * FROM fed")
        cursor.unregister("fed")
    return lambda engine: (
        engine.split(file, linking, [CAP] * 8).islands.handle[:, 0].astype(np.float64)
    )


def weights(schema: Schema, count: int) -> Callable[[Engine], np.ndarray]:
    """Scoring so many pairs of one pass; the result is the weights above the floor."""
    rng = np.random.default_rng(count)
    of_pass = schema.passes[0]
    fields = {}
    for field in schema.fields:
        if field.name not in of_pass.fixed_fields:
            labels = level_labels(schema, field.name)
            m = np.geomspace(1, 0.01, len(labels))
            parameters = zip(labels, m / m.sum(), m[::-1] / m.sum(), strict=True)
            fields[field.name] = tuple(
                LevelParameters(label, float(one), float(other)) for label, one, other in parameters
            )
    model = Model(schema.name, {of_pass.id: PassModel(of_pass.id, 0.3, fields)}, 0, 0)
    levels = np.column_stack(
        [rng.integers(0, len(field.levels) + 1, count) for field in schema.fields]
    ).astype(np.uint8)
    levels[rng.random(levels.shape) < 0.1] = NULL_LEVEL

    def done(engine: Engine) -> np.ndarray:
        with engine.scorer() as scorer:
            return scorer.score(schema, model, of_pass.id, levels, FLOOR).scores.weight

    return done


if __name__ == "__main__":
    main()
