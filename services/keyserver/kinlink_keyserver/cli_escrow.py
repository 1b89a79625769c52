"""`epochs escrow`, `epochs recover`: an epoch's seed in the keeping of several officers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from kinlink_core.runtime import escrow
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.escrow_commands import ACTOR, hand_out, read_shares, split_options

if TYPE_CHECKING:
    from kinlink_keyserver.app import Office
    from kinlink_keyserver.home import Home

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("escrow")
@click.argument("epoch")
@split_options
@click.pass_obj
def escrow_epoch(home: Home, epoch: str, threshold: int, shares: int, out: Path) -> None:
    """Split an epoch's seed into shares for officers: any THRESHOLD of them recover it."""
    from kinlink_keyserver import app

    with app.opened(home) as office:
        seed, name = office.epochs.seed(epoch), _name(office, epoch)
    made = escrow.split(seed, name, threshold=threshold, shares=shares)
    hand_out(home.audit, made, out, f"seed-{epoch}")


@click.command("recover")
@click.argument("epoch")
@click.argument("shares", type=FILE, nargs=-1, required=True)
@click.pass_obj
def recover_epoch(home: Home, epoch: str, shares: tuple[Path, ...]) -> None:
    """Give the seed of an epoch that is not retired back from share files."""
    from kinlink_keyserver import app

    with app.opened(home) as office:
        office.epochs.restore(epoch, escrow.recover(read_shares(shares), _name(office, epoch)))
        AuditLog(home.audit).write("recover-epoch", ACTOR, epoch=epoch, shares=len(shares))
    click.echo(f"Recovered the seed of epoch {epoch}.")


def _name(office: Office, epoch: str) -> str:
    return f"key server seed of epoch {epoch} of federation {office.settings.federation}"
