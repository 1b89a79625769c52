"""Real registries in this process, served over mutual TLS, as a linker meets them.

The protocol attacks ask nothing else: what a curious or lying linker gets is what these servers
answer. Everything is made by the registries' own commands; `asker` is the attacker's side.
"""

from __future__ import annotations

import csv
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from click.testing import CliRunner
from kinlink_core.encoding.schema import load_schema, packaged_schema
from kinlink_core.runtime.channel import open_channel
from kinlink_core.runtime.files import write_file, write_secret_file
from kinlink_core.runtime.pki import CertificateAuthority, make_ca, make_csr, make_key
from kinlink_core.runtime.tls import TlsFiles
from kinlink_registry import app
from kinlink_registry.cli import main
from kinlink_registry.home import Home

from redteam.asker import EPOCH, Asker
from redteam.places import registries_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kinlink_core.encoding.schema import Schema

    from redteam.population import Population

FEDERATION = "redteam"
HOSTS = ("127.0.0.1", "localhost")


class CommandFailed(Exception):  # noqa: N818 - what happened, not a fault of this program
    """A command of a registry ended with an error; its text is the argument."""


@dataclass
class Laboratory:
    """A federation in a directory: its authority, its schema, its registries' homes."""

    folder: Path
    schema_path: Path
    authority: CertificateAuthority = field(default_factory=lambda: make_ca(FEDERATION))
    homes: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.folder / "ca.pem", self.authority.cert_pem)

    @property
    def schema(self) -> Schema:
        """The federation's schema."""
        return load_schema(self.schema_path)

    def command(self, name: str, *arguments: str | Path) -> str:
        """One command of a registry's officer; what it printed."""
        words = ["--home", str(self.homes[name]), *map(str, arguments)]
        result = CliRunner().invoke(main, words, prog_name="kinlink-registry")
        if result.exit_code:
            raise CommandFailed(f"{arguments}: {result.output}{result.stderr}")
        return result.output

    def found(self, name: str, *, toml: str = "", key_server: str = "") -> None:
        """Enrol and initialise a registry; `toml` ends its settings.

        `key_server` is an address; without one the registry runs in plain mode. Changes leave at
        once unless `toml` says how they are spread.
        """
        home = self.homes[name] = self.folder / name
        hosts = [word for host in HOSTS for word in ("--host", host)]
        self.command(name, "enrol", "--federation", FEDERATION, "--name", name, *hosts)
        request = Home(home).enrolment.request.read_bytes()
        certificate = self.folder / f"{name}.pem"
        write_file(certificate, self.authority.issue(request, "registry", name, HOSTS, 30))
        self.command(name, "install-cert", certificate, "--ca", self.folder / "ca.pem")
        mode = ("--key-server", key_server) if key_server else ("--plain",)
        listen = ("--listen", "127.0.0.1:0")
        self.command(name, "init", "--schema", self.schema_path, *listen, *mode)
        settings = Home(home).settings
        text = settings.read_text().replace("127.0.0.1:7442", "127.0.0.1:0")
        text = text.replace("127.0.0.1:7443", "127.0.0.1:0")
        at_once = "" if "[rounds]" in toml else "[rounds]\nspread_hours = 0\n"
        settings.write_text(text[: text.index("[policy]")] + at_once + toml)

    def share(self, epoch: str = EPOCH) -> None:
        """The key ceremony: the first registry makes an epoch's secret, the others import it."""
        maker, *others = self.homes
        self.command(maker, "keys", "create", epoch)
        for name in others:
            card, sealed = self.homes[name] / "card.json", self.homes[name] / "sealed.json"
            self.command(name, "keys", "card", "--out", card)
            self.command(maker, "keys", "seal", epoch, "--to", card, "--out", sealed)
            self.command(name, "keys", "import", sealed)

    def ingest(
        self, name: str, rows: Sequence[Mapping[str, str]], *options: str, file: str = "input.csv"
    ) -> None:
        """Load rows, the first of which names the columns, through the registry's own command."""
        path = self.homes[name] / file
        with path.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        self.command(name, "ingest", *options, path)

    def tls(self, role: str, name: str) -> TlsFiles:
        """Key and certificate of a peer of some role."""
        files = TlsFiles.in_dir(self.folder / f"{role}-{name}")
        files.key.parent.mkdir(parents=True, exist_ok=True)
        key = make_key()
        request = make_csr(key, FEDERATION, role, name, HOSTS)
        write_secret_file(files.key, key)
        write_file(files.cert, self.authority.issue(request, role, name, HOSTS, 30))
        write_file(files.ca, self.authority.cert_pem)
        return files

    @contextmanager
    def serving(self, *names: str) -> Iterator[dict[str, Asker]]:
        """Serve registries, all of them if none is named, and call them as the linker."""
        with ExitStack() as stack:
            askers = {}
            for name in names or self.homes:
                node = stack.enter_context(app.opened(Home(self.homes[name])))
                running = stack.enter_context(app.serving(node))
                channel = open_channel(
                    f"127.0.0.1:{running.api_port}",
                    self.tls("linker", "linker"),
                    role="registry",
                    name=name,
                )
                stack.callback(channel.close)
                askers[name] = Asker(node, channel, running.addresses["metrics"])
            yield askers


@contextmanager
def laboratory(
    population: Population, *, toml: str = "", schema: Path | None = None
) -> Iterator[Laboratory]:
    """A federation of the population's registries in a directory of its own, records loaded."""
    with TemporaryDirectory(prefix="kinlink-redteam-") as folder:
        made = Laboratory(Path(folder), schema or packaged_schema("person"))
        for name in population.names:
            made.found(name, toml=toml)
        made.share()
        for code, name in enumerate(population.names):
            made.ingest(name, rows_of(population, code))
        yield made


@contextmanager
def twins(
    rows: Sequence[Mapping[str, str]], registries: int, *, toml: str = ""
) -> Iterator[Laboratory]:
    """A federation in which every registry holds the same people."""
    with TemporaryDirectory(prefix="kinlink-redteam-") as folder:
        made = Laboratory(Path(folder), packaged_schema("person"))
        for name in registries_of(registries):
            made.found(name, toml=toml)
        made.share()
        for name in made.homes:
            made.ingest(name, rows)
        yield made


def rows_of(population: Population, registry: int) -> list[dict[str, str]]:
    """The file of a registry; a record's id is its number in the population."""
    numbers = np.flatnonzero(population.registry == registry).tolist()
    return [
        {"record_id": f"r{i}", **{name: v[i] or "" for name, v in population.values.items()}}
        for i in numbers
    ]
