"""A suggestion as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kinlink_core.planning.candidates import text_of
from rich.console import Console
from rich.table import Table

from kinlink_local.suggestion.command import ROWS_A_PAIR

if TYPE_CHECKING:
    from kinlink_local.suggestion.command import Suggestion

PIPE_CHARS: Final = 140


def show_suggestion(found: Suggestion) -> None:
    """Print the suggested passes, what they cost, and the frontier they were taken from."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_CHARS)
    prediction, best = found.prediction, found.best
    learned = prediction.duplicates is not None
    console.print(
        f"{prediction.records:,} records; {prediction.matches:,.0f} true pairs expected;"
        f" error rates {'learned from duplicates inside the offices' if learned else 'assumed'}."
    )
    if not prediction.matches:
        console.print("No true pairs are expected: say --overlap, so that their cost is counted.")
    passes = Table("pass", title="Suggested passes", title_justify="left")
    for name in ("cap", "finds", "alone", "strangers", "bits", "measured", "near cap", "over cap"):
        passes.add_column(name, justify="right")
    for each, own in zip(best.passes, best.own, strict=True):
        measured = "–" if each.measured_bits is None else f"{each.measured_bits:.1f}"
        passes.add_row(
            text_of(each.parts),
            str(each.cap),
            f"{each.completeness:.3f}",
            f"{own:.3f}",
            f"{each.strangers:,.0f}",
            f"{each.declared_bits:.1f}",
            measured,
            f"{each.crowded:.1%}",
            f"{1 - each.within:.1%}",
        )
    console.print(passes)
    console.print(
        f"Together: pair completeness {best.completeness:.3f}, at most {best.pairs:,.0f} candidate"
        f" pairs, {ROWS_A_PAIR * best.pairs:,.0f} rows to seal before the sieve."
    )
    sets = Table("passes", title="Frontier", title_justify="left")
    for name in ("completeness", "candidate pairs", ""):
        sets.add_column(name, justify="right")
    for choice in found.frontier:
        mark = (
            "suggested"
            if choice is best
            else ("over budget" if choice.pairs > found.budget.pairs_max else "")
        )
        sets.add_row(
            str(len(choice.passes)), f"{choice.completeness:.3f}", f"{choice.pairs:,.0f}", mark
        )
    console.print(sets)
