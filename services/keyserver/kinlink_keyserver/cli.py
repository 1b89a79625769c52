"""The `kinlink-keyserver` command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinlink_core.runtime.commands import audit_group, check_log, service_group

from kinlink_keyserver import cli_escrow, cli_identity, cli_office
from kinlink_keyserver.home import Home

if TYPE_CHECKING:
    from pathlib import Path


@service_group("keyserver", home="keyserver.toml, the keys, the ledger and the audit log")
def main(home: Path) -> Home:
    """The key server: without it, nobody can test guesses of blocking values.

    Run it in a body that is independent of the linker's.
    """
    return Home(home)


for command in (
    cli_identity.enrol,
    cli_identity.install_cert,
    cli_identity.init,
    cli_identity.wrap_key,
    cli_identity.serve,
    cli_office.status,
    cli_office.epochs,
    cli_office.budgets,
    audit_group(lambda home, anchor: check_log(home.audit, anchor)),
):
    main.add_command(command)
for command in (cli_escrow.escrow_epoch, cli_escrow.recover_epoch):
    cli_office.epochs.add_command(command)
