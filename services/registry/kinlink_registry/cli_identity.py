"""Commands that make a registry what it is: enrol, install-cert, init, and serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from kinlink_core.encoding.schema import SchemaError, load_schema
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.files import make_directory, read_file, write_file
from kinlink_core.runtime.identity import Identity, Role
from kinlink_core.runtime.key_source import make_key

from kinlink_registry.keyring import make_agreement_key
from kinlink_registry.settings import KEY_SERVER, PLAIN_MODE, TEMPLATE, read_settings

if TYPE_CHECKING:
    from kinlink_registry.home import Home

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
LISTEN_DEFAULT = "0.0.0.0:7441"


@click.command()
@click.option("--federation", help="Name of the federation.")
@click.option("--name", help="Name of this registry in it.")
@click.option("--host", "hosts", multiple=True, help="Host name or address others reach us by.")
@click.pass_obj
def enrol(home: Home, federation: str | None, name: str | None, hosts: tuple[str, ...]) -> None:
    """Make this registry's key and a certificate request for the federation's authority."""
    identity = _identity(home, federation, name)
    home.enrolment.enrol(identity, hosts)
    click.echo(f"Send {home.enrolment.request} to the authority of {identity.federation}.")


@click.command("install-cert")
@click.argument("certificate", type=FILE)
@click.option("--ca", type=FILE, required=True, help="The authority's certificate, fetched safely.")
@click.pass_obj
def install_cert(home: Home, certificate: Path, ca: Path) -> None:
    """Check the authority's answer to `enrol` and put it to use.

    The chain, the name and the key must fit; nothing is installed otherwise.
    """
    identity = _identity(home, None, None)
    home.enrolment.install(identity, read_file(certificate), read_file(ca))
    click.echo(f"Installed the certificate of {identity}.")


@click.command()
@click.option("--federation", help="Name of the federation.  [default: the certificate's]")
@click.option("--name", help="Name of this registry.  [default: the certificate's]")
@click.option("--schema", type=FILE, help="The federation's schema file.")
@click.option("--listen", default=LISTEN_DEFAULT, show_default=True, help="Where to serve.")
@click.option("--key-server", help="Address of the federation's key server.")
@click.option("--plain", is_flag=True, help="There is no key server: guesses can be tested.")
@click.pass_obj
def init(  # noqa: PLR0917 - click passes options by name
    home: Home,
    federation: str | None,
    name: str | None,
    schema: Path | None,
    listen: str,
    key_server: str | None,
    plain: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Write registry.toml, and make the vault key, the agreement key and an empty vault.

    What is there already is kept, so it may run again, and on a registry.toml of your own.
    """
    from kinlink_registry.app import opened

    identity = _identity(home, federation, name)
    make_directory(home.root)
    if not home.settings.exists():
        mode = _mode_settings(key_server, plain=plain)
        _write_settings(home, identity, schema, {"listen": listen, **mode})
    settings = read_settings(home)
    make_key(settings.vault_key)
    make_agreement_key(home.agreement_key)
    make_directory(home.epochs)
    with opened(home):
        click.echo(f"The registry {identity.name} of {identity.federation} is in {home.root}.")
    click.echo(
        f"Without {settings.vault_key.describe()}, the vault is lost: keep a copy apart, or shares"
        " (vault-key escrow)."
    )


def _mode_settings(key_server: str | None, *, plain: bool) -> dict[str, str]:
    """What the settings file says of the mode; one of the two has to be chosen."""
    if plain == bool(key_server):
        raise InvalidInputError(
            Reason.CONFIG_INVALID,
            "Name the federation's --key-server, or say --plain where there is none.",
        )
    if key_server:
        return {"mode": "", "key_server": KEY_SERVER.format(address=key_server)}
    return {"mode": PLAIN_MODE, "key_server": ""}


def _write_settings(
    home: Home, identity: Identity, schema: Path | None, more: dict[str, str]
) -> None:
    if schema is None:
        raise InvalidInputError(Reason.CONFIG_INVALID, "Name the federation's --schema file.")
    try:
        load_schema(schema)
    except SchemaError as error:
        raise InvalidInputError(Reason.SCHEMA_INVALID, str(error)) from error
    text = TEMPLATE.format(
        federation=identity.federation,
        name=identity.name,
        schema=_toml_text(schema.absolute()),
        **more,
    )
    write_file(home.settings, text.encode())


@click.command()
@click.pass_obj
def serve(home: Home) -> None:
    """Serve the linker, and the other commands on this machine, until SIGTERM."""
    from kinlink_registry import app

    app.serve(home)


def _identity(home: Home, federation: str | None, name: str | None) -> Identity:
    """Who this registry is: by its settings, else by its certificate request, else as told."""
    known = None
    if home.settings.exists():
        settings = read_settings(home)
        known = Identity(settings.federation, Role.REGISTRY, settings.name)
    return home.enrolment.identity(federation, name, known=known)


def _toml_text(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
