"""Which of the things one expects are the things one sees: buckets that agree exactly, then noise.

Expected and seen items carry an exact part (what has no noise: sizes, presence, equal tags, which
distances are zero) and sampled distances. Items are compared inside buckets of one exact part; the
likelihood of a distance is binomial around what is expected. What is expected but belongs to people
the attacker does not know is background, with the density that is found among the known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

if TYPE_CHECKING:
    from redteam.places import I64

F64 = npt.NDArray[np.float64]

LEVELS: Final = 512
LOG_FLOOR: Final = -25.0
POOL_MAX: Final = 128
CELLS_A_CHUNK: Final = 2_000_000
STRAY: Final = 0.05


@dataclass(frozen=True)
class Items:
    """n things with what is exact about them and d distances; a negative distance is missing.

    `distance` holds sampled bits where it was seen, and expected fractions of 1 where it is
    expected. Missing distances are part of the exact part.
    """

    exact: npt.NDArray[np.uint8]  # (n, bytes)
    distance: F64  # (n, d)


@dataclass(frozen=True)
class Claims:
    """Which expected item each claimed seen item is, and how sure the attacker is."""

    seen: I64
    expected: I64
    sure: F64


def claims(seen: Items, expected: Items, bits: int, *, known: float, sure_min: float) -> Claims:
    """Match seen to expected items.

    Args:
        seen: what the linker holds.
        expected: what the attacker expects from the plaintext that it has.
        bits: samples of a distance.
        known: share of the people that the attacker has; below 1 there is background.
        sure_min: posterior from which the attacker names someone.
    """
    bucket, pool = _buckets(seen, expected)
    count = len(seen.exact)
    found: list[tuple[I64, I64, F64]] = []
    table = _log_table(bits)
    by_seen, by_expected = _grouped(bucket[:count]), _grouped(bucket[count:])
    pools = _grouped(pool[count:])
    rng = np.random.default_rng(0)
    samples = {key: rng.permutation(rows)[:POOL_MAX] for key, rows in pools.items()}
    for key, rows in by_seen.items():
        candidates = by_expected.get(key)
        if candidates is None:
            continue
        informed = bool((seen.distance[rows[0]] > 0).any())
        if not informed and len(candidates) > 1:
            continue
        step = max(CELLS_A_CHUNK // len(candidates), 1)
        background = samples[int(pool[rows[0]])]
        strangers = STRAY + (max(len(rows) - len(candidates), 0) if known < 1 else 0)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            shown = _logs(table, seen.distance[part], expected.distance[candidates])
            other = _logs(table, seen.distance[part], expected.distance[background])
            found.append(_best(part, candidates, shown, other, strangers))
    if not found:
        empty = np.empty(0, np.int64)
        return Claims(empty, empty, np.empty(0))
    columns = (np.concatenate(each) for each in zip(*found, strict=True))
    return _distinct(*columns, sure_min=sure_min)


def _buckets(seen: Items, expected: Items) -> tuple[I64, I64]:
    """A number for each exact part, and one for what it says without who and where."""
    zero = np.concatenate([np.sign(seen.distance), np.sign(expected.distance)]).astype(np.int8)
    exact = np.concatenate([seen.exact, expected.exact])
    whole = np.ascontiguousarray(np.column_stack([exact, zero.view(np.uint8)]))
    shape = np.ascontiguousarray(zero.view(np.uint8))
    return _codes(whole), _codes(shape)


def _codes(rows: npt.NDArray[np.uint8]) -> I64:
    keys = rows.view(f"V{rows.shape[1]}").reshape(-1)
    codes: I64 = np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return codes


def _grouped(codes: I64) -> dict[int, I64]:
    order = np.argsort(codes, kind="stable")
    key, first = np.unique(codes[order], return_index=True)
    return dict(zip(key.tolist(), np.split(order, first[1:]), strict=True))


@lru_cache(maxsize=4)
def _log_table(bits: int) -> F64:
    """(levels + 1, bits + 1) log likelihood of seen bits at an expected fraction."""
    fraction = np.arange(LEVELS + 1)[:, None] / LEVELS
    logs: F64 = np.maximum(binom.logpmf(np.arange(bits + 1), bits, fraction), LOG_FLOOR)
    return logs


def _logs(table: F64, seen: F64, expected: F64) -> F64:
    """(seen, expected) log likelihoods, summed over the distances that are there."""
    total = np.zeros((len(seen), len(expected)))
    for column in range(seen.shape[1]):
        if (seen[:, column] <= 0).all():
            continue
        level = (np.maximum(expected[:, column], 0) * LEVELS).round().astype(int)
        total += table[level][:, np.maximum(seen[:, column], 0).astype(int)].T
    return total


def _best(
    rows: I64, candidates: I64, shown: F64, other: F64, strangers: float
) -> tuple[I64, I64, F64]:
    top = np.maximum(shown.max(axis=1), other.max(axis=1))[:, None]
    likely = np.exp(shown - top)
    noise = strangers * np.exp(other - top).mean(axis=1)
    best = likely.argmax(axis=1)
    own = likely[np.arange(len(rows)), best]
    return rows, candidates[best], own / (likely.sum(axis=1) + noise)


def _distinct(seen: I64, expected: I64, sure: F64, *, sure_min: float) -> Claims:
    """Sure claims, of those of one expected item only the surest."""
    order = np.argsort(-sure, kind="stable")
    seen, expected, sure = seen[order], expected[order], sure[order]
    first = np.unique(expected, return_index=True)[1]
    kept = first[sure[first] >= sure_min]
    return Claims(seen[kept], expected[kept], sure[kept])
