"""Where a linker is put together: settings read, objects wired, the process served."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from kinlink_core.encoding import keys
from kinlink_core.encoding.schema import SchemaError, load_schema
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.cards import verify_card
from kinlink_core.runtime.chain import verify_chain
from kinlink_core.runtime.files import read_file
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.metrics import LinkerMetrics, RuntimeMetrics
from kinlink_core.runtime.ready import announced
from kinlink_core.runtime.server import ServerSettings, start_server
from kinlink_core.runtime.tls import TlsFiles
from prometheus_client import CollectorRegistry

from kinlink_linker import score
from kinlink_linker.agreement import OwnProfile
from kinlink_linker.engine import DuckEngine, SparkEngine
from kinlink_linker.journal import Journal
from kinlink_linker.node import Node, NodeLimits
from kinlink_linker.registry_client import GrpcRegistryPeer
from kinlink_linker.servicer import LinkerServicer, service
from kinlink_linker.settings import AUDIT_FILE, read_settings
from kinlink_linker.spark_session import SparkCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_core.encoding.schema import Schema
    from kinlink_core.runtime.cards import Card
    from kinlink_core.runtime.running import RunningServer

    from kinlink_linker.engine import Engine
    from kinlink_linker.settings import LinkerSettings


@contextmanager
def serving(home: Path, settings: LinkerSettings) -> Iterator[RunningServer]:
    """Serve the linker of a home for as long as the block runs."""
    schema = _schema(settings)
    tls = TlsFiles.in_dir(settings.tls_dir)
    _check_identity(settings, tls)
    runtime = RuntimeMetrics(CollectorRegistry(), "linker", version("kinlink"))
    metrics = LinkerMetrics(runtime.registry)
    addresses = settings.addresses
    audit = AuditLog(home / AUDIT_FILE, lambda action: runtime.audit_writes.labels(action).inc())
    journal = Journal(audit)
    node = Node(
        home,
        schema,
        OwnProfile(settings.federation, schema.fingerprint(), keys.ENCODING_VERSION, settings.mode),
        NodeLimits(
            settings.duck,
            settings.policy.sealed_pairs_max,
            settings.policy.linkages_at_once,
            settings.policy.linkages_kept,
            settings.policy.standing,
        ),
        metrics,
        registries=list(addresses),
        dial=lambda name, errand: GrpcRegistryPeer(
            name,
            addresses[name],
            tls,
            schema,
            runtime,
            errand=errand,
            idle_seconds=settings.policy.idle_seconds,
        ),
        verify_card=partial(_verify_card, settings.federation, tls),
        journal=journal,
        engine=_engine(settings),
    )
    metrics.store_bytes.set_function(lambda: node.store_bytes)
    metrics.disk_free_bytes.set_function(lambda: shutil.disk_usage(home).free)
    server = ServerSettings(
        listen=settings.listen,
        health_listen=settings.health_listen,
        metrics_listen=settings.metrics_listen,
        tls=tls,
        grace_seconds=settings.grace_seconds,
        drain_seconds=settings.drain_seconds,
        workers=settings.workers,
    )
    try:
        node.start(settings.policy.sync_seconds)
        servicer = LinkerServicer(node, journal, watchers_max=settings.workers // 2)
        running = start_server(server, [service(servicer)], runtime)
        servicer.stop_with(running.stopping)
        try:
            yield running
        finally:
            running.stop()
    finally:
        node.stop(settings.grace_seconds)


def serve(home: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    threading.Thread(target=score.warm_up, name="warm-up", daemon=True).start()
    with (
        serving(home, read_settings(home)) as running,
        announced(home, running.addresses),
    ):
        running.run_until_signal()


def _schema(settings: LinkerSettings) -> Schema:
    try:
        return load_schema(settings.schema_path)
    except SchemaError as error:
        raise InvalidInputError(Reason.SCHEMA_INVALID, str(error)) from error


def _engine(settings: LinkerSettings) -> Engine:
    spark = settings.spark
    if settings.engine == "duckdb" or spark is None:
        return DuckEngine()
    return SparkEngine(SparkCluster(spark.master, spark.store, spark.secret_file, spark.conf or {}))


def _check_identity(settings: LinkerSettings, tls: TlsFiles) -> None:
    """Refuse to serve under a certificate that is not a linker's of this federation."""
    identity = tls.load().identity
    chain, authority = read_file(tls.cert), read_file(tls.ca)
    verify_chain(chain, authority, settings.federation, Role.LINKER, identity.name)


def _verify_card(federation: str, tls: TlsFiles, registry: str, card: Card) -> None:
    verify_card(card, ca_pem=read_file(tls.ca), federation=federation, registry=registry)
