"""`revoke` and `revocations`: registries that this office no longer trusts."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.audit import AuditLog

from kinlink_registry.revocations import Revocations
from kinlink_registry.settings import read_settings

if TYPE_CHECKING:
    from kinlink_registry.home import Home

_ACTOR = "operator/local"


@click.command()
@click.argument("name")
@click.option(
    "--serial",
    "serials",
    multiple=True,
    metavar="HEX",
    help="Only certificates of this serial number, when a key was lost; may be repeated.",
)
@click.option("--undo", is_flag=True, help="Trust the registry again.")
@click.pass_obj
def revoke(home: Home, name: str, serials: tuple[str, ...], undo: bool) -> None:  # noqa: FBT001
    """Refuse another registry: its card, its certificates, secrets for it. At once.

    Nothing is sealed towards it any more. It still knows the secrets of the epochs it took part
    in, so make a new epoch without it.
    """
    if name == read_settings(home).name:
        raise InvalidInputError(Reason.CONFIG_INVALID, "This is the registry's own name.")
    revocations = Revocations(home.revoked)
    if undo:
        revocations.remove(name)
        AuditLog(home.audit).write("unrevoke", _ACTOR, registry=name)
        click.echo(f"Registry {name} is trusted again.")
        return
    made = revocations.add(name, serials)
    AuditLog(home.audit).write("revoke", _ACTOR, registry=name, serials=list(made.serials))
    what = f"certificates {', '.join(made.serials)} of {name}" if made.serials else name
    click.echo(
        f"Revoked {what}. It knows the secrets of past epochs: make a new one without it"
        " (keys create), and tell the centre to drop it."
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def revocations(home: Home, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """List the registries that are revoked here."""
    found = Revocations(home.revoked).all()
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found]))
        return
    for each in found:
        certificates = ", ".join(each.serials) or "all certificates"
        click.echo(f"{each.registry}  since {each.since}  {certificates}")
