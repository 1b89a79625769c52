"""B3: how soon a new record's link is there: urgent arrivals while a batch loads.

A federation of invented people (`kinlink demo`'s), three registries, real processes and mutual TLS,
linked once; its links are followed. Then people of one registry appear in another, one after
another: each record is ingested, waits for its round, and is let out at once in one pass by the
officer's command. A third registry loads a batch meanwhile.

Times end at `created_at` of the link, the moment the linker begins to write it; the transaction
that follows is not counted. They begin

`appeared`   before the ingest of the record is asked for,
`let_out`    before the officer's command is given.

    python bench/arrive.py [--records N] [--arrivals N] [--load N] [--seed N] [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import threading
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from harness import environment, write_json
from kinlink.linker.v1 import linker_pb2 as pb
from kinlink.linker.v1 import linker_pb2_grpc
from kinlink_core.runtime.channel import open_channel
from kinlink_core.runtime.identity import Role
from kinlink_local.clerk import COLUMNS
from kinlink_local.federation import REGISTRY, Federation
from kinlink_local.linker_client import LINKER, LinkerClient
from kinlink_local.population import REGISTRIES, make_population
from kinlink_local.processes import Supervisor
from kinlink_local.running import link, start
from kinlink_local.stopwatch import Stopwatch
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.runtime.tls import TlsFiles
    from kinlink_local.population import Population, Record
    from kinlink_local.running import Started

PASS_ID: Final = "name_birth"  # noqa: S105 - a blocking pass
REASON: Final = "bench"
ARRIVE_AT, COME_FROM, LOAD_AT = REGISTRIES
SECONDS_MAX: Final = 20.0
POLL_SECONDS: Final = 0.1
PERCENTILES: Final = (1, 5, 10, 25, 50, 75, 90, 95, 99)
QUIET_LOOKS: Final = 20
TARGET: Final = {"p50": 0.5, "p99": 2.0}
# A day's spread, as by default; the batch is a crowd of its own and leaves at once.
SETTINGS: Final = {
    "KINLINK_LINKER_POLICY__STANDING": "true",
    "KINLINK_REGISTRY_ROUNDS__SPREAD_HOURS": "24",
    "KINLINK_REGISTRY_ROUNDS__BULK_RECORDS": "1000",
}


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000, help="of all registries")
    parser.add_argument("--arrivals", type=int, default=500)
    parser.add_argument("--load", type=int, default=10_000, help="records of the batch; 0: none")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kinlink-") as scratch,
        Supervisor(SETTINGS) as supervisor,
        as_file(files("kinlink_local").joinpath("data/demo.yaml")) as schema,
    ):
        result = _run(Path(scratch), supervisor, schema, options)
    write_json(options.json, result)
    print(json.dumps(result, indent=2))
    return 0


def _run(
    folder: Path, supervisor: Supervisor, schema: Path, options: argparse.Namespace
) -> dict[str, Any]:
    population = make_population(options.records // len(REGISTRIES), options.seed)
    federation = Federation(folder / "f", "bench", schema, supervisor)
    stopwatch = Stopwatch(Console(stderr=True))
    started = start(
        federation,
        supervisor,
        population.write(folder / "files"),
        stopwatch,
        with_gateway=False,
        with_key_server=False,
    )
    with LinkerClient(started.linker.api, started.operator) as client:
        link(client, stopwatch, threshold=None, purpose="rehearsal")
    office = federation.office(ARRIVE_AT)
    rows = _arrivals(population, options.arrivals)
    # The first one waits for what is made once, such as indexes.
    appeared, let_out = {}, {}
    loading = _load(supervisor, federation, folder, options)
    began, spent = time.monotonic(), _cpu(supervisor)
    under_load = 0
    with _Newest(started.linker.api, started.operator) as newest:
        for number, record in enumerate(rows):
            local_id = f"UR-{number:06d}"
            path = folder / "arrival.csv"
            _write(path, [(local_id, record)])
            before = newest.count()
            appeared[local_id] = time.time()
            office.run("ingest", str(path), "--json")
            let_out[local_id] = time.time()
            office.run("urgent", local_id, "--pass", PASS_ID, "--reason", REASON)
            newest.wait(before)
            under_load += loading.is_alive()
        loading.join()
        newest.rest()
    lasted = time.monotonic() - began
    spent = {name: used - spent[name] for name, used in _cpu(supervisor).items()}
    written = _written(federation, started)
    reached = {each: moment for each, moment in written.items() if each in appeared}
    return {
        "bench": "arrive",
        **environment(),
        "records": options.records,
        "arrivals": len(rows),
        "linked": len(reached),
        "arrivals_while_loading": under_load,
        "load": options.load,
        "seconds": round(lasted, 1),
        "appeared": _figures([reached[each] - appeared[each] for each in reached]),
        "let_out": _figures([reached[each] - let_out[each] for each in reached]),
        "target_at_1m": TARGET,
        # With what the batch, ingest and the bench's own questions cost.
        "processor_seconds_an_arrival": {
            name: round(used / max(len(rows), 1), 3) for name, used in spent.items()
        },
        "link_seconds": round(sum(stopwatch.seconds.values()), 1),
    }


def _arrivals(population: Population, count: int) -> list[Record]:
    """Records of people whom one registry alone has, with a name and a day of birth."""
    people: dict[str, int] = {}
    for records in population.records.values():
        for each in records:
            people[each.person_id] = people.get(each.person_id, 0) + 1
    name, born = COLUMNS.index("name"), COLUMNS.index("birth_date")
    alone = [
        each
        for each in population.records[COME_FROM]
        if people[each.person_id] == 1
        and each.values.as_row()[name]
        and len(each.values.as_row()[born]) >= len("1980-1-1")
    ]
    return alone[:count]


def _load(
    supervisor: Supervisor, federation: Federation, folder: Path, options: argparse.Namespace
) -> threading.Thread:
    """Begin to load a batch of people nobody has."""
    office = supervisor.open_office(REGISTRY, federation.home(LOAD_AT))
    strangers: Sequence[Record] = ()
    if options.load:
        strangers = make_population(options.load, options.seed + 1).records[LOAD_AT]
    path = folder / "batch.csv"
    _write(path, [(f"LD-{number:06d}", each) for number, each in enumerate(strangers)])
    loading = threading.Thread(target=lambda: strangers and office.run("ingest", str(path)))
    loading.start()
    return loading


def _write(path: Path, rows: list[tuple[str, Record]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("record_id", *COLUMNS))
        writer.writerows((local_id, *each.values.as_row()) for local_id, each in rows)


class _Newest:
    """Waits for links that touch the registry where people arrive."""

    def __init__(self, target: str, tls: TlsFiles) -> None:
        self._channel = open_channel(target, tls, role=Role.LINKER, name=LINKER)
        self._stub = linker_pb2_grpc.LinkerServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def count(self) -> int:
        """How many there are between the two registries of an arrival."""
        chosen = pb.LinkFilter(registry=ARRIVE_AT, include_disclosed=True)
        request = pb.ListLinksRequest(filter=chosen, page_size=1)
        return int(self._stub.ListLinks(request, timeout=60).total)

    def rest(self) -> None:
        """Wait until standing search has looked at all there was."""
        quiet, until = 0, time.monotonic() + 10 * SECONDS_MAX
        while quiet < QUIET_LOOKS and time.monotonic() < until:
            found = self._stub.GetStanding(pb.GetStandingRequest(), timeout=60)
            quiet = 0 if found.waiting_changes or found.oldest_change_seconds else quiet + 1
            time.sleep(POLL_SECONDS)

    def wait(self, before: int) -> None:
        """Wait until there are more; an arrival that links to nobody is given up."""
        until = time.monotonic() + SECONDS_MAX
        while self.count() <= before and time.monotonic() < until:
            time.sleep(POLL_SECONDS)


def _written(federation: Federation, started: Started) -> dict[str, float]:
    """When the linker wrote the first link of each of a registry's people, Unix seconds."""
    channel = open_channel(started.linker.api, started.operator, role=Role.LINKER, name=LINKER)
    stub = linker_pb2_grpc.LinkerServiceStub(channel)
    chosen = pb.LinkFilter(registry=ARRIVE_AT, include_disclosed=True)
    moments = {
        each.id: each.created_at.ToNanoseconds() / 1e9
        for answer in stub.StreamLinks(pb.StreamLinksRequest(filter=chosen), timeout=600)
        for each in answer.links
    }
    channel.close()
    found: dict[str, float] = {}
    for each in federation.links_of(ARRIVE_AT):
        moment = moments.get(each["link_id"])
        if moment is not None:
            found[each["id"]] = min(moment, found.get(each["id"], moment))
    return found


def _cpu(supervisor: Supervisor) -> dict[str, float]:
    return {name: service.cpu_seconds() for name, service in supervisor.services.items()}


def _figures(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    named = {f"p{share}": float(np.percentile(seconds, share)) for share in PERCENTILES}
    return {name: round(value, 3) for name, value in {**named, "max": max(seconds)}.items()}


if __name__ == "__main__":
    sys.exit(main())
