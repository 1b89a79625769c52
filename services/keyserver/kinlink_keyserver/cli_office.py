"""Commands of the body's officers: status, epochs, budgets. They work while the server runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click
from kinlink_core.errors import NotFoundError, Reason
from kinlink_core.runtime.audit import AuditLog

from kinlink_keyserver import show

if TYPE_CHECKING:
    from kinlink_keyserver.home import Home

_ACTOR: Final = "operator/local"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def status(home: Home, *, as_json: bool) -> None:
    """Show epochs, registries and how far the fullest budget is spent."""
    from kinlink_keyserver import app, report

    with app.opened(home) as office:
        found = report.status(office)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        show.status(found)


@click.group()
def epochs() -> None:
    """The epochs' seeds. They are made and destroyed, never shown."""


@epochs.command()
@click.argument("epoch")
@click.pass_obj
def create(home: Home, epoch: str) -> None:
    """Make the seed of a new epoch, such as 2026-11; a server that runs serves it at once."""
    from kinlink_keyserver import app

    with app.opened(home) as office:
        office.epochs.create(epoch)
        AuditLog(home.audit).write("create-epoch", _ACTOR, epoch=epoch)
    click.echo(f"Made the seed of epoch {epoch}.")


@epochs.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document an epoch.")
@click.pass_obj
def list_epochs(home: Home, *, as_json: bool) -> None:
    """List the epochs there ever were, newest first, and whether they are served."""
    from kinlink_keyserver import app, report

    with app.opened(home) as office:
        found = report.epochs(office)
    if as_json:
        for each in found:
            click.echo(json.dumps(each))
    else:
        show.epochs(found)


@epochs.command()
@click.argument("epoch")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def retire(home: Home, epoch: str, *, yes: bool) -> None:
    """Destroy an epoch's seed for good: nothing is evaluated under it again, by anybody."""
    from kinlink_keyserver import app

    if not yes:
        click.confirm(f"Destroy the seed of epoch {epoch} for good?", abort=True)
    with app.opened(home) as office:
        office.epochs.retire(epoch)
        AuditLog(home.audit).write("retire-epoch", _ACTOR, epoch=epoch)
    click.echo(f"Destroyed the seed of epoch {epoch}.")


@click.command()
@click.option("--epoch", help="Of this epoch.  [default: the newest that is served]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a budget.")
@click.pass_obj
def budgets(home: Home, epoch: str | None, *, as_json: bool) -> None:
    """Show each registry's budgets by pass: granted, spent, left, and the reach of a pass.

    The reach is the share of a pass's values that the largest budget could guess, estimated from
    the entropy that the schema states.
    """
    from kinlink_keyserver import app, report

    with app.opened(home) as office:
        live = office.epochs.live()
        chosen = epoch or (live[0] if live else "")
        if chosen not in live:
            raise NotFoundError(Reason.EPOCH_UNKNOWN)
        found = report.budgets(office, chosen)
    if as_json:
        for each in found:
            click.echo(json.dumps(each))
    else:
        show.budgets(chosen, found)
