"""Bookings last, stay within the budget, and happen whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import ConflictError, KinlinkError, PreconditionError, QuotaError, Reason
from kinlink_keyserver import ledger as module
from kinlink_keyserver.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


PHONE, NAME_BIRTH = "phone", "name_birth"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    made = Ledger(path, create=True)
    yield made
    made.close()


def book(ledger: Ledger, count: int, *, budget: int = 10, pass_id: str = PHONE) -> int:
    return ledger.book(
        epoch="2026-11", registry="anhui", pass_id=pass_id, count=count, budget=budget
    )


def test_a_booking_lowers_what_is_left_of_its_own_budget_only(ledger: Ledger) -> None:
    assert book(ledger, 4) == 6
    assert book(ledger, 6) == 0
    assert book(ledger, 10, pass_id=NAME_BIRTH) == 0
    assert ledger.book(epoch="2026-12", registry="anhui", pass_id=PHONE, count=1, budget=10) == 9
    assert ledger.book(epoch="2026-11", registry="gansu", pass_id=PHONE, count=1, budget=10) == 9
    assert ledger.spent("anhui") == {
        ("2026-11", PHONE): 10, ("2026-11", NAME_BIRTH): 10, ("2026-12", PHONE): 1,
    }  # fmt: skip


@pytest.mark.parametrize("first", [0, 7])
def test_a_booking_over_the_budget_is_refused_whole_with_what_is_left(
    ledger: Ledger, first: int
) -> None:
    if first:
        book(ledger, first)
    with pytest.raises(QuotaError) as raised:
        book(ledger, 11 - first)
    assert raised.value.reason is Reason.QUOTA_EXCEEDED
    assert raised.value.metadata["budget_left"] == str(10 - first)
    assert book(ledger, 10 - first) == 0


def test_a_budget_that_was_lowered_below_what_is_spent_leaves_nothing(ledger: Ledger) -> None:
    book(ledger, 8)
    with pytest.raises(QuotaError) as raised:
        book(ledger, 1, budget=5)
    assert raised.value.metadata["budget_left"] == "0"


def test_bookings_outlive_the_process(path: Path, ledger: Ledger) -> None:
    book(ledger, 4)
    again = Ledger(path)  # the first one was not closed: as after a crash
    assert book(again, 6) == 0
    again.close()


def test_threads_and_processes_together_never_pass_the_budget(path: Path, ledger: Ledger) -> None:
    other = Ledger(path)
    booked, refused = [], []

    def spend(store: Ledger) -> None:
        for _ in range(20):
            try:
                booked.append(book(store, 3, budget=100))
            except QuotaError:
                refused.append(store)

    threads = [threading.Thread(target=spend, args=(store,)) for store in (ledger, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert len(booked) == 33
    assert len(refused) == 80 - 33
    assert ledger.spent("anhui") == {("2026-11", PHONE): 99}


def test_a_ledger_is_made_only_when_asked_for(path: Path) -> None:
    with pytest.raises(PreconditionError, match="no ledger") as raised:
        Ledger(path)
    assert raised.value.reason is Reason.KEY_MISSING
    assert not path.exists()


def test_a_file_that_is_no_ledger_or_a_newer_one_is_refused(path: Path) -> None:
    path.write_bytes(b"something else" * 100)
    with pytest.raises(PreconditionError, match="damaged"):
        Ledger(path)
    path.unlink()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {module.STORE_VERSION + 1}")
    newer.close()
    with pytest.raises(PreconditionError) as raised:
        Ledger(path)
    assert raised.value.reason is Reason.STORE_VERSION


def test_a_ledger_that_another_process_locks_is_busy(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS_MAX", 0.05)
    waiting = Ledger(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConflictError) as raised:
        book(waiting, 1)
    assert raised.value.reason is Reason.STORE_BUSY
    other.execute("ROLLBACK")
    other.close()
    assert book(waiting, 1) == 9
    waiting.close()
    assert ledger.spent("anhui") == {("2026-11", PHONE): 1}


def test_a_full_disk_is_said_and_books_nothing(path: Path, ledger: Ledger) -> None:
    (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    booked = 0

    def fill() -> None:
        nonlocal booked
        while True:
            book(ledger, 1, pass_id=f"{booked:04}" + "x" * 200)
            booked += 1

    with pytest.raises(KinlinkError) as raised:
        fill()
    assert raised.value.reason is Reason.DISK_FULL
    again = Ledger(path)
    assert len(again.spent("anhui")) == len(ledger.spent("anhui")) == booked
    again.close()


def test_epochs_are_remembered_after_they_are_retired(ledger: Ledger) -> None:
    ledger.note_created("2026-11")
    ledger.note_created("2026-12")
    ledger.note_retired("2026-11")
    ledger.note_retired("2026-10")  # its creation was lost in a crash
    found = {each.name: bool(each.retired_at) for each in ledger.epochs()}
    assert list(found) == ["2026-12", "2026-11", "2026-10"]
    assert found == {"2026-12": False, "2026-11": True, "2026-10": True}
