"""Sessions on a standalone Spark cluster, and the folder through which tables travel to it.

A session is one Spark application: it starts with a stage of a linkage and ends with it, so nothing
is cached, shuffled or spilled on a worker for longer. Python holds one Spark context at a time;
a second linkage waits for its turn.

What leaves the linker is encrypted: tables in the store and the workers' local disks by keys that
live as long as the session, calls between linker and workers by keys from the cluster's secret. A
worker's memory holds tokens and comparison levels in the clear: the cluster is trusted as the
linker is. Nothing hides how much is computed.
"""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog
from kinlink_core.errors import Reason, UnavailableError
from kinlink_core.runtime.files import read_secret_file

from kinlink_linker.spark_store import SparkStore, forget_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pyspark.sql import SparkSession

_log = structlog.get_logger(__name__)

# What a deployment may not turn off.
GUARDS: Final = {
    "spark.authenticate": "true",
    "spark.network.crypto.enabled": "true",
    "spark.network.crypto.cipher": "AES/GCM/NoPadding",
    "spark.io.encryption.enabled": "true",
    "spark.io.encryption.keySizeBits": "256",
    "spark.eventLog.enabled": "false",
    "spark.ui.enabled": "false",
}
GUARDED: Final = ("spark.authenticate", "spark.network.crypto", "spark.io.encryption", *GUARDS)
# What suits most; a deployment may say otherwise.
DEFAULTS: Final = {
    "spark.driver.memory": "1g",
    "spark.driver.maxResultSize": "0",
    "spark.sql.files.maxPartitionBytes": "32m",
    "spark.ui.showConsoleProgress": "false",
}

# A worker that is free starts an executor within seconds.
START_SECONDS_MAX = 180.0
POLL_SECONDS = 0.2

FOREIGN: Final = ("py4j.", "pyspark.", "splink.")

# One Spark context in a process.
_TURN = threading.Lock()


@dataclass(frozen=True)
class Session:
    """A running Spark application and the store that it reads."""

    spark: SparkSession
    store: SparkStore


@dataclass(frozen=True)
class SparkCluster:
    """A standalone cluster, and how to use it."""

    master: str
    folder: Path
    secret_file: Path
    conf: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = START_SECONDS_MAX

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Start an application on the cluster for the block; all of it is deleted afterwards.

        Raises:
            UnavailableError: ENGINE_FAILED, if the cluster cannot be reached or fails.
        """
        secret = read_secret_file(self.secret_file).decode("ascii").strip()
        with _TURN, _naming_faults():
            forget_all(self.folder)
            store = SparkStore.create(self.folder)
            try:
                context = _context(self._conf(secret))
                try:
                    from pyspark.sql import SparkSession

                    _await_worker(context, self.start_seconds)
                    yield Session(SparkSession(context), store)
                finally:
                    context.stop()
            finally:
                shutil.rmtree(store.folder)

    def _conf(self, secret: str) -> dict[str, str]:
        return {
            **DEFAULTS,
            **self.conf,
            **GUARDS,
            "spark.master": self.master,
            "spark.app.name": "kinlink",
            "spark.authenticate.secret": secret,
        }


def _context(settings: Mapping[str, str]) -> Any:
    """A Spark context; the JVM it lives in stays until this process ends.

    The JVM is started before the secret is set, which would stand in its command line otherwise.
    """
    from pyspark import SparkConf, SparkContext

    memory = SparkConf(loadDefaults=False).set(
        "spark.driver.memory", settings["spark.driver.memory"]
    )
    SparkContext._ensure_initialized(conf=memory)  # noqa: SLF001 - the only way to start it apart
    conf = SparkConf(loadDefaults=False)
    for key, value in settings.items():
        conf.set(key, value)
    context = SparkContext(conf=conf)
    context.setLogLevel("ERROR")
    return context


def _await_worker(context: Any, seconds: float) -> None:
    """Wait for a worker to start an executor; Spark itself would wait without end."""
    deadline = time.monotonic() + seconds
    # The driver counts as one.
    while context._jsc.sc().getExecutorMemoryStatus().size() < 2:  # noqa: SLF001, PLR2004
        if time.monotonic() > deadline:
            raise UnavailableError(
                Reason.ENGINE_FAILED, detail=f"no worker started an executor within {seconds:.0f} s"
            )
        time.sleep(POLL_SECONDS)


@contextmanager
def _naming_faults() -> Iterator[None]:
    """Name what Spark and Splink raise; all else passes."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(FOREIGN):
            raise
        _log.warning("engine_failed", error=type(error).__name__)
        raise UnavailableError(Reason.ENGINE_FAILED, detail=type(error).__name__) from error
