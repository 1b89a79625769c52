"""The `kinlink-gateway` command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from kinlink_core.runtime.commands import audit_group, service_group

from kinlink_gateway.limits import TOKEN_DAYS_DEFAULT
from kinlink_gateway.roles import Action, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kinlink_core.runtime.audit import AuditReport, Head

    from kinlink_gateway.settings import GatewaySettings

COMMAND_ACTOR = "kinlink-gateway"
STATUS_DONE = 200


@service_group("gateway", home="gateway.toml, tls/, the tokens file and the database")
def main(home: Path) -> Path:
    """The door for people: pages and a JSON API over the linker."""
    return home


@main.command()
@click.pass_obj
def serve(home: Path) -> None:
    """Serve pages and API until SIGTERM or Ctrl-C."""
    from kinlink_gateway.app import assemble
    from kinlink_gateway.serve import serve as serve_until_signal

    serve_until_signal(home, assemble(home))


@main.group()
def tokens() -> None:
    """Who may come in."""


@tokens.command("create")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
@click.option("--name", required=True, help="Who holds it; shown in the audit and with verdicts.")
@click.option("--registry", default="", help="The one registry of a province token.")
@click.option(
    "--days", default=TOKEN_DAYS_DEFAULT, show_default=True, help="How long it lasts; 0: for ever."
)
@click.pass_obj
def create_token(home: Path, role: str, name: str, registry: str, days: int) -> None:
    """Make a token and print it, once. Only its hash is kept."""
    from kinlink_gateway.app import read_settings
    from kinlink_gateway.auth import TokenFile

    settings = read_settings(home)
    with _audited(home, settings) as note:
        token, entry = TokenFile(settings.tokens_file).create(
            role=Role(role), name=name, registry=registry, days=days
        )
        note(Action.TOKEN_CREATE, entry.id)
    until = f"until {entry.expires_at}" if entry.expires_at else "until it is revoked"
    click.echo(f"{name} is {role} {until}. The token is shown this once:", err=True)
    click.echo(token)


@tokens.command("list")
@click.pass_obj
def list_tokens(home: Path) -> None:
    """Names, roles and ends of all tokens, tab-separated."""
    from kinlink_gateway.app import read_settings
    from kinlink_gateway.auth import TokenFile

    for entry in TokenFile(read_settings(home).tokens_file).entries():
        click.echo(
            "\t".join(
                (entry.name, entry.role.value, entry.registry or "-", entry.expires_at or "-")
            )
        )


@tokens.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke_token(home: Path, name: str) -> None:
    """End a token and all its sessions at once."""
    from kinlink_gateway.app import read_settings
    from kinlink_gateway.auth import TokenFile

    settings = read_settings(home)
    entry = TokenFile(settings.tokens_file).revoke(name)
    click.echo(f"{entry.name} ({entry.role.value}) can no longer come in.", err=True)
    with _audited(home, settings) as note:
        note(Action.TOKEN_REVOKE, entry.id)


def _check_audit(home: Path, anchor: Head | None) -> AuditReport:
    from kinlink_gateway.app import open_store, read_settings
    from kinlink_gateway.audit import AuditTrail

    store = open_store(home, read_settings(home), create=False)
    try:
        return AuditTrail(store).verify(anchor)
    finally:
        store.close()


main.add_command(audit_group(_check_audit))


@contextmanager
def _audited(home: Path, settings: GatewaySettings) -> Iterator[Callable[[Action, str], None]]:
    """Opens the audit first, so that nothing is done that could not be written down."""
    from kinlink_gateway.app import open_store
    from kinlink_gateway.audit import ANONYMOUS, Access, AuditTrail

    store = open_store(home, settings)

    def note(action: Action, object_id: str) -> None:
        AuditTrail(store).write(
            Access(COMMAND_ACTOR, ANONYMOUS, action.value, object_id, STATUS_DONE, "")
        )

    try:
        yield note
    finally:
        store.close()
