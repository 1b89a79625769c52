"""Arrivals and changes leave in rounds, a record's passes apart from each other."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from kinlink_registry import app, rounds
from kinlink_registry.home import Home
from unit.registry.rig import EPOCH, Rig, must, people, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_registry.node import Node

DAY_SECONDS = 24 * 3600
PASSES = 2
FIRST, LATE = range(100), range(100, 160)


@dataclass(frozen=True)
class State:
    """What the feed tells, and what waits for a round."""

    handles: int
    waiting: int
    tombstones: int
    held: int


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    home = made.registry("anhui", toml="[rounds]\nrecords_min = 40\nwait_hours = 12\n")
    must(home, "keys", "create", EPOCH)
    made.fill(home, people(*FIRST))
    return made


@contextmanager
def opened(rig: Rig) -> Iterator[Node]:
    with app.opened(Home(rig.homes["anhui"])) as node:
        yield node


def state(rig: Rig) -> State:
    with opened(rig) as node, node.vault.reading() as session:
        return State(
            session.value("SELECT count(*) FROM handle WHERE level = 0"),
            rounds.waiting(session),
            session.value("SELECT count(*) FROM tombstone WHERE sequence > 0"),
            session.value("SELECT count(*) FROM tombstone WHERE sequence = 0"),
        )


def release(node: Node, now: float) -> int:
    with node.vault.writing() as session:
        return rounds.release(session, node.rounds, int(now))


def test_the_first_load_leaves_at_once(rig: Rig) -> None:
    assert state(rig) == State(len(FIRST) * PASSES, 0, 0, 0)


def test_a_later_small_load_waits_and_a_large_one_does_not(rig: Rig) -> None:
    rig.fill(rig.homes["anhui"], people(*LATE))
    assert state(rig) == State(len(FIRST) * PASSES, len(LATE), 0, 0)
    with opened(rig) as node:
        assert not replace(node.rounds, bulk_records=len(LATE)).hold(len(LATE))
        assert node.rounds.hold(len(LATE))


def test_the_passes_of_a_record_draw_moments_of_their_own(rig: Rig) -> None:
    rig.fill(rig.homes["anhui"], people(*LATE))
    with opened(rig) as node, node.vault.reading() as session:
        now = time.time()
        spans = session.rows(
            "SELECT max(due) - min(due), min(due), max(due) FROM waiting GROUP BY ref"
        )
    assert sum(span > 600 for span, _, _ in spans) > 0.9 * len(LATE)
    assert all(now - 60 <= low <= high <= now + DAY_SECONDS for _, low, high in spans)


def test_a_round_waits_for_enough_records_but_not_for_ever(rig: Rig) -> None:
    rig.fill(rig.homes["anhui"], people(*LATE))
    with opened(rig) as node:
        with node.vault.reading() as session:
            ((tenth,),) = session.rows(
                "SELECT due FROM (SELECT ref, min(due) AS due FROM waiting GROUP BY ref)"
                " ORDER BY due LIMIT 1 OFFSET 9"
            )
        assert release(node, tenth) == 0
        assert release(node, tenth + 12 * 3600) >= 10
        assert release(node, time.time() + 2 * DAY_SECONDS) > 0
    assert state(rig) == State((len(FIRST) + len(LATE)) * PASSES, 0, 0, 0)


def test_a_waiting_record_that_is_deleted_never_leaves(rig: Rig) -> None:
    home = rig.homes["anhui"]
    rig.fill(home, people(*LATE))
    must(home, "ingest", "--delete", home / "input.csv")
    assert state(rig) == State(len(FIRST) * PASSES, 0, 0, 0)


def test_the_old_handles_of_a_changed_record_wait_as_its_new_ones_do(rig: Rig) -> None:
    home = rig.homes["anhui"]
    changed = people(*range(5))
    for row in changed:
        row["given"] = "quentin"
    rig.fill(home, changed)
    assert state(rig) == State(95 * PASSES, 5, 0, 5 * PASSES)
    with opened(rig) as node:
        assert release(node, time.time() + 2 * DAY_SECONDS) == 5
    assert state(rig) == State(100 * PASSES, 0, 5 * PASSES, 0)


def test_a_deletion_is_told_at_once_with_all_that_waited(rig: Rig) -> None:
    home = rig.homes["anhui"]
    changed = people(3)
    changed[0]["given"] = "quentin"
    rig.fill(home, changed)
    must(home, "ingest", "--delete", home / "input.csv")
    assert state(rig) == State(99 * PASSES, 0, PASSES, 0)


def test_an_urgent_case_leaves_in_one_pass_alone(rig: Rig) -> None:
    rig.fill(rig.homes["anhui"], people(*LATE))
    with opened(rig) as node:
        with node.vault.reading() as session:
            ref = session.value("SELECT min(ref) FROM waiting")
        with node.vault.writing() as session:
            assert rounds.hasten(session, ref, 0) == 1
    assert state(rig) == State(len(FIRST) * PASSES + 1, len(LATE), 0, 0)


def test_an_officer_lets_a_record_leave_by_its_id_and_a_reason_for_the_audit(rig: Rig) -> None:
    home = rig.homes["anhui"]
    rig.fill(home, people(*LATE))
    with opened(rig) as node:
        first, second = (each.id for each in node.schema.passes)
    decision = ("urgent", "p120", "--pass", first, "--reason", "lost an hour ago")
    assert "1 left" in must(home, *decision)
    assert "Nothing of this record waits" in must(home, *decision)
    assert state(rig).handles == len(FIRST) * PASSES + 1
    assert "lost an hour ago" in (home / "audit.jsonl").read_text()
    for wrong in (
        ("urgent", "nobody", "--pass", second, "--reason", "x"),
        ("urgent", "p121", "--pass", "none", "--reason", "x"),
        ("urgent", "p121", "--pass", second, "--reason", " "),
    ):
        assert run(home, *wrong).exit_code != 0
