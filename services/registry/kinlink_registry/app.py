"""Where a registry is put together: settings read, objects wired, the process served."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog
from kinlink_core.encoding.schema import SchemaError, load_schema
from kinlink_core.errors import InvalidInputError, KinlinkError, PreconditionError, Reason
from kinlink_core.runtime.chain import verify_chain
from kinlink_core.runtime.files import read_file
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.metrics import RegistryMetrics, RuntimeMetrics
from kinlink_core.runtime.ready import announced
from kinlink_core.runtime.server import ServerSettings, local_socket_server, start_server
from kinlink_core.runtime.tls import TlsFiles
from prometheus_client import CollectorRegistry

from kinlink_registry import control, rounds, servicer
from kinlink_registry.node import Instruments, measure, open_node
from kinlink_registry.office import LocalOffice
from kinlink_registry.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.schema import Schema
    from kinlink_core.runtime.running import RunningServer

    from kinlink_registry.home import Home
    from kinlink_registry.key_desk import Problem
    from kinlink_registry.node import Node
    from kinlink_registry.office import Office
    from kinlink_registry.settings import RegistrySettings

LOCAL_GRACE_SECONDS = 5.0
# What gauges cost grows with the vault; they may take so much of the time.
MEASURING_SHARE_MAX = 0.05

_log = structlog.get_logger(__name__)


def read_schema(settings: RegistrySettings) -> Schema:
    """Read the federation's schema; all its faults are in one error."""
    try:
        schema = load_schema(settings.schema_path)
    except SchemaError as error:
        raise InvalidInputError(Reason.SCHEMA_INVALID, str(error)) from error
    if settings.side and settings.side not in schema.side_codes:
        known = " or ".join(schema.side_codes) or "nothing: the schema has no sides"
        raise InvalidInputError(
            Reason.CONFIG_INVALID, f"side: {settings.side} is no side; write {known}."
        )
    return schema


@contextmanager
def opened(home: Home) -> Iterator[Node]:
    """Open the registry of a home in this process."""
    settings = read_settings(home)
    runtime = RuntimeMetrics(CollectorRegistry(), "registry", version("kinlink"))
    instruments = Instruments(runtime, RegistryMetrics(runtime.registry))
    node = open_node(home, settings, read_schema(settings), instruments)
    try:
        yield node
    finally:
        node.close()


@contextmanager
def local_office(home: Home) -> Iterator[Office]:
    """The officer's door where nothing serves: the vault itself."""
    with opened(home) as node:
        node.epochs.sync()
        yield LocalOffice(node)


@contextmanager
def serving(node: Node) -> Iterator[RunningServer]:
    """Serve the API and the local socket for as long as the block runs."""
    settings = node.settings
    tls = TlsFiles.in_dir(settings.tls_dir)
    _check_identity(settings, tls)
    server = ServerSettings(
        listen=settings.listen,
        health_listen=settings.health_listen,
        metrics_listen=settings.metrics_listen,
        tls=tls,
        grace_seconds=settings.grace_seconds,
        drain_seconds=settings.drain_seconds,
        workers=settings.workers,
    )
    runtime = node.instruments.runtime
    local = local_socket_server(
        node.home.socket,
        [control.service(LocalOffice(node))],
        runtime,
        federation=settings.federation,
    )
    try:
        running = start_server(server, [servicer.service(node, version("kinlink"))], runtime)
        keeper = _Housekeeper(node)
        keeper.start()
        try:
            yield running
        finally:
            keeper.stop()
            running.stop()
    finally:
        local.stop(LOCAL_GRACE_SECONDS)
        node.home.socket.unlink(missing_ok=True)


def serve(home: Home) -> None:
    """Serve until SIGTERM or SIGINT."""
    with (
        opened(home) as node,
        serving(node) as running,
        announced(home.root, running.addresses),
    ):
        running.run_until_signal()


def _check_identity(settings: RegistrySettings, tls: TlsFiles) -> None:
    """Refuse to serve under a certificate that is not this registry's."""
    if not tls.cert.exists():
        raise PreconditionError(
            Reason.KEY_MISSING,
            f"There is no certificate at {tls.cert}: run enrol and install-cert.",
        )
    verify_chain(
        read_file(tls.cert), read_file(tls.ca), settings.federation, Role.REGISTRY, settings.name
    )


class _Housekeeper(threading.Thread):
    """Follows the keyring and the vault while serving: new and retired epochs, gauges."""

    def __init__(self, node: Node) -> None:
        super().__init__(name="kinlink-housekeeper", daemon=True)
        self._node = node
        self._stopped = threading.Event()
        self._measured: tuple[int, Problem | None] | None = None
        self._measures_again = 0.0
        self._seen = -1

    def run(self) -> None:
        """Look again every few seconds."""
        while True:
            try:
                self._look()
            except KinlinkError as error:
                _log.warning("housekeeping_failed", reason=error.reason.value)
            except Exception as error:  # noqa: BLE001 - one bad round must not end the next ones
                _log.error("housekeeping_failed", exception=type(error).__qualname__)
            if self._stopped.wait(self._node.settings.epoch_poll_seconds):
                return

    def stop(self) -> None:
        """End after the round that runs."""
        self._stopped.set()
        self.join()

    def _look(self) -> None:
        self._node.vault.revive()
        self._node.epochs.sync(self._stopped, after_batch=self._tend)
        with self._node.vault.reading() as session:
            self._node.keep_only(self._node.epochs.encoded(session))
            # While records come in, what is opened would be out of date at once.
            generation = self._node.vault.generation
            if generation == self._seen:
                self._node.open_records(session)
            self._seen = generation
        self._tend()

    def _tend(self) -> None:
        rounds.let_leave(self._node)
        state = (self._node.vault.generation, self._node.epochs.coder.problem)
        started = time.monotonic()
        if state != self._measured and started >= self._measures_again:
            self._measured = state
            measure(self._node)
            now = time.monotonic()
            self._measures_again = now + (now - started) / MEASURING_SHARE_MAX
