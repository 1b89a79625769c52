"""What commands print for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from kinlink_keyserver.budgets import REACH_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence


def status(found: dict[str, Any]) -> None:
    """Print a key server's state."""
    console = _console()
    days = found["certificate_days_left"]
    console.print(
        f"{found['key_server']} in {found['federation']}, schema {found['schema']['name']};"
        f" {'serves' if found['serves'] else 'does not serve'};"
        f" {'no certificate' if days is None else f'certificate for {days:.0f} days'}"
    )
    epochs(found["epochs"])
    table = _table("registry", "records", "evaluations", "fullest budget")
    for each in found["registries"]:
        table.add_row(
            each["name"],
            f"{each['records']:,}",
            f"{each['evaluations']:,}",
            f"{each['budget_used_most']:.1%}",
        )
    console.print(table)


def epochs(found: Sequence[dict[str, Any]]) -> None:
    """Print epochs with their states."""
    table = _table("epoch", "state", "made", "retired")
    for each in found:
        table.add_row(each["epoch"], each["state"], each["created_at"], each["retired_at"] or "")
    _console().print(table if found else "There is no epoch yet: kinlink-keyserver epochs create")


def budgets(epoch: str, found: Sequence[dict[str, Any]]) -> None:
    """Print budgets, and what to make of a wide reach."""
    console = _console()
    table = _table("registry", "pass", "budget", "spent", "left", "reach")
    for each in found:
        table.add_row(
            each["registry"],
            each["pass"],
            f"{each['budget']:,}",
            f"{each['spent']:,}",
            f"{each['left']:,}",
            f"{each['reach']:.2%}",
        )
    console.print(f"Evaluations in epoch {epoch}")
    console.print(table)
    wide = sorted({each["pass"] for each in found if each["reach"] > REACH_MAX})
    if wide:
        console.print(
            f"The largest budget could guess more than {REACH_MAX:.0%} of the values of"
            f" {', '.join(wide)}: lower rows_per_record, or have the schema's authors look."
        )


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table
