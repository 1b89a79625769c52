"""Durable persons: the same partition has the same ids, merges and splits are remembered."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_linker.persons import NOBODY, Change, Persons, assign

MEMBERS = 24
edges = st.lists(st.tuples(st.integers(0, MEMBERS - 1), st.integers(0, MEMBERS - 1)), max_size=40)


def name(links: list[tuple[int, int]], before: Persons | None = None) -> Persons:
    """Persons of all members, starting from who they were."""
    numbers = itertools.count()
    prefix = "" if before is None else "new-"
    left = np.array([link[0] for link in links], np.int64)
    right = np.array([link[1] for link in links], np.int64)
    if before is None:
        return assign(left, right, np.full(MEMBERS, NOBODY), [], lambda: f"{prefix}{next(numbers)}")
    return assign(left, right, before.component, before.ids, lambda: f"{prefix}{next(numbers)}")


def ids(persons: Persons) -> list[str]:
    return [persons.ids[each] for each in persons.component]


@settings(deadline=None)
@given(edges)
def test_the_same_partition_keeps_its_ids(links: list[tuple[int, int]]) -> None:
    first = name(links)
    again = name(list(reversed(links)), first)
    assert ids(again) == ids(first)
    assert again.history == []


@settings(deadline=None)
@given(edges, edges)
def test_no_id_stands_for_two_persons_and_no_person_has_two(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    persons = name(after, name(before))
    assert len(set(persons.ids)) == len(persons.ids)


@settings(deadline=None)
@given(edges, edges)
def test_a_person_keeps_its_id_where_most_of_its_members_had_it(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    old = name(before)
    new = name(after, old)
    sizes = {each: ids(old).count(each) for each in old.ids}
    for person in set(ids(new)):
        members = [m for m in range(MEMBERS) if ids(new)[m] == person]
        had = [ids(old)[m] for m in members]
        best = max(set(had), key=had.count)
        # An id of which more than half lives on in one component belongs to that component,
        # if no other id is as frequent there.
        if had.count(best) * 2 > sizes[best] and had.count(best) * 2 > len(members):
            assert person == best


def test_a_merge_keeps_the_bigger_persons_id_and_remembers_the_other() -> None:
    before = name([(0, 1), (1, 2), (3, 4)])
    big, small = ids(before)[0], ids(before)[3]
    after = name([(0, 1), (1, 2), (3, 4), (2, 3)], before)
    assert {ids(after)[member] for member in range(5)} == {big}
    assert [(e.change, e.person_id, e.other_id, e.members) for e in after.history] == [
        (Change.MERGED, small, big, 2)
    ]


def test_a_split_leaves_the_id_with_most_members_and_remembers_the_rest() -> None:
    before = name([(0, 1), (1, 2), (2, 3), (3, 4)])
    person = ids(before)[0]
    after = name([(0, 1), (1, 2), (3, 4)], before)
    assert [ids(after)[member] for member in range(3)] == [person] * 3
    assert ids(after)[3] == ids(after)[4] != person
    (entry,) = after.history
    assert (entry.change, entry.person_id, entry.members) == (Change.SPLIT, person, 2)
    assert entry.other_id == ids(after)[3]


def test_a_person_whose_members_are_gone_has_ended() -> None:
    persons = assign(
        np.array([0]), np.array([1]), np.array([0, 0]), ["kept", "gone"], lambda: "never"
    )
    assert persons.ids == ["kept"]
    assert [(entry.change, entry.person_id) for entry in persons.history] == [
        (Change.ENDED, "gone")
    ]


def test_nobody_is_linked_and_nobody_was() -> None:
    nothing = np.empty(0, np.int64)
    assert assign(nothing, nothing, nothing, []).ids == []
