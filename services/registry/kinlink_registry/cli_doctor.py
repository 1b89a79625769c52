"""`doctor`: tells an officer in plain words whether the node is ready."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click
from kinlink_core.runtime.commands import EXIT_FAILURE
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.findings import Finding
    from kinlink_registry.home import Home

PIPE_CHARS: Final = 120
_COLOURS: Final = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@click.command()
@click.option("--linker", default="", metavar="HOST:PORT", help="Also try to reach the linker.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def doctor(home: Home, linker: str, *, as_json: bool) -> None:
    """Look at everything this registry needs, and say what to do.

    It changes nothing, and works while the registry serves and when it does not. Exits 1 if there
    is a problem.
    """
    from kinlink_registry.doctor import examine, ready

    findings = examine(home, linker=linker)
    if as_json:
        document = {"ready": ready(findings), "findings": [asdict(each) for each in findings]}
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        _show(findings)
    if not ready(findings):
        raise click.exceptions.Exit(EXIT_FAILURE)


def _show(findings: Sequence[Finding]) -> None:
    out = Console(highlight=False)
    if not out.is_terminal:
        out = Console(highlight=False, width=PIPE_CHARS)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    area = ""
    for each in findings:
        state = f"[{_COLOURS[each.state]}]{each.state.value}[/]"
        table.add_row(state, each.area if each.area != area else "", _escaped(each.text))
        if each.advice:
            table.add_row("", "", f"[dim]→[/] {_escaped(each.advice)}")
        area = each.area
    with out.capture() as shown:
        out.print(table)
    click.echo("\n".join(line.rstrip() for line in shown.get().splitlines()))
    counts = [sum(each.state == state for each in findings) for state in ("problem", "warning")]
    told = [f"{n} {what}{'s' if n > 1 else ''}" for n, what in zip(counts, ("problem", "warning"),
                                                                 strict=True) if n]  # fmt: skip
    verdict = "Not ready" if counts[0] else "Ready"
    out.print(f"\n{verdict}{': ' if counts[0] else ', with ' if told else ''}{', '.join(told)}.")


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
