"""Record tags open for their pair and side alone, and say nothing else."""

from __future__ import annotations

import numpy as np
from kinlink_core.encoding.record_tags import open_record_tags, seal_record_tags
from unit.encoding.drawn import seeds

ROWS = 200
SEEDS = seeds(ROWS)
OTHERS = SEEDS.take(np.roll(np.arange(ROWS), 1))
NONE = SEEDS.take(np.empty(0, np.int64))
TAGS = np.random.default_rng(1).integers(0, 256, (ROWS, 16), np.uint8)


def test_a_tag_opens_for_its_pair_and_side_alone() -> None:
    for of_left in (True, False):
        sealed = seal_record_tags(SEEDS, TAGS, of_left=of_left)
        assert sealed.shape == (ROWS, 32)
        tags, genuine = open_record_tags(SEEDS, sealed, of_left=of_left)
        assert genuine.all()
        assert (tags == TAGS).all()
        assert not open_record_tags(SEEDS, sealed, of_left=not of_left)[1].any()
        assert not open_record_tags(OTHERS, sealed, of_left=of_left)[1].any()


def test_a_bit_that_was_changed_anywhere_is_noticed() -> None:
    sealed = seal_record_tags(SEEDS, TAGS, of_left=True)
    for byte in range(32):
        forged = sealed.copy()
        forged[:, byte] ^= 1
        assert not open_record_tags(SEEDS, forged, of_left=True)[1].any()


def test_the_same_record_looks_different_in_every_pair() -> None:
    sealed = seal_record_tags(SEEDS, np.repeat(TAGS[:1], ROWS, axis=0), of_left=True)
    ones = np.unpackbits(sealed, axis=1).mean(axis=0)
    assert len(np.unique(sealed, axis=0)) == ROWS
    assert np.abs(ones - 0.5).max() < 6 * 0.5 / np.sqrt(ROWS)


def test_no_tags_are_sealed_and_opened_as_easily() -> None:
    nothing = seal_record_tags(NONE, np.empty((0, 16), np.uint8), of_left=True)
    assert nothing.shape == (0, 32)
    tags, genuine = open_record_tags(NONE, nothing, of_left=True)
    assert tags.shape == (0, 16)
    assert genuine.shape == (0,)
