"""Starting, watching and ending the processes of a federation on this machine.

Every process is started in a session of its own, so that Ctrl-C reaches only us and each is ended
by its own pid, in order, whatever happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from kinlink_local.errors import ProcessFailedError
from kinlink_local.procfs import cpu_seconds, peak_rss_mib, take_peak_rss_mib
from kinlink_local.stopwatch import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

READY_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.05
LOG_TAIL_LINES: Final = 15
OFFICE: Final = ".office"
SESSION: Final = "kinlink_local.session"


@dataclass(frozen=True)
class Addresses:
    """Where a ready service listens, as `host:port`."""

    api: str
    health: str
    metrics: str


@dataclass
class Service:
    """One running service."""

    name: str
    home: Path
    log: Path
    process: subprocess.Popen[bytes]
    addresses: Addresses | None = None
    peak_rss_mib: float = 0.0

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def tail(self) -> str:
        """The last lines of its log."""
        return log_tail(self.log)

    def read_peak(self) -> None:
        """Note the peak resident memory so far; nothing once the process is gone."""
        with contextlib.suppress(OSError, ValueError, StopIteration):
            self.peak_rss_mib = max(self.peak_rss_mib, peak_rss_mib(self.pid))

    def cpu_seconds(self) -> float:
        """Processor time it has used so far; 0 once the process is gone."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return cpu_seconds(self.pid)
        return 0.0


class Office:
    """A session of one service's commands, run one after another by the process behind it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._name = name
        self._process = process
        self._lock = threading.Lock()

    def run(self, *words: str) -> str:
        """Run one command; what it printed.

        Raises:
            ProcessFailedError: It ended with another status than 0, or the session ended.
        """
        shown = f"`{self._name} {' '.join(words)}`"
        answer = self._ask(words)
        if not answer:
            raise ProcessFailedError(f"{shown} was cut off: its process ended.", "")
        told = json.loads(answer)
        if told["status"] != 0:
            tail = "\n".join(told["errors"].splitlines()[-LOG_TAIL_LINES:])
            raise ProcessFailedError(f"{shown} ended with status {told['status']}:", tail)
        return str(told["output"])

    def _ask(self, words: Sequence[str]) -> bytes:
        commands, answers = self._process.stdin, self._process.stdout
        if commands is None or answers is None:
            return b""
        with self._lock, contextlib.suppress(BrokenPipeError):
            commands.write(json.dumps(words).encode() + b"\n")
            commands.flush()
            return answers.readline()
        return b""


@dataclass
class Supervisor:
    """Owns every process it starts; leaving its context ends them all."""

    environment: dict[str, str]
    services: dict[str, Service] = field(default_factory=dict)
    _offices: dict[str, int] = field(default_factory=dict)
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, module: str, home: Path, *arguments: str) -> Service:
        """Start a service; its output goes to `HOME.log`."""
        log = home.with_suffix(".log")
        (home / "ready.json").unlink(missing_ok=True)
        with log.open("ab") as output:
            process = self._spawn(_command(module, home, arguments), output, output)
        service = Service(name, home, log, process)
        self.services[name] = service
        return service

    def wait_ready(self, service: Service, seconds: float = READY_SECONDS_MAX) -> Addresses:
        """Wait until a service has written where it listens.

        Raises:
            ProcessFailedError: It ended, or took longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            addresses = _read_ready(service)
            if addresses is not None:
                service.addresses = addresses
                return addresses
            self.check(service)
            time.sleep(POLL_SECONDS)
        raise ProcessFailedError(
            f"{service.name} was not ready after {seconds:.0f} s ({service.log}):", service.tail()
        )

    def check(self, service: Service) -> None:
        """Raise `ProcessFailedError` if a service has ended."""
        code = service.process.poll()
        if code is not None:
            raise ProcessFailedError(
                f"{service.name} ended with status {code} ({service.log}):", service.tail()
            )

    def open_office(self, module: str, home: Path) -> Office:
        """Start a session that runs a service's commands; it ends with everything else."""
        with home.with_suffix(".office.log").open("ab") as errors:
            process = self._spawn(
                _command(module, home, ()), subprocess.PIPE, errors, commands=subprocess.PIPE
            )
        self._offices[f"{home.name}{OFFICE}"] = process.pid
        return Office(_shown(module), process)

    def usage(self) -> dict[str, Usage]:
        """Of every live process: processor seconds so far, peak memory since this was last asked.

        A session of a service's commands stands under the service's name with `OFFICE` after it.
        """
        found = {}
        pids = {name: service.pid for name, service in self.services.items()}
        for name, pid in {**pids, **self._offices}.items():
            with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
                peak = take_peak_rss_mib(pid)
                if name in self.services:
                    service = self.services[name]
                    service.peak_rss_mib = max(service.peak_rss_mib, peak)
                found[name] = Usage(cpu_seconds(pid), peak)
        return found

    def stop(self) -> None:
        """End every process: ask, wait, then kill what is left. Safe to call twice."""
        with self._lock:
            self._closed = True
            running, self._running = self._running, []
        for service in self.services.values():
            service.read_peak()
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        try:
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            # Also where a second Ctrl-C ends the waiting.
            for process in running:
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        # What a command left unread in the pipe is lost with its process.
                        with contextlib.suppress(BrokenPipeError):
                            pipe.close()

    def _spawn(
        self,
        command: Sequence[str],
        output: int | BinaryIO,
        errors: int | BinaryIO,
        commands: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise ProcessFailedError("The federation is being stopped.", "")
            process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=commands,
                stdout=output,
                stderr=errors,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
            self._running.append(process)
        return process


def log_tail(log: Path) -> str:
    """The last lines of a log, or nothing."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_TAIL_LINES:])


def _command(module: str, home: Path, words: Sequence[str]) -> list[str]:
    return [sys.executable, "-P", "-m", SESSION, _shown(module), module, str(home), *words]


def _shown(module: str) -> str:
    return module.removesuffix(".cli").replace("_", "-")


def _read_ready(service: Service) -> Addresses | None:
    try:
        ready = json.loads((service.home / "ready.json").read_text(encoding="utf-8"))
        if ready["pid"] != service.pid:
            return None
        return Addresses(ready["api"], ready["health"], ready["metrics"])
    except (OSError, ValueError, KeyError):
        return None
