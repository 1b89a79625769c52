"""Which registries draw random pairs with each other."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from kinlink_linker.chance import CHANCE_PAIRS_ENOUGH, drawing_pairs


def registries(count: int, records: int) -> tuple[list[tuple[str, str]], dict[str, int]]:
    names = [f"r{number:02d}" for number in range(count)]
    return list(combinations(names, 2)), dict.fromkeys(names, records)


@pytest.mark.parametrize(("count", "records"), [(2, 500_000), (3, 341_000), (8, 33_000), (31, 40)])
def test_all_pairs_draw_where_that_is_not_more_than_enough(count: int, records: int) -> None:
    pairs, sizes = registries(count, records)
    assert drawing_pairs(pairs, sizes) == pairs


@pytest.mark.parametrize(("count", "records"), [(31, 33_000), (31, 1_000), (100, 1_000_000)])
def test_of_many_registries_each_draws_equally_often(count: int, records: int) -> None:
    pairs, sizes = registries(count, records)
    chosen = drawing_pairs(pairs, sizes)
    assert set(chosen) < set(pairs)
    assert len(set(chosen)) == len(chosen)
    often = Counter(name for pair in chosen for name in pair)
    assert set(often) == set(sizes)
    assert len(set(often.values())) == 1
    # Half of 16,384 pairs, or of 8 rounds, is what a draw gives at least.
    assert len(chosen) * min(8_192, 4 * records) >= CHANCE_PAIRS_ENOUGH


def test_registries_that_are_kept_apart_do_not_draw_with_each_other() -> None:
    pairs, sizes = registries(31, 33_000)
    apart = drawing_pairs(pairs, sizes)[0]
    chosen = drawing_pairs([pair for pair in pairs if pair != apart], sizes)
    assert apart not in chosen
    assert {name for pair in chosen for name in pair} == set(sizes)
