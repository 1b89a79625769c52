"""The registry's side of sealing: rows of a request in, sealed rows out.

Refused rows carry random bytes, so that their place in the answer tells only their refusal. What is
sealed, and under which keys, is `kinlink_core.encoding.seal`'s business.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding import keys
from kinlink_core.encoding.seal import (
    SEALED_TAG_BYTES,
    SealedBatch,
    SealedColumn,
    seal_pairs,
    seal_record_tag,
)
from kinlink_core.wire import FRAME_BYTES_MAX, Refusal, SealedRows

from kinlink_registry import columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.islands import Islands, Refusals
    from kinlink_registry.partners import Partner
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session
    from kinlink_registry.shelf import Opened

# Rows opened and sealed at a time: 4,096 records of 2 KiB keep a request's memory near 10 MiB.
CHUNK_ROWS = 4096


@dataclass(frozen=True)
class PairRows:
    """Own side of pairs to sieve or seal; arrays of one length."""

    refs: Refs  # -1 where refused
    own_handles: Bytes
    partner_handles: Bytes
    island_index: npt.NDArray[np.uint32]
    refusal: Refusals


def seal(
    schema: Schema,
    partner: Partner,
    islands: Islands,
    opened: Opened,
    rows: PairRows,
    *,
    own: str,
    tags: dict[int, bytes],
    null_key: bytes,
) -> Iterator[SealedRows]:
    """Seal one side of pairs, a frame at a time.

    `opened` and `tags` hold at least the records of the answered rows.
    """
    by_island = island_keys(partner, islands)
    step = chunk_rows(schema)
    for start in range(0, len(rows.refs), step):
        part = slice(start, start + step)
        refusal = rows.refusal[part]
        good = np.flatnonzero(refusal == Refusal.ANSWERED)
        refs = rows.refs[part][good]
        pair_keys = [
            keys.pair_key(by_island[index], *partner.ordered(own_handle, partner_handle))
            for index, own_handle, partner_handle in zip(
                rows.island_index[part][good].tolist(),
                id_bytes(rows.own_handles[part][good]),
                id_bytes(rows.partner_handles[part][good]),
                strict=True,
            )
        ]
        fixed, values = opened.gather(schema, refs)
        sealed = seal_pairs(schema, pair_keys, fixed, values, null_key)
        sealed_tags = [
            seal_record_tag(key, own, tags[ref])
            for key, ref in zip(pair_keys, refs.tolist(), strict=True)
        ]
        tag = _spread(_rows_of(sealed_tags, SEALED_TAG_BYTES), good, len(refusal))
        yield SealedRows(spread(sealed, good, len(refusal)), tag, refusal)


def record_tags(session: Session, cipher: VaultCipher, refs: Refs) -> dict[int, bytes]:
    """The tag of each record, by its number."""
    found = session.table(
        "SELECT ref, version, local_key FROM record SEMI JOIN wanted USING (ref)",
        wanted=columns.table(ref=np.unique(refs)),
    )
    local_keys = id_bytes(columns.matrix(found["local_key"]))
    return {
        ref: cipher.record_tag(local_key, version)
        for ref, version, local_key in zip(
            found["ref"].to_pylist(), found["version"].to_pylist(), local_keys, strict=True
        )
    }


def id_bytes(ids: Bytes) -> list[bytes]:
    """(n, 16) bytes as n bytes objects."""
    return [row.tobytes() for row in ids]


def spread(sealed: SealedBatch, good: npt.NDArray[np.int64], count: int) -> SealedBatch:
    """Put sealed rows at their places among `count` rows of random bytes."""
    return SealedBatch(
        tuple(
            SealedColumn(
                _spread(column.presence, good, count),
                None if column.sketch is None else _spread(column.sketch, good, count),
                None if column.tags is None else _spread(column.tags, good, count),
            )
            for column in sealed.fields
        )
    )


def chunk_rows(schema: Schema) -> int:
    """Rows sealed at a time: they fit one frame."""
    return min(CHUNK_ROWS, FRAME_BYTES_MAX // SealedRows.row_bytes(schema))


def _spread(rows: Bytes, good: npt.NDArray[np.int64], count: int) -> Bytes:
    if len(good) == count:
        return rows
    width = rows.shape[1]
    noise = np.frombuffer(bytearray(os.urandom(width * count)), np.uint8).reshape(count, width)
    noise[good] = rows
    return noise


def _rows_of(items: list[bytes], width: int) -> Bytes:
    return np.frombuffer(b"".join(items), np.uint8).reshape(len(items), width)


def island_keys(partner: Partner, islands: Islands) -> dict[int, bytes]:
    """IK_AB of each island that was not refused, by its index."""
    return {
        index: keys.pair_island_key(partner.pair_key, key)
        for index, key in enumerate(islands.blocking_keys)
        if key is not None
    }
