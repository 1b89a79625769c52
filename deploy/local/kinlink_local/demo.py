"""`kinlink demo`: three synthetic provinces, one federation, and the child lost in 1988."""

from __future__ import annotations

import tempfile
import time
import webbrowser
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from kinlink_local import display
from kinlink_local.counts import read_counts
from kinlink_local.demo_findings import find, show
from kinlink_local.errors import BadInputError
from kinlink_local.federation import Federation
from kinlink_local.linker_client import LinkerClient
from kinlink_local.population import RECORDS_MIN, make_population
from kinlink_local.processes import Supervisor
from kinlink_local.running import link, start
from kinlink_local.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_local.running import Started

FEDERATION: Final = "demo"
PURPOSE: Final = "family-search"
WATCH_SECONDS: Final = 1.0


def run_demo(
    *, records: int, seed: int, folder: Path | None, stay: bool, browser: bool, key_server: bool
) -> bool:
    """Run the demo; True if the case was found and every check holds.

    Args:
        records: records of each registry.
        seed: of the population.
        folder: where to keep everything, or None for a temporary folder that is removed.
        stay: leave the gateway open until Ctrl-C.
        browser: open its page.
        key_server: start one; else the federation is in plain mode.

    Raises:
        BadInputError: Too few records, or a folder that is not empty.
        LocalError: A process or the linkage failed.
    """
    _check(records, folder)
    console, stopwatch = Console(), Stopwatch()
    console.print(
        display.title(
            [
                "[bold]Kinlink demo[/]: three provinces find whom they share and show no one else.",
                f"{records:,} invented records a province, seed {seed}: nobody in them is real.",
            ]
        )
    )
    with (
        _root(folder) as root,
        as_file(files(__package__).joinpath("data/demo.yaml")) as schema,
        Supervisor({}) as supervisor,
    ):
        with stopwatch.stage("population", "A population of three provinces"):
            population = make_population(records, seed)
            paths = population.write(root / "data")
        federation = Federation(root, FEDERATION, schema, supervisor)
        started = start(
            federation,
            supervisor,
            paths,
            stopwatch,
            with_gateway=True,
            with_key_server=key_server,
        )
        with LinkerClient(started.linker.api, started.operator) as client:
            view = link(client, stopwatch, threshold=None, purpose=PURPOSE)
            with stopwatch.stage("officers", "What the registries' officers see"):
                findings = find(client, federation, population, paths, view)
                counts = {name: read_counts(supervisor.services[name]) for name in paths}
        show(console, findings, started, stopwatch, counts)
        if stay:
            _show_door(console, started)
            _wait(console, supervisor, started, browser=browser)
    return findings.all_hold


def _check(records: int, folder: Path | None) -> None:
    faults = []
    if records < RECORDS_MIN:
        faults.append(f"--records: {records} are too few; give at least {RECORDS_MIN}")
    if folder is not None and folder.exists() and any(folder.iterdir()):
        faults.append(f"--dir: {folder} is not empty; name a new folder")
    if faults:
        raise BadInputError(faults)


@contextmanager
def _root(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="kinlink-") as scratch:
        yield Path(scratch)


def _show_door(console: Console, started: Started) -> None:
    if started.gateway is None:
        return
    console.print(f"\nThe gateway: [bold cyan]http://{started.gateway.api}/[/]")
    console.print(f"A fresh analyst's token to log in with: [bold]{started.analyst_token}[/]")


def _wait(console: Console, supervisor: Supervisor, started: Started, *, browser: bool) -> None:
    """Stay until Ctrl-C; a service that ends by itself is an error."""
    console.print("[dim]Ctrl-C ends everything.[/]")
    if browser and started.gateway is not None:
        webbrowser.open(f"http://{started.gateway.api}/")
    try:
        while True:
            for service in supervisor.services.values():
                supervisor.check(service)
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        console.print("\nStopping.")
