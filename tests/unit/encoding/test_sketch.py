"""Sketches estimate angles, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.encoding.sketch import (
    SKETCH_BYTES,
    Sketcher,
    band_positions,
    bands,
    hamming_fraction,
    hash_sketch,
)

KEY = bytes(range(32))


def sets_at_cosine(size: int, shared: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    common = [f"c{i}" for i in range(shared)]
    return (
        tuple(common + [f"a{i}" for i in range(size - shared)]),
        tuple(common + [f"b{i}" for i in range(size - shared)]),
    )


def test_the_distance_is_the_angle_of_the_token_sets_whatever_their_size() -> None:
    expected = np.arccos(0.75) / np.pi
    measured = []
    for size in (4, 8, 16, 40):
        distances = []
        for seed in range(20):
            one, other = Sketcher(KEY + bytes([seed])).sketch(
                list(sets_at_cosine(size, size * 3 // 4))
            )
            distances.append(hamming_fraction(one[None], other[None])[0])
        measured.append(np.mean(distances))
    # 20 × 2,048 bits: a standard error of 0.0021; four of them, and a spread of at most 0.02.
    assert np.allclose(measured, expected, atol=0.0085)
    assert np.ptp(measured) <= 0.02


def test_equal_sets_have_equal_sketches_and_disjoint_sets_are_at_one_half() -> None:
    sketcher = Sketcher(KEY)
    a, b, c = sketcher.sketch([("x", "y", "z"), ("z", "y", "x"), ("p", "q", "r")])
    assert (a == b).all()
    assert abs(hamming_fraction(a[None], c[None])[0] - 0.5) < 4 * 0.5 / np.sqrt(2048)


def test_another_key_gives_an_unrelated_sketch() -> None:
    one = Sketcher(KEY).sketch([("x", "y")])
    other = Sketcher(bytes(32)).sketch([("x", "y")])
    assert abs(hamming_fraction(one, other)[0] - 0.5) < 4 * 0.5 / np.sqrt(2048)


def test_an_empty_set_is_all_zeros_among_others() -> None:
    sketches = Sketcher(KEY).sketch([("x",), (), ("y",)])
    assert not sketches[1].any()
    assert sketches[0].any()
    assert sketches.shape == (3, SKETCH_BYTES)


def test_a_sketch_does_not_depend_on_its_batch() -> None:
    sets = [tuple(f"t{i}{j}" for j in range(5)) for i in range(400)]
    together = Sketcher(KEY).sketch(sets)
    sketcher = Sketcher(KEY)
    alone = np.concatenate([sketcher.sketch([tokens]) for tokens in sets])
    assert (together == alone).all()


def test_equal_categories_have_equal_bits_and_others_differ_in_half() -> None:
    a, b, c = (hash_sketch(KEY, value)[None] for value in (b"m", b"m", b"f"))
    assert (a == b).all()
    assert abs(hamming_fraction(a, c)[0] - 0.5) < 4 * 0.5 / np.sqrt(2048)


@settings(max_examples=20)
@given(st.integers(1, 64), st.binary(min_size=1, max_size=8))
def test_band_positions_are_distinct_and_follow_the_label(bits: int, label: bytes) -> None:
    positions = band_positions(KEY, label, bits)
    assert len(set(positions.tolist())) == bits
    assert (positions == band_positions(KEY, label, bits)).all()
    sketches = Sketcher(KEY).sketch([("x", "y"), ("x", "z")])
    assert bands(sketches, positions).shape == (2, (bits + 7) // 8)
