"""Sieved and sealed pairs off the wire: frames joined to one answer, and answers of nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from kinlink_core import wire
from kinlink_core.encoding.record_tags import SEALED_TAG_BYTES
from kinlink_core.encoding.seal import (
    PRESENCE_TAG_BYTES,
    TAG_BYTES,
    SealedBatch,
    SealedColumn,
)
from kinlink_core.encoding.sieve import SIEVE_BITS

from kinlink_linker.peer import SieveTags, SieveWords

if TYPE_CHECKING:
    from collections.abc import Sequence

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
            np.zeros((rows, field.sample_bytes), np.uint8) if field.sample_bytes else None,
            np.zeros((rows, TAG_BYTES * len(field.tags)), np.uint8) if field.tags else None,
        )
        for field in schema.fields
    )
    return wire.SealedRows(SealedBatch(columns), refusal)


def joined_words(parts: Sequence[wire.SieveRows], *, tags: bool) -> SieveWords:
    """Join the frames of one answer, with tags if they were asked for."""
    nothing = nothing_sieved(np.empty(0, np.uint8), tags=tags)
    words = np.concatenate([nothing.words, *(part.word for part in parts)])
    refusal = np.concatenate([nothing.refusal, *(part.refusal for part in parts)])
    if nothing.tags is None:
        return SieveWords(words, refusal, None)
    tagged = [part for part in parts if isinstance(part, wire.TaggedSieveRows)]
    found = SieveTags(
        np.concatenate([nothing.tags.distance, *(part.distance_tags for part in tagged)]),
        np.concatenate([nothing.tags.record, *(part.record_tag for part in tagged)]),
    )
    return SieveWords(words, refusal, found)


def nothing_sieved(refusal: U8, *, tags: bool) -> SieveWords:
    """Rows that are all refused."""
    rows = len(refusal)
    nothing = SieveTags(
        np.zeros((rows, SIEVE_BITS), np.uint32), np.zeros((rows, SEALED_TAG_BYTES), np.uint8)
    )
    return SieveWords(np.zeros(rows, np.uint64), refusal, nothing if tags else None)
