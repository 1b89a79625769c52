from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import BrokenStreamError, KinlinkError, Reason, UnavailableError
from kinlink_core.runtime.resume import RESUME_ATTEMPTS_MAX, RESUME_SECONDS_MAX, resumed

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST = 9


class Feed:
    """Numbers from `after + 1` to 9 that stop with an error after so many items, then never."""

    def __init__(self, *lengths: int, error: KinlinkError | None = None) -> None:
        self._lengths = list(lengths)
        self._error = error or UnavailableError(Reason.UNREACHABLE)
        self.opened: list[int] = []
        self.slept: list[float] = []

    def open_from(self, after: int) -> Iterator[int]:
        self.opened.append(after)
        length = self._lengths.pop(0) if self._lengths else LAST
        yield from range(after + 1, min(LAST, after + length) + 1)
        if after + length < LAST:
            raise self._error

    def read(self) -> list[int]:
        return list(resumed(self.open_from, start=0, position_of=int, sleep=self.slept.append))


def test_a_feed_without_interruption_is_opened_once() -> None:
    feed = Feed()
    assert feed.read() == list(range(1, 10))
    assert (feed.opened, feed.slept) == ([0], [])


def test_nothing_is_lost_or_repeated_across_interruptions() -> None:
    feed = Feed(2, 0, 3)
    assert feed.read() == list(range(1, 10))
    assert feed.opened == [0, 2, 2, 5]


@pytest.mark.parametrize(
    "error", [UnavailableError(Reason.UNREACHABLE), BrokenStreamError(Reason.STREAM_CUT)]
)
def test_attempts_without_progress_are_limited_and_grow_apart(error: KinlinkError) -> None:
    feed = Feed(*[0] * 100, error=error)
    with pytest.raises(type(error)):
        feed.read()
    assert len(feed.opened) == RESUME_ATTEMPTS_MAX
    assert feed.slept == sorted(feed.slept)
    assert max(feed.slept) <= RESUME_SECONDS_MAX


def test_progress_renews_the_attempts() -> None:
    assert Feed(*[1] * 8).read() == list(range(1, 10))


def test_any_other_error_ends_the_feed_at_once() -> None:
    feed = Feed(2, error=KinlinkError(Reason.INTERNAL))
    with pytest.raises(KinlinkError):
        feed.read()
    assert feed.opened == [0]


def test_items_without_a_position_are_read_again() -> None:
    feed = Feed(2, 9)
    read = resumed(
        feed.open_from,
        start=0,
        position_of=lambda item: item if item % 2 else None,
        sleep=feed.slept.append,
    )
    assert list(read) == [1, 2, 2, *range(3, 10)]
