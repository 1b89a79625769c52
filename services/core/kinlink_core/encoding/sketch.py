"""SimHash sketches of token sets: bits whose Hamming distance is the angle between two values.

Each token of a value expands, under the field's key, to a row of 2,048 Gaussian 8-bit numbers; rows
are summed and signs are taken, ties by a keyed row. The fraction of differing bits estimates
angle/π of the token sets (Charikar, STOC 2002). Gaussian rows matter: with ±1 rows the distance at
equal cosine also depended on the sizes of the sets.

Sketches never leave a registry as they are: `sieve` and `seal` sample and mask them. Under one
field key they are as reversible as any similarity-preserving encoding, so at rest they are sealed
like values.
"""

from __future__ import annotations

import hashlib
import threading
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from kinlink_core.encoding.schema import SKETCH_BITS

SKETCH_BYTES = SKETCH_BITS // 8
# Standard deviation of the rows, in steps of an 8-bit number: ±3.6 σ fit.
_ROW_SIGMA = 35.0
_VALUES_A_CHUNK = 4096
# Rows are within ±126, so sums of so many fit 16 bits.
_NARROW_TOKENS_MAX = (2**15 - 1) // 126
# 64 MiB of rows: the distinct bigrams of a field are far fewer.
_ROW_CACHE_MAX = 32_768

Bytes = npt.NDArray[np.uint8]


@lru_cache(maxsize=1)
def _gaussian_table() -> npt.NDArray[np.int16]:
    """Map a uniform byte to the Gaussian quantile of its cell's centre, in integer steps."""
    normal = NormalDist(sigma=_ROW_SIGMA)
    return np.array([round(normal.inv_cdf((cell + 0.5) / 256)) for cell in range(256)], np.int16)


def gaussian_row(key: bytes, label: bytes, bits: int) -> npt.NDArray[np.int16]:
    """Keyed Gaussian numbers within ±126; (bits,)."""
    stream = hashlib.shake_128(key + label).digest(bits)
    return _gaussian_table()[np.frombuffer(stream, np.uint8)]


class Sketcher:
    """Sketches of one field under its key; rows of tokens are cached between calls.

    May be used from any thread.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._lock = threading.Lock()
        self._index: dict[str, int] = {}
        self._rows = np.empty((256, SKETCH_BITS), np.int16)
        ties = hashlib.shake_128(key + b"ties").digest(SKETCH_BYTES)
        self._ties = np.unpackbits(np.frombuffer(ties, np.uint8)).astype(np.int16)

    def sketch(self, token_sets: list[tuple[str, ...]]) -> Bytes:
        """Sketch each token set; (n, 256) bytes, zeros where a set is empty.

        Time grows with the number of tokens, memory with the number of sets.
        """
        out = np.zeros((len(token_sets), SKETCH_BYTES), np.uint8)
        for start in range(0, len(token_sets), _VALUES_A_CHUNK):
            chunk = token_sets[start : start + _VALUES_A_CHUNK]
            with self._lock:
                out[start : start + len(chunk)] = self._sketch_chunk(chunk)
        return out

    def _sketch_chunk(self, token_sets: list[tuple[str, ...]]) -> Bytes:
        from scipy.sparse import csr_matrix

        if len(self._index) > _ROW_CACHE_MAX:
            self._index.clear()
        sizes = np.fromiter((len(tokens) for tokens in token_sets), np.int64, len(token_sets))
        columns = np.fromiter(
            (self._row_index(token) for tokens in token_sets for token in tokens),
            np.int64,
            int(sizes.sum()),
        )
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        used, local = np.unique(columns, return_inverse=True)
        # Narrow sums where they fit: three times faster.
        kind = np.int16 if sizes.max() <= _NARROW_TOKENS_MAX else np.int32
        ones = np.ones(len(columns), kind)
        members = csr_matrix((ones, local, offsets), shape=(len(token_sets), max(len(used), 1)))
        rows = self._rows[used] if len(used) else np.zeros((1, SKETCH_BITS), np.int16)
        sums = members @ rows.astype(kind, copy=False)
        # A sum of zero is one bit where the tie says so.
        bits = np.packbits(sums > -self._ties, axis=1)
        bits[sizes == 0] = 0
        return bits

    def _row_index(self, token: str) -> int:
        index = self._index.get(token)
        if index is None:
            index = self._index[token] = len(self._index)
            if index >= len(self._rows):
                grown = np.empty((2 * len(self._rows), SKETCH_BITS), np.int16)
                grown[: len(self._rows)] = self._rows
                self._rows = grown
            self._rows[index] = gaussian_row(self.key, b"token" + token.encode(), SKETCH_BITS)
        return index


def hash_sketch(key: bytes, value: bytes) -> Bytes:
    """Bits that are equal for equal values and independent otherwise; (256,) bytes.

    Lets a category take part in the sieve beside real sketches.
    """
    return np.frombuffer(hashlib.shake_128(key + b"value" + value).digest(SKETCH_BYTES), np.uint8)


def band_positions(key: bytes, label: bytes, bits: int) -> npt.NDArray[np.int64]:
    """Keyed distinct positions of one LSH table; (bits,)."""
    stream = hashlib.shake_128(key + b"band" + label).digest(SKETCH_BITS * 4)
    order = np.argsort(np.frombuffer(stream, "<u4"), kind="stable")
    return np.sort(order[:bits]).astype(np.int64)


def bands(sketches: Bytes, positions: npt.NDArray[np.int64]) -> Bytes:
    """Sampled bits of each sketch, packed; (n, ceil(bits / 8))."""
    selected = (sketches[:, positions >> 3] >> (7 - (positions & 7)).astype(np.uint8)) & 1
    return np.packbits(selected.astype(np.uint8), axis=1)


def hamming_fraction(left: Bytes, right: Bytes) -> npt.NDArray[np.float64]:
    """Fraction of differing bits, row by row; (n,)."""
    differing = np.bitwise_count(left ^ right).sum(axis=1, dtype=np.int64)
    return np.asarray(differing / (left.shape[1] * 8), np.float64)
