"""Both registries draw the same pairs without a word to each other."""

from __future__ import annotations

import numpy as np
from kinlink_core.encoding import chance, keys
from unit.encoding.drawn import blocks

CONTEXT = keys.Context(keys.MODE_PLAIN, "test", "e1", "f" * 64)
SCHEDULE = keys.KeySchedule(CONTEXT, keys.EpochSecret("e1", bytes(32)))
PAIR_KEY = b"k" * 32


def test_both_sides_draw_equally_many_pairs_under_equal_keys() -> None:
    one = chance.draw(SCHEDULE, PAIR_KEY, "a", blocks(300), 500)
    other = chance.draw(SCHEDULE, PAIR_KEY, "b", blocks(500, "b"), 300)
    assert (one.seeds.draw(b"x", 16) == other.seeds.draw(b"x", 16)).all()
    assert len(one.index) == len(other.index) == 300 * chance.ROUNDS_MAX


def test_a_round_uses_a_record_at_most_once() -> None:
    draw = chance.draw(SCHEDULE, PAIR_KEY, "a", blocks(300), 200)
    for start in range(0, len(draw.index), 200):
        assert len(set(draw.index[start : start + 200].tolist())) == 200


def test_asking_again_gives_the_same_pairs_and_new_records_shift_few() -> None:
    before = blocks(1000)
    one = chance.draw(SCHEDULE, PAIR_KEY, "a", before, 100)
    assert (one.index == chance.draw(SCHEDULE, PAIR_KEY, "a", before, 100).index).all()
    more = chance.draw(SCHEDULE, PAIR_KEY, "a", np.concatenate([before, blocks(1, "new")]), 100)
    kept = set(one.index[:100].tolist()) & set(more.index[:100].tolist())
    assert len(kept) >= 99


def test_the_sample_is_bounded_and_an_empty_registry_draws_nothing() -> None:
    draw = chance.draw(SCHEDULE, PAIR_KEY, "a", blocks(40_000), 50_000)
    assert len(draw.index) == chance.CHANCE_PAIRS_MAX
    assert len(chance.draw(SCHEDULE, PAIR_KEY, "a", blocks(0), 10).index) == 0
    assert not chance.draw(SCHEDULE, PAIR_KEY, "a", blocks(10), 0).seeds


def test_another_registry_pair_has_other_keys() -> None:
    one = chance.draw(SCHEDULE, PAIR_KEY, "a", blocks(10), 10)
    other = chance.draw(SCHEDULE, b"x" * 32, "a", blocks(10), 10)
    assert len(one.seeds) == len(other.seeds) > 0
    assert not (one.seeds.draw(b"x", 16) == other.seeds.draw(b"x", 16)).all(axis=1).any()
