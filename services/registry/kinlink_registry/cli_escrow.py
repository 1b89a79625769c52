"""`keys escrow`, `keys recover`, `vault-key`: secrets kept by several officers, or by a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from kinlink_core.encoding.keys import EpochSecret
from kinlink_core.errors import ConflictError, Reason
from kinlink_core.runtime import escrow
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.escrow_commands import ACTOR, hand_out, read_shares, split_options
from kinlink_core.runtime.key_source import wrap_in_place

from kinlink_registry.cipher import VaultCipher
from kinlink_registry.cli_keys import FILE, keyring, keys
from kinlink_registry.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_registry.home import Home


@keys.command("escrow")
@click.argument("epoch")
@split_options
@click.pass_obj
def escrow_epoch(home: Home, epoch: str, threshold: int, shares: int, out: Path) -> None:
    """Split an epoch's secret into shares for officers: any THRESHOLD of them recover it."""
    secret = keyring(home).secret(epoch).secret
    made = escrow.split(secret, _epoch_name(home, epoch), threshold=threshold, shares=shares)
    hand_out(home.audit, made, out, f"epoch-{epoch}")


@keys.command("recover")
@click.argument("epoch")
@click.argument("shares", type=FILE, nargs=-1, required=True)
@click.pass_obj
def recover_epoch(home: Home, epoch: str, shares: tuple[Path, ...]) -> None:
    """Give an epoch's secret back from share files."""
    secret = escrow.recover(read_shares(shares), _epoch_name(home, epoch))
    keyring(home).keep(EpochSecret(epoch, secret))
    AuditLog(home.audit).write("recover-epoch", ACTOR, epoch=epoch, shares=len(shares))
    click.echo(f"Recovered the secret of epoch {epoch}; compare its canary with the others'.")


@click.group("vault-key")
def vault_key() -> None:
    """The key of the vault and of the epoch secrets: lost with it is everything sealed here."""


@vault_key.command("escrow")
@split_options
@click.pass_obj
def escrow_vault_key(home: Home, threshold: int, shares: int, out: Path) -> None:
    """Split the vault key into shares for officers: any THRESHOLD of them recover it."""
    settings = read_settings(home)
    secret = settings.vault_key.read()
    made = escrow.split(secret, settings.vault_key_name, threshold=threshold, shares=shares)
    hand_out(home.audit, made, out, "vault-key")


@vault_key.command("recover")
@click.argument("shares", type=FILE, nargs=-1, required=True)
@click.pass_obj
def recover_vault_key(home: Home, shares: tuple[Path, ...]) -> None:
    """Write the vault key back from share files, where there is none."""
    settings = read_settings(home)
    source = settings.vault_key
    if source.path.exists():
        raise ConflictError(
            Reason.CONFIG_INVALID, f"There is a vault key at {source.path} already."
        )
    secret = escrow.recover(read_shares(shares), settings.vault_key_name)
    _check_vault(home, secret)
    source.keep(secret)
    AuditLog(home.audit).write("recover-vault-key", ACTOR, shares=len(shares))
    click.echo(f"Wrote the vault key to {source.describe()}.")


@vault_key.command("wrap")
@click.pass_obj
def wrap_vault_key(home: Home) -> None:
    """Replace the plain vault key in its file by the same key, wrapped by a PKCS#11 token.

    The settings name the token; its key is made where it is missing. The plain file goes once the
    token has opened what it wrapped.
    """
    source = read_settings(home).vault_key
    wrap_in_place(source)
    AuditLog(home.audit).write("wrap-vault-key", ACTOR)
    click.echo(f"The vault key is now in {source.describe()}; no plain file of it is left here.")


def _epoch_name(home: Home, epoch: str) -> str:
    return f"secret of epoch {epoch} of federation {read_settings(home).federation}"


def _check_vault(home: Home, secret: bytes) -> None:
    """Refuse a key that is not the vault's, before it is written."""
    from kinlink_registry.vault import Vault

    if not home.vault.exists():
        return
    settings = read_settings(home).vault
    cipher = VaultCipher(secret)
    Vault(home.vault, cipher, memory_limit=settings.memory_limit, threads=settings.threads).close()
