"""Classical encodings, written from their papers' descriptions: what the same attacks must break.

* CLK (Schnell, Bachteler, Reiher 2009 and 2011): the bigrams of all fields of a record in one Bloom
  filter of 1,024 bits, k bits each by double hashing with two HMACs under one key.
* Field Bloom filters: the same with one filter a field.

One encoding a value and key, so whoever holds many of them can count and compare them: that is the
weakness that is shown. Nothing of Kinlink uses this module.
"""

from __future__ import annotations

import hmac
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FILTER_BITS: Final = 1_024
HASHES: Final = 30
# A record has some 60 bigrams: with 30 hashes of each, four bits in five would be set.
CLK_HASHES: Final = 15
PAD: Final = "_"

Filters = npt.NDArray[np.uint8]  # (n, bits / 8)
Floats = npt.NDArray[np.float64]


def bigrams(value: str) -> list[str]:
    """Padded bigrams of a value, in order."""
    return [one + other for one, other in pairwise(f"{PAD}{value}{PAD}")]


def field_filters(
    values: Sequence[str | None], key: bytes, bits: int = FILTER_BITS, hashes: int = HASHES
) -> Filters:
    """One filter a value; (n, bits / 8). A missing value is an empty filter."""
    tokens = [bigrams(value) if value else [] for value in values]
    return _filters(tokens, key, bits, hashes)


def clk(
    columns: Mapping[str, Sequence[str | None]],
    key: bytes,
    bits: int = FILTER_BITS,
    hashes: int = CLK_HASHES,
) -> Filters:
    """One filter a record, of the bigrams of all fields; (n, bits / 8)."""
    return _filters(record_tokens(columns), key, bits, hashes)


def record_tokens(columns: Mapping[str, Sequence[str | None]]) -> list[list[str]]:
    """The bigrams of all fields of each record, as a set in order; fields are told apart."""
    return [
        list(
            dict.fromkeys(
                f"{name}:{bigram}"
                for name, value in zip(columns, row, strict=True)
                if value
                for bigram in bigrams(value)
            )
        )
        for row in zip(*columns.values(), strict=True)
    ]


def dice(left: Filters, right: Filters) -> Floats:
    """Dice similarity of every pair of filters; (n, m)."""
    one, other = (np.unpackbits(side, axis=1).astype(np.float32) for side in (left, right))
    return _dice(one @ other.T, one.sum(axis=1), other.sum(axis=1))


def estimated_sizes(filters: Filters, hashes: int) -> Floats:
    """How many distinct tokens are in each filter (Swamidass and Baldi 2007)."""
    return _tokens_of(np.unpackbits(filters, axis=1).sum(axis=1), filters.shape[1] * 8, hashes)


def estimated_dice(filters: Filters, hashes: int) -> Floats:
    """Dice similarity of the token sets behind every pair of filters; (n, n).

    Without the bits that fall together by chance, which grow with the filters' fill.
    """
    bits = np.unpackbits(filters, axis=1).astype(np.float32)
    ones = bits.sum(axis=1)
    union = ones[:, None] + ones[None, :] - bits @ bits.T
    size = _tokens_of(ones, bits.shape[1], hashes)
    total = size[:, None] + size[None, :]
    common = total - _tokens_of(union, bits.shape[1], hashes)
    return np.asarray(2 * common / np.maximum(total, 1), np.float64)


def _tokens_of(ones: npt.NDArray[Any], bits: int, hashes: int) -> Floats:
    empty = np.maximum(1 - ones / bits, 0.5 / bits)
    return np.asarray(-(bits / hashes) * np.log(empty), np.float64)


def dice_of_sets(left: Sequence[Iterable[str]], right: Sequence[Iterable[str]]) -> Floats:
    """Dice similarity of every pair of token sets; (n, m). What an attacker computes himself."""
    from scipy.sparse import csr_matrix

    index: dict[str, int] = {}
    sides = []
    for tokens in (left, right):
        rows = [[index.setdefault(each, len(index)) for each in set(found)] for found in tokens]
        sides.append((np.concatenate([[0], np.cumsum([len(row) for row in rows])]), rows))
    one, other = (
        csr_matrix(
            (
                np.ones(int(starts[-1]), np.float32),
                np.fromiter((i for row in rows for i in row), np.int64, int(starts[-1])),
                starts,
            ),
            shape=(len(rows), len(index)),
        )
        for starts, rows in sides
    )
    return _dice((one @ other.T).toarray(), _sizes(one), _sizes(other))


def _sizes(sets: Any) -> Floats:
    return np.asarray(sets.sum(axis=1), np.float64).reshape(-1)


def _dice(common: npt.NDArray[Any], left: npt.NDArray[Any], right: npt.NDArray[Any]) -> Floats:
    total = left[:, None] + right[None, :]
    return np.asarray(2 * common / np.maximum(total, 1), np.float64)


def _filters(rows: list[list[str]], key: bytes, bits: int, hashes: int) -> Filters:
    if bits % 8:
        raise ValueError("a filter has whole bytes")
    places: dict[str, npt.NDArray[np.int64]] = {}
    filters = np.zeros((len(rows), bits), np.uint8)
    for number, tokens in enumerate(rows):
        for token in tokens:
            if token not in places:
                places[token] = _positions(token, key, bits, hashes)
            filters[number, places[token]] = 1
    return np.packbits(filters, axis=1)


def _positions(token: str, key: bytes, bits: int, hashes: int) -> npt.NDArray[np.int64]:
    """(h1 + i h2) mod bits, the double hashing of Kirsch and Mitzenmacher."""
    first, second = (
        int.from_bytes(hmac.digest(key, token.encode(), algorithm)[:8], "big")
        for algorithm in ("sha256", "sha512")
    )
    return np.array([(first + i * second) % bits for i in range(hashes)], np.int64)
