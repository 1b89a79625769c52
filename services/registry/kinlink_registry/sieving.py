"""The registry's side of the sieve: words of pairs, tags of bits and records, and what they prove.

Refused rows carry random bytes, so that their place in the answer tells only their refusal. Words,
tags and proofs are the business of `kinlink_core.encoding`'s `sieve` and `record_tags`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.fixed_parts import record_sketches, wanting
from kinlink_core.encoding.record_tags import (
    RECORD_TAG_BYTES,
    SEALED_TAG_BYTES,
    open_record_tags,
    seal_record_tags,
)
from kinlink_core.encoding.sieve import (
    DISTANCE_TAG_BYTES,
    SIEVE_BITS,
    distance_max,
    distance_tags,
    open_bits,
    places,
    short_sketches,
    sieve_words,
    verify_distances,
    with_sides,
)
from kinlink_core.wire import Refusal, SieveRows, TaggedSieveRows

from kinlink_registry.sealing import CHUNK_ROWS, noise, seeds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.prf import Seeds
    from kinlink_core.encoding.schema import Pass, Schema
    from kinlink_core.wire import PairAsk

    from kinlink_registry.columns import Bytes
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
        words = _unanswered(rows, WORD_BYTES).view("<u8").reshape(-1)
        for part in self._parts(rows):
            words[part.rows] = part.words
        return SieveRows(words, rows.refusal)

    def tagged(self, rows: PairRows) -> TaggedSieveRows:
        """Words, the tags by which distances from them are proven, and the tags of the records."""
        words = _unanswered(rows, WORD_BYTES).view("<u8").reshape(-1)
        tags = _unanswered(rows, DISTANCE_TAG_BYTES * SIEVE_BITS).view("<u4")
        record_tags = _unanswered(rows, SEALED_TAG_BYTES)
        of_left = self.partner.own_is_left
        for part in self._parts(rows):
            words[part.rows] = part.words
            tags[part.rows] = distance_tags(part.seeds, part.words, of_left=of_left)
            record_tags[part.rows] = seal_record_tags(part.seeds, part.tags, of_left=of_left)
        return TaggedSieveRows(words, rows.refusal, tags, record_tags)

    def refuse_unproven(self, rows: PairRows, ask: PairAsk) -> Bytes:
        """Refuse, in place, pairs that are not proven near, or whose record tag is not genuine.

        Returns:
            (n, 16) record tags of the partner; those of refused rows mean nothing.
        """
        limit = distance_max(self.blocking_pass.sieve_max)
        of_left = not self.partner.own_is_left
        partner_tags = np.zeros((len(rows.refs), RECORD_TAG_BYTES), np.uint8)
        for part in self._parts(rows):
            distances, proofs = ask.distances[part.rows], ask.distance_proofs[part.rows]
            near = verify_distances(part.seeds, part.words, distances, proofs, of_left=of_left)
            near &= distances <= limit
            partner_tags[part.rows], genuine = open_record_tags(
                part.seeds, ask.partner_tags[part.rows], of_left=of_left
            )
            rows.refusal[part.rows[~genuine]] = Refusal.PROOF_REFUSED
            rows.refusal[part.rows[~near]] = Refusal.SIEVE_REFUSED
        return partner_tags

    def _parts(self, rows: PairRows) -> Iterator[_Part]:
        """Answered rows with their words, some thousand at a time."""
        answered = rows.answered()
        positions = open_bits(self.schema, self.blocking_pass)
        looked_at = places(self.partner.draws.islands(self.islands.block), positions)
        for start in range(0, len(answered), CHUNK_ROWS):
            chunk = answered[start : start + CHUNK_ROWS]
            chosen = rows.take(chunk)
            at = self.opened.rows_of(chosen.refs)
            # The other sketches of a record, most of its bytes, stay where they are.
            records = record_sketches(self.opened.fixed)[at]
            short = short_sketches(records, looked_at[chosen.island_index])
            if self.schema.sides is not None:
                wants = wanting(self.opened.fixed)[at]
                short = with_sides(short, wants, of_left=self.partner.own_is_left)
            drawn = seeds(self.partner, self.islands, chosen)
            yield _Part(chunk, drawn, sieve_words(drawn, short), self.opened.tags[at])


@dataclass(frozen=True)
class _Part:
    """Some answered rows of a request."""

    rows: npt.NDArray[np.int64]
    seeds: Seeds
    words: npt.NDArray[np.uint64]
    tags: Bytes  # own record tags


def _unanswered(rows: PairRows, width: int) -> npt.NDArray[np.uint8]:
    """(n, width) bytes: random where a row is refused, to be written over where it is answered."""
    found = np.zeros((len(rows.refs), width), np.uint8)
    refused = np.flatnonzero(rows.refusal != Refusal.ANSWERED)
    found[refused] = noise(len(refused), width)
    return found
