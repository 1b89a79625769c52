"""What the escrow commands of all services share: their options, their files, their audit entry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kinlink_core.runtime import escrow
from kinlink_core.runtime.audit import AuditLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ACTOR: Final = "operator/local"
FOLDER: Final = click.Path(file_okay=False, path_type=Path)


def split_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--threshold`, `--shares` and `--out`."""
    for option in (
        click.option("--out", type=FOLDER, required=True, help="Folder for the share files."),
        click.option("--shares", type=int, required=True, help="How many officers get one."),
        click.option("--threshold", type=int, required=True, help="How many recover the secret."),
    ):
        command = option(command)
    return command


def hand_out(audit: Path, made: Sequence[escrow.Share], out: Path, stem: str) -> None:
    """Write one file a share, audit that it was done, and tell the officer what to do with them."""
    paths = escrow.write_shares(out, stem, made)
    name, threshold = made[0].secret, made[0].threshold
    AuditLog(audit).write("escrow", ACTOR, secret=name, threshold=threshold, shares=len(paths))
    for path in paths:
        click.echo(f"Wrote {path}.")
    click.echo(
        f"Any {threshold} of them recover the {name}. Give each to one officer, on paper or on a"
        " stick of its own, and delete the files here."
    )


def read_shares(paths: Sequence[Path]) -> list[escrow.Share]:
    """Read share files, or files that hold the words alone."""
    return [escrow.read_share(path) for path in paths]
