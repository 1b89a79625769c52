"""The `kinlink-registry` command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinlink_core.runtime.commands import service_group

from kinlink_registry import (
    cli_data,
    cli_doctor,
    cli_escrow,
    cli_identity,
    cli_keys,
    cli_protect,
    cli_revoke,
    cli_statistics,
)
from kinlink_registry.home import Home

if TYPE_CHECKING:
    from pathlib import Path


@service_group("registry", home="registry.toml, the keys and the vault")
def main(home: Path) -> Home:
    """One office's registry: its records, its keys, and what leaves the building."""
    return Home(home)


for command in (
    cli_identity.enrol,
    cli_identity.install_cert,
    cli_identity.init,
    cli_identity.serve,
    cli_keys.keys,
    cli_escrow.vault_key,
    cli_revoke.revoke,
    cli_revoke.revocations,
    cli_statistics.statistics,
    cli_data.ingest,
    cli_data.consent,
    cli_protect.protect,
    cli_protect.unprotect,
    cli_protect.approvals,
    cli_protect.urgent,
    cli_data.status,
    cli_doctor.doctor,
    cli_data.links,
    cli_data.backup,
    cli_data.restore,
    cli_data.audit,
):
    main.add_command(command)
