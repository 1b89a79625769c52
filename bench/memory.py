"""How much memory a tree of processes holds at once: shared pages are counted once.

The peak of a process alone (`VmHWM`) counts every page that it maps, so the sum over 60 processes
of one program counts its libraries 60 times. The proportional set size of proc(5) does not.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

EVERY_SECONDS: Final = 2.0
KIB_PER_MIB: Final = 1024


class Sampler:
    """Looks every few seconds at all processes below this one, until its context ends.

    What lies between two looks is missed: `peak_mb` is a lower bound.
    """

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        self.peak_mb = 0.0
        self.processes_max = 0
        self._every = every_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self.look()

    def look(self) -> None:
        """Look now."""
        below = descendants(os.getpid())
        self.peak_mb = max(self.peak_mb, sum(map(pss_mb, below)))
        self.processes_max = max(self.processes_max, len(below))


def descendants(pid: int) -> list[int]:
    """Process ids of a process's children, their children and so on."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = (path / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
            children.setdefault(int(words[1]), []).append(int(path.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def pss_mb(pid: int) -> float:
    """Proportional set size of a process in MiB; 0 once it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / KIB_PER_MIB
    return 0.0
