"""The histogram of match weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinlink_gateway.histogram import HEIGHT, TOP, WIDTH, draw_weights
from kinlink_gateway.linkage_quality import WeightBin

pairs_and_matches = st.integers(0, 10**6).flatmap(
    lambda pairs: st.tuples(st.just(pairs), st.integers(0, pairs))
)


def bins(counts: list[tuple[int, int]], low: int = -5) -> list[WeightBin]:
    return [
        WeightBin(low + i, low + i + 1, pairs, matches) for i, (pairs, matches) in enumerate(counts)
    ]


def test_without_pairs_there_is_no_picture() -> None:
    assert draw_weights([]) is None


@given(st.lists(pairs_and_matches, min_size=1, max_size=61))
def test_every_column_lies_inside_and_its_matches_inside_it(counts: list[tuple[int, int]]) -> None:
    drawn = draw_weights(bins(counts))
    assert drawn is not None
    for column in drawn.columns:
        assert 0 <= column.x <= column.x + column.width <= WIDTH
        assert TOP <= column.top <= column.matches_top <= TOP + HEIGHT


@pytest.mark.parametrize(("threshold", "shown"), [(0.5, True), (-40.0, False), (None, False)])
def test_a_threshold_outside_the_picture_is_left_out(
    threshold: float | None, *, shown: bool
) -> None:
    drawn = draw_weights(bins([(10, 0)] * 10), threshold)
    assert drawn is not None
    assert (drawn.threshold_x is not None) is shown
