"""From two offices' files to a schema that a federation links with, and nobody wrote its passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kinlink_core.encoding.schema import load_schema

FIXTURES = Path(__file__).parents[1] / "fixtures" / "rehearsal"
FILES = {"north": FIXTURES / "north.csv", "south": FIXTURES / "south.parquet"}
REGISTRY = (sys.executable, "-c", "from kinlink_registry.cli import main; main()")
LOCAL = (sys.executable, "-m", "kinlink_local.cli")
SECONDS_MAX = 240


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_offices_count_passes_are_proposed_and_a_rehearsal_runs_with_them(tmp_path: Path) -> None:
    fields = yaml.safe_load((FIXTURES / "schema.yaml").read_text("utf-8"))
    del fields["passes"]
    for field in fields["fields"]:
        del field["entropy_bits"]
    schema, proposed = tmp_path / "fields.yaml", tmp_path / "proposed.yaml"
    schema.write_text(yaml.safe_dump(fields), "utf-8")
    told = []
    for name, path in FILES.items():
        told.append(str(tmp_path / f"{name}.json"))
        run(*REGISTRY, "statistics", str(schema), str(path), "--out", told[-1])
    options = ("--overlap", "0.5", "--out", str(proposed), "--json")
    suggestion = json.loads(run(*LOCAL, "suggest", str(schema), *told, *options))
    assert len(load_schema(proposed).passes) == len(suggestion["passes"]) > 1
    registries = [word for name, path in FILES.items() for word in ("--registry", f"{name}={path}")]
    report = json.loads(
        run(
            *(*LOCAL, "rehearse", "--schema", str(proposed), *registries),
            *("--truth", str(FIXTURES / "truth.csv"), "--out", str(tmp_path / "out"), "--json"),
        )
    )
    # 100 people are in both files, a quarter of them with a slip in the name and no phone.
    assert report["blocking"]["pair_completeness"] > 0.95
    # A rehearsal counts a pair in every pass in which it meets.
    assert report["candidate_pairs"] == pytest.approx(suggestion["meetings"], rel=0.3, abs=30)
    assert report["quality"]["best"]["f1"] > 0.9
