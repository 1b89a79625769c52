"""A rehearsal's report on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kinlink_core.encoding.keys import MODE_PLAIN
from rich.console import Console

from kinlink_local import display
from kinlink_local.quality import Quality, Score

if TYPE_CHECKING:
    from pathlib import Path


def show_report(report: dict[str, Any], out: Path, console: Console | None = None) -> None:
    """Print what a rehearsal found, and where it was written."""
    console = console or Console()
    seconds = {name: taken for name, taken in report["seconds"].items() if name != "total"}
    console.print(
        display.registries(
            report["records_by_registry"],
            report["rejected_by_registry"],
            report["bytes_left"],
            report["evaluations"],
        )
    )
    if report["mode"] == MODE_PLAIN:
        console.print(
            "Plain mode, without a key server (--key-server starts one): in a federation of this"
            " kind a registry that works with the linker could test guesses of values offline."
        )
    console.print(display.stages(seconds, report["seconds"]["total"]))
    console.print(
        display.linkage(
            candidates=report["candidate_pairs"],
            dropped=report["dropped"],
            disclosed=report["disclosed_pairs"],
            links=report["links"],
            persons=report["persons"],
        )
    )
    if report["expected"] is not None and report["expected"]["linked"]["precision"] is not None:
        console.print(display.expected(report["expected"], report.get("estimates")))
    if "quality" in report:
        found = report["quality"]
        quality = Quality(
            found["true_pairs"], Score(**found["at_threshold"]), Score(**found["best"])
        )
        console.print(display.quality(quality, report["blocking"]["pair_completeness"]))
    if report["missing_registries"]:
        missing = ", ".join(f"{name} ({why})" for name, why in report["missing_registries"].items())
        console.print(f"[bold red]Partial:[/] without {missing}")
    console.print(f"Written to {out}: links.parquet, pairs.parquet, report.json")
