"""The feed is read once, in order, across cuts, resets and tombstones; a lying feed is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_core.errors import BrokenStreamError, KinlinkError, Reason, UnavailableError
from kinlink_core.wire import FeedEvent
from kinlink_linker import collect
from kinlink_linker.collect import CUTS_MAX, FeedReader
from kinlink_linker.domain import no_ids
from kinlink_linker.duck import DuckLimits
from kinlink_linker.peer import FeedHeader, FeedRows
from kinlink_linker.tokens import TokenFile, TokenFiles
from unit.linker.centre import registries
from unit.linker.fake_registry import EPOCH, FakeRegistry, as_ids, cut_feed, digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMITS = DuckLimits("128MB", 1)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[TokenFile]:
    opened = TokenFile(tmp_path / f"tokens-{EPOCH}.duckdb", LIMITS)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "CUT_SECONDS", 0)


def read(fake: FakeRegistry, file: TokenFile, erased: list[bytes] | None = None) -> int:
    taken = erased if erased is not None else []
    reader = FeedReader(
        fake.peer(), file, EPOCH, 2, erase=lambda _registry, subjects: taken.extend(subjects)
    )
    return reader.sync().events


def test_a_second_read_brings_only_what_is_new(file: TokenFile) -> None:
    (fake,) = registries("a", people=range(100))
    assert read(fake, file) == 200
    assert read(fake, file) == 0
    fake.add("new", next(iter(fake.records.values())))
    assert read(fake, file) == 2
    assert file.rows_of("a") == 202


@pytest.mark.parametrize("frame", [0, 1, 3])
def test_a_cut_feed_goes_on_where_it_stopped(file: TokenFile, frame: int) -> None:
    (fake,) = registries("a", people=range(150))
    fake.before["feed_frame"] = cut_feed(frame)
    assert read(fake, file) == 300
    assert file.rows_of("a") == 300
    assert [asked[2] for asked in fake.asked["feed"]] == [0, 64 * frame]


def test_a_feed_that_is_cut_again_and_again_without_progress_is_given_up(file: TokenFile) -> None:
    (fake,) = registries("a", people=range(50))
    fake.before["feed_frame"] = cut_feed(0, times=100)
    with pytest.raises(BrokenStreamError):
        read(fake, file)
    assert fake.calls["feed"] == CUTS_MAX


def test_tombstones_remove_exactly_the_retired_handles(file: TokenFile) -> None:
    (fake,) = registries("a", people=range(20))
    read(fake, file)
    fake.delete("a-3")
    fake.add("a-4", fake.records["a-5"])
    read(fake, file)
    assert file.rows_of("a") == 2 * 19


def test_a_handle_that_is_added_and_retired_in_one_read_is_not_kept(file: TokenFile) -> None:
    (fake,) = registries("a", people=range(3))
    handle = digest("short-lived")
    fake._event(FeedEvent.TOKEN_ADDED, 0, handle, digest("token"))
    fake._event(FeedEvent.HANDLE_RETIRED, 0, handle, bytes(16))
    read(fake, file)
    assert file.rows_of("a") == 6


def test_a_reset_forgets_what_was_held_of_this_registry_only(file: TokenFile) -> None:
    fakes = registries("a", "b", people=range(10))
    for fake in fakes:
        read(fake, file)
    fakes[0].reset()
    fakes[0].feed = fakes[0].feed[:4]
    assert read(fakes[0], file) == 4
    assert (file.rows_of("a"), file.rows_of("b")) == (4, 20)


def test_retired_subjects_are_erased_before_the_position_moves_past_them(file: TokenFile) -> None:
    (fake,) = registries("a", people=range(3))
    subject = fake.subject_of("a-1")
    read(fake, file)
    fake.delete("a-1")

    def refuse(_registry: str, _subjects: list[bytes]) -> None:
        raise UnavailableError(Reason.DISK_FULL)

    with pytest.raises(KinlinkError):
        FeedReader(fake.peer(), file, EPOCH, 2, erase=refuse).sync()
    erased: list[bytes] = []
    read(fake, file, erased)
    assert erased == [subject]


class LyingPeer:
    """A peer whose feed is what a test says."""

    name = "a"

    def __init__(self, *parts: FeedHeader | FeedRows) -> None:
        self._parts = parts

    def feed(self, *_args: object) -> Iterator[FeedHeader | FeedRows]:
        return iter(self._parts)


def rows(sequence: list[int], event: int = 1, pass_index: int = 0) -> FeedRows:
    count = len(sequence)
    ids = as_ids([digest(number) for number in sequence]) if count else no_ids()
    return FeedRows(
        np.array(sequence, np.uint64),
        np.full(count, event, np.uint8),
        np.full(count, pass_index, np.uint16),
        ids,
        ids,
    )


def header(rows_: int = 9, last: int = 9) -> FeedHeader:
    return FeedHeader("feed", reset=False, last_sequence=last, rows=rows_)


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (rows([1]),),
        (header(), header()),
        (header(), rows([2, 1])),
        (header(), rows([1, 1])),
        (header(), rows([3]), rows([2])),
        (header(last=2), rows([3])),
        (header(rows_=1), rows([1, 2])),
        (header(), rows([0])),
        (header(), rows([1], event=4)),
        (header(), rows([1], event=0)),
        (header(), rows([1], pass_index=2)),
        (header(rows_=10**12), rows([1])),
    ],
)
def test_a_feed_that_breaks_the_protocol_is_refused_and_nothing_of_it_is_kept(
    file: TokenFile, parts: tuple[FeedHeader | FeedRows, ...]
) -> None:
    reader = FeedReader(LyingPeer(*parts), file, EPOCH, 2, erase=lambda _r, _s: None)
    with pytest.raises(BrokenStreamError):
        reader.sync()
    assert file.rows_of("a") == 0


def test_the_tokens_of_a_retired_epoch_leave_the_disk(tmp_path: Path) -> None:
    files = TokenFiles(tmp_path, LIMITS)
    (fake,) = registries("a", people=range(3))
    with files.borrowed("old") as held:
        read(fake, held)
        files.retire(["old"])
        assert files.epochs() == ["old"]
        assert held.rows_of("a") == 6
    assert files.epochs() == []
    assert list(tmp_path.iterdir()) == []
    files.close()


def test_an_epoch_file_left_by_an_earlier_process_can_retire(tmp_path: Path) -> None:
    files = TokenFiles(tmp_path, LIMITS)
    with files.borrowed("old"):
        pass
    files.close()
    again = TokenFiles(tmp_path, LIMITS)
    again.retire(["old"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("epoch", ["", "../evil", "a/b", "x" * 65])
def test_an_epoch_cannot_name_a_file_elsewhere(tmp_path: Path, epoch: str) -> None:
    files = TokenFiles(tmp_path, LIMITS)
    with pytest.raises(ValueError, match="epoch"), files.borrowed(epoch):
        pass
