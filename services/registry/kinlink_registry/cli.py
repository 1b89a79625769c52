"""The `kinlink-registry` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import structlog
from kinlink_core.errors import InvalidInputError, KinlinkError
from kinlink_core.runtime.files import keep_files_private
from kinlink_core.runtime.logging import configure_logging, frames_of

from kinlink_registry import cli_data, cli_identity, cli_keys
from kinlink_registry.home import HOME_ENV, Home

EXIT_FAILURE = 1
EXIT_BAD_INPUT = 2
LOG_LEVELS = ("debug", "info", "warning", "error")

_log = structlog.get_logger(__name__)


class _Group(click.Group):
    """Prints what went wrong in one line, and exits 2 for bad input, 1 for failure."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KinlinkError as error:
            click.echo(f"kinlink-registry: {error.public}", err=True)
            ctx.exit(EXIT_BAD_INPUT if isinstance(error, InvalidInputError) else EXIT_FAILURE)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Exception as error:  # noqa: BLE001 - the last door before the officer
            # A traceback of DuckDB's may quote values, so only where it happened is logged.
            kind = type(error).__qualname__
            _log.error("command_failed", exception=kind, frames=frames_of(error))
            click.echo(f"kinlink-registry: something failed here ({kind}); see the log.", err=True)
            ctx.exit(EXIT_FAILURE)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar=HOME_ENV,
    default=Path(),
    help=f"Directory with registry.toml, the keys and the vault; also {HOME_ENV}.",
)
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    envvar="KINLINK_REGISTRY_LOG_LEVEL",
    default=None,
    help="Least level to log on standard error.  [default: info for serve, else error]",
)
@click.version_option(package_name="kinlink")
@click.pass_context
def main(context: click.Context, home: Path, log_level: str | None) -> None:
    """One office's registry: its records, its keys, and what leaves the building."""
    default = "info" if context.invoked_subcommand == "serve" else "error"
    keep_files_private()
    configure_logging("registry", log_level or default)
    context.obj = Home(home.absolute())


for command in (
    cli_identity.enrol,
    cli_identity.install_cert,
    cli_identity.init,
    cli_identity.serve,
    cli_keys.keys,
    cli_data.ingest,
    cli_data.consent,
    cli_data.status,
    cli_data.links,
    cli_data.backup,
    cli_data.restore,
    cli_data.audit,
):
    main.add_command(command)
