"""Standing search: the links of the last linkage follow the registries' feeds.

Every change is looked at once it is stored: the islands it touches, the pairs that are new in them,
sealed, scored with the linkage's model, disclosed and published as in the linkage itself, under its
id. So registries answer as if it went on, and what stands is what the linkage would find now
(`docs/adr` says where that ends). Changes that came together are looked at together; few go before
many, so an urgent one does not wait behind a load.

A registry that is away keeps its links. What could not be looked at with it waits for it. After a
restart, a feed that began anew, or a linkage that missed a registry, one full run catches up.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import structlog
from kinlink_core.errors import KinlinkError, NotFoundError

from kinlink_linker.catchup import catch_up
from kinlink_linker.changes import ChangeLog, Entry
from kinlink_linker.follow import Follower
from kinlink_linker.peer import Errand
from kinlink_linker.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kinlink_core.encoding.schema import Schema
    from kinlink_core.runtime.metrics import LinkerMetrics

    from kinlink_linker.domain import Linkage
    from kinlink_linker.job import Job, Workshop
    from kinlink_linker.kept import Kept
    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.token_rows import Changes

_READER: Final = "standing"
# Changes that came together and are so few are looked at before others: one record in every pass.
FEW_ROWS: Final = 64
# Of many, so many are looked at in one step; a step holds up the few that come meanwhile.
STEP_ROWS: Final = 512
IDLE_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 10.0
STOP_SECONDS: Final = 10.0
# So many changes wait for a registry that is away; past that a full run catches up instead.
WAITING_ROWS_MAX: Final = 200_000
# How often links and persons are counted for the metrics while changes come.
STOCK_SECONDS: Final = 15.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StandingStatus:
    """How far standing search is."""

    linkage_id: str = ""  # empty where nothing is followed
    behind: bool = False  # a full run is to come
    waiting: int = 0  # token changes not looked at
    oldest_seconds: float = 0.0  # age of the first of them
    missing: tuple[str, ...] = ()


@dataclass
class _Queue:
    """Changes that are to be looked at, few before many."""

    entries: list[Entry] = field(default_factory=list)

    def next(self) -> list[Entry]:
        """The next ones to look at together, taken out."""
        few = [each for each in self.entries if _rows(each) <= FEW_ROWS]
        if few:
            ends = accumulate(map(_rows, few))
            taken = [each for each, end in zip(few, ends, strict=True) if end <= STEP_ROWS]
            self.entries = [each for each in self.entries if each not in taken]
            return taken
        if not self.entries:
            return []
        first = self.entries.pop(0)
        if _rows(first) > STEP_ROWS and first.changes is not None:
            rest = first.changes.part(slice(STEP_ROWS, None))
            self.entries.insert(0, replace(first, changes=rest))
            first = replace(first, changes=first.changes.part(slice(STEP_ROWS)))
        return [first]


class Standing:
    """Keeps the links of the last linkage up to date; its methods may be called by any thread."""

    def __init__(
        self,
        schema: Schema,
        metrics: LinkerMetrics,
        registries: Sequence[str],
        dial: Callable[[str, Errand], RegistryPeer],
        *,
        enabled: bool,
        stock: Callable[[], None],
    ) -> None:
        """`stock` counts what stands, for the metrics."""
        self.enabled = enabled
        self._schema = schema
        self._metrics = metrics
        self._registries = frozenset(registries)
        self._dial = dial
        self._stock = stock
        self._stock_at = 0.0
        self._log = ChangeLog()
        self._turn = threading.RLock()
        self._stopping = threading.Event()
        self._kept: Kept | None = None
        self._last: Linkage | None = None  # of an earlier process
        self._behind = False
        self._queue = _Queue()
        self._waiting: list[Entry] = []
        self._tomorrow: list[Entry] = []
        self._today = _day()
        self._now: list[Entry] = []
        self._missing: tuple[str, ...] = ()
        self._retry_at = 0.0
        self._retry_seconds = RETRY_SECONDS
        self._step: Step | None = None
        self._shop: Workshop | None = None
        self._thread = threading.Thread(target=self._work, name="standing", daemon=True)
        self._follower: Follower | None = None
        metrics.standing_oldest_seconds.set_function(lambda: self.status().oldest_seconds)
        metrics.standing_waiting.set_function(lambda: self.status().waiting)

    def note(self, epoch: str, changes: Changes | None) -> None:
        """Token rows were stored; `tokens.Listener`."""
        self._log.note(epoch, changes)

    def start(self, shop: Workshop, last: Linkage | None) -> None:
        """Begin to follow; `last` is the linkage that stands since an earlier process."""
        if not self.enabled:
            return
        self._shop, self._last = shop, last
        self._behind = last is not None
        self._follower = Follower(shop.sync, self._registries, self._dial, self._stopping)
        self._thread.start()

    def stop(self) -> None:
        """End what is under way; nothing half-done stands."""
        self._stopping.set()
        self._log.wake()
        step = self._step
        if step is not None:
            step.cut()
        if self._follower is not None:
            self._follower.stop(STOP_SECONDS)
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def status(self) -> StandingStatus:
        """How far it is."""
        kept = self._kept
        held = [*self._now, *self._queue.entries, *self._waiting, *self._tomorrow]
        moments = [each.at for each in held]
        fed = self._log.oldest(_READER)
        if fed is not None:
            moments.append(fed)
        return StandingStatus(
            kept.linkage_id if kept else "",
            self._behind,
            sum(map(_rows, held)),
            time.monotonic() - min(moments) if moments else 0.0,
            self._missing,
        )

    @contextmanager
    def changes_kept_for(self, job: Job) -> Iterator[None]:
        """Changes that come while a linkage runs are kept for it from where it says."""
        try:
            yield
        finally:
            self._log.let_go(_name(job))

    def changes_from_now(self, job: Job) -> None:
        """What comes from now on is not in what a linkage finds."""
        if self.enabled:
            self._log.hold(_name(job))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep changes from being written meanwhile."""
        with self._turn:
            yield

    def take_over(self, job: Job, kept: Kept) -> None:
        """From now on follow what a linkage found; within its `turn`."""
        if not self.enabled:
            return
        whole = self._log.inherit(_READER, _name(job))
        self._queue, self._waiting, self._tomorrow, self._missing = _Queue(), [], [], ()
        self._kept, self._behind = kept, not (kept.whole and whole)
        self._close_step()
        if self._follower is not None:
            self._follower.follow(kept.epoch, kept.order.registries)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._turn:
                    kept = self._kept
                if kept is None or (self._behind and self._due()):
                    self._catch_up()
                if self._kept is not None:
                    self._look()
                else:
                    self._stopping.wait(IDLE_SECONDS)
            except KinlinkError as error:
                self._retry_at = time.monotonic() + self._retry_seconds
                _log.warning("standing_failed", reason=error.reason, detail=error.detail)
                self._stopping.wait(IDLE_SECONDS)
            except Exception:  # noqa: BLE001 - one change that breaks must not end the search
                self._behind = True
                self._retry_at = time.monotonic() + self._retry_seconds
                _log.exception("standing_broke")
                self._stopping.wait(IDLE_SECONDS)
        self._close_step()

    def _due(self) -> bool:
        return time.monotonic() >= self._retry_at

    def _look(self) -> None:
        """Take what came, and look at the next changes."""
        pause = 0.0 if self._queue.entries else IDLE_SECONDS
        entries, missed = self._log.take(_READER, pause)
        with self._turn:
            kept = self._kept
            if kept is None:
                return
            mine = [each for each in entries if each.epoch == kept.epoch]
            self._behind |= missed or any(each.changes is None for each in mine)
            self._queue.entries += [each for each in mine if each.changes is not None]
            self._requeue(kept)
            self._now = self._queue.next()
            if not self._now:
                return
            try:
                self._take_step(kept, self._now)
            except KinlinkError:
                self._waiting += self._now
                self._close_step()
                raise
            finally:
                self._now = []

    def _requeue(self, kept: Kept) -> None:
        """Look again at what waited: for registries that are back, for the budget of a new day."""
        if sum(map(_rows, self._waiting)) > WAITING_ROWS_MAX:
            self._waiting, self._behind = [], True
        if self._waiting and self._due():
            self._close_step()
            self._missing = self._opened(kept).missing
            if self._missing:
                self._retry_at = time.monotonic() + self._retry_seconds
            else:
                self._queue.entries += self._waiting
                self._waiting = []
        if self._tomorrow and _day() != self._today:
            self._queue.entries += self._tomorrow
            self._tomorrow = []
        self._today = _day()

    def _take_step(self, kept: Kept, entries: list[Entry]) -> None:
        started = time.monotonic()
        step = self._opened(kept)
        done = step.take(entries)
        self._missing = step.missing
        self._metrics.standing_step_seconds.observe(time.monotonic() - started)
        self._metrics.standing_changes.inc(sum(map(_rows, entries)))
        self._metrics.removed_links.labels("not_found_again").inc(done.fallen)
        if not done.finished:
            self._waiting += entries
        elif done.short:
            self._tomorrow += entries
        if done.changed + done.fallen and time.monotonic() - self._stock_at > STOCK_SECONDS:
            self._stock_at = time.monotonic()
            self._stock()
        if step.missing:
            self._retry_at = time.monotonic() + self._retry_seconds
            self._close_step()

    def _opened(self, kept: Kept) -> Step:
        if self._step is not None and self._step.old:
            self._close_step()
        if self._step is None:
            assert self._shop is not None  # noqa: S101 - set before the thread starts
            self._step = Step(self._shop, self._schema, kept, self._peers(kept))
        return self._step

    def _peers(self, kept: Kept) -> dict[str, RegistryPeer]:
        errand = Errand(kept.linkage_id, kept.order.purpose)
        names = [each for each in kept.order.registries if each in self._registries]
        return {name: self._dial(name, errand) for name in names}

    def _close_step(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.close()

    def _catch_up(self) -> None:
        """Run the linkage that stands once more, with its model and under its id."""
        kept, last, shop = self._kept, self._last, self._shop
        if shop is None or not self._due():
            return
        if kept is not None:
            linkage_id, order = kept.linkage_id, kept.order
        elif last is not None:
            linkage_id, order = last.id, last.order
        else:
            return
        try:
            shop.models.get(linkage_id)
        except NotFoundError:
            self._last = None
            return
        names = [each for each in order.registries if each in self._registries]
        errand = Errand(linkage_id, order.purpose)
        peers = {name: self._dial(name, errand) for name in names}
        order = replace(order, registries=tuple(names), model=linkage_id)
        started = time.monotonic()
        self._retry_at = started + self._retry_seconds
        catch_up(
            shop,
            self._schema,
            linkage_id,
            order,
            peers=peers,
            stopping=self._stopping,
            everyone=kept is not None,
        )
        now = time.monotonic()
        self._retry_at = now + max(self._retry_seconds, now - started)
        self._stock()


def _day() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def _rows(entry: Entry) -> int:
    return entry.changes.count if entry.changes else 0


def _name(job: Job) -> str:
    return f"linkage {job.run.linkage_id} {id(job)}"
