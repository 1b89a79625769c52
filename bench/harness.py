"""What the benches share: running a rehearsal as anyone would, and reading its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
# What Splink does by blocking, training and predicting; in other stages the linker waits for
# registries, or does what Splink is not asked for.
CENTRAL_STAGES = ("candidates", "score")


def rehearse(
    schema: Path, files: dict[str, Path], truth: Path, out: Path, *options: str
) -> dict[str, Any]:
    """Run `kinlink rehearse` in a process of its own; its report."""
    registries = [word for name, path in files.items() for word in ("--registry", f"{name}={path}")]
    command = [
        *(sys.executable, "-m", "kinlink_local.cli", "rehearse"),
        *("--schema", str(schema), *registries, "--truth", str(truth), "--out", str(out)),
        *options,
    ]
    subprocess.run(command, check=True)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def environment() -> dict[str, Any]:
    """What a figure was measured on."""
    return {"cpus": len(os.sched_getaffinity(0)), "python": sys.version.split()[0]}


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write a bench's result, if somewhere was named."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def show_estimates(report: dict[str, Any]) -> None:
    """Print what the linker expected without truth beside the truth."""
    found = report["estimates"]
    if found is None:
        print("expected without truth: nothing")
        return
    loss, recall = found["blocking_loss"], found["recall"]
    print("without truth:    expected          true")
    for name, expected, true in (
        ("precision", _text(found["precision"]["expected"]), _text(found["precision"]["true"])),
        ("recall", _span(recall["low"], recall["high"]), _text(recall["true"])),
        (
            "blocking loss",
            _span(loss["low"], loss["high"]),
            f"{_span(loss['true_before_sieve'], loss['true_below_floor'])} (with sieve and floor)",
        ),
        (
            "best threshold",
            _text(found["best_f1_threshold"]["expected"]),
            _text(found["best_f1_threshold"]["true"]),
        ),
    ):
        print(f"  {name:16}{expected:18}{true}")


def _span(low: float | None, high: float | None) -> str:
    return f"{_text(low)} – {_text(high)}"


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
