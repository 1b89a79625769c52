"""Benches run whole, on small sets: real processes, real peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import growth
import pytest
from duplicates import REGISTRIES
from million import LINK_STAGES
from support.invented_set import SEED, write_invented_set

BENCH = Path(__file__).resolve().parents[2] / "bench"
SECONDS_MAX = 280


def run(script: str, *words: object) -> str:
    """What a bench prints; its stderr is shown where it fails."""
    command = [sys.executable, str(BENCH / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_growth_tells_time_and_memory_of_every_stage_and_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    size, path = write_invented_set(tmp_path, 200), tmp_path / "growth.json"
    words = (tmp_path, "--sizes", size, "--seed", SEED, "--registries", "2", "--json", path)
    run("growth.py", *words, "--plot", tmp_path / "growth.svg")
    result = read(path)
    (turn,) = result["runs"]
    ours, theirs = turn["kinlink"], turn["splink"]
    assert turn["records"] == 300
    # Half of 200 persons have two records; half of such pairs lie in two of two registries.
    assert 30 < turn["true_pairs"] < 70
    assert ours["f1"] > 0.8
    assert theirs["f1"] > 0.5
    assert set(LINK_STAGES) <= set(ours["wall_seconds"])
    # A stage that ends before the linker is asked again is counted with the one before.
    metered = set(ours["peak_mb"])
    assert {"start", "ingest", "seal", "results"} <= metered
    assert metered <= {"start", "ingest", *LINK_STAGES, "results"}
    assert set(ours["cpu_seconds"]) == metered
    assert all(
        20 < peak < 2_000 for each in ours["peak_mb"].values() for peak in each.values() if peak
    )
    assert ours["processes"] >= 2 + 2 + 1
    assert ours["peak_mb_of_all"] > ours["peak_mb_of_process"]["linker"]
    assert result["exponents"]["kinlink"] == {}  # one size, far below 100k records
    # A second call with the same file has nothing to measure: it prints what is there.
    told = run("growth.py", *words)
    assert "seal wall" in told
    assert read(path) == result
    with pytest.raises(SystemExit, match="another bench"):
        growth.load(path, SEED, len(REGISTRIES))


@pytest.mark.slow
def test_b1_runs_beside_all_its_peers_in_turns(tmp_path: Path) -> None:
    size, path = write_invented_set(tmp_path, 200), tmp_path / "million.json"
    run("million.py", tmp_path, "--size", size, "--seed", SEED, "--repeat", "2", "--json", path)
    result = read(path)
    assert result["repeat"] == 2
    assert (
        set(result["peers"])
        == set(result["compared"])
        == {"exact_rules", "same_passes", "classical"}
    )
    for side in (result["kinlink"], *result["peers"].values()):
        least, most = side["range"]["link_seconds"]
        assert 0 < least <= side["link_seconds"] <= most
        assert 0.3 < side["f1"] <= 1


@pytest.mark.slow
def test_b2_tells_both_sides_of_one_core(tmp_path: Path) -> None:
    size, path = write_invented_set(tmp_path, 200), tmp_path / "encode.json"
    run("encode.py", tmp_path, "--size", size, "--seed", SEED, "--repeat", "2", "--json", path)
    result = read(path)
    assert result["records"] == 300
    assert result["ratio"] == pytest.approx(result["sketches_a_second"] / result["clks_a_second"])
    assert len(result["repetitions"]["clkhash"]) == 2


@pytest.mark.slow
def test_b3_measures_arrivals_that_link(tmp_path: Path) -> None:
    path = tmp_path / "arrive.json"
    run("arrive.py", "--records", "600", "--arrivals", "4", "--load", "300", "--json", path)
    result = read(path)
    assert result["arrivals"] == 4
    assert 1 <= result["linked"] <= 4
    for which in ("appeared", "let_out"):
        assert 0 < result[which]["p50"] <= result[which]["p99"] <= result[which]["max"]
    assert result["appeared"]["p50"] > result["let_out"]["p50"]
