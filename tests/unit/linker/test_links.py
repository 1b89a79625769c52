"""Links: ids, merging of passes, thresholds, one-to-one, pages, the store's versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.errors import InvalidInputError, KinlinkError, PreconditionError, Reason
from kinlink_core.wire import Side
from kinlink_linker.domain import PairState, Seeker, Verdict, ids_of
from kinlink_linker.duck import DuckLimits, is_own_fault, naming_faults
from kinlink_linker.link_query import LinkFilter, LinkOrder
from kinlink_linker.link_table import LinkTable
from kinlink_linker.links import (
    LinkRule,
    ScoredPairs,
    link_id,
    merge,
    probability_of,
    seekers_of,
    weight_of,
)
from kinlink_linker.migrations import MIGRATIONS
from kinlink_linker.store import Store
from unit.linker.centre import centre, registries
from unit.linker.fake_registry import as_ids, digest

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = DuckLimits("128MB", 1)


def scored(weights: list[float]) -> ScoredPairs:
    count = len(weights)
    handles = as_ids([digest("handle", number) for number in range(count)])
    empty = np.zeros((count, 32), np.uint8)
    weight = np.array(weights)
    pairs = ScoredPairs(
        "a",
        "b",
        np.zeros(count, np.uint16),
        handles,
        handles,
        empty,
        empty,
        np.zeros((count, 3), np.uint8),
        weight,
        1 / (1 + 2.0**-weight),
    )
    return ScoredPairs.concatenate([pairs])


def subjects(numbers: list[int]) -> np.ndarray:
    return as_ids([digest("subject", number) for number in numbers])


def test_of_several_pairs_of_the_same_subjects_the_best_is_kept() -> None:
    found = merge(
        scored([1.0, 5.0, 3.0, 4.0]),
        subjects([1, 2, 1, 2]),
        subjects([1, 2, 1, 2]),
        LinkRule(4.5, one_to_one=False),
        seekers=np.array([2, 1, 2, 2], np.uint8),
    )
    assert found.weight.tolist() == [5.0, 4.0]
    assert found.linked.tolist() == [True, False]
    # Those of the best pairs; `scored` sorts by weight.
    assert found.seeker.tolist() == [2, 1]


def test_whose_case_it_is_follows_only_where_both_registries_say_opposite_sides() -> None:
    wants, shows, unsaid = Side.WANTS, Side.SHOWS, Side.UNSAID
    left = np.array([wants, shows, wants, shows, unsaid, wants], np.uint8)
    right = np.array([shows, wants, wants, shows, shows, unsaid], np.uint8)
    found = seekers_of(left, right)
    assert found.tolist() == [Seeker.LEFT, Seeker.RIGHT, *[Seeker.NOBODY] * 4]


def test_one_to_one_takes_the_best_pair_of_each_subject() -> None:
    found = merge(
        scored([9.0, 8.0, 7.0, 6.0]),
        subjects([1, 1, 2, 3]),
        subjects([1, 2, 2, 2]),
        LinkRule(5.0, one_to_one=True),
        seekers=np.zeros(4, np.uint8),
    )
    assert found.linked.tolist() == [True, False, True, False]


def test_of_equally_good_pairs_the_smaller_link_id_is_taken_in_whatever_order_they_come() -> None:
    rule, left, right = LinkRule(0, one_to_one=True), subjects([1, 1]), subjects([2, 3])
    assert rule.linked(left, right, np.ones(2), lambda: ["a", "b"]).tolist() == [True, False]
    assert rule.linked(left, right, np.ones(2), lambda: ["b", "a"]).tolist() == [False, True]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.floats(-9, 9)), max_size=30),
    st.floats(-9, 9),
)
def test_one_to_one_never_links_a_subject_twice_and_wastes_no_pair(
    pairs: list[tuple[int, int, float]], threshold: float
) -> None:
    pairs = sorted(pairs, key=lambda pair: -pair[2])
    left = subjects([one for one, _, _ in pairs]) if pairs else ids_of(np.empty((0, 16), np.uint8))
    right = subjects([two for _, two, _ in pairs]) if pairs else left
    weight = np.array([each for _, _, each in pairs])
    names = [f"{row:04}" for row in range(len(pairs))]
    linked = LinkRule(threshold, one_to_one=True).linked(left, right, weight, lambda: names)
    lefts = [pairs[row][0] for row in np.flatnonzero(linked)]
    rights = [pairs[row][1] for row in np.flatnonzero(linked)]
    assert len(set(lefts)) == len(lefts)
    assert len(set(rights)) == len(rights)
    for row, (one, two, each) in enumerate(pairs):
        if each >= threshold and not linked[row]:
            assert one in lefts or two in rights


@settings(deadline=None)
@given(st.floats(-40, 40))
def test_weight_and_probability_are_one_scale(weight: float) -> None:
    assert weight_of(probability_of(weight)) == pytest.approx(weight, abs=1e-3)


def test_a_link_id_depends_on_both_subjects_and_registries() -> None:
    one, other = bytes(16), bytes(range(16))
    ids = {
        link_id("a", one, "b", other),
        link_id("a", other, "b", one),
        link_id("a", one, "c", other),
        link_id("ab", one, "", other),
    }
    assert len(ids) == 4
    assert link_id("a", one, "b", other) == link_id("a", one, "b", other)


@pytest.mark.parametrize("order", list(LinkOrder))
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pages_hold_every_link_once_and_in_order(
    tmp_path: Path, order: LinkOrder, size: int
) -> None:
    with centre(tmp_path, registries("a", "b", "c", people=range(8))) as made:
        made.succeed()
        found, token = [], ""
        while True:
            page = made.node.links.page(LinkFilter(), order, size, token)
            assert page.total == 24
            found += page.links
            token = page.next_token
            if not token:
                break
        assert len({link.id for link in found}) == len(found) == 24
        weights = [link.weight for link in found]
        if order is LinkOrder.WEIGHT_DESC:
            assert weights == sorted(weights, reverse=True)
        if order is LinkOrder.WEIGHT_ASC:
            assert weights == sorted(weights)
        streamed = [link for batch in made.node.links.stream(LinkFilter()) for link in batch]
        assert {link.id for link in streamed} == {link.id for link in found}


def test_a_page_token_of_another_list_is_refused(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b", people=range(5))) as made:
        made.succeed()
        token = made.node.links.page(LinkFilter(), LinkOrder.WEIGHT_DESC, 2, "").next_token
        for chosen, order, text in (
            (LinkFilter(registry="a"), LinkOrder.WEIGHT_DESC, token),
            (LinkFilter(), LinkOrder.WEIGHT_ASC, token),
            (LinkFilter(), LinkOrder.WEIGHT_DESC, "nonsense"),
            (LinkFilter(), LinkOrder.WEIGHT_DESC, "x" * 10_000),
            (LinkFilter(), LinkOrder.WEIGHT_DESC, "WzFd"),
        ):
            with pytest.raises(InvalidInputError):
                made.node.links.page(chosen, order, 2, text)


def test_filters_choose_what_they_say(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b", "c", people=range(4))) as made:
        linkage = made.succeed()

        def found(**chosen: object) -> int:
            page = made.node.links.page(LinkFilter(**chosen), LinkOrder.WEIGHT_DESC, 0, "")
            assert page.total == len(page.links)
            return page.total

        link = made.node.links.page(LinkFilter(), LinkOrder.WEIGHT_DESC, 1, "").links[0]
        assert found() == found(linkage_id=linkage.id) == 12
        assert found(linkage_id="another") == 0
        assert found(registry="b") == 8
        assert found(registry="nowhere") == 0
        assert found(person_id=link.person_id) == 3
        assert found(probability_min=0.999999999) == 0
        assert found(probability_max=0.5) == 0
        made.node.decide(link.id, Verdict.REJECTED, "", "officer")
        assert found() == 11
        assert found(undecided_only=True) == 11
        assert found(verdicts=(Verdict.REJECTED,)) == 1
        assert found(verdicts=(Verdict.CONFIRMED,)) == 0
        # What was ruled out is shown to who asks for it.
        assert found(include_disclosed=True) == 11
        assert found(include_disclosed=True, states=tuple(PairState)) == 12
        assert found(states=(PairState.RULED_OUT,)) == 1


def test_the_evidence_and_the_prior_add_up_to_the_weight(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b", people=range(4))) as made:
        made.succeed()
        link = made.node.links.page(LinkFilter(), LinkOrder.WEIGHT_DESC, 1, "").links[0]
        explained = made.node.explain(link.id)
        total = explained.prior_weight + sum(each.weight for each in explained.evidence)
        assert total == pytest.approx(link.weight)


def test_a_store_of_an_older_version_is_migrated_and_keeps_what_it_holds(tmp_path: Path) -> None:
    old = Store(tmp_path, LIMITS)
    with old.writing() as cursor:
        cursor.execute("INSERT INTO erased VALUES ('kept')")
    old.close()
    newer = (*MIGRATIONS, "ALTER TABLE erased ADD COLUMN why VARCHAR DEFAULT 'old'")
    new = Store(tmp_path, LIMITS, newer)
    with new.reading() as cursor:
        assert cursor.execute("SELECT * FROM erased").fetchall() == [("kept", "old")]
    new.close()
    with pytest.raises(PreconditionError) as raised:
        Store(tmp_path, LIMITS)
    assert raised.value.reason is Reason.STORE_VERSION


def test_a_verdict_of_an_older_store_is_about_the_levels_of_its_link(tmp_path: Path) -> None:
    old = Store(tmp_path, LIMITS, MIGRATIONS[:3])
    with old.writing() as cursor:
        cursor.execute(
            "INSERT INTO link VALUES ('id', 'lk', 'e', 'a', 'x', 'b', 'y', 1, 0.7, true, false,"
            " true, 'p', '\\x01\\x02'::BLOB, 'lk', TIMESTAMP '2026-11-20')"
        )
        cursor.execute(
            "INSERT INTO verdict VALUES ('id', 'REJECTED', 'why', 'li', TIMESTAMP '2026-11-20')"
        )
    old.close()
    new = Store(tmp_path, LIMITS)
    table = LinkTable(new, ["a", "b"], ["sex", "dob"])
    known = table.get("id").link
    assert (known.state, known.seeker, known.ruled_out_by) == (
        PairState.RULED_OUT,
        Seeker.NOBODY,
        None,
    )
    with new.writing() as cursor:
        cursor.execute("UPDATE link SET levels = '\\x01\\x00'::BLOB")
    found = table.get("id").link
    assert (found.state, found.changed_fields) == (PairState.RETURNED, ("dob",))
    new.close()


def test_a_failed_migration_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    Store(tmp_path, LIMITS).close()
    with pytest.raises(Exception, match="log of this process"):
        Store(tmp_path, LIMITS, (*MIGRATIONS, "DROP TABLE erased; SELECT nonsense FROM nowhere"))
    again = Store(tmp_path, LIMITS)
    with again.reading() as cursor:
        assert cursor.execute("SELECT count(*) FROM erased").fetchall() == [(0,)]
    again.close()


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path, LIMITS)

    def half() -> None:
        with store.writing() as cursor:
            cursor.execute("INSERT INTO erased VALUES ('half')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    with store.reading() as cursor:
        assert cursor.execute("SELECT count(*) FROM erased").fetchall() == [(0,)]
    store.close()


def test_the_store_holds_no_handle_no_token_and_nothing_sealed(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(6))
    with centre(tmp_path, fakes) as made:
        made.succeed()
    secrets = {bytes(handle) for fake in fakes for handle in fake.handles}
    secrets |= {row[4] for fake in fakes for row in fake.feed}
    content = (tmp_path / "linker.duckdb").read_bytes()
    assert all(secret not in content for secret in secrets)
    with duckdb.connect(str(tmp_path / "linker.duckdb"), read_only=True) as file:
        dump = str([file.execute(f"SELECT * FROM {t}").fetchall() for t in ("link", "outbox")])
    assert all(str(secret)[2:-1] not in dump for secret in secrets)
    # The control: subjects are there, so the search would find what is.
    subject = next(iter(fakes[0].subjects.values()))
    assert str(subject)[2:-1] in dump


def test_a_second_linker_on_the_same_home_is_told_that_it_is_busy(tmp_path: Path) -> None:
    import subprocess
    import sys

    store = Store(tmp_path, LIMITS)
    script = (
        "from pathlib import Path; from kinlink_linker.store import Store;"
        "from kinlink_linker.duck import DuckLimits;"
        f"Store(Path({str(tmp_path)!r}), DuckLimits('64MB', 1))"
    )
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    store.close()
    assert "Another process has linker.duckdb open" in other.stderr


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), Reason.DISK_FULL),
        (duckdb.IOException("Could not write: No space left on device"), Reason.DISK_FULL),
        (duckdb.IOException("Could not set lock on file"), Reason.STORE_BUSY),
        (duckdb.ConversionException("anything"), Reason.INTERNAL),
    ],
)
def test_faults_of_a_store_are_named_and_are_not_taken_for_a_peers(
    error: Exception, reason: Reason
) -> None:
    with pytest.raises(KinlinkError) as raised, naming_faults("linker.duckdb"):
        raise error
    assert raised.value.reason is reason
    assert is_own_fault(raised.value)
