"""Linkages as jobs: a thread each, followed while they run, cancelled, found again after a restart.

A linkage lives in memory while it runs and in the store from its creation on. What a stopped linker
leaves behind unfinished is marked as failed when it starts again; nothing half-done stands, because
links are written in one transaction, and the tokens collected so far are kept.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog
from kinlink_core.errors import (
    CancelledError,
    ConflictError,
    InvalidInputError,
    KinlinkError,
    PreconditionError,
    QuotaError,
    Reason,
)
from kinlink_core.runtime.ids import new_id
from kinlink_core.runtime.purpose import check_purpose

from kinlink_linker.active import INTERRUPTED, Active, failed
from kinlink_linker.domain import Linkage, LinkageState, utc_now
from kinlink_linker.federation import REGISTRIES_MIN, Federation
from kinlink_linker.job import Job
from kinlink_linker.links import threshold_of
from kinlink_linker.model import Model
from kinlink_linker.peer import Errand
from kinlink_linker.progress import Progress, Tally
from kinlink_linker.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.domain import LinkageOrder
    from kinlink_linker.job import Workshop
    from kinlink_linker.job_metrics import JobMetrics
    from kinlink_linker.linkage_table import LinkageTable
    from kinlink_linker.peer import RegistryPeer

LINKAGES_OPEN_MAX: Final = 16
WATCH_SECONDS_MIN: Final = 0.1
WATCH_SECONDS_MAX: Final = 1.0
SLOT_SECONDS: Final = 0.2

_log = structlog.get_logger(__name__)


class Linkages:
    """All linkages of this linker; safe to use from several threads."""

    def __init__(
        self,
        shop: Workshop,
        schema: Schema,
        table: LinkageTable,
        metrics: JobMetrics,
        *,
        registries: Sequence[str],
        dial: Callable[[str, Errand], RegistryPeer],
        at_once: int,
        ended: Callable[[Linkage], None],
    ) -> None:
        self._shop = shop
        self._schema = schema
        self._table = table
        self._metrics = metrics
        self._registries = tuple(sorted(registries))
        self._dial = dial
        self._ended = ended
        self._slots = threading.Semaphore(at_once)
        self._active: dict[str, Active] = {}
        self._changed = threading.Condition()
        self._version = 0
        self._stopping = False

    def recover(self) -> list[Linkage]:
        """Mark what an earlier process left unfinished as failed; returns those linkages."""
        left = self._table.unfinished()
        for linkage in left:
            interrupted = failed(linkage, Reason.INTERRUPTED, INTERRUPTED)
            self._table.save(interrupted)
            self._ended(interrupted)
            _log.warning("linkage_interrupted", linkage=linkage.id)
        return left

    def create(self, order: LinkageOrder) -> Linkage:
        """Start a linkage, or let it wait for a free slot; returns at once.

        Raises:
            InvalidInputError: an order that cannot be carried out.
            NotFoundError: MODEL_NOT_FOUND.
            QuotaError: too many run or wait.
        """
        order = replace(order, registries=self._chosen(order.registries))
        self._check(order)
        linkage = Linkage(
            id=new_id(),
            state=LinkageState.PENDING,
            order=order,
            created_at=utc_now(),
            threshold_probability=threshold_of(order, self._schema),
        )
        active = Active(linkage)
        self._admit(active)
        try:
            self._table.save(linkage)
        except KinlinkError:
            self._forget(linkage.id)
            raise
        active.thread = threading.Thread(
            target=self._run, args=(active,), name=f"linkage-{linkage.id}", daemon=True
        )
        active.thread.start()
        return linkage

    def get(self, linkage_id: str) -> Linkage:
        """A linkage as it stands now; `NotFoundError` if there is none."""
        with self._changed:
            active = self._active.get(linkage_id)
        return active.snapshot() if active else self._table.get(linkage_id)

    def page(self, limit: int, before: tuple[datetime, str] | None) -> list[Linkage]:
        """Up to `limit` linkages, newest first, created before a position."""
        found = self._table.page(limit, before)
        with self._changed:
            running = dict(self._active)
        return [running[each.id].snapshot() if each.id in running else each for each in found]

    def cancel(self, linkage_id: str) -> Linkage:
        """Ask a linkage to end; its calls in flight are cut.

        Raises:
            NotFoundError: there is none.
            PreconditionError: LINKAGE_ENDED.
        """
        with self._changed:
            active = self._active.get(linkage_id)
        if self.get(linkage_id).state.ended:
            raise PreconditionError(Reason.LINKAGE_ENDED)
        if active is not None:
            active.interrupt()
        self._tell()
        return self.get(linkage_id)

    def watch(self, linkage_id: str, gone: Callable[[], bool]) -> Iterator[Linkage]:
        """The linkage each time it changes, until it ends or the watcher is gone."""
        last: Linkage | None = None
        while not gone():
            seen = self._version
            linkage = self.get(linkage_id)
            if linkage != last:
                yield linkage
                last = linkage
            if linkage.state.ended:
                return
            time.sleep(WATCH_SECONDS_MIN)
            with self._changed:
                if self._version == seen:
                    self._changed.wait(WATCH_SECONDS_MAX)

    def stop(self, seconds: float) -> None:
        """Interrupt what runs and wait for it; nothing new is started."""
        with self._changed:
            self._stopping = True
            running = [each for each in self._active.values() if not each.linkage.state.ended]
        for active in running:
            active.interrupt()
        deadline = time.monotonic() + seconds
        for active in running:
            if active.thread is not None:
                active.thread.join(max(0.0, deadline - time.monotonic()))

    def _chosen(self, asked: Sequence[str]) -> tuple[str, ...]:
        strangers = sorted(set(asked) - set(self._registries))
        if strangers:
            raise InvalidInputError(
                Reason.PEER_UNKNOWN,
                f"Not configured here: {', '.join(strangers)}. "
                f"The registries are {', '.join(self._registries)}.",
            )
        chosen = tuple(sorted(set(asked))) or self._registries
        if len(chosen) < REGISTRIES_MIN:
            raise PreconditionError(Reason.TOO_FEW_REGISTRIES)
        return chosen

    def _check(self, order: LinkageOrder) -> None:
        check_purpose(order.purpose)
        probability = order.threshold.probability
        if probability is not None and not 0 < probability <= 1:
            raise InvalidInputError(
                Reason.REQUEST_MALFORMED, "threshold_probability must be above 0 and at most 1."
            )
        if order.model:
            _, body = self._shop.models.get(order.model)
            Model.from_json(body, self._schema)

    def _admit(self, active: Active) -> None:
        with self._changed:
            if self._stopping:
                raise ConflictError(Reason.STORE_BUSY, "The linker is stopping; try again.")
            if sum(not each.linkage.state.ended for each in self._active.values()) >= (
                LINKAGES_OPEN_MAX
            ):
                raise QuotaError(
                    Reason.TOO_MANY_REQUESTS,
                    f"{LINKAGES_OPEN_MAX} linkages run or wait already; try again later.",
                )
            self._active[active.linkage.id] = active

    def _run(self, active: Active) -> None:
        if not self._slot(active):
            cancelled = CancelledError(Reason.CANCELLED)
            self._end(active, active.ended(cancelled, stopping=self._stopping))
            return
        try:
            self._metrics.started()
            started = time.monotonic()
            error = self._work(active)
            ended = active.ended(error, stopping=self._stopping)
            self._metrics.ended(ended, active.job, time.monotonic() - started)
            self._end(active, ended)
        finally:
            self._slots.release()

    def _slot(self, active: Active) -> bool:
        while not self._slots.acquire(timeout=SLOT_SECONDS):
            if active.cancelled.is_set():
                return False
        return True

    def _work(self, active: Active) -> KinlinkError | None:
        """Run the job; the error it ended with, if any."""
        federation: Federation | None = None
        try:
            self._fix(active, replace(active.linkage, state=LinkageState.RUNNING))
            self._table.save(active.linkage)
            order = active.linkage.order
            errand = Errand(active.linkage.id, order.purpose)
            peers = {name: self._dial(name, errand) for name in order.registries}
            federation = Federation(peers, active.cancelled)
            tally = Tally([each.id for each in self._schema.passes])
            progress = Progress(self._tell)
            run = Run(active.linkage.id, self._schema, federation, progress, tally)
            active.job = Job(self._shop, order, run)
            active.job.work()
        except KinlinkError as error:
            return error
        except Exception as error:  # noqa: BLE001 - what breaks one linkage must not end the linker
            _log.exception("linkage_broke", linkage=active.linkage.id)
            return KinlinkError(Reason.INTERNAL, detail=type(error).__name__)
        finally:
            if federation is not None:
                self._shop.sync.note_lost(federation)
                federation.close()
        return None

    def _end(self, active: Active, linkage: Linkage) -> None:
        self._ended(linkage)
        try:
            self._table.save(linkage)
        except KinlinkError as error:
            # It stays in memory, so that whoever watches learns how it ended.
            _log.warning("linkage_not_saved", linkage=linkage.id, reason=error.reason)
            active.linkage, active.job = linkage, None
            self._tell()
        else:
            self._forget(linkage.id)
        _log.info(
            "linkage_ended", linkage=linkage.id, state=linkage.state, reason=linkage.error_reason
        )

    def _forget(self, linkage_id: str) -> None:
        with self._changed:
            self._active.pop(linkage_id, None)
        self._tell()

    def _fix(self, active: Active, linkage: Linkage) -> None:
        active.linkage = linkage
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()
