"""Commands that make a key server what it is: enrol, install-cert, init, and serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from kinlink_core.encoding.schema import SchemaError, load_schema
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.escrow_commands import ACTOR
from kinlink_core.runtime.files import make_directory, read_file, write_file
from kinlink_core.runtime.identity import Identity, Role, check_name
from kinlink_core.runtime.key_source import make_key, wrap_in_place

from kinlink_keyserver.settings import REGISTRY_TEMPLATE, TEMPLATE, read_settings

if TYPE_CHECKING:
    from kinlink_keyserver.home import Home

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
LISTEN_DEFAULT: Final = "0.0.0.0:7447"


def _declarations(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    """Read each `NAME=RECORDS`: a registry, and how many records it declares."""
    pairs = [value.partition("=") for value in values]
    if not all(records.isascii() and records.isdigit() for _, _, records in pairs):
        raise click.BadParameter("write NAME=RECORDS, such as henan=1200000")
    return tuple((check_name("registry", name), int(records)) for name, _, records in pairs)


@click.command()
@click.option("--federation", help="Name of the federation.")
@click.option("--name", help="Name of this key server in it.")
@click.option("--host", "hosts", multiple=True, help="Host name or address registries dial.")
@click.pass_obj
def enrol(home: Home, federation: str | None, name: str | None, hosts: tuple[str, ...]) -> None:
    """Make this key server's key and a certificate request for the federation's authority."""
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
@click.option("--name", help="Name of this key server.  [default: the certificate's]")
@click.option("--schema", type=FILE, help="The federation's schema file.")
@click.option(
    "--registry",
    "registries",
    multiple=True,
    callback=_declarations,
    metavar="NAME=RECORDS",
    help="A registry and its declared number of records; may be repeated.",
)
@click.option("--listen", default=LISTEN_DEFAULT, show_default=True, help="Where to serve.")
@click.pass_obj
def init(
    home: Home,
    *,
    federation: str | None,
    name: str | None,
    schema: Path | None,
    registries: tuple[tuple[str, int], ...],
    listen: str,
) -> None:
    """Write keyserver.toml, and make the key file and an empty ledger.

    What is there already is kept, so it may run again, and on a keyserver.toml of your own.
    """
    from kinlink_keyserver.app import opened

    identity = _identity(home, federation, name)
    make_directory(home.root)
    if not home.settings.exists():
        _write_settings(home, identity, schema, registries, listen)
    settings = read_settings(home)
    make_key(settings.sealing_key)
    make_directory(home.epochs)
    with opened(home, create=True):
        click.echo(f"The key server {identity.name} of {identity.federation} is in {home.root}.")
    click.echo(
        f"Without {settings.sealing_key.describe()}, the epochs' seeds are lost: keep a copy apart,"
        " or shares of each seed (epochs escrow)."
    )


@click.command("wrap-key")
@click.pass_obj
def wrap_key(home: Home) -> None:
    """Replace the plain key in its file by the same key, wrapped by a PKCS#11 token.

    The settings name the token; its key is made where it is missing. The plain file goes once the
    token has opened what it wrapped.
    """
    source = read_settings(home).sealing_key
    wrap_in_place(source)
    AuditLog(home.audit).write("wrap-key", ACTOR)
    click.echo(f"The key is now in {source.describe()}; no plain file of it is left here.")


@click.command()
@click.pass_obj
def serve(home: Home) -> None:
    """Serve registries until SIGTERM."""
    from kinlink_keyserver import app

    app.serve(home)


def _write_settings(
    home: Home,
    identity: Identity,
    schema: Path | None,
    registries: tuple[tuple[str, int], ...],
    listen: str,
) -> None:
    if schema is None or not registries:
        raise InvalidInputError(
            Reason.CONFIG_INVALID,
            "Name the federation's --schema file and each --registry NAME=RECORDS.",
        )
    try:
        load_schema(schema)
    except SchemaError as error:
        raise InvalidInputError(Reason.SCHEMA_INVALID, str(error)) from error
    text = TEMPLATE.format(
        federation=identity.federation,
        name=identity.name,
        schema=str(schema.absolute()).replace("\\", "\\\\").replace('"', '\\"'),
        listen=listen,
    )
    text += "".join(REGISTRY_TEMPLATE.format(name=each, records=n) for each, n in registries)
    write_file(home.settings, text.encode())


def _identity(home: Home, federation: str | None, name: str | None) -> Identity:
    known = None
    if home.settings.exists():
        settings = read_settings(home)
        known = Identity(settings.federation, Role.KEYSERVER, settings.name)
    return home.enrolment.identity(federation, name, known=known)
