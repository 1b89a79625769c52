"""How far a linkage is: stages with time and counts; what each pass produced and dropped."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.wire import Refusal

from kinlink_linker.domain import PassCounts, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kinlink_linker.domain import U8

STAGES: Final = (
    "connect",
    "collect",
    "candidates",
    "sieve",
    "chance",
    "seal",
    "score",
    "disclose",
    "persons",
    "publish",
)

COUNTERS: Final = (
    "tokens",
    "islands",
    "refined",
    "dropped_over_cap",
    "dropped_proof",
    "pairs",
    "sieved_out",
    "repeated",
    "sealed",
    "refused",
)


class Tally:
    """Counts by pass. Written by the thread of the linkage alone, read by anyone."""

    def __init__(self, pass_ids: Sequence[str]) -> None:
        self._pass_ids = tuple(pass_ids)
        self._counts = {name: np.zeros(len(pass_ids), np.int64) for name in COUNTERS}
        self.refusals: Counter[tuple[str, str, str]] = Counter()

    def add(self, counter: str, pass_index: int, count: int) -> None:
        """Add to one counter of one pass."""
        self._counts[counter][pass_index] += count

    def refuse(self, registry: str, stage: str, refusal: U8) -> None:
        """Count the rows a registry left unanswered, by stage and reason."""
        for code, count in enumerate(np.bincount(refusal)):
            if code and count:
                self.refusals[registry, stage, Refusal(code).name.lower()] += int(count)

    def snapshot(self) -> tuple[PassCounts, ...]:
        """The counts as they stand, in the schema's order of passes."""
        return tuple(
            PassCounts(each, **{name: int(self._counts[name][index]) for name in COUNTERS})
            for index, each in enumerate(self._pass_ids)
        )


class Progress:
    """The stages of one linkage; tells a listener whenever one moves."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._stages: list[Stage] = []
        self._started = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run a stage; its time counts from here to the end of the block."""
        with self._lock:
            self._stages.append(Stage(name))
            self._started = time.monotonic()
        self._changed()
        try:
            yield
        finally:
            self._replace(0, 0)

    def expect(self, more: int) -> None:
        """Announce more work in the current stage."""
        self._replace(0, more)

    def advance(self, more: int = 1) -> None:
        """Report work done in the current stage."""
        self._replace(more, 0)

    def snapshot(self) -> tuple[Stage, ...]:
        """The stages begun so far; the last one's time runs."""
        with self._lock:
            return tuple(self._stages)

    def _replace(self, done: int, total: int) -> None:
        with self._lock:
            last = self._stages[-1]
            self._stages[-1] = Stage(
                last.name,
                time.monotonic() - self._started,
                last.done + done,
                last.total + total,
            )
        self._changed()
