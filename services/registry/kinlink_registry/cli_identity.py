"""Commands that make a registry what it is: enrol, install-cert, init, and serve."""

from __future__ import annotations

from pathlib import Path

import click
from kinlink_core.encoding.schema import SchemaError, load_schema
from kinlink_core.errors import ConflictError, InvalidInputError, Reason
from kinlink_core.runtime.files import (
    read_file,
    read_secret_file,
    write_file,
    write_secret_file,
)
from kinlink_core.runtime.identity import Identity, Role, check_name
from kinlink_core.runtime.pki import make_csr, make_key, request_identity, verify_chain, verify_key

from kinlink_registry.home import Home, make_directory
from kinlink_registry.keyring import make_agreement_key, make_vault_key
from kinlink_registry.settings import TEMPLATE, read_settings

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
    make_directory(home.tls_key.parent)
    if not home.tls_key.exists():
        write_secret_file(home.tls_key, make_key())
    key = read_secret_file(home.tls_key)
    request = make_csr(key, identity.federation, identity.role, identity.name, hosts)
    write_file(home.tls_request, request)
    click.echo(f"Send {home.tls_request} to the authority of {identity.federation}.")


@click.command("install-cert")
@click.argument("certificate", type=FILE)
@click.option("--ca", type=FILE, required=True, help="The authority's certificate, fetched safely.")
@click.pass_obj
def install_cert(home: Home, certificate: Path, ca: Path) -> None:
    """Check the authority's answer to `enrol` and put it to use.

    The chain, the name and the key must fit; nothing is installed otherwise.
    """
    chain, authority = read_file(certificate), read_file(ca)
    identity = _identity(home, None, None)
    verify_key(chain, read_secret_file(home.tls_key))
    verify_chain(chain, authority, identity.federation, Role.REGISTRY, identity.name)
    write_file(home.tls_certificate, chain)
    write_file(home.tls_authority, authority)
    click.echo(f"Installed the certificate of {identity}.")


@click.command()
@click.option("--federation", help="Name of the federation.  [default: the certificate's]")
@click.option("--name", help="Name of this registry.  [default: the certificate's]")
@click.option("--schema", type=FILE, help="The federation's schema file.")
@click.option("--listen", default=LISTEN_DEFAULT, show_default=True, help="Where to serve.")
@click.pass_obj
def init(
    home: Home, federation: str | None, name: str | None, schema: Path | None, listen: str
) -> None:
    """Write registry.toml, and make the vault key, the agreement key and an empty vault.

    What is there already is kept, so it may run again, and on a registry.toml of your own.
    """
    from kinlink_registry.app import opened

    identity = _identity(home, federation, name)
    make_directory(home.root)
    if not home.settings.exists():
        _write_settings(home, identity, schema, listen)
    settings = read_settings(home)
    make_vault_key(settings.vault.key_file)
    make_agreement_key(home.agreement_key)
    make_directory(home.epochs)
    with opened(home):
        click.echo(f"The registry {identity.name} of {identity.federation} is in {home.root}.")
    click.echo(f"Keep a copy of {settings.vault.key_file} apart: without it the vault is lost.")


def _write_settings(home: Home, identity: Identity, schema: Path | None, listen: str) -> None:
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
        listen=listen,
    )
    write_file(home.settings, text.encode())


@click.command()
@click.pass_obj
def serve(home: Home) -> None:
    """Serve the linker, and the other commands on this machine, until SIGTERM."""
    from kinlink_registry import app

    app.serve(home)


def _identity(home: Home, federation: str | None, name: str | None) -> Identity:
    """Who this registry is: as told, else by its settings, else by its certificate request."""
    if home.settings.exists():
        settings = read_settings(home)
        known = Identity(settings.federation, Role.REGISTRY, settings.name)
    elif home.tls_request.exists():
        known = request_identity(read_file(home.tls_request))
    elif federation and name:
        known = Identity(check_name("federation", federation), Role.REGISTRY, name)
    else:
        raise InvalidInputError(
            Reason.CONFIG_INVALID, "Say who this registry is: --federation and --name."
        )
    if federation not in (None, known.federation) or name not in (None, known.name):
        raise ConflictError(
            Reason.CONFIG_INVALID, f"This home is already that of {known} in {known.federation}."
        )
    return known


def _toml_text(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
