"""A federation of real registries and a real linker on loopback, each serving inside the test."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from kinlink_core.runtime.files import write_file
from kinlink_linker import app as linker_app
from kinlink_linker.cli import main
from kinlink_linker.linker_client import LinkerClient
from kinlink_linker.settings import read_settings
from kinlink_registry import app as registry_app
from kinlink_registry.home import Home
from unit.registry.rig import SCHEMA, Rig, people

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from click.testing import Result
    from kinlink_core.runtime.running import RunningServer
    from kinlink_core.runtime.tls import TlsFiles
    from kinlink_registry.node import Node

LINKER = "linker"
OPERATOR = "desk"


@dataclass
class Served:
    """One registry while it serves; `stop` ends it in the middle of whatever it does."""

    node: Node
    running: RunningServer
    stack: ExitStack

    def stop(self) -> None:
        self.running.stop(0)


@dataclass
class RealFederation:
    """Homes in a directory, and what serves of them."""

    rig: Rig
    linker_home: Path
    served: dict[str, Served] = field(default_factory=dict)
    linker: RunningServer | None = None

    @property
    def operator(self) -> TlsFiles:
        return self.rig.federation.tls("operator", OPERATOR)

    @property
    def address(self) -> str:
        assert self.linker is not None
        return self.linker.addresses["api"]

    def client(self) -> LinkerClient:
        return LinkerClient(self.address, self.operator)

    def cli(self, *arguments: str) -> Result:
        """One command of the linker, as an operator."""
        tls = self.operator.key.parent
        reach = ["--address", self.address, "--tls", str(tls)]
        head = ["--home", str(self.linker_home)]
        return CliRunner().invoke(main, [*head, *arguments, *reach])

    def must(self, *arguments: str) -> str:
        result = self.cli(*arguments)
        assert result.exit_code == 0, result.output + result.stderr + repr(result.exception)
        return result.stdout

    def link(self, *arguments: str) -> dict[str, Any]:
        """Link and follow; the linkage at its end, whatever that is."""
        result = self.cli("link", "--json", *arguments)
        linkage: dict[str, Any] = json.loads(result.stdout)
        return linkage


@contextmanager
def federation(
    directory: Path,
    shares: Mapping[str, Sequence[int]],
    *,
    toml: str = "",
    serve: bool = True,
    schema_text: str = SCHEMA,
) -> Iterator[RealFederation]:
    """Registries that hold the given people, serving, and a linker that knows them."""
    rig = Rig(directory, schema_text)
    homes = [rig.registry(name, toml=toml) for name in shares]
    rig.share(homes[0], *homes[1:])
    for home, numbers in zip(homes, shares.values(), strict=True):
        if numbers:
            rig.fill(home, people(*numbers))
    made = RealFederation(rig, directory / LINKER)
    with ExitStack() as stack:
        for name, home in rig.homes.items():
            made.served[name] = serve_registry(stack, home)
        write_linker_home(made)
        if serve:
            made.linker = stack.enter_context(serving_linker(made.linker_home))
        yield made


def serve_registry(stack: ExitStack, home: Path) -> Served:
    node = stack.enter_context(registry_app.opened(Home(home)))
    running = stack.enter_context(registry_app.serving(node))
    return Served(node, running, stack)


def write_linker_home(made: RealFederation) -> None:
    home = made.linker_home
    (home / "tls").mkdir(parents=True, exist_ok=True)
    files = made.rig.federation.tls(LINKER, LINKER)
    for path in (files.key, files.cert, files.ca):
        target = home / "tls" / path.name
        write_file(target, path.read_bytes(), 0o600)
    registries = "".join(
        f'\n[[registries]]\nname = "{name}"\naddress = "{each.running.addresses["api"]}"\n'
        for name, each in made.served.items()
    )
    (home / "linker.toml").write_text(
        f'federation = "{made.rig.federation.authority.federation}"\n'
        f'schema = "{made.rig.schema_path}"\nmode = "plain"\n'
        'listen = "127.0.0.1:0"\nhealth_listen = "127.0.0.1:0"\nmetrics_listen = "127.0.0.1:0"\n'
        'memory_limit = "256MB"\nthreads = 1\n'
        f"{registries}\n[policy]\nsync_seconds = 86400\nidle_seconds = 2\n"
    )


@contextmanager
def serving_linker(home: Path) -> Iterator[RunningServer]:
    with linker_app.serving(home, read_settings(home)) as running:
        yield running
