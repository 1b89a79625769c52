"""What is drawn for pairs is AES in CBC-MAC, as any library computes it."""

from __future__ import annotations

import os

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from kinlink_core.encoding.prf import Prf
from unit.encoding.drawn import blocks

KEY = bytes(range(32))
ROWS = 50
ISLANDS, LEFT, RIGHT = (blocks(ROWS, name) for name in ("island", "left", "right"))
SEEDS = Prf(KEY).pairs(ISLANDS, LEFT, RIGHT)


def cbc_mac(key: bytes, *parts: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(bytes(16))).encryptor()
    return encryptor.update(b"".join(parts))[-16:]


def label(purpose: bytes, number: int) -> bytes:
    return purpose.ljust(8, b"\0") + number.to_bytes(8, "little")


def test_draws_are_cbc_macs_of_island_handles_and_number() -> None:
    drawn = SEEDS.draw(b"seal", 40)
    assert drawn.shape == (ROWS, 40)
    for row in range(ROWS):
        head = [each[row].tobytes() for each in (ISLANDS, LEFT, RIGHT)]
        expected = b"".join(cbc_mac(KEY, *head, label(b"seal", n)) for n in range(3))
        assert drawn[row].tobytes() == expected[:40]


def test_macs_are_cbc_macs_of_one_block_more() -> None:
    found = SEEDS.mac(b"mac l", blocks(ROWS, "tag"))
    for row in range(ROWS):
        head = [each[row].tobytes() for each in (ISLANDS, LEFT, RIGHT)]
        tag = blocks(ROWS, "tag")[row].tobytes()
        assert found[row].tobytes() == cbc_mac(KEY, *head, label(b"mac l", 2**64 - 1), tag)


def test_an_island_is_a_pair_of_nobody() -> None:
    nobody = np.zeros_like(ISLANDS)
    drawn = Prf(KEY).islands(ISLANDS).draw(b"sample", 128)
    assert (drawn == Prf(KEY).pairs(ISLANDS, nobody, nobody).draw(b"sample", 128)).all()
    assert len(np.unique(drawn, axis=0)) == ROWS


def test_every_part_of_a_pair_changes_all_that_is_drawn() -> None:
    rng = np.random.default_rng(1)
    rows = 4000
    parts = [rng.integers(0, 256, (rows, 16), np.uint8) for _ in range(3)]
    drawn = Prf(KEY).pairs(*parts).draw(b"seal", 64)
    for changed in range(3):
        flipped = [part.copy() for part in parts]
        flipped[changed][:, rng.integers(16)] ^= 1
        differing = np.bitwise_count(drawn ^ Prf(KEY).pairs(*flipped).draw(b"seal", 64))
        assert abs(differing.mean() / 8 - 0.5) < 4 * np.sqrt(0.25 / (rows * 512))
    swapped = Prf(KEY).pairs(parts[0], parts[2], parts[1]).draw(b"seal", 64)
    assert not (swapped == drawn).all(axis=1).any()


def test_purposes_and_keys_draw_apart() -> None:
    other = Prf(os.urandom(32)).pairs(ISLANDS, LEFT, RIGHT)
    again = Prf(KEY).again(SEEDS)
    drawn = [each.tobytes() for each in (
        SEEDS.draw(b"seal", 16), SEEDS.draw(b"sieve", 16), other.draw(b"seal", 16),
        again.draw(b"seal", 16), SEEDS.mac(b"seal", LEFT),
    )]  # fmt: skip
    assert len(set(drawn)) == len(drawn)


def test_no_rows_are_drawn_as_easily() -> None:
    nothing = SEEDS.take(np.empty(0, np.int64))
    assert nothing.draw(b"seal", 40).shape == (0, 40)
    assert nothing.mac(b"seal", np.empty((0, 16), np.uint8)).shape == (0, 16)


def test_a_purpose_that_would_be_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        SEEDS.draw(b"too long a purpose", 16)


def test_nothing_secret_is_shown() -> None:
    assert repr(SEEDS) == f"Seeds({ROWS} ***)"
    assert repr(Prf(KEY)) == "Prf(***)"
