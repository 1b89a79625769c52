"""The replayed search on the terminal: what arrived, and where the man stood on the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from kinlink_local import display
from kinlink_local.reunion.replay import SEEKING_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from kinlink_local.counts import Counts
    from kinlink_local.reunion.story import Step, Story
    from kinlink_local.running import Started
    from kinlink_local.stopwatch import Stopwatch

NOT_LISTED = "not on the list"


def show(
    console: Console,
    story: Story,
    started: Started,
    stopwatch: Stopwatch,
    counts: Mapping[str, Counts],
) -> None:
    """Print the story."""
    display.run(console, story.view, started.ingested, counts, stopwatch)
    console.print("[bold]The boy lost in Xi'an on 17 October 1988[/] [dim](invented notices)[/]")
    console.print(_steps(story.steps))
    last = story.steps[-1]
    if last.rank is not None:
        heading = "Why, in the end: the linker's evidence, without a value"
        console.print(display.waterfall(heading, last.prior, last.evidence))
    console.print(display.checks(story.checks))


def _steps(steps: tuple[Step, ...]) -> Table:
    heading = f"$ kinlink-registry links --id {SEEKING_ID}"
    table = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in ("what is known", "his place", "leads", "probability", "seconds"):
        table.add_column(name, justify="left" if name == "what is known" else "right")
    for number, step in enumerate(steps):
        table.add_row(
            step.telling,
            NOT_LISTED if step.rank is None else str(step.rank),
            str(step.leads),
            "" if step.probability is None else f"{step.probability:.4f}",
            f"{step.seconds:.1f}" if number else "",
        )
    return table
