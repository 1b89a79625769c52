"""What a vault keeps of every record in an epoch, one row of bytes under a schema.

Which fields are there and of which side the record is, a sketch a sketched field, a sketch a field
of vectors, and last the record sketch, which the sieve samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kinlink_core.encoding.sketch import SKETCH_BYTES, Bytes
from kinlink_core.encoding.vectors import VECTOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Schema

PRESENCE_BYTES = 4
# The last of them is no field: a schema with two sides has at most 31.
WANTS_BIT = 8 * PRESENCE_BYTES - 1


def fixed_bytes(schema: Schema) -> int:
    """Bytes of a record's fixed part: presence, sketches, sketches of vectors, record sketch."""
    sketches = SKETCH_BYTES * (sketch_count(schema) + 1)
    return PRESENCE_BYTES + sketches + VECTOR_BYTES * vector_count(schema)


def sketch_count(schema: Schema) -> int:
    """How many fields of the schema carry a sketch."""
    return sum(1 for field in schema.fields if field.has_sketch)


def vector_count(schema: Schema) -> int:
    """How many fields of the schema are vectors."""
    return sum(1 for field in schema.fields if field.vector is not None)


@dataclass(frozen=True)
class FixedParts:
    """Views into the fixed parts of n records."""

    present: npt.NDArray[np.bool_]  # (n, fields)
    wants: npt.NDArray[np.bool_]  # (n,) of the side that wants; meaningless without sides
    sketches: Bytes  # (n, sketched fields, 256)
    record_sketch: Bytes  # (n, 256)
    vectors: Bytes  # (n, fields of vectors, 512) their sketches


def split_fixed(schema: Schema, fixed: Bytes) -> FixedParts:
    """View fixed parts of shape (n, fixed_bytes) by meaning; `ValueError` on another width."""
    if fixed.ndim != 2 or fixed.shape[1] != fixed_bytes(schema):  # noqa: PLR2004 - a matrix
        raise ValueError(f"fixed parts are {fixed_bytes(schema)} bytes wide under this schema")
    bits = np.unpackbits(fixed[:, :PRESENCE_BYTES], axis=1, bitorder="little")
    end = PRESENCE_BYTES + SKETCH_BYTES * sketch_count(schema)
    sketches = fixed[:, PRESENCE_BYTES:end].reshape(len(fixed), sketch_count(schema), SKETCH_BYTES)
    vectors = fixed[:, end:-SKETCH_BYTES].reshape(len(fixed), vector_count(schema), VECTOR_BYTES)
    present = bits[:, : len(schema.fields)].astype(bool)
    return FixedParts(present, wanting(fixed), sketches, record_sketches(fixed), vectors)


def wanting(fixed: Bytes) -> npt.NDArray[np.bool_]:
    """Which of n fixed parts are of the side that wants, and nothing else of them; (n,)."""
    byte, bit = divmod(WANTS_BIT, 8)
    found: npt.NDArray[np.bool_] = (fixed[:, byte] & np.uint8(1 << bit)).astype(bool)
    return found


def record_sketches(fixed: Bytes) -> Bytes:
    """View the record sketches of n fixed parts alone; (n, 256)."""
    return fixed[:, -SKETCH_BYTES:]


def join_fixed(
    present: npt.NDArray[np.bool_],
    sketches: Sequence[Bytes],
    record: Bytes | None = None,
    wants: npt.NDArray[np.bool_] | None = None,
    vectors: Sequence[Bytes] = (),
) -> Bytes:
    """Fixed parts of n records out of their parts; without a record sketch they cannot be sieved.

    Args:
        present: (n, fields) which fields have a value.
        sketches: (n, 256) of each sketched field, in the schema's order.
        record: (n, 256) record sketches; zeros by default.
        wants: (n,) which records are of the side that wants; none by default.
        vectors: (n, 512) sketches of each field of vectors, in the schema's order.
    """
    bits = np.zeros((len(present), PRESENCE_BYTES * 8), np.uint8)
    bits[:, : present.shape[1]] = present
    if wants is not None:
        bits[:, WANTS_BIT] |= wants
    if record is None:
        record = np.zeros((len(present), SKETCH_BYTES), np.uint8)
    parts = [np.packbits(bits, axis=1, bitorder="little"), *sketches, *vectors, record]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))
