"""What the terminal shows: plain facts in tables, and evidence as a waterfall of bits."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from kinlink_local.clerk import Values
    from kinlink_local.counts import Counts
    from kinlink_local.federation import Ingested
    from kinlink_local.linker_client import EvidenceView, LinkageView
    from kinlink_local.quality import Quality, Score
    from kinlink_local.stopwatch import Stopwatch

BAR_CELLS: Final = 24
EIGHTHS: Final = " ▏▎▍▌▋▊▉"
BYTES_PER_MB: Final = 1_000_000
MISSING: Final = "missing"  # the linker's word for a field that a side does not have


def title(lines: Sequence[str]) -> Panel:
    """The head of a run."""
    return Panel("\n".join(lines), box=box.ROUNDED, border_style="cyan", expand=False)


def registries(
    records: Mapping[str, int],
    rejected: Mapping[str, int],
    bytes_left: Mapping[str, int],
    evaluations: Mapping[str, int],
) -> Table:
    """Registries, their records, and what left the building: for the key server, for the linker."""
    table = _table(
        "Registries", "registry", "records", "rejected rows", "blinded values", "left the building"
    )
    for name, count in records.items():
        table.add_row(
            name,
            f"{count:,}",
            f"{rejected.get(name, 0):,}",
            f"{evaluations.get(name, 0):,}",
            f"{bytes_left.get(name, 0) / BYTES_PER_MB:.2f} MB",
        )
    return table


def stages(seconds: Mapping[str, float], total: float) -> Table:
    """Where the time went."""
    table = _table("Time", "stage", "seconds")
    longest = max(seconds.values(), default=0.0)
    table.add_column("", justify="left")
    for name, taken in seconds.items():
        share = taken / longest if longest else 0.0
        table.add_row(name, f"{taken:.2f}", Text(_bar(share, BAR_CELLS), style="cyan"))
    table.add_section()
    table.add_row("total", f"{total:.2f}", "")
    return table


def linkage(
    *, candidates: int, dropped: Mapping[str, int], disclosed: int, links: int, persons: int
) -> Table:
    """From candidates to links, and what was dropped on the way."""
    table = _table("Linkage", "", "pairs")
    table.add_row("candidates in islands", f"{candidates:,}")
    table.add_row("islands above their cap", f"{dropped['over_cap']:,}")
    table.add_row("too far apart in the sieve", f"{dropped['sieved_out']:,}")
    table.add_row("met in an earlier pass", f"{dropped['repeated']:,}")
    table.add_row("refused by a registry", f"{dropped['refused']:,}")
    table.add_row("disclosed, above the floor", f"{disclosed:,}")
    table.add_row(Text("links", style="bold"), Text(f"{links:,}", style="bold green"))
    table.add_row("persons in links", f"{persons:,}")
    return table


def run(
    console: Console,
    view: LinkageView,
    ingested: Mapping[str, Ingested],
    counts: Mapping[str, Counts],
    stopwatch: Stopwatch,
) -> None:
    """Print what a federation took in, how long it took, and what its linkage came to."""
    console.print(
        registries(
            {name: each.added for name, each in ingested.items()},
            {name: each.rejected for name, each in ingested.items()},
            {name: each.bytes_left for name, each in counts.items()},
            {name: each.evaluations for name, each in counts.items()},
        )
    )
    console.print(stages(stopwatch.seconds, stopwatch.total))
    console.print(
        linkage(
            candidates=view.candidate_pairs,
            dropped=view.dropped,
            disclosed=view.disclosed_pairs,
            links=view.links,
            persons=view.persons,
        )
    )


def quality(found: Quality, completeness: float) -> Table:
    """Precision, recall and F1 against the truth."""
    table = _table("Against the truth", "", "precision", "recall", "F1", "threshold")
    for name, score in (("at the threshold", found.at_threshold), ("at the best", found.best)):
        table.add_row(name, *_score_cells(score))
    table.caption = (
        f"{found.true_pairs:,} true pairs across registries, {completeness:.1%} of them candidates"
    )
    return table


def expected(found: Mapping[str, Any], estimates: Mapping[str, Any] | None) -> Table:
    """What the linker expected without truth, beside the truth where there is one."""
    linked, blocking = found["linked"], found["blocking"]
    table = _table("Without truth", "", "expected", *(["true"] if estimates else []))
    true = (
        (
            _share(estimates["precision"]["true"]),
            _share(estimates["recall"]["true"]),
            span(
                estimates["blocking_loss"]["true_before_sieve"],
                estimates["blocking_loss"]["true_below_floor"],
            ),
        )
        if estimates
        else ("", "", "")
    )
    told = (
        ("precision", _share(linked["precision"])),
        ("recall", span(linked["recall_low"], linked["recall_high"])),
        ("missed by the passes", span(blocking["loss_low"], blocking["loss_high"])),
    )
    for (name, figure), truth in zip(told, true, strict=True):
        table.add_row(name, figure, *([truth] if estimates else []))
    advice = ", ".join(
        f"{each['aim'].replace('_', ' ')}: {each['expected']['probability']:.4f}"
        for each in found["advice"]
    )
    table.caption = f"thresholds for {advice}" if advice else ""
    return table


def span(low: float | None, high: float | None) -> str:
    """Two figures that enclose, or fail to enclose, one that is not known."""
    return f"{_share(low)} to {_share(high)}"


def waterfall(heading: str, prior: float, evidence: Sequence[EvidenceView]) -> Table:
    """A link's evidence: prior, what each field adds or takes in bits, and the sum."""
    table = _table(heading, "evidence", "level", "bits")
    table.add_column("", justify="left")
    told = sorted(evidence, key=lambda each: -each.weight)
    widest = max((abs(each.weight) for each in told), default=1.0)
    widest = max(widest, abs(prior), 1.0)
    table.add_row("before any field", "", f"{prior:+.1f}", _signed_bar(prior, widest))
    for each in told:
        if each.level != MISSING:
            style = "" if each.weight else "dim"
            bar = _signed_bar(each.weight, widest)
            table.add_row(each.field, each.level, f"{each.weight:+.1f}", bar, style=style)
    table.add_section()
    total = prior + sum(each.weight for each in told)
    table.add_row("match weight", "", f"{total:+.1f}", _signed_bar(total, max(widest, abs(total))))
    missing = [each.field for each in told if each.level == MISSING]
    if missing:
        table.caption = f"not known to both: {', '.join(missing)}"
        table.caption_justify = "left"
    return table


