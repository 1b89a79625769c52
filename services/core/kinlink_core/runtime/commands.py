"""What the commands of all services share: their home, their log, how they fail, and `audit`."""

from __future__ import annotations

import re
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import structlog

from kinlink_core.errors import InvalidInputError, KinlinkError, PreconditionError, Reason
from kinlink_core.runtime import audit as audit_log
from kinlink_core.runtime.audit import AuditReport, Head
from kinlink_core.runtime.files import keep_files_private
from kinlink_core.runtime.logging import configure_logging, frames_of

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_FAILURE: Final = 1
EXIT_BAD_INPUT: Final = 2
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_HEAD: Final = re.compile(r"(\d{1,18}):([0-9a-f]{64})")
_log = structlog.get_logger(__name__)


class ServiceGroup(click.Group):
    """Prints what went wrong in one line, and exits 2 for bad input, 1 for failure."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KinlinkError as error:
            click.echo(f"{self.name}: {error.public}", err=True)
            ctx.exit(EXIT_BAD_INPUT if isinstance(error, InvalidInputError) else EXIT_FAILURE)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Exception as error:  # noqa: BLE001 - the last door before the officer
            # A traceback of a database may quote values, so only where it happened is logged.
            kind = type(error).__qualname__
            _log.error("command_failed", exception=kind, frames=frames_of(error))
            click.echo(f"{self.name}: something failed here ({kind}); see the log.", err=True)
            ctx.exit(EXIT_FAILURE)


def service_group(service: str, *, home: str) -> Callable[[Callable[[Path], object]], ServiceGroup]:
    """Make a function the command group `kinlink-SERVICE`.

    Args:
        service: the service's name; `KINLINK_SERVICE_HOME` and `_LOG_LEVEL` set its options.
        home: what its home directory holds, for the help text.

    Returns:
        A decorator. The function gets the home's absolute path, and what it returns is what the
        commands receive by `click.pass_obj`; its docstring is the group's help.
    """
    prefix = f"KINLINK_{service.upper()}"

    def decorate(function: Callable[[Path], object]) -> ServiceGroup:
        @click.group(
            f"kinlink-{service}",
            cls=ServiceGroup,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        @click.option(
            "--home",
            type=click.Path(file_okay=False, path_type=Path),
            envvar=f"{prefix}_HOME",
            default=Path(),
            help=f"Directory with {home}; also {prefix}_HOME.",
        )
        @click.option(
            "--log-level",
            type=click.Choice(LOG_LEVELS),
            envvar=f"{prefix}_LOG_LEVEL",
            default=None,
            help="Least level to log on standard error.  [default: info for serve, else error]",
        )
        @click.version_option(package_name="kinlink")
        @click.pass_context
        @wraps(function)
        def main(context: click.Context, home: Path, log_level: str | None) -> None:
            default = "info" if context.invoked_subcommand == "serve" else "error"
            keep_files_private()
            configure_logging(service, log_level or default)
            context.obj = function(home.absolute())

        return main

    return decorate


def read_head(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> Head | None:
    """Read the head of an audit as it was noted elsewhere; a callback of click options."""
    if text is None:
        return None
    found = _HEAD.fullmatch(text)
    if found is None:
        raise click.BadParameter("a head is NUMBER:HASH, as `audit head` prints it")
    return Head(int(found[1]), found[2])


def audit_group(check: Callable[[Any, Head | None], AuditReport]) -> click.Group:
    """The commands `audit verify` and `audit head` of a service.

    Args:
        check: walks the whole chain; it gets the object of `click.pass_obj` and a head that was
            noted elsewhere.
    """

    @click.group()
    def audit() -> None:
        """The record of who asked for what: entries chained by their hashes."""

    @audit.command()
    @click.option(
        "--anchor",
        callback=read_head,
        metavar="NUMBER:HASH",
        default=None,
        help="A head noted elsewhere: the chain must still contain it.",
    )
    @click.pass_obj
    def verify(obj: object, anchor: Head | None) -> None:
        """Check that no entry was changed, moved, put in or taken out; exits 1 when one was.

        Prints the head as NUMBER:HASH. One who can write all files here can rewrite the whole
        chain: only a head noted elsewhere shows that.
        """
        head = _checked(check(obj, anchor))
        click.echo(f"{head.sequence}:{head.hash}")
        click.echo(f"The audit holds: {head.sequence} entries.", err=True)

    @audit.command("head")
    @click.pass_obj
    def show_head(obj: object) -> None:
        """Check the chain and print its head as NUMBER:HASH, to be noted elsewhere."""
        head = _checked(check(obj, None))
        click.echo(f"{head.sequence}:{head.hash}")

    return audit


def check_log(path: Path, anchor: Head | None) -> AuditReport:
    """Walk the chain of a log that is a file.

    Raises:
        InvalidInputError: there is no log.
    """
    if not path.exists():
        raise InvalidInputError(Reason.FILE_UNREADABLE, f"There is no audit log at {path}.")
    return audit_log.verify(path, anchor)


def _checked(report: AuditReport) -> Head:
    for fault in report.faults:
        click.echo(fault, err=True)
    if not report.ok:
        raise PreconditionError(Reason.AUDIT_BROKEN)
    return report.head
