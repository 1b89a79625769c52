"""The sieve keeps exactly the near pairs of different registries inside one island."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_linker.arrays import first_of_each, runs, slices_by_weight
from kinlink_linker.sieve import cross

islands = st.lists(st.integers(0, 9), max_size=30).map(sorted)


@settings(deadline=None)
@given(islands, islands, st.integers(1, 40))
def test_cross_gives_every_pair_of_members_of_one_island_once(
    left: list[int], right: list[int], at_once: int
) -> None:
    found = []
    for rows_l, rows_r in cross(np.array(left, np.int64), np.array(right, np.int64), at_once):
        found += zip(rows_l.tolist(), rows_r.tolist(), strict=True)
    expected = [
        (one, other)
        for one, other in itertools.product(range(len(left)), range(len(right)))
        if left[one] == right[other]
    ]
    assert sorted(found) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_each_distinct_row_is_found_where_it_stands_first(rows: list[tuple[int, int]]) -> None:
    found = first_of_each(np.array(rows, np.uint64).reshape(-1, 2)).tolist()
    assert found == sorted({row: rows.index(row) for row in rows}.values())


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=40), st.integers(1, 20))
def test_slices_cover_everything_in_order_and_stay_below_the_limit(
    weights: list[int], limit: int
) -> None:
    parts = list(slices_by_weight(np.array(weights, np.int64), limit))
    covered = [row for part in parts for row in range(part.start, part.stop)]
    assert covered == list(range(len(weights)))
    for part in parts:
        assert sum(weights[part]) <= limit or part.stop - part.start == 1


def test_runs_are_laid_one_after_another() -> None:
    found = runs(np.array([5, 0, 9]), np.array([2, 0, 3]))
    assert found.tolist() == [5, 6, 9, 10, 11]
