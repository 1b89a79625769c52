"""A proof of membership is bound to the island, who makes it and for whom, how many and the day."""

from __future__ import annotations

import numpy as np
import pytest
from kinlink_core.encoding import keys, membership
from kinlink_core.encoding.prf import Prf

ROWS = 40
DAY = 20_780
PRF = Prf(keys.membership_key(b"k" * 32))
KEYS = np.random.default_rng(1).integers(0, 256, (ROWS, 32), np.uint8)
SEEDS = membership.island_seeds(PRF, KEYS)
COUNTS = np.arange(1, ROWS + 1)
PROOFS = membership.prove(SEEDS, COUNTS, DAY, of_left=True)


def verified(**changes: object) -> np.ndarray:
    asked = {
        "seeds": SEEDS, "counts": COUNTS, "proofs": PROOFS, "day": DAY, "of_left": True, **changes
    }  # fmt: skip
    return membership.verify(**asked)  # type: ignore[arg-type]


def test_a_proof_holds_for_its_island_count_and_side_alone() -> None:
    assert verified().all()
    assert not verified(of_left=False).any()
    assert not verified(counts=COUNTS + 1).any()
    assert not verified(proofs=np.roll(PROOFS, 1, axis=0)).any()
    for half in (0, 31):
        other = KEYS.copy()
        other[:, half] ^= 1
        assert not verified(seeds=membership.island_seeds(PRF, other)).any()


def test_a_proof_for_one_registry_is_none_for_another() -> None:
    third = Prf(keys.membership_key(b"x" * 32))
    assert not verified(seeds=membership.island_seeds(third, KEYS)).any()


def test_a_proof_is_believed_a_day_before_and_after_its_own() -> None:
    believed = [day for day in range(DAY - 5, DAY + 6) if verified(day=day).all()]
    assert believed == [DAY - 1, DAY, DAY + 1]
    assert not verified(day=DAY + 2).any()


def test_a_forged_proof_is_refused_and_so_is_a_count_of_zero_or_too_many() -> None:
    assert not verified(proofs=np.zeros_like(PROOFS)).any()
    assert not verified(counts=np.zeros_like(COUNTS)).any()
    assert not verified(counts=COUNTS + 2**32).any()
    for count in (0, 2**32):
        with pytest.raises(ValueError, match="between 1 and"):
            membership.prove(SEEDS, np.full(ROWS, count), DAY, of_left=True)


def test_a_bit_that_was_changed_anywhere_is_noticed() -> None:
    for byte in range(membership.PROOF_BYTES):
        forged = PROOFS.copy()
        forged[:, byte] ^= 1
        assert not verified(proofs=forged).any()


def test_islands_are_what_two_registries_and_nobody_else_share() -> None:
    blocks = membership.island_blocks(SEEDS)
    other = membership.island_blocks(
        membership.island_seeds(Prf(keys.membership_key(b"x" * 32)), KEYS)
    )
    assert blocks.shape == (ROWS, 16)
    assert len(np.unique(np.concatenate([blocks, other, PROOFS]), axis=0)) == 3 * ROWS


def test_no_islands_are_proven_as_easily() -> None:
    nothing = membership.island_seeds(PRF, np.empty((0, 32), np.uint8))
    proofs = membership.prove(nothing, np.empty(0, np.int64), DAY, of_left=True)
    assert proofs.shape == (0, 16)
    assert not len(verified(seeds=nothing, counts=np.empty(0, np.int64), proofs=proofs))
