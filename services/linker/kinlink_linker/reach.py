"""How a command reaches the linker: by a home directory of this machine, or by address."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from kinlink_core.errors import InvalidInputError, Reason, UnavailableError
from kinlink_core.runtime.ready import READY_FILE
from kinlink_core.runtime.tls import TlsFiles

from kinlink_linker.linker_client import LINKER_NAME, LinkerClient

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATOR_DIR: Final = "operator"


@dataclass(frozen=True)
class Reach:
    """Where the linker is and whose certificate is shown to it."""

    home: Path
    address: str = ""
    tls_dir: Path | None = None
    name: str = LINKER_NAME

    def client(self) -> LinkerClient:
        """Open a client; the operator's certificate is `HOME/operator/{key,cert,ca}.pem`.

        Raises:
            InvalidInputError: no certificate there.
            UnavailableError: no address given and nothing serves in the home.
        """
        directory = self.tls_dir or self.home / OPERATOR_DIR
        if not (directory / "cert.pem").is_file():
            raise InvalidInputError(
                Reason.KEY_MISSING,
                f"There is no operator certificate in {directory}: "
                "put key.pem, cert.pem and ca.pem there, or name a directory with --tls.",
            )
        return LinkerClient(
            self.address or self._announced(), TlsFiles.in_dir(directory), self.name
        )

    def _announced(self) -> str:
        path = self.home / READY_FILE
        try:
            return str(json.loads(path.read_text("utf-8"))["api"])
        except (OSError, ValueError, KeyError) as error:
            raise UnavailableError(
                Reason.UNREACHABLE,
                f"No linker serves in {self.home}: start it with `kinlink-linker serve`, "
                "or name one with --address.",
            ) from error


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--address`, `--tls` and `--linker-name`, and call it with a `Reach`."""

    @wraps(command)
    def reaching(
        *args: Any, address: str, tls: Path | None, linker_name: str, **kwargs: Any
    ) -> Any:
        home: Path = click.get_current_context().find_object(Path) or Path()
        return command(Reach(home, address, tls, linker_name), *args, **kwargs)

    for option in (
        click.option(
            "--linker-name",
            default=LINKER_NAME,
            show_default=True,
            help="Name in the linker's certificate.",
        ),
        click.option(
            "--tls",
            type=click.Path(file_okay=False, path_type=Path),
            default=None,
            help=f"Directory of the operator's certificate.  [default: HOME/{OPERATOR_DIR}]",
        ),
        click.option(
            "--address", default="", help="HOST:PORT of the linker.  [default: the one in HOME]"
        ),
    ):
        reaching = option(reaching)
    return reaching
