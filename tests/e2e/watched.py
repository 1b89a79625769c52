"""A federation on this machine in which all that linker and registries exchange is kept."""

from __future__ import annotations

import base64
import csv
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from e2e.relay import Proxy, Record, Wire
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.tls import TlsFiles
from kinlink_local.federation import Federation
from kinlink_local.linker_client import LinkerClient
from kinlink_local.population import Population, make_population
from kinlink_local.processes import Supervisor
from kinlink_local.running import Started, start
from kinlink_local.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kinlink_local.processes import Service

# The linker looks for retired epochs and deletions in rounds, here every second, and gives up a
# stream that a killed registry left without an end.
ENVIRONMENT = {
    "KINLINK_LINKER_POLICY__SYNC_SECONDS": "1",
    "KINLINK_LINKER_POLICY__IDLE_SECONDS": "20",
}
DEMO_SCHEMA = Path(str(files("kinlink_local").joinpath("data/demo.yaml")))
# The demo's people get a face each, so that vectors are among what is watched.
FACE_DIMENSIONS = 128
FACE_FIELD = f"""
  - name: face
    kind: vector
    columns: [face_model, face]
    optional: true
    model: watched-1
    dimensions: {FACE_DIMENSIONS}
    levels: [{{label: near, max_distance: 0.4}}]
    weight_max: 8
"""


class WatchedFederation(Federation):
    """Puts a wire and a proxy before every registry."""

    def __init__(self, root: Path, supervisor: Supervisor) -> None:
        super().__init__(root, "watched", with_faces(root.parent / "watched.yaml"), supervisor)
        self.record = Record()
        self.proxies: dict[str, Proxy] = {}
        self.wires: dict[str, Wire] = {}

    def start_linker(self, addresses: Mapping[str, str], *, mode: str) -> Service:
        folder = self.root / "proxy"
        self._certify(folder, Role.LINKER, "linker")
        for name, address in addresses.items():
            tls = TlsFiles.in_dir(folder)
            self.proxies[name] = Proxy(name, address, self._ca, tls, self.record)
            self.wires[name] = Wire(self.proxies[name].address)
        wires = {name: wire.address for name, wire in self.wires.items()}
        return super().start_linker(wires, mode=mode)

    def stop(self) -> None:
        for each in (*self.wires.values(), *self.proxies.values()):
            each.stop()


@dataclass(frozen=True)
class Watched:
    """A federation that serves, with its population."""

    federation: WatchedFederation
    supervisor: Supervisor
    population: Population
    faces: list[str]  # as the registries' files have them
    started: Started
    client: LinkerClient
    stopwatch: Stopwatch


@contextmanager
def watched_federation(
    folder: Path, records: int, seed: int = 11, *, key_server: bool = False
) -> Iterator[Watched]:
    """Start three registries, and a linker that reaches them through wires and proxies."""
    population = make_population(records, seed)
    paths = population.write(folder / "data")
    faces = [face for path in paths.values() for face in add_faces(path)]
    stopwatch = Stopwatch()
    with Supervisor(ENVIRONMENT) as supervisor:
        federation = WatchedFederation(folder / "federation", supervisor)
        try:
            started = start(
                federation,
                supervisor,
                paths,
                stopwatch,
                with_gateway=False,
                with_key_server=key_server,
            )
            with LinkerClient(started.linker.api, started.operator) as client:
                yield Watched(federation, supervisor, population, faces, started, client, stopwatch)
        finally:
            federation.stop()


def with_faces(path: Path) -> Path:
    """Write the demo's schema with one more field."""
    head, passes = DEMO_SCHEMA.read_text("utf-8").split("\npasses:")
    path.write_text(f"{head}{FACE_FIELD}\npasses:{passes}", "utf-8")
    return path


def add_faces(path: Path) -> list[str]:
    """Give every record of a registry's file a face of its own; the cells."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    drawn = np.random.default_rng(sum(path.stem.encode())).normal(
        size=(len(lines), FACE_DIMENSIONS)
    )
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    faces = [base64.b64encode(row.tobytes()).decode() for row in drawn.astype("<f2")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "face_model", "face"])
        for line, face in zip(lines, faces, strict=True):
            writer.writerow([*line, "watched-1", face])
    return faces
