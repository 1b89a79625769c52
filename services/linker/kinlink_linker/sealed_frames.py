"""Sealed pairs as they come off the wire: frames joined to one answer, and answers of nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from kinlink_core import wire
from kinlink_core.encoding.seal import (
    PRESENCE_TAG_BYTES,
    SAMPLE_BYTES,
    SEALED_TAG_BYTES,
    TAG_BYTES,
    SealedBatch,
    SealedColumn,
)

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.domain import U8


def joined_frames(schema: Schema, parts: list[wire.SealedRows]) -> wire.SealedRows:
    """Join the frames of one answer."""
    if not parts:
        return nothing_sealed(schema, np.empty(0, np.uint8))
    columns = tuple(
        SealedColumn(
            np.concatenate([part.batch.fields[index].presence for part in parts]),
            _optional([part.batch.fields[index].sketch for part in parts]),
            _optional([part.batch.fields[index].tags for part in parts]),
        )
        for index in range(len(schema.fields))
    )
    return wire.SealedRows(
        SealedBatch(columns),
        np.concatenate([part.record_tag for part in parts]),
        np.concatenate([part.refusal for part in parts]),
    )


def _optional(columns: list[U8 | None]) -> U8 | None:
    """Join columns that a field either has in every frame or in none."""
    present = [column for column in columns if column is not None]
    return np.concatenate(present) if present else None


def nothing_sealed(schema: Schema, refusal: U8) -> wire.SealedRows:
    """Rows that are all refused."""
    rows = len(refusal)
    columns = tuple(
        SealedColumn(
            np.zeros((rows, PRESENCE_TAG_BYTES), np.uint8),
            np.zeros((rows, SAMPLE_BYTES), np.uint8) if field.has_sketch else None,
            np.zeros((rows, TAG_BYTES * len(field.tags)), np.uint8) if field.tags else None,
        )
        for field in schema.fields
    )
    tags = np.zeros((rows, SEALED_TAG_BYTES), np.uint8)
    return wire.SealedRows(SealedBatch(columns), tags, refusal)
