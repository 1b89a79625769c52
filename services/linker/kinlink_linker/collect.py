"""Bring what is held of a registry's feed up to date: additions, tombstones, resets, erased people.

The feed is resumable: the position moves in the transaction that stores the events before it, so a
cut stream goes on where it stopped and an event is applied once. Subjects that a registry retires
are erased from links, evidence and persons before the position moves past them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.errors import BrokenStreamError, KinlinkError, Reason
from kinlink_core.wire import FeedEvent

from kinlink_linker.domain import packed
from kinlink_linker.peer import FeedHeader, FeedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.tokens import FeedPosition, TokenFile

BATCH_ROWS = 250_000
FEED_ROWS_MAX = 500_000_000
CUTS_MAX = 5
CUT_SECONDS = 0.2
LOCK_SECONDS = 0.5

_RESUMABLE = frozenset({Reason.STREAM_CUT, Reason.UNREACHABLE})


@dataclass(frozen=True)
class Collected:
    """What one sync of one registry brought."""

    events: int
    retired_subjects: int
    position: int
    last_sequence: int


@dataclass(frozen=True)
class OpenedFeed:
    """A feed that told its header, and from where it is read."""

    after: FeedPosition
    header: FeedHeader
    stream: Iterator[FeedHeader | FeedRows]

    @classmethod
    def of(
        cls, peer: RegistryPeer, epoch: str, after: FeedPosition, wait_seconds: float
    ) -> OpenedFeed:
        """Ask for what comes after a position, and wait up to so long for something."""
        stream = peer.feed(epoch, after.feed_id, after.sequence, wait_seconds)
        return cls(after, _header(stream), stream)


class FeedReader:
    """Reads one registry's feed of one epoch into its token file."""

    def __init__(
        self,
        peer: RegistryPeer,
        file: TokenFile,
        epoch: str,
        passes: int,
        *,
        erase: Callable[[str, list[bytes]], None],
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        self._peer = peer
        self._file = file
        self._epoch = epoch
        self._passes = passes
        self._erase = erase
        self._progress = progress
        self._events = 0
        self._retired = 0

    def take(self, opened: OpenedFeed) -> Collected:
        """Store what a feed that was opened elsewhere tells, unless another job read on meanwhile.

        Raises:
            KinlinkError: the stream was cut; what came before is stored.
        """
        last = opened.after.sequence
        with self._file.feed_lock(self._peer.name):
            if self._file.position(self._peer.name) == opened.after:
                last = self._take(opened.stream, opened.header, opened.after)
        position = self._file.position(self._peer.name).sequence
        return Collected(self._events, self._retired, position, max(last, position))

    def sync(self) -> Collected:
        """Read to the end of the feed; a cut stream is resumed while it makes progress.

        Raises:
            KinlinkError: what the registry refused, or the last cut.
        """
        lock = self._file.feed_lock(self._peer.name)
        while not lock.acquire(timeout=LOCK_SECONDS):
            # Another job reads this feed; ours may be cancelled meanwhile.
            self._progress(0, 0)
        try:
            return self._sync()
        finally:
            lock.release()

    def _sync(self) -> Collected:
        cuts = 0
        while True:
            before = self._file.position(self._peer.name)
            try:
                last = self._read(before)
            except KinlinkError as error:
                moved = self._file.position(self._peer.name) != before
                cuts = 1 if moved else cuts + 1
                if error.reason not in _RESUMABLE or cuts >= CUTS_MAX:
                    raise
                time.sleep(CUT_SECONDS * 2**cuts)
                self._progress(0, 0)
            else:
                position = self._file.position(self._peer.name).sequence
                return Collected(self._events, self._retired, position, last)

    def _read(self, position: FeedPosition) -> int:
        stream = self._peer.feed(self._epoch, position.feed_id, position.sequence)
        return self._take(stream, _header(stream), position)

    def _take(
        self, stream: Iterator[FeedHeader | FeedRows], header: FeedHeader, position: FeedPosition
    ) -> int:
        after = position.sequence
        if header.reset or header.feed_id != position.feed_id:
            if position.feed_id and not header.reset:
                raise _broken("the feed changed its id without a reset")
            self._file.forget(self._peer.name)
            after = 0
        for batch in _batches(stream, header, after, self._passes):
            self._apply(header.feed_id, batch)
            self._progress(len(batch.sequence), header.rows)
            after = int(batch.sequence[-1])
        if header.last_sequence > after or header.reset:
            self._file.move(self._peer.name, header.feed_id, max(header.last_sequence, after))
        return header.last_sequence

    def _apply(self, feed_id: str, batch: FeedRows) -> None:
        gone = packed(batch.handle[batch.event == FeedEvent.SUBJECT_RETIRED])
        if len(gone):
            self._erase(self._peer.name, [subject.tobytes() for subject in gone])
        self._file.apply(self._peer.name, feed_id, batch)
        self._events += len(batch.sequence)
        self._retired += len(gone)


def _header(stream: Iterator[FeedHeader | FeedRows]) -> FeedHeader:
    header = next(stream, None)
    if not isinstance(header, FeedHeader):
        raise _broken("the feed does not begin with its header")
    if header.rows > FEED_ROWS_MAX:
        raise _broken(f"the feed declares more than {FEED_ROWS_MAX} events")
    return header


def _batches(
    stream: Iterator[FeedHeader | FeedRows], header: FeedHeader, after: int, passes: int
) -> Iterator[FeedRows]:
    """Check frames and join them into transactions of about `BATCH_ROWS` events."""
    held: list[FeedRows] = []
    rows = 0
    read = 0
    try:
        for frame in stream:
            if isinstance(frame, FeedHeader):
                raise _broken("the feed has two headers")
            if len(frame.sequence) == 0:
                continue
            _check(frame, header, after, passes)
            after = int(frame.sequence[-1])
            read += len(frame.sequence)
            if read > header.rows:
                raise _broken("the feed has more events than it declared")
            held.append(frame)
            rows += len(frame.sequence)
            if rows >= BATCH_ROWS:
                yield _joined(held)
                held, rows = [], 0
    except KinlinkError as error:
        # What came before the cut is whole and in order: the next try resumes behind it.
        if held and error.reason in _RESUMABLE:
            yield _joined(held)
        raise
    if held:
        yield _joined(held)


def _check(frame: FeedRows, header: FeedHeader, after: int, passes: int) -> None:
    falls = frame.sequence[1:] <= frame.sequence[:-1]
    if int(frame.sequence[0]) <= after or bool(falls.any()):
        raise _broken("the feed's sequence does not rise")
    if int(frame.sequence[-1]) > header.last_sequence:
        raise _broken("the feed goes past its declared end")
    if bool(
        ((frame.event < FeedEvent.TOKEN_ADDED) | (frame.event > FeedEvent.SUBJECT_RETIRED)).any()
    ):
        raise _broken("the feed holds an unknown event")
    added = frame.event == FeedEvent.TOKEN_ADDED
    if bool((frame.pass_index[added] >= passes).any()):
        raise _broken("the feed names a pass the schema does not have")


def _joined(frames: list[FeedRows]) -> FeedRows:
    if len(frames) == 1:
        return frames[0]
    return FeedRows(
        *(
            np.concatenate([getattr(frame, name) for frame in frames])
            for name in ("sequence", "event", "pass_index", "handle", "token")
        )
    )


def _broken(what: str) -> BrokenStreamError:
    return BrokenStreamError(Reason.REQUEST_MALFORMED, detail=what)
