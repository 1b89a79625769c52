"""R17: does the distance of two values tell how long they are, at equal similarity?

The attacker is the linker: it sees sampled Hamming distances. If sketches of equal cosine differ
more for small token sets than for large ones, distances tell lengths. First design: rows of ±1
instead of Gaussian numbers, which spread the distance at one cosine from .25 to .34.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.schema import SKETCH_BITS
from kinlink_core.encoding.sketch import Sketcher, hamming_fraction

from redteam.results import Result

if TYPE_CHECKING:
    from redteam.setting import Setting

SIZES: Final = (2, 4, 8, 16, 32, 64)
# Shared tokens of two sets of n: half of them, whatever n is, so the cosine is one half.
SHARED_SHARE: Final = 0.5
PAIRS: Final = 400
PAIRS_QUICK: Final = 150
TARGET: Final = 0.02
CLASSICAL_MIN: Final = 0.04


def run(setting: Setting) -> list[Result]:
    """Largest less smallest mean distance over the sizes, at one cosine."""
    pairs = PAIRS_QUICK if setting.quick else PAIRS
    key = hashlib.sha256(b"R17 %d" % setting.seed).digest()
    gaussian = Sketcher(key)
    means, coarse = [], []
    for size in SIZES:
        left, right = _sets(size, pairs)
        means.append(hamming_fraction(gaussian.sketch(left), gaussian.sketch(right)).mean())
        coarse.append(hamming_fraction(_signs(key, left), _signs(key, right)).mean())
    return [
        Result(
            id="R17",
            title="distance spread at equal cosine by set size",
            setting=f"sets of {SIZES[0]} to {SIZES[-1]} tokens, {pairs} pairs each",
            seed=setting.seed,
            measure="largest less smallest mean distance",
            value=float(max(means) - min(means)),
            target=TARGET,
            classical=float(max(coarse) - min(coarse)),
            classical_min=CLASSICAL_MIN,
            unit="number",
            detail="Linker alone. First design: rows of plus and minus one.",
        )
    ]


def _sets(size: int, pairs: int) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Pairs of token sets of one size that share half of their tokens."""
    shared = round(size * SHARED_SHARE)
    left, right = [], []
    for number in range(pairs):
        tokens = [f"{size}/{number}/{i}" for i in range(2 * size - shared)]
        left.append(tuple(tokens[:size]))
        right.append(tuple(tokens[size - shared :]))
    return left, right


def _signs(key: bytes, token_sets: list[tuple[str, ...]]) -> np.ndarray:
    """Sketches with rows of ±1; ties by a row of their own, as the first design had them."""
    ties = _row(key, b"ties") * 0.5
    sums = [ties + sum(_row(key, token.encode()) for token in tokens) for tokens in token_sets]
    return np.packbits(np.array(sums) > 0, axis=1)


def _row(key: bytes, label: bytes) -> np.ndarray:
    stream = hashlib.shake_128(key + label).digest(SKETCH_BITS // 8)
    return np.unpackbits(np.frombuffer(stream, np.uint8)).astype(np.int64) * 2 - 1
