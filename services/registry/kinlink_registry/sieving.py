"""The registry's side of the sieve: words of pairs, tags of their bits, and the check of a proof.

Refused rows carry random bytes, so that their place in the answer tells only their refusal. Words,
tags and proofs are `kinlink_core.encoding.sieve`'s business.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import split_fixed
from kinlink_core.encoding.sieve import (
    DISTANCE_TAG_BYTES,
    SIEVE_BITS,
    distance_max,
    distance_tags,
    open_bits,
    short_sketches,
    sieve_words,
    verify_distances,
)
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.wire import Refusal, SieveRows, TaggedSieveRows

from kinlink_registry.sealing import CHUNK_ROWS, island_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.schema import Pass, Schema
    from kinlink_core.wire import DistanceProofs

    from kinlink_registry.islands import Islands
    from kinlink_registry.partners import Partner
    from kinlink_registry.sealing import PairRows
    from kinlink_registry.shelf import Opened


WORD_BYTES = SIEVE_BITS // 8


@dataclass(frozen=True)
class Sieve:
    """What words of pairs are made of; `opened` holds at least the records of answered rows."""

    schema: Schema
    blocking_pass: Pass
    partner: Partner
    islands: Islands
    opened: Opened

    def words(self, rows: PairRows) -> SieveRows:
        """64 masked bits a pair."""
        words = _noise(len(rows.refs), WORD_BYTES).view("<u8").reshape(-1)
        for part in self._parts(rows):
            words[part.rows] = part.words
        return SieveRows(words, rows.refusal)

    def tagged(self, rows: PairRows) -> TaggedSieveRows:
        """Words, and the tags by which the partner is proven how far they are from its own."""
        words = _noise(len(rows.refs), WORD_BYTES).view("<u8").reshape(-1)
        tags = _noise(len(rows.refs), DISTANCE_TAG_BYTES * SIEVE_BITS).view("<u4")
        for part in self._parts(rows):
            words[part.rows] = part.words
            tags[part.rows] = distance_tags(
                part.keys, part.pairs, part.words, of_left=self.partner.own_is_left
            )
        return TaggedSieveRows(words, rows.refusal, tags)

    def refuse_unproven(self, rows: PairRows, proofs: DistanceProofs, limit: int) -> None:
        """Refuse, in place, pairs whose distance is not proven or above the limit."""
        for part in self._parts(rows):
            distances = proofs.distances[part.rows]
            proven = verify_distances(
                part.keys,
                part.pairs,
                part.words,
                distances,
                proofs.distance_proofs[part.rows],
                of_left=not self.partner.own_is_left,
            )
            rows.refusal[part.rows[~(proven & (distances <= limit))]] = Refusal.SIEVE_REFUSED

    def _parts(self, rows: PairRows) -> Iterator[_Part]:
        """Answered rows with their words, some thousand at a time."""
        answered = np.flatnonzero(rows.refusal == Refusal.ANSWERED)
        by_island = {
            index: keys.sieve_key(key)
            for index, key in island_keys(self.partner, self.islands).items()
        }
        positions = open_bits(self.schema, self.blocking_pass)
        for start in range(0, len(answered), CHUNK_ROWS):
            chunk = answered[start : start + CHUNK_ROWS]
            fixed, _ = self.opened.gather(self.schema, rows.refs[chunk])
            sieve_keys = [by_island[index] for index in rows.island_index[chunk].tolist()]
            sketches = split_fixed(self.schema, fixed).record_sketch
            short = short_sketches(sieve_keys, sketches, positions)
            handles = self.partner.ordered(rows.own_handles[chunk], rows.partner_handles[chunk])
            pairs = [pair.tobytes() for pair in np.concatenate(handles, axis=1)]
            yield _Part(chunk, sieve_keys, pairs, sieve_words(sieve_keys, pairs, short))


@dataclass(frozen=True)
class _Part:
    """Some answered rows of a request."""

    rows: npt.NDArray[np.int64]
    keys: list[bytes]
    pairs: list[bytes]
    words: npt.NDArray[np.uint64]


def limit_of(blocking_pass: Pass, proofs: DistanceProofs, rows: int) -> int | None:
    """The largest distance that is sealed in a pass, None in one without a sieve.

    Raises:
        InvalidInputError: proofs that the pass does not ask for, or too few of them.
    """
    limit = distance_max(blocking_pass.sieve_max)
    sieved = limit < SIEVE_BITS
    if proofs.rows == (rows if sieved else 0):
        return limit if sieved else None
    wanted = "a distance and its proof for each pair" if sieved else "no distances: it has no sieve"
    raise InvalidInputError(Reason.REQUEST_MALFORMED, f"Pass {blocking_pass.id} wants {wanted}.")


def _noise(rows: int, width: int) -> npt.NDArray[np.uint8]:
    """Random (rows, width) bytes, which may be written over."""
    return np.frombuffer(bytearray(os.urandom(rows * width)), np.uint8).reshape(rows, width)
