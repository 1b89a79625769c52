"""A linkage in memory: what it is now, how it is cut short, and how it ended."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from kinlink_core.errors import Reason

from kinlink_linker.domain import LinkageState, utc_now

if TYPE_CHECKING:
    from kinlink_core.errors import KinlinkError

    from kinlink_linker.domain import Linkage
    from kinlink_linker.job import Job

INTERRUPTED: Final = (
    "The linker stopped while this linkage ran. Start it again; "
    "the tokens that were collected are kept."
)


@dataclass
class Active:
    """`linkage` is what was last fixed; while a job runs it is asked for the rest."""

    linkage: Linkage
    job: Job | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def snapshot(self) -> Linkage:
        """The linkage as it stands now."""
        job = self.job
        if job is None:
            return self.linkage
        run, result = job.run, job.result
        return replace(
            self.linkage,
            epoch=run.epoch,
            stages=run.progress.snapshot(),
            passes=run.tally.snapshot(),
            missing=run.federation.missing,
            candidate_pairs=result.candidate_pairs,
            disclosed_pairs=result.disclosed_pairs,
            links=result.links,
            persons=result.persons,
            em_iterations=result.em_iterations,
            bytes_received=run.federation.bytes_received,
            quality=result.quality,
        )

    def interrupt(self) -> None:
        """Ask the linkage to end; its calls in flight are cut."""
        self.cancelled.set()
        job = self.job
        if job is not None:
            job.run.federation.cut()

    def ended(self, error: KinlinkError | None, *, stopping: bool) -> Linkage:
        """The linkage at its end: by itself, by `error`, by a cancel, or with the linker."""
        now = self.snapshot()
        if error is None:
            state = LinkageState.PARTIAL if now.missing else LinkageState.SUCCEEDED
            return replace(now, state=state, ended_at=utc_now())
        if not self.cancelled.is_set():
            return failed(now, error.reason, error.public)
        if stopping:
            return failed(now, Reason.INTERRUPTED, INTERRUPTED)
        return replace(now, state=LinkageState.CANCELLED, ended_at=utc_now(), quality=None)


def failed(linkage: Linkage, reason: str, detail: str) -> Linkage:
    """A linkage that ended without a result."""
    return replace(
        linkage,
        state=LinkageState.FAILED,
        error_reason=str(reason),
        error_detail=detail,
        ended_at=utc_now(),
        quality=None,
    )
