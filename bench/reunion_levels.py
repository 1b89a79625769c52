"""The comparison levels of pairs of plain records, as the linker would find them on sealed ones.

The same level sets and thresholds, without seals, samples of bits or registries, and for vectors
without sketches: what is lost between this and a linkage is what the protocol costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.vectors import vectors_of
from kinlink_local.reunion.offline import first_level, slot_lists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kinlink_core.encoding.encode import Encoder
    from kinlink_core.encoding.schema import Field, Schema
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Levels = NDArray[np.uint8]
    Floats = NDArray[np.float64]
    Column = Sequence[str | None]

NULL_LEVEL: Final = 255
_PAIRS_AT_ONCE: Final = 100_000


class PlainComparison:
    """Compares records of one table by their canonical values.

    Args:
        schema: with sides.
        encoder: under that schema, for fields that are compared by sketches.
        columns: canonical values by field; families' records before found people's.
        families: how many families' records there are.
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        columns: Mapping[str, Column],
        families: int,
    ) -> None:
        self._schema = schema
        self._columns = columns
        self._families = families
        sketches = split_fixed(schema, encoder.sketch({k: [*v] for k, v in columns.items()}))
        sketched = [field.name for field in schema.fields if field.has_sketch]
        self._sketches = {name: sketches.sketches[:, i] for i, name in enumerate(sketched)}

    def levels(self, family: Ints, found: Ints) -> Levels:
        """Levels of n pairs by rows of either side; (n, fields)."""
        other = found + self._families
        return np.column_stack(
            [self._of_field(field, family, other) for field in self._schema.fields]
        )

    def _of_field(self, field: Field, left: Ints, right: Ints) -> Levels:
        column = self._columns[field.name]
        numbers: dict[str | None, int] = {None: -1}
        codes = np.array([numbers.setdefault(value, len(numbers) - 1) for value in column])
        values = [value for value in numbers if value is not None]
        missing = (codes[left] < 0) | (codes[right] < 0)
        if field.vector is not None:
            found = _by_angle(field, field.vector.dimensions, values, codes[left], codes[right])
        elif field.has_sketch:
            found = self._by_distance(field, left, right)
        elif field.relation is None:
            found = np.where(codes[left] == codes[right], 0, 1).astype(np.uint8)
        else:
            found = _by_slots(field, values, codes[left], codes[right])
        found[missing] = NULL_LEVEL
        return found

    def _by_distance(self, field: Field, left: Ints, right: Ints) -> Levels:
        sketches = self._sketches[field.name]
        differing = np.bitwise_count(sketches[left] ^ sketches[right]).sum(axis=1)
        distance = differing / (8 * sketches.shape[1])
        return _of_distance(field, distance)


def _of_distance(field: Field, distance: Floats) -> Levels:
    bounds = [level.max_distance or 0.0 for level in field.levels]
    found: Levels = np.searchsorted(np.array(bounds), distance).astype(np.uint8)
    return found


def _by_angle(field: Field, dimensions: int, values: list[str], left: Ints, right: Ints) -> Levels:
    """Levels of the angle between vectors, as a share of π."""
    if not values:
        return np.full(len(left), len(field.levels), np.uint8)
    vectors = vectors_of(values, dimensions)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = np.empty(len(left))
    for start in range(0, len(left), _PAIRS_AT_ONCE):
        some = slice(start, start + _PAIRS_AT_ONCE)
        cosine[some] = (vectors[left[some]] * vectors[right[some]]).sum(axis=1)
    return _of_distance(field, np.arccos(np.clip(cosine, -1, 1)) / np.pi)


def _by_slots(field: Field, values: list[str], left: Ints, right: Ints) -> Levels:
    """Of each distinct pair of values the first level whose lists share enough."""
    if not values:
        return np.full(len(left), len(field.levels), np.uint8)
    wanted, shown = (
        [slot_lists(field, each, wants=wants) for each in values] for wants in (True, False)
    )
    distinct, inverse = np.unique(left * len(values) + right, return_inverse=True)
    found = np.full(len(distinct), len(field.levels), np.uint8)
    for index, both in enumerate(distinct.tolist()):
        one, other = divmod(both, len(values))
        found[index] = first_level(field, wanted[one], shown[other])
    return found[inverse]
