"""Standing search around its edges: who is away, what is decided, what is undone, restarts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_core.errors import Reason, UnavailableError
from kinlink_linker.changes import ChangeLog
from kinlink_linker.domain import LinkageState, Verdict
from kinlink_linker.duck import DuckLimits
from kinlink_linker.link_query import LinkFilter, LinkOrder
from kinlink_linker.migrations import MIGRATIONS
from kinlink_linker.person_table import PersonTable, rename_all
from kinlink_linker.persons import Change
from kinlink_linker.store import Store
from kinlink_linker.token_rows import Changes
from unit.linker.centre import Centre, centre, person, registries
from unit.linker.fake_registry import Person, as_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kinlink_linker.domain import Link

SECONDS_MAX = 20.0


def started(made: Centre) -> Centre:
    made.node.start(86_400)
    return made


def links(made: Centre, **chosen: object) -> list[Link]:
    page = made.node.links.page(LinkFilter(**chosen), LinkOrder.WEIGHT_DESC, 500, "")  # type: ignore[arg-type]
    return page.links


def becomes(check: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS_MAX
    while not check():
        assert time.monotonic() < until
        time.sleep(0.02)


def at_rest(made: Centre) -> bool:
    """Whether the feeds are read to their ends, and all of it was looked at."""
    status = made.node.standing.status()
    with made.node.sync.files.borrowed("2026-11") as file:
        read = all(
            file.position(name).sequence == fake.last_sequence for name, fake in made.fakes.items()
        )
    return read and not status.waiting and not status.oldest_seconds and not status.behind


def test_an_arrival_is_linked_published_and_joins_its_person(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(20))
    fakes[1].delete("b-7")
    with centre(tmp_path, fakes, standing=1) as made:
        started(made).succeed()
        assert len(links(made)) == 19
        fakes[1].add("b-7", person(7))
        becomes(lambda: len(links(made)) == 20)
        becomes(lambda: len(fakes[0].published) == 20)
        (told,) = [each for each in fakes[0].publications[-1:] if each.person_id]
        assert told.own_handle
        assert told.partner_handle
        assert made.node.persons.count() == 20


def test_without_the_setting_nothing_is_followed(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(5))
    with centre(tmp_path, fakes) as made:
        started(made).succeed()
        fakes[1].add("b-77", person(3))
        time.sleep(0.5)
        assert fakes[1].calls["follow"] == 0
        assert len(links(made)) == 5


def test_only_pairs_with_something_new_are_asked_for(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(50))
    with centre(tmp_path, fakes, standing=1) as made:
        started(made).succeed()
        before = sum(len(each.own) for each in fakes[0].asked["seal"])
        fakes[1].add("b-again", person(7))
        becomes(lambda: len(links(made)) == 51)
        becomes(lambda: at_rest(made))
        # Two passes at most, with the one record that is like it.
        assert sum(len(each.own) for each in fakes[0].asked["seal"]) - before <= 2


def test_a_change_that_ends_a_likeness_ends_the_link_and_its_way_back_restores_the_person(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", people=range(20))
    with centre(tmp_path, fakes, standing=1) as made:
        started(made).succeed()
        link = next(each for each in links(made) if each.subject_l == fakes[0].subject_of("a-7"))
        fakes[1].add("b-7", Person(700, "someone", "19990101", "zz"))
        becomes(lambda: len(links(made)) == 19)
        becomes(lambda: link.id not in fakes[0].published)
        fakes[1].add("b-7", person(7))
        becomes(lambda: len(links(made)) == 20)
        again = made.node.links.get(link.id).link
        assert again.person_id == link.person_id
        history = made.node.persons.history(link.person_id)
        assert [each.change for each in history] == [Change.ENDED, Change.RESTORED]


def test_a_verdict_taken_back_restores_who_was_who(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b", people=range(5))) as made:
        made.succeed()
        link = links(made)[0]
        made.node.decide(link.id, Verdict.REJECTED, "", "officer")
        assert link.person_id not in {each.person_id for each in links(made)}
        undone = made.node.decide(link.id, Verdict.UNSURE, "", "officer")
        assert undone.person_id == link.person_id
        history = made.node.persons.history(link.person_id)
        assert [each.change for each in history] == [Change.ENDED, Change.RESTORED]


def test_a_decided_link_stays_whatever_becomes_of_its_records(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(10))
    with centre(tmp_path, fakes, standing=1) as made:
        started(made).succeed()
        link = next(each for each in links(made) if each.subject_l == fakes[0].subject_of("a-7"))
        made.node.decide(link.id, Verdict.CONFIRMED, "", "officer")
        fakes[1].add("b-7", Person(700, "someone", "19990101", "zz"))
        becomes(lambda: at_rest(made))
        assert made.node.links.get(link.id).link.linked
        assert len(links(made)) == 10


def test_a_deleted_person_leaves_at_once_and_is_nobody_s_former_member(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(10))
    with centre(tmp_path, fakes, standing=1) as made:
        started(made).succeed()
        fakes[1].delete("b-7")
        becomes(lambda: len(links(made)) == 9)
        becomes(lambda: at_rest(made))
        with made.node._store.reading() as cursor:
            kept = cursor.execute("SELECT registry FROM former").fetchall()
        assert kept == [("a",)]


@pytest.mark.parametrize("method", ["prove", "sieve", "seal", "disclose"])
def test_changes_wait_for_a_registry_that_is_away_and_the_others_are_linked(
    tmp_path: Path, method: str
) -> None:
    fakes = registries("a", "b", "c", people=range(10))
    with centre(tmp_path, fakes, standing=1) as made:
        made.node.standing._retry_seconds = 0.2
        started(made).succeed()
        before = len(links(made))
        fakes[2].fail(method, UnavailableError(Reason.UNREACHABLE))
        fakes[0].add("a-new", person(77))
        fakes[1].add("b-new", person(77))
        fakes[2].add("c-new", person(77))
        becomes(lambda: len(links(made)) == before + 1)
        assert made.node.standing.status().oldest_seconds > 0
        fakes[2].before.clear()
        becomes(lambda: len(links(made)) == before + 3)
        becomes(lambda: at_rest(made))


def test_what_came_while_the_linker_was_down_is_caught_up(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(10))
    with centre(tmp_path, fakes, standing=1) as made:
        linkage = started(made).succeed()
    fakes[1].add("b-new", person(3))
    fakes[1].delete("b-4")
    with centre(tmp_path, fakes, standing=1) as made:
        started(made)
        becomes(lambda: made.node.standing.status().linkage_id == linkage.id)
        becomes(lambda: at_rest(made))
        assert len(links(made)) == 10
        assert {each.linkage_id for each in links(made)} == {linkage.id}
        fakes[1].add("b-back", person(4))
        becomes(lambda: len(links(made)) == 11)


def test_a_feed_that_began_anew_is_caught_up(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(10))
    with centre(tmp_path, fakes, standing=1) as made:
        started(made).succeed()
        fakes[1].reset()
        fakes[1].add("b-new", person(3))
        becomes(lambda: len(links(made)) == 11)
        becomes(lambda: at_rest(made))


def test_a_new_linkage_takes_over_what_is_followed(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(10))
    with centre(tmp_path, fakes, standing=1) as made:
        started(made).succeed()
        second = made.succeed()
        assert made.node.standing.status().linkage_id == second.id
        fakes[1].add("b-new", person(3))
        becomes(lambda: len(links(made)) == 11)
        assert {each.linkage_id for each in links(made)} == {second.id}


def test_changes_that_come_while_a_linkage_runs_are_not_lost(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(10))
    with centre(tmp_path, fakes, standing=1) as made:
        started(made)

        def arrives(_call: int) -> None:
            fakes[0].before.pop("disclose")
            fakes[1].add("b-new", person(3))
            fakes[1].delete("b-5")
            # Another linkage would read the feed only now; ours has its candidates already.
            made.node.sync.round({n: made.dial(n) for n in fakes_by_name}, made.node._stopping)

        fakes_by_name = made.fakes
        fakes[0].before["disclose"] = arrives
        assert made.link().state is LinkageState.SUCCEEDED
        becomes(lambda: at_rest(made))
        becomes(lambda: len(links(made)) == 10)


def test_a_store_from_before_remembers_from_now_on_who_somebody_was(tmp_path: Path) -> None:
    limits = DuckLimits("256MB", 1)
    old = Store(tmp_path, limits, MIGRATIONS[:2])
    with old.writing() as cursor:
        cursor.execute("INSERT INTO member VALUES ('a', 'x'::BLOB, 'p1'), ('b', 'y'::BLOB, 'p1')")
    old.close()
    store = Store(tmp_path, limits)
    with store.writing() as cursor:
        assert rename_all(cursor, "linkage") == []
        found = cursor.execute("SELECT registry, person_id FROM former ORDER BY 1").fetchall()
    assert found == [("a", "p1"), ("b", "p1")]
    assert [each.change for each in PersonTable(store).history("p1")] == [Change.ENDED]
    store.close()


def changes(rows: int) -> Changes:
    ids = as_ids([bytes(16)] * rows)
    return Changes("a", np.zeros(rows, np.uint16), ids, ids, np.ones(rows, bool))


def test_the_log_keeps_nothing_for_nobody_and_all_since_a_reader_s_place() -> None:
    log = ChangeLog()
    log.note("e", changes(3))
    log.hold("one")
    assert log.take("one", 0) == ([], False)
    log.note("e", changes(2))
    log.hold("two")
    log.note("e", changes(1))
    assert [each.changes.count for each in log.take("one", 0)[0] if each.changes] == [2, 1]
    assert [each.changes.count for each in log.take("two", 0)[0] if each.changes] == [1]
    assert log.oldest("one") is None


def test_a_log_that_grew_too_long_is_emptied_and_says_so() -> None:
    log = ChangeLog(rows_max=4)
    log.hold("one")
    log.note("e", changes(3))
    log.note("e", changes(3))
    assert log.take("one", 0) == ([], True)
    log.note("e", changes(3))
    assert len(log.take("one", 0)[0]) == 1


def test_a_reader_takes_over_the_place_of_another() -> None:
    log = ChangeLog()
    log.hold("linkage")
    log.note("e", changes(1))
    log.hold("standing")
    log.note("e", changes(2))
    assert log.inherit("standing", "linkage")
    assert [each.changes.count for each in log.take("standing", 0)[0] if each.changes] == [1, 2]
    assert not log.inherit("standing", "nobody")