def officer(registry: str, local_id: str, values: Values) -> Panel:
    """An officer's answer: the command, and the office's own record."""
    told = {key: value for key, value in asdict(values).items() if value}
    lines = [f"[bold]$ kinlink-registry links --id {local_id}[/]"]
    lines += [f"[dim]{key:>16}[/]  {value}" for key, value in told.items()]
    heading = f"{registry}: its own record, seen by its own officer"
    return Panel("\n".join(lines), title=heading, title_align="left", box=box.ROUNDED, expand=False)


def checks(results: Mapping[str, bool]) -> Table:
    """What a run promises, and whether it holds."""
    table = _table("Checks", "", "")
    table.show_header = False
    for name, holds in results.items():
        mark = Text("holds", style="green") if holds else Text("FAILS", style="bold red")
        table.add_row(name, mark)
    return table


def _table(heading: str, *columns: str) -> Table:
    table = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        numeric = number > 0 and column != "level"
        table.add_column(column, justify="right" if numeric else "left")
    return table


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _score_cells(score: Score) -> tuple[str, ...]:
    return (
        f"{score.precision:.4f}",
        f"{score.recall:.4f}",
        f"{score.f1:.4f}",
        f"{score.threshold:.4f}",
    )


def _signed_bar(weight: float, widest: float) -> Text:
    style = "green" if weight >= 0 else "red"
    return Text(_bar(abs(weight) / widest, BAR_CELLS), style=style)


def _bar(share: float, cells: int) -> str:
    eighths = round(min(max(share, 0.0), 1.0) * cells * len(EIGHTHS))
    full, rest = divmod(eighths, len(EIGHTHS))
    return "█" * full + EIGHTHS[rest].strip()
