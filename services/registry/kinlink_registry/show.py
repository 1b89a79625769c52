"""What commands print for people: progress on standard error, outcomes on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from kinlink_registry import domain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHARE = "{:.1%}"


def followed(steps: Iterator[domain.Progress], *, quiet: bool) -> domain.Progress:
    """Show an ingest as it goes, where there is a terminal; returns its last step."""
    last = domain.Progress()
    errors = Console(stderr=True)
    with Progress(
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        disable=quiet or not errors.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task("rows", total=None)
        for last in steps:
            bar.update(task, total=last.rows_total, completed=last.rows_read)
    return last


def ingested(done: domain.Progress, *, dry_run: bool) -> None:
    """Print what an ingest did."""
    counts = [
        f"{getattr(done, name)} {name}"
        for name in ("added", "updated", "unchanged", "deleted", "rejected")
        if getattr(done, name)
    ]
    head = "Would be" if dry_run else "Rows:"
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{head} {', '.join(counts) or 'none'}, of {done.rows_total}.", markup=False)
    for reason, count in done.blanked.items():
        console.print(f"Cells taken for missing: {count} of {reason}.", markup=False)
    if done.report_path:
        console.print(f"Rejected rows are listed in {done.report_path}", markup=False)


def state(found: dict[str, Any]) -> None:
    """Print a registry's state."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{found['registry']} in {found['federation']}, schema {found['schema']['name']}")
    records = found["records"]
    console.print(
        f"{records['live']} records live, {records['withdrawn']} withdrawn,"
        f" {records['hidden']} hidden; {found['links']} links;"
        f" feed at {found['feed']['last_sequence']}"
    )
    approval = found["approval"]
    if approval["records"] or approval["waiting"]:
        console.print(
            f"{approval['records']} records disclosed by approval only;"
            f" {approval['waiting']} disclosures wait (approvals list)"
        )
    console.print(_mode(found))
    days = found["certificate_days_left"]
    console.print("no certificate installed" if days is None else f"certificate: {days} days left")
    if found["epochs"]:
        heads = ("epoch", "served", "records", "not encoded yet", "tokens", "canary")
        table = Table(*heads, title="Epochs")
        for epoch in found["epochs"]:
            table.add_row(
                epoch["epoch"],
                "yes" if epoch["served"] else "encoding",
                str(epoch["records"]),
                str(epoch["unencoded"]),
                str(epoch["handles"]),
                epoch["canary"],
            )
        console.print(table)
    else:
        console.print("no epoch secret yet: keys create, or keys import")
    if found["quotas"]:
        table = Table("partner", "sealed", "disclosed today", title="Quotas used")
        for partner, use in found["quotas"].items():
            table.add_row(partner, _SHARE.format(use["sealed"]), _SHARE.format(use["disclosed"]))
        console.print(table)
        sealed, disclosed = found["budgets"]["sealed_pairs"], found["budgets"]["disclosures"]
        console.print(
            f"of all partners together: {_SHARE.format(sealed)} of the epoch's sealed pairs,"
            f" {_SHARE.format(disclosed)} of a linker's disclosures today"
        )


def unencoded(found: dict[str, Any]) -> None:
    """Say how many records wait for the key server, and why; nothing where none does."""
    most = max((epoch["unencoded"] for epoch in found["epochs"]), default=0)
    if most:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"{most} records are kept and not encoded yet. {_mode(found)}", markup=False
        )


def _mode(found: dict[str, Any]) -> str:
    server = found["key_server"]
    if server is None:
        return "plain mode: no key server"
    problem = server["problem"]
    if problem is None:
        return f"key server {server['name']} at {server['address']}"
    return f"key server {server['name']}: {problem['text']} ({problem['reason']})"


def approvals(found: Sequence[dict[str, Any]]) -> None:
    """Print disclosures of protected people that were asked for."""
    console = Console(highlight=False)
    if not found:
        console.print("Nothing waits for an officer.")
        return
    table = Table("approval", "id", "partner", "weight", "purpose", "linker", "asked at", "state")
    for each in found:
        table.add_row(
            each["id"],
            each["local_id"] or "(gone)",
            each["partner"],
            f"{each['match_weight']:.1f}",
            each["purpose"] or "-",
            each["linker"],
            each["asked_at"],
            each["state"],
        )
    console.print(table)


def links(found: Sequence[dict[str, Any]], local_id: str) -> None:
    """Print links by our own ids."""
    console = Console(highlight=False)
    if not found:
        console.print("No links." if not local_id else "No links of this person.")
        return
    table = Table("id", "partner", "person", "weight", "probability", "verdict", "linkage")
    for link in found:
        missed = link["missing_registries"]
        table.add_row(
            link["id"],
            f"{link['partner']} (revoked)" if link["partner_revoked"] else link["partner"],
            link["person_id"] or "below the threshold",
            f"{link['match_weight']:.1f}",
            f"{link['match_probability']:.3f}",
            link["verdict"],
            link["linkage_id"] + (f" (without {', '.join(missed)})" if missed else ""),
        )
    console.print(table)
