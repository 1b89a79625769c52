"""What the key server does: evaluates within budgets, and says what is left of them.

The order of an evaluation: the caller is known, the schema fits, the epoch is served, the budget
would do; then the batch is evaluated, booked and audited; only then it is answered. What fails
before the booking costs the caller nothing, what fails after it costs the batch.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kinlink_core.errors import (
    CancelledError,
    InvalidInputError,
    KinlinkError,
    PreconditionError,
    QuotaError,
    Reason,
)

from kinlink_keyserver.evaluation import ELEMENT_BYTES, ElementFault
from kinlink_keyserver.gauges import FollowedGauge
from kinlink_keyserver.ledger import over_budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kinlink_core.runtime.audit import AuditLog
    from kinlink_core.runtime.metrics import KeyServerMetrics

    from kinlink_keyserver.budgets import Budgets
    from kinlink_keyserver.epochs import Epochs, ServedEpoch
    from kinlink_keyserver.evaluation import Evaluation
    from kinlink_keyserver.evaluators import Evaluators
    from kinlink_keyserver.ledger import Ledger

# About a second of one processor; request and answer are 256 KiB.
BATCH_ELEMENTS_MAX: Final = 8_192
# Of one registry, so that none keeps the others waiting.
BATCHES_AT_ONCE_MAX: Final = 4


@dataclass(frozen=True)
class Order:
    """A batch to evaluate."""

    epoch: str
    pass_id: str
    fingerprint: str
    blinded: bytes  # ELEMENT_BYTES an element


@dataclass(frozen=True)
class Answer:
    """An evaluated batch, and what is left of the caller's budget after it."""

    evaluation: Evaluation
    budget_left: int


@dataclass(frozen=True)
class Allowance:
    """One pass of one epoch, as one registry sees it."""

    pass_id: str
    public_key: bytes
    budget: int
    left: int

    @property
    def used(self) -> float:
        """Share of the budget that is spent."""
        return 1 - self.left / self.budget


class KeyServer:
    """Ties epochs, budgets, ledger and evaluators together."""

    def __init__(
        self,
        *,
        fingerprint: str,
        budgets: Budgets,
        epochs: Epochs,
        ledger: Ledger,
        evaluators: Evaluators,
        audit: AuditLog,
        metrics: KeyServerMetrics,
    ) -> None:
        self.fingerprint = fingerprint
        self._budgets = budgets
        self._epochs = epochs
        self._ledger = ledger
        self._evaluators = evaluators
        self._audit = audit
        self._metrics = metrics
        self._turns = {
            each: threading.BoundedSemaphore(BATCHES_AT_ONCE_MAX) for each in budgets.registries
        }
        self._served = FollowedGauge(metrics.epoch_served)
        self._used = FollowedGauge(metrics.budget_used)

    def allowances(self, registry: str) -> list[tuple[ServedEpoch, list[Allowance]]]:
        """Served epochs, newest first, each with a registry's allowances in the schema's order."""
        budgets = self._budgets.of(registry)
        spent = self._ledger.spent(registry)
        return [
            (epoch, [_allowance(epoch, each, budgets, spent) for each in self._budgets.passes])
            for epoch in self._epochs.served()
        ]

    def evaluate(self, registry: str, order: Order, wanted: Callable[[], bool]) -> Answer:
        """Evaluate a batch for a registry; `wanted` says whether it still waits for the answer.

        Raises:
            KinlinkError: with the reason, and nothing booked.
        """
        try:
            return self._evaluate(registry, order, wanted)
        except KinlinkError as error:
            known = registry if registry in self._budgets.registries else "unknown"
            self._metrics.refused_batches.labels(known, error.reason.value).inc()
            raise

    def observe(self) -> None:
        """Set the gauges that follow from files and ledger."""
        missing = set(self._epochs.missing())
        self._served.show({(each,): each not in missing for each in self._epochs.live()})
        self._used.show(
            {
                (registry, epoch.name, each.pass_id): each.used
                for registry in self._budgets.registries
                for epoch, allowances in self.allowances(registry)
                for each in allowances
            }
        )

    def _evaluate(self, registry: str, order: Order, wanted: Callable[[], bool]) -> Answer:
        budget, count = self._admitted(registry, order)
        key = self._epochs.get(order.epoch).keys[order.pass_id]
        left = budget - self._ledger.spent(registry).get((order.epoch, order.pass_id), 0)
        if count > left:
            raise over_budget(left)
        with self._turn(registry):
            try:
                evaluation = self._evaluators.evaluate(key, order.blinded)
            except ElementFault as fault:
                raise _malformed(f"element {fault.position} is none of the group") from None
        if not wanted():
            raise CancelledError(Reason.CANCELLED)
        left = self._ledger.book(
            epoch=order.epoch, registry=registry, pass_id=order.pass_id, count=count, budget=budget
        )
        self._audit.write(
            "evaluate",
            f"registry/{registry}",
            epoch=order.epoch,
            pass_id=order.pass_id,
            count=count,
            budget_left=left,
        )
        self._metrics.evaluations.labels(registry, order.pass_id).inc(count)
        return Answer(evaluation, left)

    def _admitted(self, registry: str, order: Order) -> tuple[int, int]:
        """The budget and the size of a batch that may be asked for."""
        budgets = self._budgets.of(registry)
        if order.fingerprint != self.fingerprint:
            raise PreconditionError(Reason.SCHEMA_DIFFERS)
        if order.pass_id not in budgets:
            raise _malformed("no pass of the schema has this id")
        count, rest = divmod(len(order.blinded), ELEMENT_BYTES)
        if rest or not 0 < count <= BATCH_ELEMENTS_MAX:
            raise _malformed(f"a batch has 1 to {BATCH_ELEMENTS_MAX} elements of 32 bytes")
        return budgets[order.pass_id], count

    @contextmanager
    def _turn(self, registry: str) -> Iterator[None]:
        turns = self._turns[registry]
        if not turns.acquire(blocking=False):
            raise QuotaError(Reason.TOO_MANY_REQUESTS, limit=str(BATCHES_AT_ONCE_MAX))
        try:
            yield
        finally:
            turns.release()


def _allowance(
    epoch: ServedEpoch,
    pass_id: str,
    budgets: Mapping[str, int],
    spent: Mapping[tuple[str, str], int],
) -> Allowance:
    budget = budgets[pass_id]
    left = max(0, budget - spent.get((epoch.name, pass_id), 0))
    return Allowance(pass_id, epoch.public_keys[pass_id], budget, left)


def _malformed(what: str) -> InvalidInputError:
    return InvalidInputError(Reason.REQUEST_MALFORMED, f"The batch is malformed: {what}.")
