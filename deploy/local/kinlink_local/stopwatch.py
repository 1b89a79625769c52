"""Seconds by stage, and a word to the terminal when one begins and ends."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True)
class Usage:
    """What a process used: processor time, and memory at its peak."""

    cpu_seconds: float
    peak_rss_mb: float


class Meter:
    """Shares out what processes use over the stages they are seen in.

    `read` gives, by process, the processor seconds of all its life and the peak memory since it was
    read before.
    """

    def __init__(self, read: Callable[[], Mapping[str, Usage]]) -> None:
        self._read = read
        self._stage = ""
        self._since: Mapping[str, Usage] = read()
        self.stages: dict[str, dict[str, Usage]] = {}

    def enter(self, stage: str) -> None:
        """The processes are seen in a stage, perhaps still in the same one."""
        if stage != self._stage:
            self._close()
            self._stage = stage

    def leave(self) -> None:
        """They are in no stage any more."""
        self.enter("")

    def _close(self) -> None:
        now = self._read()
        if self._stage:
            found = self.stages.setdefault(self._stage, {})
            for name, each in now.items():
                before, so_far = self._since.get(name, NOTHING), found.get(name, NOTHING)
                found[name] = Usage(
                    so_far.cpu_seconds + each.cpu_seconds - before.cpu_seconds,
                    max(so_far.peak_rss_mb, each.peak_rss_mb),
                )
        self._since = now


NOTHING: Final = Usage(0.0, 0.0)


@dataclass
class Stopwatch:
    """Measures stages in the order they are entered; stages may run side by side."""

    console: Console = field(default_factory=lambda: Console(stderr=True))
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def total(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.started

    @contextmanager
    def stage(self, name: str, telling: str) -> Iterator[None]:
        """Measure a block as `name`; `telling` says on the terminal what it does."""
        began = time.monotonic()
        with self.console.status(telling):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began
        self.console.print(f"[green]✓[/] {telling} [dim]{self.seconds[name]:.1f} s[/]")
