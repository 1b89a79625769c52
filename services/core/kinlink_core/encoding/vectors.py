"""Embeddings, such as those of faces: how a cell is read, and its sketch of 4,096 bits.

A cell names its model and holds the numbers: `MODEL BASE64`, where the base64 is of little-endian
half-precision numbers (IEEE 754 binary16), one a dimension. A cell of another model or length, or
of too little quality, is a fault that `normalize` counts and takes for missing.

A sketch holds the signs of 4,096 projections of the vector on Gaussian directions that are drawn
under the field's key (Charikar, STOC 2002): two vectors differ in a share angle/π of their bits,
whatever their lengths. The sums are exact in double precision, in any order of their terms, so all
machines find the same signs.

Not guaranteed: who knows the key gets the vector back from its sketch but for a few degrees (a test
measures it). The key stays with the registries; the sketch is sealed pair by pair (`seal`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from kinlink_core.encoding._faults import ValueFault, ValueFaultError
from kinlink_core.encoding.schema import VECTOR_BITS
from kinlink_core.encoding.sketch import gaussian_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Vector
    from kinlink_core.encoding.sketch import Bytes

VECTOR_BYTES: Final = VECTOR_BITS // 8
MODEL_CHARACTERS_MAX: Final = 64
DIMENSIONS_MAX: Final = 2048
# Numbers are multiples of 2^-24, rows below 2^7: sums of 2^11 products stay below 2^53 steps.
COMPONENT_MAX: Final = 1024.0
CELL_CHARACTERS_MAX: Final = MODEL_CHARACTERS_MAX + 8 + 4 * (2 * DIMENSIONS_MAX // 3 + 1)

_HALF: Final = np.dtype("<f2")
_VALUES_A_CHUNK: Final = 1024
_CANARY: Final = b"kinlink/v1 vector canary"

Floats = npt.NDArray[np.float64]


def read_vector(form: Vector, cell: str) -> str:
    """The canonical form of a cell, `MODEL BASE64`; empty where it holds a model and no vector.

    Raises:
        ValueFaultError: It cannot be compared; with the reason.
    """
    model, _, numbers = cell.strip().partition(" ")
    if not numbers:
        if len(model) > MODEL_CHARACTERS_MAX:
            raise ValueFaultError(ValueFault.NO_MODEL)
        return ""
    if model != form.model:
        raise ValueFaultError(ValueFault.OTHER_MODEL)
    try:
        raw = base64.b64decode(numbers.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueFaultError(ValueFault.NOT_A_VECTOR) from None
    if len(raw) != _HALF.itemsize * form.dimensions:
        odd = len(raw) % _HALF.itemsize
        raise ValueFaultError(ValueFault.NOT_A_VECTOR if odd else ValueFault.OTHER_DIMENSIONS)
    vector = np.frombuffer(raw, _HALF).astype(np.float64)
    if not (np.abs(vector) <= COMPONENT_MAX).all():  # nor is what is not a number
        raise ValueFaultError(ValueFault.NOT_A_VECTOR)
    if np.linalg.norm(vector) < form.quality_min:
        raise ValueFaultError(ValueFault.LOW_QUALITY)
    return f"{model} {base64.b64encode(raw).decode()}"


def vectors_of(canonical: Sequence[str], dimensions: int) -> Floats:
    """The vectors of canonical values; (n, dimensions)."""
    raw = b"".join(base64.b64decode(value.partition(" ")[2]) for value in canonical)
    return np.frombuffer(raw, _HALF).astype(np.float64).reshape(len(canonical), dimensions)


def canary_vectors(form: Vector, count: int) -> list[str]:
    """Canonical values that are the same everywhere, of no face."""
    raw = hashlib.shake_128(_CANARY).digest(count * form.dimensions)
    numbers = np.frombuffer(raw, np.int8).astype(_HALF).reshape(count, form.dimensions)
    return [f"{form.model} {base64.b64encode(row.tobytes()).decode()}" for row in numbers]


class VectorSketcher:
    """Sketches of one field of vectors under its key; the projection is drawn once and kept.

    May be used from any thread.
    """

    def __init__(self, key: bytes, dimensions: int) -> None:
        self.key = key
        self._dimensions = dimensions

    def sketch(self, canonical: Sequence[str]) -> Bytes:
        """Sketch canonical values; (n, 512) bytes."""
        out = np.empty((len(canonical), VECTOR_BYTES), np.uint8)
        for start in range(0, len(canonical), _VALUES_A_CHUNK):
            chunk = vectors_of(canonical[start : start + _VALUES_A_CHUNK], self._dimensions)
            sums = chunk @ self._projection
            out[start : start + len(chunk)] = np.packbits(
                (sums > 0) | ((sums == 0) & self._ties), axis=1
            )
        return out

    @cached_property
    def _projection(self) -> Floats:
        rows = [
            gaussian_row(self.key, b"axis" + axis.to_bytes(4, "big"), VECTOR_BITS)
            for axis in range(self._dimensions)
        ]
        return np.array(rows, np.float64)

    @cached_property
    def _ties(self) -> npt.NDArray[np.bool_]:
        drawn = hashlib.shake_128(self.key + b"ties").digest(VECTOR_BYTES)
        return np.unpackbits(np.frombuffer(drawn, np.uint8)).astype(bool)
