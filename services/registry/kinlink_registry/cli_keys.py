"""`keys`: the federation's secret of each epoch. It is sealed, moved and destroyed, never shown."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.cards import verify_card
from kinlink_core.runtime.files import read_file, write_file

from kinlink_registry.door import office
from kinlink_registry.home import is_served
from kinlink_registry.keyring import (
    Keyring,
    card_from_json,
    read_vault_key,
    sealed_from_json,
    to_json,
)
from kinlink_registry.revocations import Revocations
from kinlink_registry.settings import read_settings

if TYPE_CHECKING:
    from kinlink_registry.home import Home

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT = click.Path(dir_okay=False, path_type=Path)
_ACTOR = "operator/local"


@click.group()
def keys() -> None:
    """The federation's secrets, one an epoch, and this registry's card.

    One registry creates an epoch's secret and seals it to the card of each other one, which
    imports it.
    """


@keys.command()
@click.argument("epoch")
@click.pass_obj
def create(home: Home, epoch: str) -> None:
    """Make the secret of a new epoch, such as 2026-11."""
    keyring(home).create(epoch)
    AuditLog(home.audit).write("create-epoch", _ACTOR, epoch=epoch)
    click.echo(f"Made the secret of epoch {epoch}; now seal it to each registry's card.")


@keys.command()
@click.option("--out", type=OUT, help="Write to a file instead of standard output.")
@click.pass_obj
def card(home: Home, out: Path | None) -> None:
    """Show this registry's card: its public agreement key, signed. It is no secret."""
    _emit(to_json(keyring(home).card()), out)


keys.add_command(card, "export-card")


@keys.command()
@click.argument("epoch")
@click.option("--to", "recipient", type=FILE, required=True, help="Card of the other registry.")
@click.option("--out", type=OUT, help="Write to a file instead of standard output.")
@click.pass_obj
def seal(home: Home, epoch: str, recipient: Path, out: Path | None) -> None:
    """Seal an epoch's secret to another registry; only that one can open it."""
    settings = read_settings(home)
    other = card_from_json(_text(recipient))
    authority = read_file(settings.tls_dir / "ca.pem")
    verify_card(other, ca_pem=authority, federation=settings.federation)
    Revocations(home.revoked).check(other)
    sealed = keyring(home).seal_to(epoch, other)
    AuditLog(home.audit).write("seal-epoch", _ACTOR, epoch=epoch, to=other.registry)
    _emit(to_json(sealed), out)


@keys.command("import")
@click.argument("sealed", type=FILE)
@click.pass_obj
def import_secret(home: Home, sealed: Path) -> None:
    """Take over a secret that was sealed to this registry's card."""
    content = sealed_from_json(_text(sealed))
    keyring(home).import_secret(content)
    AuditLog(home.audit).write("import-epoch", _ACTOR, epoch=content.epoch)
    click.echo(
        f"Imported the secret of epoch {content.epoch}; `status` shows its canary: compare it with"
        " the others'."
    )


@keys.command("list")
@click.pass_obj
def list_epochs(home: Home) -> None:
    """Name the epochs whose secret is here, newest first."""
    for epoch in keyring(home).epochs():
        click.echo(epoch)


@keys.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_status(home: Home, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Say how old each epoch is, whether it is complete here, and what to do next."""
    from kinlink_registry import rotation

    with office(home) as door:
        epochs = rotation.from_status(door.status())
    now = dt.datetime.now(dt.UTC)
    said = rotation.advice(epochs, read_settings(home).epoch_days_max, now)
    if as_json:
        rows = [
            {
                "epoch": each.epoch,
                "kept_at": each.kept_at.isoformat(timespec="seconds"),
                "age_days": round(each.age_days(now), 1),
                "served": each.served,
                "unencoded": each.unencoded,
                "linked_at": each.linked_at and each.linked_at.isoformat(timespec="seconds"),
            }
            for each in epochs
        ]
        click.echo(json.dumps({"epochs": rows, "advice": said}, indent=1))
        return
    for each in epochs:
        state = "served" if each.served else f"encoding, {each.unencoded} records left"
        linked = f"linked {each.linked_at:%Y-%m-%d}" if each.linked_at else "not linked yet"
        click.echo(f"{each.epoch}  {each.age_days(now):.0f} days old  {state}  {linked}")
    for sentence in said:
        click.echo(sentence)


@keys.command()
@click.argument("epoch")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def retire(home: Home, epoch: str, yes: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Destroy an epoch's secret, and with it all that was encoded under it."""
    if not yes:
        click.confirm(f"Destroy the secret of epoch {epoch} for good?", abort=True)
    keyring(home).retire(epoch)
    AuditLog(home.audit).write("retire-epoch", _ACTOR, epoch=epoch)
    click.echo(f"Destroyed the secret of epoch {epoch}.")
    if is_served(home):
        click.echo("The serving registry forgets what was encoded under it within seconds.")
    elif home.vault.exists():
        with office(home):
            click.echo("The vault holds nothing of it any more.")


def keyring(home: Home) -> Keyring:
    """The keys of a home, opened with the vault key."""
    settings = read_settings(home)
    return Keyring(home, settings.federation, read_vault_key(settings.vault_key))


def _text(path: Path) -> str:
    try:
        return read_file(path).decode()
    except UnicodeDecodeError:
        raise InvalidInputError(Reason.FILE_UNREADABLE, f"{path} is no text file.") from None


def _emit(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text)
    else:
        write_file(out, text.encode() + b"\n")
        click.echo(f"Wrote {out}.")
