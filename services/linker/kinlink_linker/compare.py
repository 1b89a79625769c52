"""From two sealed sides to comparison levels: the only code of the linker that reads sealed fields.

A chunk of sealed pairs becomes one small integer a field and pair, and is dropped. Nothing sealed
enters a database, a file or the scoring; what remains is which level of each field's comparison
held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.seal import TAG_BYTES

if TYPE_CHECKING:
    from kinlink_core.encoding.level_sets import Relation
    from kinlink_core.encoding.schema import Field, Level, Schema
    from kinlink_core.encoding.seal import SealedBatch, SealedColumn

# Level of a field that is missing on either side.
NULL_LEVEL = 255

Levels = npt.NDArray[np.uint8]


def compare(schema: Schema, left: SealedBatch, right: SealedBatch) -> Levels:
    """Levels of n pairs; (n, fields) uint8.

    Level i is the i-th level of the field, `len(field.levels)` is "none of these", `NULL_LEVEL` is
    missing. Raises `ValueError` if the sides do not have the schema's columns in equal number.
    """
    columns = [
        _compare_field(field, one, other)
        for field, one, other in zip(schema.fields, left.fields, right.fields, strict=True)
    ]
    levels: Levels = np.column_stack(columns)
    return levels


def of_two_sides(schema: Schema, levels: Levels) -> npt.NDArray[np.bool_]:
    """Which of n pairs are of one record that wants and one that shows; all without sides."""
    if schema.sides is None:
        return np.ones(len(levels), bool)
    names = [field.name for field in schema.fields]
    field = schema.field(schema.sides.field)
    return np.asarray(levels[:, names.index(field.name)] == len(field.levels))


def _compare_field(field: Field, left: SealedColumn, right: SealedColumn) -> Levels:
    if left.presence.shape != right.presence.shape:
        raise ValueError("the two sides of sealed pairs have different numbers of rows")
    both = (left.presence == right.presence).all(axis=1)
    distance = _distance(left.sketch, right.sketch)
    result = np.full(len(both), len(field.levels), np.uint8)
    for index in range(len(field.levels) - 1, -1, -1):
        result[_holds(field, field.levels[index], left, right, distance)] = index
    result[~both] = NULL_LEVEL
    return result


def _distance(
    left: npt.NDArray[np.uint8] | None, right: npt.NDArray[np.uint8] | None
) -> npt.NDArray[np.float64] | None:
    if left is None or right is None:
        return None
    words_l = np.ascontiguousarray(left).view(np.uint64)
    words_r = np.ascontiguousarray(right).view(np.uint64)
    bits = np.bitwise_count(words_l ^ words_r).sum(axis=1, dtype=np.int64)
    return np.asarray(bits / (left.shape[1] * 8), np.float64)


def _holds(
    field: Field,
    level: Level,
    left: SealedColumn,
    right: SealedColumn,
    distance: npt.NDArray[np.float64] | None,
) -> npt.NDArray[np.bool_]:
    if level.tag is None:
        if distance is None or level.max_distance is None:
            raise ValueError(f"level {level.label!r} of {field.name} needs a sketch")
        return np.asarray(distance <= level.max_distance)
    if field.relation is not None:
        return _shares(field.relation, level, left, right)
    return np.asarray((_tag(field, left, level.tag) == _tag(field, right, level.tag)).all(axis=1))


def _shares(
    relation: Relation, level: Level, left: SealedColumn, right: SealedColumn
) -> npt.NDArray[np.bool_]:
    """Where one side shows enough of what the other wants; which side wants is not known here."""
    number = int(level.tag or 0)
    before = sum(each.wants + each.shows for each in relation.widths[:number])
    width = relation.widths[number]
    wants = slice(before, before + width.wants)
    shows = slice(wants.stop, wants.stop + width.shows)
    one, other = _slots(left), _slots(right)
    return np.asarray(
        (_shared(one[:, wants], other[:, shows]) >= level.shared)
        | (_shared(other[:, wants], one[:, shows]) >= level.shared)
    )


def _slots(column: SealedColumn) -> npt.NDArray[np.uint64]:
    if column.tags is None:
        raise ValueError("a level set carries tags")
    return np.ascontiguousarray(column.tags).view("<u8").astype(np.uint64, copy=False)


def _shared(wanted: npt.NDArray[np.uint64], shown: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return np.asarray((wanted[:, :, None] == shown[:, None, :]).any(axis=1).sum(axis=1), np.int64)


def _tag(field: Field, column: SealedColumn, tag: str) -> npt.NDArray[np.uint8]:
    if column.tags is None:
        raise ValueError(f"field {field.name} carries no tags")
    start = field.tags.index(tag) * TAG_BYTES
    return column.tags[:, start : start + TAG_BYTES]
