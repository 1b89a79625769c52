"""`protect`, `unprotect`, `approvals`, `urgent`: an officer's decisions about single people."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kinlink_core.errors import NotFoundError, Reason

from kinlink_registry.domain import APPROVAL, HIDDEN, UNPROTECTED
from kinlink_registry.door import named_ids, office

if TYPE_CHECKING:
    from kinlink_registry.domain import Approval, Consent
    from kinlink_registry.home import Home

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("local_ids", nargs=-1)
@click.option(
    "--hidden/--approval",
    "hidden",
    default=True,
    show_default=True,
    help="No token of theirs leaves; or each disclosure waits for an officer.",
)
@click.option("--file", "listed", type=FILE, help="Text file with one id a line.")
@click.pass_obj
def protect(home: Home, local_ids: tuple[str, ...], *, hidden: bool, listed: Path | None) -> None:
    """Protect people by their local ids, also those who are loaded later.

    Links that touch them are withdrawn at once. What was approved or denied before counts no more.
    """
    ids = named_ids(local_ids, listed)
    with office(home) as door:
        _tell(door.protect(ids, HIDDEN if hidden else APPROVAL))


@click.command()
@click.argument("local_ids", nargs=-1)
@click.option("--file", "listed", type=FILE, help="Text file with one id a line.")
@click.pass_obj
def unprotect(home: Home, local_ids: tuple[str, ...], listed: Path | None) -> None:
    """Take the protection from people by their local ids; they take part like others again."""
    ids = named_ids(local_ids, listed)
    with office(home) as door:
        _tell(door.protect(ids, UNPROTECTED))


@click.command()
@click.argument("local_id")
@click.option("--pass", "pass_id", required=True, help="The one pass it leaves in.")
@click.option("--reason", required=True, help="For the audit; no value of the person.")
@click.pass_obj
def urgent(home: Home, local_id: str, pass_id: str, reason: str) -> None:
    """Let one new record leave at once, in one pass: a child just lost cannot wait for a round.

    What arrives alone can be told apart: this record's handle in this pass is known to be new. Its
    other passes leave in their rounds.
    """
    with office(home) as door:
        handles = door.leave_at_once(local_id, pass_id, reason)
    if handles:
        click.echo(f"{handles} left; standing search or the next linkage sees it.")
    else:
        click.echo("Nothing of this record waits in this pass: it left already, or has no value.")


@click.group()
def approvals() -> None:
    """Disclosures of protected people that were asked for."""


@approvals.command("list")
@click.option("--all", "decided", is_flag=True, help="Also those that were decided.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.pass_obj
def list_approvals(home: Home, *, decided: bool, as_json: bool) -> None:
    """Show which disclosures wait for an officer, best first."""
    from kinlink_registry import show

    with office(home) as door:
        found = [_approval(each) for each in door.approvals(decided=decided)]
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        show.approvals(found)


@approvals.command()
@click.argument("ids", nargs=-1, required=True)
@click.pass_obj
def approve(home: Home, ids: tuple[str, ...]) -> None:
    """Let the linker have these; it gets them with the next linkage."""
    _decide(home, ids, approved=True)


@approvals.command()
@click.argument("ids", nargs=-1, required=True)
@click.pass_obj
def deny(home: Home, ids: tuple[str, ...]) -> None:
    """Keep these back; what was approved before is withdrawn, with its links."""
    _decide(home, ids, approved=False)


def _decide(home: Home, ids: tuple[str, ...], *, approved: bool) -> None:
    with office(home) as door:
        done = door.decide_approvals(ids, approved=approved)
    if done.unknown:
        raise NotFoundError(
            Reason.REQUEST_MALFORMED,
            f"Changed {done.changed}; {done.unknown} of the ids are no approval here.",
        )
    click.echo(f"Changed {done.changed}.")


def _tell(done: Consent) -> None:
    click.echo(f"Changed {done.changed}; {done.unknown} of the ids have no record here.")


def _approval(each: Approval) -> dict[str, Any]:
    return asdict(each) | {"state": each.state.name.lower()}
