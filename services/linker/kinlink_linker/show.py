"""What commands print for people: progress on standard error, results on standard output."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Document = dict[str, Any]

BAR_CHARS: Final = 24
BITS_A_CHAR: Final = 0.5
PIPE_CHARS: Final = 240


def failed(found: Document) -> bool:
    """Whether a linkage ended without a result."""
    return _state(found) in {"FAILED", "CANCELLED"}


def json_lines(documents: Iterable[Document]) -> None:
    """Print one JSON document a line."""
    for document in documents:
        click.echo(json.dumps(document, ensure_ascii=False))


def followed(steps: Iterator[Document], begun: Document, *, quiet: bool) -> Document:
    """Show a linkage's stages as they go, where there is a terminal; returns it at its end."""
    errors = Console(stderr=True)
    last = begun
    with Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        disable=quiet or not errors.is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}
        for step in steps:
            last = step
            _advance(bars, tasks, step["stages"])
        _finish(bars, tasks)
    return last


def linkage(found: Document) -> None:
    """Print how a linkage stands, and what it had to do without."""
    out = console()
    state = _state(found)
    out.print(
        f"Linkage {found['id']} {state.lower()}, epoch {found['epoch'] or '-'},"
        f" purpose {found['purpose'] or '-'}"
    )
    if found["error_reason"]:
        out.print(f"{found['error_reason']}: {found['error_detail']}", markup=False)
    for missing in found["missing_registries"]:
        out.print(
            f"Without {missing['name']}: {missing['reason']}. {missing['detail']}", markup=False
        )
    if state in {"SUCCEEDED", "PARTIAL"}:
        out.print(
            f"{found['links']} links, {found['persons']} persons, "
            f"{found['disclosed_pairs']} pairs disclosed of {found['candidate_pairs']} candidates "
            f"(threshold {found['threshold_probability']:.4g})"
        )
    if found["passes"]:
        out.print(_passes(found["passes"]))


def linkages(found: list[Document]) -> None:
    """Print linkages as a table."""
    table = Table("id", "state", "created", "epoch", "links", "persons", "missing", "purpose", "by")
    for each in found:
        table.add_row(
            each["id"],
            _state(each).lower(),
            _time(each.get("created_at", "")),
            each["epoch"],
            each["links"],
            each["persons"],
            ", ".join(missing["name"] for missing in each["missing_registries"]),
            each["purpose"],
            each["requested_by"] or each["created_by"],
        )
    console().print(table)


def registries(found: list[Document]) -> None:
    """Print registries as a table."""
    table = Table("registry", "state", "reason", "epoch", "records", "tokens", "lag", "synced")
    for each in found:
        table.add_row(
            each["name"],
            each["state"].removeprefix("REGISTRY_STATE_").lower(),
            each["reason"],
            each["epoch"],
            each["records"],
            each["tokens"],
            each["lag"],
            _time(each.get("synced_at", "")),
        )
    out = console()
    out.print(table)
    for each in found:
        if each["detail"]:
            out.print(f"{each['name']}: {each['detail']}", markup=False)


def standing(found: Document) -> None:
    """Print how far standing search is."""
    out = console()
    if not found["enabled"]:
        out.print("Standing search is off (policy.standing).")
        return
    if not found["linkage_id"]:
        out.print("Standing search waits for a linkage.")
    else:
        out.print(f"Standing search follows linkage {found['linkage_id']}.", markup=False)
    if found["behind"]:
        out.print("A full run is to come.")
    out.print(
        f"{found['waiting_changes']} token changes wait,"
        f" the first for {found['oldest_change_seconds']:.1f} s."
    )
    if found["missing_registries"]:
        out.print(f"Away: {', '.join(found['missing_registries'])}.", markup=False)


def person_history(found: list[Document]) -> None:
    """Print what happened to a person as a table."""
    table = Table("when", "change", "person", "other", "members", "cause")
    for each in found:
        table.add_row(
            _time(each.get("at", "")),
            each["change"],
            each["person_id"],
            each["other_id"],
            each["members"],
            each["cause"],
        )
    console().print(table)


def links(found: list[Document], total: int) -> None:
    """Print links as a table."""
    table = Table("id", "registries", "weight", "probability", "pass", "person", "verdict")
    for each in found:
        table.add_row(
            each["id"],
            f"{_named(each, 'registry_l')} - {_named(each, 'registry_r')}",
            f"{each['match_weight']:.2f}",
            f"{each['match_probability']:.4f}",
            each["pass"],
            each["person_id"][:8] or "-",
            _verdict(each),
        )
    out = console()
    out.print(table)
    out.print(f"{len(found)} of {total}")
    missing = sorted({name for each in found for name in each["missing_registries"]})
    if missing:
        out.print(f"Some come from linkages that missed {', '.join(missing)}.", markup=False)
    revoked = sorted({name for each in found for name in each["revoked_registries"]})
    if revoked:
        out.print(f"Revoked, their links as they last were: {', '.join(revoked)}.", markup=False)


