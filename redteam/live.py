"""A whole federation of processes: registries and a linker that write logs, metrics and disks."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from kinlink_core.encoding.schema import packaged_schema
from kinlink_core.runtime.channel import open_channel
from kinlink_core.runtime.files import write_file, write_secret_file
from kinlink_core.runtime.tls import TlsFiles
from kinlink_local import settings
from kinlink_local.linker_client import LinkerClient
from kinlink_local.processes import Supervisor

from redteam.asker import EPOCH, Asker
from redteam.registries import FEDERATION, CommandFailed, Laboratory, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_local.processes import Service

    from redteam.population import Population

REGISTRY: Final = "kinlink_registry.cli"
LINKER: Final = "kinlink_linker.cli"
SECONDS_MAX: Final = 90.0
ENVIRONMENT: Final = {
    "KINLINK_LINKER_POLICY__SYNC_SECONDS": "1",
    "KINLINK_REGISTRY_LOG_LEVEL": "debug",
    "KINLINK_LINKER_LOG_LEVEL": "debug",
    "KINLINK_REGISTRY_EPOCH_POLL_SECONDS": "0.5",
}


@dataclass
class Live:
    """Processes that serve, with their homes below `lab.folder`."""

    lab: Laboratory
    supervisor: Supervisor
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def linker_home(self) -> Path:
        """The linker's disk."""
        return self.lab.folder / "linker"

    def asker(self, name: str, epoch: str = EPOCH) -> Asker:
        """The linker's side of calls to one registry; close its channel."""
        service = self.services[name]
        if service.addresses is None:
            raise CommandFailed(f"{name} does not serve")
        channel = open_channel(
            service.addresses.api,
            TlsFiles.in_dir(self.linker_home / "tls"),
            role="registry",
            name=name,
        )
        node = SimpleNamespace(schema=self.lab.schema, name=name)
        return Asker(node, channel, service.addresses.metrics, epoch)

    def link(self) -> str:
        """Run a linkage to its end; its id."""
        service = self.services["linker"]
        if service.addresses is None:
            raise CommandFailed("the linker does not serve")
        with LinkerClient(service.addresses.api, self.lab.tls("operator", "operator")) as client:
            name = client.create_linkage(threshold=None, purpose="redteam")
            *_, last = client.watch(name)
        if not last.succeeded:
            raise CommandFailed(f"the linkage ended {last.state}: {last.error}")
        return name

    def weights(self, linkage: str) -> list[float]:
        """Match weights of all disclosed pairs of a linkage."""
        service = self.services["linker"]
        if service.addresses is None:
            raise CommandFailed("the linker does not serve")
        with LinkerClient(service.addresses.api, self.lab.tls("operator", "operator")) as client:
            return [link.weight for link in client.links(linkage)]


@contextmanager
def live(population: Population) -> Iterator[Live]:
    """Start a federation of processes, load its records, and end every process afterwards."""
    with TemporaryDirectory(prefix="kinlink-redteam-") as folder, Supervisor(ENVIRONMENT) as owner:
        lab = Laboratory(Path(folder), packaged_schema("person"))
        for name in population.names:
            lab.found(name)
        lab.share()
        made = Live(lab, owner)
        for name in population.names:
            made.services[name] = owner.start(name, REGISTRY, lab.homes[name], "serve")
        addresses = {name: owner.wait_ready(made.services[name]).api for name in population.names}
        _start_linker(made, addresses)
        for code, name in enumerate(population.names):
            lab.ingest(name, rows_of(population, code))
        yield made


def _start_linker(made: Live, addresses: dict[str, str]) -> None:
    home = made.linker_home
    (home / "tls").mkdir(mode=0o700, parents=True)
    files = made.lab.tls("linker", "linker")
    for source, target in (
        (files.key, "key.pem"), (files.cert, "cert.pem"), (files.ca, "ca.pem")
    ):  # fmt: skip
        write_secret_file(home / "tls" / target, source.read_bytes())
    own = settings.linker(FEDERATION, made.lab.schema_path, addresses, mode="plain")
    write_file(home / "linker.toml", settings.as_toml(own).encode())
    made.services["linker"] = made.supervisor.start("linker", LINKER, home, "serve")
    made.supervisor.wait_ready(made.services["linker"])


def wait_for(what: str, happened: object) -> None:
    """Wait until a question is answered yes; `CommandFailed` after `SECONDS_MAX`."""
    if not callable(happened):
        raise TypeError(what)
    until = time.monotonic() + SECONDS_MAX
    while not happened():
        if time.monotonic() > until:
            raise CommandFailed(f"waited too long for {what}")
        time.sleep(0.2)
