"""`kinlink rehearse`: a federation over anyone's files, and what it found.

Everything runs as it would between offices: separate processes, mutual TLS, sealed pairs. Only the
reading of the result is different: one person holds all files, so links are written with the record
ids of both sides, and compared with a truth where there is one.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
from kinlink_core.encoding.keys import MODE_KEY_SERVER, MODE_PLAIN

from kinlink_local.blocking import pair_completeness
from kinlink_local.counts import Counts, read_counts
from kinlink_local.estimates import compare
from kinlink_local.federation import Federation
from kinlink_local.inputs import sides_of
from kinlink_local.linker_client import LINKER, LinkageView, LinkerClient
from kinlink_local.pairs import load_pairs, write_pairs
from kinlink_local.processes import Supervisor
from kinlink_local.procfs import peak_rss_mib
from kinlink_local.quality import measure
from kinlink_local.running import Started, link, start
from kinlink_local.stopwatch import Meter
from kinlink_local.truth import load_truth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kinlink_local.inputs import RehearsalPlan
    from kinlink_local.stopwatch import Stopwatch

FEDERATION: Final = "rehearsal"
PURPOSE: Final = "rehearsal"
OWN_PROCESS: Final = "rehearse"


def rehearse(plan: RehearsalPlan, stopwatch: Stopwatch) -> dict[str, Any]:
    """Link the plan's files and write `links.parquet`, `pairs.parquet` and `report.json`.

    Returns:
        The report.

    Raises:
        LocalError: A process, the linkage or a file failed.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="kinlink-") as scratch,
        Supervisor({}) as supervisor,
        duckdb.connect() as connection,
    ):
        federation = Federation(
            Path(scratch), FEDERATION, plan.schema_path, supervisor, sides_of(plan)
        )
        meter = Meter(supervisor.usage)
        started = start(
            federation,
            supervisor,
            plan.files,
            stopwatch,
            with_gateway=False,
            with_key_server=plan.key_server,
            meter=meter,
        )
        with LinkerClient(started.linker.api, started.operator) as client:
            before = _cpu(supervisor)
            view = link(
                client,
                stopwatch,
                threshold=plan.threshold,
                purpose=PURPOSE,
                meter=meter,
            )
            expected = client.quality(view.id)
            spent = {name: used - before[name] for name, used in _cpu(supervisor).items()}
        meter.enter("results")
        with stopwatch.stage("results", "Links by the offices' own record ids"):
            links = federation.everywhere(federation.links_of, sorted(plan.files))
            load_pairs(connection, links, view.id)
            write_pairs(connection, plan.out / "pairs.parquet")
            linked = write_pairs(connection, plan.out / "links.parquet", only_linked=True)
        meter.leave()
        total = stopwatch.total
        counts = {name: read_counts(supervisor.services[name]) for name in plan.files}
        supervisor.stop()
        report = _report(plan, started, view, linked, counts)
        report["seconds"] = {**stopwatch.seconds, "total": total}
        report["peak_rss_mb"] = _peaks(supervisor)
        report["cpu_seconds"] = spent
        report["linker_cpu_seconds"] = {
            each.name: meter.stages[each.name][LINKER].cpu_seconds
            for each in view.stages
            if each.name in meter.stages
        }
        report["stages"] = {
            stage: {name: asdict(used) for name, used in processes.items()}
            for stage, processes in meter.stages.items()
        }
        report["expected"] = expected
        if plan.truth is not None:
            report |= _judge(plan, plan.truth, connection, view, expected)
    (plan.out / "report.json").write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return report


def _report(
    plan: RehearsalPlan,
    started: Started,
    view: LinkageView,
    linked: int,
    counts: Mapping[str, Counts],
) -> dict[str, Any]:
    accepted = {name: each.added for name, each in started.ingested.items()}
    return {
        "schema": plan.schema.name,
        "mode": MODE_KEY_SERVER if plan.key_server else MODE_PLAIN,
        "state": view.state,
        "missing_registries": view.missing,
        "records": sum(accepted.values()),
        "records_by_registry": accepted,
        "rejected_by_registry": {name: each.rejected for name, each in started.ingested.items()},
        "candidate_pairs": view.candidate_pairs,
        "disclosed_pairs": view.disclosed_pairs,
        "links": linked,
        "persons": view.persons,
        "threshold": plan.threshold,
        "em_iterations": view.em_iterations,
        "bytes_left": {name: each.bytes_left for name, each in counts.items()},
        "evaluations": {name: each.evaluations for name, each in counts.items()},
        "evaluation_seconds": {name: each.evaluation_seconds for name, each in counts.items()},
        "dropped": view.dropped,
    }


def _judge(
    plan: RehearsalPlan,
    truth: Path,
    connection: duckdb.DuckDBPyConnection,
    view: LinkageView,
    expected: dict[str, Any] | None,
) -> dict[str, Any]:
    """Quality, blocking and estimates against the truth; its own time is no part of the total."""
    began = time.monotonic()
    load_truth(connection, plan.files, truth)
    quality = measure(connection, plan.threshold)
    candidates = pair_completeness(connection, plan.schema, plan.files)
    completeness = candidates / quality.true_pairs if quality.true_pairs else 1.0
    return {
        "quality": quality.as_json(),
        "blocking": {
            "pair_completeness": completeness,
            "true_pairs": quality.true_pairs,
            "true_candidates": candidates,
            "dropped": view.dropped,
        },
        "estimates": expected and compare(connection, expected, quality, completeness),
        "judging_seconds": time.monotonic() - began,
    }


def _cpu(supervisor: Supervisor) -> dict[str, float]:
    return {name: service.cpu_seconds() for name, service in supervisor.services.items()}


def _peaks(supervisor: Supervisor) -> dict[str, float]:
    peaks = {name: service.peak_rss_mib for name, service in supervisor.services.items()}
    return {**peaks, OWN_PROCESS: peak_rss_mib(os.getpid())}
