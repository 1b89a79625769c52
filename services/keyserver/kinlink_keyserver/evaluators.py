"""Processes that evaluate, so that the one that serves answers others meanwhile.

They are spawned, never forked: gRPC runs in this one. A process keeps no key beyond a batch.
"""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from kinlink_core.errors import KinlinkError, Reason

from kinlink_keyserver import evaluation, worker

if TYPE_CHECKING:
    from kinlink_keyserver.evaluation import Evaluation, PassKey

ATTEMPTS: Final = 2

_log = structlog.get_logger(__name__)


class Evaluators(Protocol):
    """What evaluates batches."""

    def evaluate(self, key: PassKey, blinded: bytes) -> Evaluation:
        """Evaluate a batch as `evaluation.evaluate` does."""


class EvaluatorProcesses:
    """A fixed number of processes; one that died is replaced, and its batch evaluated again."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._pool = self._spawn()

    def evaluate(self, key: PassKey, blinded: bytes) -> Evaluation:
        """Evaluate a batch in one of the processes; waits for its turn.

        Raises:
            ElementFault: as `evaluation.evaluate`.
            KinlinkError: `INTERNAL`: processes died twice over this batch.
        """
        for _ in range(ATTEMPTS):
            pool = self._pool
            try:
                return pool.submit(evaluation.evaluate, key, blinded).result()
            except BrokenProcessPool:
                self._replace(pool)
        raise KinlinkError(Reason.INTERNAL, detail="evaluator processes died")

    def stop(self) -> None:
        """End the processes after the batches they have."""
        self._pool.shutdown(cancel_futures=True)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        """Put new processes in the place of those that are known to be broken."""
        with self._lock:
            if self._pool is broken:
                _log.warning("evaluators_replaced")
                broken.shutdown(wait=False)
                self._pool = self._spawn()

    def _spawn(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(
            self._count, multiprocessing.get_context("spawn"), initializer=worker.begin
        )
        # Processes are made by the first batches: made here, so that no caller waits for it.
        for each in [pool.submit(worker.warm_up) for _ in range(self._count)]:
            each.result()
        return pool