def link(found: Document) -> None:
    """Print one link as a waterfall: the prior, then a bar for each field."""
    each = found["link"]
    out = console()
    out.print(f"{_named(each, 'registry_l')} {each['subject_l']}")
    out.print(f"{_named(each, 'registry_r')} {each['subject_r']}")
    state = "linked" if each["linked"] else "disclosed, below the threshold"
    out.print(f"{state}; verdict: {_verdict(each)}; pass {each['pass']}", markup=False)
    if each["missing_registries"]:
        out.print(f"Its linkage missed {', '.join(each['missing_registries'])}.", markup=False)
    table = Table("field", "level", "bits", "", "m", "u")
    table.add_row("(prior)", "", f"{found['prior_weight']:+.2f}", _bar(found["prior_weight"]))
    for field in found["evidence"]:
        table.add_row(
            escape(field["field"]),
            escape(field["level"]),
            f"{field['weight']:+.2f}",
            _bar(field["weight"]),
            f"{field['m_probability']:.3g}",
            f"{field['u_probability']:.3g}",
        )
    table.add_section()
    table.add_row("= weight", "", f"{each['match_weight']:+.2f}", _bar(each["match_weight"]))
    out.print(table)
    out.print(f"match probability {each['match_probability']:.6f}")


def _named(each: Document, side: str) -> str:
    """A registry's name; one that was revoked says so."""
    return f"{each[side]} (revoked)" if each[side] in each["revoked_registries"] else each[side]


def model(name: str, body: Document) -> None:
    """Print a model's weights, a table for each pass."""
    out = console()
    out.print(
        f"Model {name} for schema {body['schema_name']}: "
        f"{body['trained_pairs']} pairs, {body['em_iterations']} EM iterations",
        markup=False,
    )
    for pass_id, trained in body["passes"].items():
        table = Table("field", "level", "m", "u", "bits", title=escape(pass_id))
        table.caption = f"λ {trained['probability']:.4g}"
        for field, levels in trained["fields"].items():
            for level in levels:
                table.add_row(
                    escape(field),
                    escape(level["label"]),
                    f"{level['m']:.4g}",
                    f"{level['u']:.4g}",
                    f"{_weight(level):+.2f}",
                )
        out.print(table)


def _passes(found: list[Document]) -> Table:
    columns = (
        "tokens",
        "islands",
        "refined",
        "pairs",
        "sieved_out",
        "repeated",
        "sealed",
        "refused",
    )
    table = Table("pass", *columns, "over cap", "no proof", title="Blocking passes")
    for each in found:
        counts = [each[name] for name in (*columns, "dropped_over_cap", "dropped_proof")]
        table.add_row(escape(each["pass"]), *counts)
    return table


def _advance(bars: Progress, tasks: dict[str, TaskID], stages: list[Document]) -> None:
    for stage in stages:
        name = stage["name"]
        if name not in tasks:
            _finish(bars, tasks)
            tasks[name] = bars.add_task(name, total=None)
        if int(stage["total"]):
            bars.update(tasks[name], total=int(stage["total"]), completed=int(stage["done"]))


def _finish(bars: Progress, tasks: dict[str, TaskID]) -> None:
    """A stage that counts nothing is still done when the next one begins."""
    for task in tasks.values():
        if bars.tasks[task].total is None:
            bars.update(task, total=1, completed=1)


def _bar(bits: float) -> str:
    length = min(BAR_CHARS, round(abs(bits) / BITS_A_CHAR))
    return f"[{'green' if bits >= 0 else 'red'}]{'█' * length}[/]" if length else ""


def _weight(level: Document) -> float:
    from math import log2

    return log2(level["m"] / level["u"])


def _state(found: Document) -> str:
    return str(found["state"]).removeprefix("LINKAGE_STATE_")


def _verdict(each: Document) -> str:
    name = str(each["verdict"]).removeprefix("VERDICT_").lower()
    return "-" if name == "unspecified" else name


def _time(text: str) -> str:
    return text[:19].replace("T", " ")


def console() -> Console:
    """Standard output; a pipe has no width, so tables are not cut for it."""
    out = Console(highlight=False, soft_wrap=True)
    return out if out.is_terminal else Console(highlight=False, soft_wrap=True, width=PIPE_CHARS)
