"""Bookings in memory say what those of the vault say, whatever was booked and whatever failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_registry import app
from kinlink_registry.home import Home
from kinlink_registry.quotas import _within
from unit.registry.rig import EPOCH, Rig, must, people

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_registry.bookings import Booked
    from kinlink_registry.node import Node

PARTNER = "henan"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    rig = Rig(tmp_path)
    home = rig.registry("anhui")
    must(home, "keys", "create", EPOCH)
    rig.fill(home, people(*range(10)))
    with app.opened(Home(home)) as opened:
        yield opened


def handles(*numbers: int) -> np.ndarray:
    rows = [np.random.default_rng(number).bytes(16) for number in numbers]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16)


def book(node: Node, refs: list[int], numbers: list[int], *, fails: bool = False) -> Booked:
    with node.booking() as session:
        epoch = node.epochs.served(session, EPOCH)
        ledger = node.bookings.towards(session, epoch, PARTNER)
        ledger.book(np.array(refs, np.int32), handles(*numbers))
        if fails:
            raise RuntimeError("the disk is full")
        return ledger.booked


def stored(node: Node) -> tuple[int, int]:
    """Rows and records in the vault."""
    with node.vault.reading() as session:
        return session.rows("SELECT count(*), count(DISTINCT ref) FROM sealed_toward")[0]


def test_what_is_booked_twice_stands_once(node: Node) -> None:
    book(node, [1, 1, 2, 1], [10, 11, 20, 10])
    booked = book(node, [2, 3, 3], [20, 30, 30])
    assert stored(node) == (4, 3)
    assert booked.records == 3
    assert booked.has_handles(handles(10, 11, 12, 20, 30)).tolist() == [1, 1, 0, 1, 1]
    assert booked.has_records(np.array([1, 2, 3, 4, 99], np.int32)).tolist() == [1, 1, 1, 0, 0]


def test_a_booking_that_fails_is_nowhere(node: Node) -> None:
    book(node, [1], [10])
    with pytest.raises(RuntimeError, match="disk is full"):
        book(node, [2], [20], fails=True)
    booked = book(node, [3], [30])
    assert stored(node) == (2, 2)
    assert booked.has_handles(handles(10, 20, 30)).tolist() == [1, 0, 1]
    assert not booked.has_records(np.array([2], np.int32)).any()


def test_after_a_restart_the_vault_tells_what_was_booked(node: Node) -> None:
    book(node, [1, 2], [10, 20])
    node.forget()
    booked = book(node, [], [])
    assert booked.records == 2
    assert booked.has_handles(handles(10, 20, 30)).tolist() == [1, 1, 0]


def test_a_quota_allows_new_handles_until_its_last_record_and_old_ones_after_it(
    node: Node,
) -> None:
    booked = book(node, [1], [10])
    refs = np.array([1, 2, 2, 3, 1, 2], np.int32)
    asked = handles(10, 20, 21, 30, 11, 22)
    assert _within(booked, refs, asked, 2).tolist() == [1, 1, 1, 0, 0, 0]
    assert _within(booked, refs, asked, 1).tolist() == [1, 0, 0, 0, 0, 0]
    assert _within(booked, refs, asked, 3).all()
