"""Seconds by stage, and a word to the terminal when one begins and ends."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class CpuMeter:
    """Shares out another process's processor time over the stages it is seen in."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._stage = ""
        self._since = read()
        self._seconds: dict[str, float] = {}

    def enter(self, stage: str) -> None:
        """The process is seen in a stage, perhaps still in the same one."""
        if stage != self._stage:
            self._close()
            self._stage = stage

    def leave(self) -> dict[str, float]:
        """Processor seconds by stage; nothing is measured any more."""
        self._close()
        return self._seconds

    def _close(self) -> None:
        now = self._read()
        if self._stage:
            spent = now - self._since
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + spent
        self._since = now


@dataclass
class Stopwatch:
    """Measures stages in the order they are entered; stages may run side by side."""

    console: Console = field(default_factory=lambda: Console(stderr=True))
    seconds: dict[str, float] = field(default_factory=dict)
    central_cpu: dict[str, float] = field(default_factory=dict)
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
