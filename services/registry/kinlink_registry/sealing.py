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
from kinlink_core.encoding.seal import SealedBatch, SealedColumn, seal_pairs
from kinlink_core.wire import FRAME_BYTES_MAX, Refusal, SealedRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.prf import Seeds
    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.columns import Bytes
    from kinlink_registry.islands import Islands, Refusals
    from kinlink_registry.partners import Partner
    from kinlink_registry.records import Refs
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

    def answered(self) -> npt.NDArray[np.int64]:
        """Rows that are not refused."""
        return np.flatnonzero(self.refusal == Refusal.ANSWERED)

    def take(self, which: npt.NDArray[np.int64]) -> PairRows:
        """Some rows."""
        return PairRows(
            self.refs[which],
            self.own_handles[which],
            self.partner_handles[which],
            self.island_index[which],
            self.refusal[which],
        )


def seal(
    schema: Schema,
    partner: Partner,
    islands: Islands,
    opened: Opened,
    rows: PairRows,
    *,
    null_key: bytes,
) -> Iterator[SealedRows]:
    """Seal one side of pairs, a frame at a time; `opened` holds the records of answered rows."""
    step = chunk_rows(schema)
    for start in range(0, len(rows.refs), step):
        refusal = rows.refusal[start : start + step]
        good = np.flatnonzero(refusal == Refusal.ANSWERED)
        chosen = rows.take(start + good)
        found = opened.gather(chosen.refs)
        sealed = seal_pairs(
            schema, seeds(partner, islands, chosen), found.fixed, found.digests, null_key
        )
        yield SealedRows(spread(sealed, good, len(refusal)), refusal)


def seeds(partner: Partner, islands: Islands, rows: PairRows) -> Seeds:
    """What everything that is drawn for pairs is drawn from."""
    handles = partner.ordered(rows.own_handles, rows.partner_handles)
    return partner.draws.pairs(islands.block[rows.island_index], *handles)


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


def noise(rows: int, width: int) -> Bytes:
    """Random (rows, width) bytes."""
    return np.frombuffer(os.urandom(rows * width), np.uint8).reshape(rows, width)


def _spread(rows: Bytes, good: npt.NDArray[np.int64], count: int) -> Bytes:
    if len(good) == count:
        return rows
    spread_out = np.empty((count, rows.shape[1]), np.uint8)
    refused = np.ones(count, bool)
    refused[good] = False
    spread_out[good] = rows
    spread_out[refused] = noise(count - len(good), rows.shape[1])
    return spread_out
