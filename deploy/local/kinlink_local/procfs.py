"""What Linux tells of a living process in /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

KIB_PER_MIB: Final = 1024.0
CLEAR_PEAK: Final = "5"
CPU_USER_WORD: Final = 11  # of /proc/PID/stat, after the command


def peak_rss_mib(pid: int) -> float:
    """Peak resident memory of a live process in MiB, as Linux counts it.

    Raises:
        OSError: The process is gone, or there is no /proc.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / KIB_PER_MIB


def take_peak_rss_mib(pid: int) -> float:
    """Peak resident memory of a live process since it was last taken, in MiB.

    Where Linux does not let us begin anew (`clear_refs` of proc(5)), it is that of all its life.

    Raises:
        OSError: The process is gone, or there is no /proc.
    """
    peak = peak_rss_mib(pid)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text(CLEAR_PEAK, encoding="ascii")
    return peak


def cpu_seconds(pid: int) -> float:
    """Processor time of a live process, user and system, as Linux counts it.

    Raises:
        OSError: The process is gone, or there is no /proc.
    """
    status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The second field is the command in brackets, and may hold anything.
    words = status.rpartition(")")[2].split()
    ticks = int(words[CPU_USER_WORD]) + int(words[CPU_USER_WORD + 1])
    return ticks / os.sysconf("SC_CLK_TCK")
