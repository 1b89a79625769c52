"""Where a key server is put together: settings read, objects wired, the process served."""

from __future__ import annotations

import shutil
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import structlog
from kinlink_core.encoding.schema import SchemaError, load_schema
from kinlink_core.errors import InvalidInputError, KinlinkError, PreconditionError, Reason
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.chain import verify_chain
from kinlink_core.runtime.files import read_file
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.metrics import KeyServerMetrics, RuntimeMetrics
from kinlink_core.runtime.ready import announced
from kinlink_core.runtime.server import ServerSettings, start_server
from kinlink_core.runtime.tls import TlsFiles
from prometheus_client import CollectorRegistry

from kinlink_keyserver import servicer
from kinlink_keyserver.budgets import Budgets, budgets_of
from kinlink_keyserver.epochs import Epochs, open_epochs
from kinlink_keyserver.evaluators import EvaluatorProcesses
from kinlink_keyserver.keyserver import KeyServer
from kinlink_keyserver.ledger import Ledger
from kinlink_keyserver.settings import KeyServerSettings, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.schema import Schema
    from kinlink_core.runtime.running import RunningServer

    from kinlink_keyserver.home import Home

OBSERVE_SECONDS: Final = 15.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Office:
    """An open home: what every command and the serving process work with."""

    home: Home
    settings: KeyServerSettings
    schema: Schema
    budgets: Budgets
    ledger: Ledger
    epochs: Epochs


@contextmanager
def opened(home: Home, *, create: bool = False) -> Iterator[Office]:
    """Open the key server of a home in this process; beside one that serves, if there is one."""
    settings = read_settings(home)
    schema = _schema(settings)
    budgets = budgets_of(schema, settings.records, settings.growth_factor, settings.rows_per_record)
    if create and not home.ledger.exists() and home.audit.exists():
        raise PreconditionError(
            Reason.KEY_MISSING,
            f"The ledger {home.ledger} is gone while the audit log tells of its use: restore it.",
        )
    ledger = Ledger(home.ledger, create=create)
    try:
        epochs = open_epochs(
            home.epochs, settings.sealing_key, ledger, settings.federation, budgets.passes
        )
        yield Office(home, settings, schema, budgets, ledger, epochs)
    finally:
        ledger.close()


@contextmanager
def serving(office: Office) -> Iterator[RunningServer]:
    """Serve registries for as long as the block runs."""
    home, settings = office.home, office.settings
    tls = TlsFiles.in_dir(settings.tls_dir)
    _check_identity(settings, tls)
    runtime = RuntimeMetrics(CollectorRegistry(), "keyserver", version("kinlink"))
    metrics = KeyServerMetrics(runtime.registry)
    metrics.disk_free_bytes.set_function(lambda: shutil.disk_usage(home.root).free)
    with ExitStack() as opened_here:
        evaluators = EvaluatorProcesses(settings.evaluators)
        opened_here.callback(evaluators.stop)
        server = KeyServer(
            fingerprint=office.schema.fingerprint(),
            budgets=office.budgets,
            epochs=office.epochs,
            ledger=office.ledger,
            evaluators=evaluators,
            audit=AuditLog(home.audit, lambda action: runtime.audit_writes.labels(action).inc()),
            metrics=metrics,
        )
        observer = _Observer(server)
        observer.start()
        opened_here.callback(observer.stop)
        listeners = ServerSettings(
            listen=settings.listen,
            health_listen=settings.health_listen,
            metrics_listen=settings.metrics_listen,
            tls=tls,
            grace_seconds=settings.grace_seconds,
            drain_seconds=settings.drain_seconds,
            workers=settings.workers,
        )
        service = servicer.service(server, settings.name, version("kinlink"))
        running = start_server(listeners, [service], runtime)
        opened_here.callback(running.stop)
        yield running


def serve(home: Home) -> None:
    """Serve until SIGTERM or SIGINT."""
    with (
        opened(home) as office,
        serving(office) as running,
        announced(home.root, running.addresses),
    ):
        running.run_until_signal()


def _schema(settings: KeyServerSettings) -> Schema:
    try:
        return load_schema(settings.schema_path)
    except SchemaError as error:
        raise InvalidInputError(Reason.SCHEMA_INVALID, str(error)) from error


def _check_identity(settings: KeyServerSettings, tls: TlsFiles) -> None:
    """Refuse to serve under a certificate that is not this key server's."""
    if not tls.cert.exists():
        raise PreconditionError(
            Reason.KEY_MISSING,
            f"There is no certificate at {tls.cert}: run enrol and install-cert.",
        )
    verify_chain(
        read_file(tls.cert), read_file(tls.ca), settings.federation, Role.KEYSERVER, settings.name
    )


class _Observer(threading.Thread):
    """Keeps the gauges at what files and ledger say."""

    def __init__(self, server: KeyServer) -> None:
        super().__init__(name="kinlink-observer", daemon=True)
        self._server = server
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look again every few seconds; a look that fails is logged and the next one tries."""
        while True:
            try:
                self._server.observe()
            except KinlinkError as error:
                _log.warning("observation_failed", reason=error.reason.value)
            if self._stopped.wait(OBSERVE_SECONDS):
                return

    def stop(self) -> None:
        """End after the look that runs."""
        self._stopped.set()
        self.join()
