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
from kinlink_core.encoding.seal import SealedBatch, SealedColumn, seal_pairs
from kinlink_core.wire import FRAME_BYTES_MAX, Refusal, SealedRows

from kinlink_registry import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

    def island_keys(self, by_island: dict[int, bytes], which: npt.NDArray[np.int64]) -> list[bytes]:
        """The key of each chosen row's island."""
        return [by_island[index] for index in self.island_index[which].tolist()]

    def seeds(
        self, partner: Partner, by_island: dict[int, bytes], which: npt.NDArray[np.int64]
    ) -> list[bytes]:
        """What is drawn for each chosen pair is drawn from this."""
        handles = partner.ordered(self.own_handles[which], self.partner_handles[which])
        return keys.pair_seeds(
            self.island_keys(by_island, which), columns.rows(np.concatenate(handles, axis=1))
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
    by_island = island_keys(partner, islands, keys.seal_key)
    step = chunk_rows(schema)
    for start in range(0, len(rows.refs), step):
        refusal = rows.refusal[start : start + step]
        good = np.flatnonzero(refusal == Refusal.ANSWERED)
        which = start + good
        found = opened.gather(rows.refs[which])
        sealed = seal_pairs(
            schema, rows.seeds(partner, by_island, which), found.fixed, found.digests, null_key
        )
        yield SealedRows(spread(sealed, good, len(refusal)), refusal)


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


def island_keys(
    partner: Partner, islands: Islands, derive: Callable[[bytes], bytes]
) -> dict[int, bytes]:
    """What is derived from IK_AB of each island that was not refused, by its index."""
    return {
        index: derive(keys.pair_island_key(partner.pair_key, key))
        for index, key in enumerate(islands.blocking_keys)
        if key is not None
    }
