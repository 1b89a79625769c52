"""`kinlink demo`: three synthetic provinces, one federation, and the child lost in 1988."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Final

from rich.console import Console

from kinlink_local import display, visit
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
    from pathlib import Path

FEDERATION: Final = "demo"
PURPOSE: Final = "family-search"


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
        visit.open_folder(folder) as root,
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
            visit.show_door(console, started)
            visit.stay(console, supervisor, started, browser=browser)
    return findings.all_hold


def _check(records: int, folder: Path | None) -> None:
    faults = visit.folder_faults(folder)
    if records < RECORDS_MIN:
        faults.append(f"--records: {records} are too few; give at least {RECORDS_MIN}")
    if faults:
        raise BadInputError(faults)
