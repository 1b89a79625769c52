"""The `kinlink-gateway` command."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kinlink_core.errors import InvalidInputError, KinlinkError
from kinlink_core.runtime.files import keep_files_private
from kinlink_core.runtime.logging import configure_logging

from kinlink_gateway.limits import TOKEN_DAYS_DEFAULT
from kinlink_gateway.roles import Action, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kinlink_gateway.settings import GatewaySettings

EXIT_FAILURE = 1
EXIT_BAD_INPUT = 2
COMMAND_ACTOR = "kinlink-gateway"
STATUS_DONE = 200
_ANCHOR = re.compile(r"([1-9]\d*):([0-9a-f]{64})")


class _Group(click.Group):
    """Prints what went wrong in one line, and exits 2 for bad input, 1 for failure."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KinlinkError as error:
            click.echo(f"kinlink-gateway: {error.public}", err=True)
            ctx.exit(EXIT_BAD_INPUT if isinstance(error, InvalidInputError) else EXIT_FAILURE)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="KINLINK_GATEWAY_HOME",
    default=Path(),
    help="Directory with gateway.toml, tls/, the tokens file and the database.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="KINLINK_GATEWAY_LOG_LEVEL",
    default="info",
    show_default=True,
)
@click.version_option(package_name="kinlink")
@click.pass_context
def main(context: click.Context, home: Path, log_level: str) -> None:
    """The door for people: pages and a JSON API over the linker."""
    keep_files_private()
    configure_logging("gateway", log_level)
    context.obj = home.absolute()


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


@main.group()
def audit() -> None:
    """The record of every access."""


@audit.command("verify")
@click.option(
    "--anchor",
    metavar="NUMBER:HASH",
    default="",
    help="A head noted earlier: the chain must still contain it.",
)
@click.pass_obj
def verify_audit(home: Path, anchor: str) -> None:
    """Check the whole chain; prints its head as NUMBER:HASH. Exits 1 when it does not hold."""
    from kinlink_gateway.app import open_store, read_settings
    from kinlink_gateway.audit import AuditTrail

    match = _ANCHOR.fullmatch(anchor)
    if anchor and not match:
        raise click.BadParameter("an anchor is NUMBER:HASH, as this command prints it")
    store = open_store(home, read_settings(home), create=False)
    found = AuditTrail(store).verify(anchor=(int(match[1]), match[2]) if match else None)
    store.close()
    click.echo(f"{found.entries}:{found.head}")
    if found.fault:
        click.echo(f"The audit does not hold: {found.fault}.", err=True)
        sys.exit(EXIT_FAILURE)
    click.echo(f"The audit holds: {found.entries} entries.", err=True)


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
