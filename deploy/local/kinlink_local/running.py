"""From files to a linkage: what the demo and the rehearsal do alike."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import duckdb
from kinlink_core.encoding.keys import MODE_KEY_SERVER, MODE_PLAIN
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from kinlink_local.errors import LocalError
from kinlink_local.inputs import RECORD_ID, scan_sql
from kinlink_local.stopwatch import Meter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kinlink_core.runtime.tls import TlsFiles

    from kinlink_local.federation import Federation, Ingested
    from kinlink_local.linker_client import LinkageView, LinkerClient
    from kinlink_local.processes import Addresses, Supervisor
    from kinlink_local.stopwatch import Stopwatch

BACKGROUND_WORKERS: Final = 2
SERVED_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Started:
    """A federation that serves, with its records loaded."""

    ingested: dict[str, Ingested]
    linker: Addresses
    operator: TlsFiles
    gateway: Addresses | None
    analyst_token: str


def start(
    federation: Federation,
    supervisor: Supervisor,
    files: Mapping[str, Path],
    stopwatch: Stopwatch,
    *,
    with_gateway: bool,
    with_key_server: bool,
    meter: Meter | None = None,
) -> Started:
    """Found a federation, hold its key ceremony, start it, load every registry's file.

    Without a key server it is in plain mode. `meter` learns what processes use.
    """
    meter = meter or Meter(dict)
    names = sorted(files)
    federation.check_paths(names)
    epoch = f"{dt.datetime.now(dt.UTC):%Y-%m}"
    parts = "key server and registries" if with_key_server else "every registry"
    with (
        stopwatch.stage("found", f"Certificates, keys and vaults of {parts}"),
        ThreadPoolExecutor(BACKGROUND_WORKERS) as background,
    ):
        begin = _start_key_server if with_key_server else _no_key_server
        address = background.submit(begin, federation, supervisor, files, epoch)
        federation.everywhere(lambda name: federation.found_registry(name, address.result), names)
    with stopwatch.stage("secret", "The epoch's secret, sealed from one registry to the others"):
        federation.share_secret(epoch, names)
    meter.enter("start")
    with stopwatch.stage("start", "Registries start"):
        # A few at a time: of dozens that start at once none is ready within its time.
        addresses = federation.everywhere(
            lambda name: supervisor.wait_ready(federation.start_registry(name)).api, names
        )
    meter.enter("ingest")
    centre_parts = "linker and gateway start" if with_gateway else "linker starts"
    with (
        stopwatch.stage("ingest", f"Records in; {centre_parts}"),
        ThreadPoolExecutor(BACKGROUND_WORKERS) as background,
    ):
        centre = background.submit(
            _start_centre,
            federation,
            supervisor,
            addresses,
            with_gateway=with_gateway,
            mode=MODE_KEY_SERVER if with_key_server else MODE_PLAIN,
        )
        try:
            ingested = federation.everywhere(
                lambda name: federation.ingest(name, files[name], RECORD_ID), names
            )
            linker, operator, gateway, token = centre.result()
            federation.everywhere(lambda name: _await_served(federation, name), names)
        except BaseException:
            supervisor.stop()
            raise
    meter.leave()
    return Started(ingested, linker, operator, gateway, token)


def _start_key_server(
    federation: Federation, supervisor: Supervisor, files: Mapping[str, Path], epoch: str
) -> str:
    with duckdb.connect() as connection:
        records = {
            name: connection.execute(f"select count(*) from {scan_sql(path)}").fetchall()[0][0]
            for name, path in files.items()
        }
    return supervisor.wait_ready(federation.start_key_server(records, epoch)).api


def _no_key_server(*_unused: object) -> None:
    """In its place in plain mode."""


def _await_served(federation: Federation, name: str) -> None:
    """Wait until all of a registry's records are in its feed."""
    deadline = time.monotonic() + SERVED_SECONDS_MAX
    while True:
        state = federation.status(name)
        if all(each["served"] and not each["unencoded"] for each in state["epochs"]):
            return
        if time.monotonic() > deadline:
            problem = (state["key_server"] or {}).get("problem") or {}
            raise LocalError(f"{name} does not get its records encoded. {problem.get('text', '')}")
        time.sleep(POLL_SECONDS)


def _start_centre(
    federation: Federation,
    supervisor: Supervisor,
    registries: Mapping[str, str],
    *,
    with_gateway: bool,
    mode: str,
) -> tuple[Addresses, TlsFiles, Addresses | None, str]:
    service = federation.start_linker(registries, mode=mode)
    operator = federation.make_operator()
    linker = supervisor.wait_ready(service)
    if not with_gateway:
        return linker, operator, None, ""
    gateway = federation.start_gateway(linker.api)
    token = federation.make_analyst()
    return linker, operator, supervisor.wait_ready(gateway), token


def link(
    client: LinkerClient,
    stopwatch: Stopwatch,
    *,
    threshold: float | None,
    purpose: str,
    meter: Meter | None = None,
) -> LinkageView:
    """Run a linkage to its end, showing how far it is.

    Args:
        client: asks the linker.
        stopwatch: learns the seconds of each stage.
        threshold: link threshold as a probability, or None for the schema's.
        purpose: a code word for the audits.
        meter: learns what processes use in each stage.

    Raises:
        LocalError: It failed or was cancelled.
    """
    linkage_id = client.create_linkage(threshold=threshold, purpose=purpose)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    view: LinkageView | None = None
    meter = meter or Meter(dict)
    with Progress(*columns, console=stopwatch.console, transient=True) as progress:
        task = progress.add_task("Linkage", total=None)
        for view in client.watch(linkage_id):
            if view.stages:
                stage = view.stages[-1]
                meter.enter(stage.name)
                telling = f"Linkage: {stage.name}"
                progress.update(
                    task, description=telling, completed=stage.done, total=stage.total or None
                )
    meter.leave()
    if view is None or not view.succeeded:
        state = view.state if view else "UNKNOWN"
        raise LocalError(f"The linkage ended {state}. {view.error if view else ''}".strip())
    for stage in view.stages:
        stopwatch.seconds[stage.name] = stage.seconds
    stopwatch.console.print(
        f"[green]✓[/] {view.candidate_pairs:,} candidates, {view.links:,} links "
        f"[dim]{sum(stage.seconds for stage in view.stages):.1f} s[/]"
    )
    return view
