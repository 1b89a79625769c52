"""What the linker makes of token rows: islands, the sieve inside them, and pairs sealed one by one.

Islands are found and refined by the linker's own SQL and in the order of its finder; words and
sealed rows come from the registries' own functions, under the real keys. What a lying linker could
get beyond the rules is had by `lying` and `sieve_max`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding import keys
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.membership import island_blocks, island_seeds
from kinlink_core.encoding.prf import BLOCK_BYTES, Prf
from kinlink_core.encoding.seal import SAMPLE_BYTES, TAG_BYTES, digest_columns, seal_pairs
from kinlink_core.encoding.sieve import (
    NO_SIEVE,
    distance_max,
    open_bits,
    places,
    short_sketches,
)
from kinlink_core.meetings import SAMPLED_ONE_IN
from kinlink_linker.compare import compare
from kinlink_linker.duck import DuckLimits
from kinlink_linker.islands import TokenRows, split_rows

if TYPE_CHECKING:
    from kinlink_core.encoding.encode import Column
    from kinlink_core.encoding.prf import Seeds
    from kinlink_core.encoding.schema import Schema
    from kinlink_core.encoding.seal import SealedBatch
    from kinlink_linker.islands import Split

    from redteam.encoded import Bytes, Encoded, Rows, Secrets
    from redteam.places import I64

LIMITS: Final = DuckLimits("3GB", 2)
PAIRS_SIEVED_AT_ONCE: Final = 50_000
PAIRS_SEALED_AT_ONCE: Final = 4_096
MISSING: Final = 0xFFFF

# Every vault has a null key of its own: what both sides lack must not look equal.
LEFT: Final = b"null key of the left vault".ljust(keys.KEY_BYTES)
RIGHT: Final = b"null key of the right vault".ljust(keys.KEY_BYTES)
# One for all pairs of registries, whose islands differ: what is drawn is as random.
_DRAWS: Final = Prf(b"draws of the red team".ljust(keys.KEY_BYTES))


@dataclass(frozen=True)
class Islands:
    """k islands with their m members, sorted by island and registry."""

    pass_index: npt.NDArray[np.uint16]  # (k,)
    token: I64  # (k,)
    island: I64  # (m,)
    row: I64  # (m,) the member's handle

    @property
    def count(self) -> int:
        """How many islands there are."""
        return len(self.token)


@dataclass(frozen=True)
class Sieved:
    """All n pairs of records that may meet, with the distance of their sieve words.

    `left` is the row of the registry whose name sorts first.
    """

    left: I64
    right: I64
    pass_index: npt.NDArray[np.uint16]
    token: I64
    distance: npt.NDArray[np.uint8]  # of 64 bits; 0 where the pass has no sieve

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.left)

    def only(self, which: npt.NDArray[np.bool_]) -> Sieved:
        """The pairs of a mask."""
        return Sieved(
            self.left[which], self.right[which], self.pass_index[which], self.token[which],
            self.distance[which],
        )  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """n sealed pairs after comparison: everything the linker can tell of them."""

    left: I64  # row
    right: I64
    pass_index: npt.NDArray[np.uint16]
    token: I64
    sieve: npt.NDArray[np.uint8]
    levels: npt.NDArray[np.uint8]  # (n, fields) as the linker keeps them
    present: npt.NDArray[np.bool_]  # (n, fields) both sides have a value
    distance: npt.NDArray[np.uint16]  # (n, sketched fields) of 128 bits, MISSING where not both
    tags: npt.NDArray[np.bool_]  # (n, all tags in the schema's order) equal

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.left)


def find_islands(schema: Schema, rows: Rows, registries: int) -> Islands:
    """Islands of at least two registries within their caps, refined as the linker refines."""
    caps = [each.cap for each in schema.passes]
    depth = np.array([len(each.refine) for each in schema.passes])
    linking = list(range(registries))
    found = []
    level = 0
    asked = np.flatnonzero(rows.level == 0)
    while len(asked):
        split = split_rows(_token_rows(rows, asked), LIMITS, linking, caps)
        found.append(_islands(split))
        level += 1
        crowded = split.crowded.only(depth[split.crowded.pass_index] >= level)
        asked = np.flatnonzero((rows.level == level) & np.isin(rows.parent, _number(crowded.token)))
    offsets = np.cumsum([0, *(each.count for each in found)])
    return Islands(
        np.concatenate([each.pass_index for each in found]),
        np.concatenate([each.token for each in found]),
        np.concatenate([part.island + at for part, at in zip(found, offsets, strict=False)]),
        np.concatenate([each.row for each in found]),
    )


def lying_islands(rows: Rows) -> Islands:
    """Every token of the feed that two registries hold, whatever its size.

    A registry checks the sum of two registries' counts against the cap; a linker that ignores the
    sum over all of them gets these (`pairs_of` drops the pairs of registries that are above).
    """
    feed = np.flatnonzero(rows.level == 0)
    order = feed[np.lexsort((rows.registry[feed], rows.token[feed]))]
    token, registry = rows.token[order], rows.registry[order].astype(np.int64)
    low = np.full(rows.tokens, 255)
    high = np.full(rows.tokens, -1)
    np.minimum.at(low, token, registry)
    np.maximum.at(high, token, registry)
    order = order[low[token] < high[token]]
    distinct, first, island = np.unique(rows.token[order], return_index=True, return_inverse=True)
    return Islands(rows.pass_index[order][first], distinct, island.reshape(-1), order)


def pairs_of(schema: Schema, encoded: Encoded, islands: Islands) -> Sieved:
    """All pairs across two registries whose counts fit the cap together, with sieve distances."""
    rows = encoded.rows
    left, right = meetings(islands, rows)
    caps = np.array([each.cap for each in schema.passes])
    width = int(rows.registry.max(initial=0)) + 1
    held = rows.token[islands.row] * width + rows.registry[islands.row]
    distinct, counts = np.unique(held, return_counts=True)

    def count(side: I64) -> I64:
        at = np.searchsorted(distinct, rows.token[side] * width + rows.registry[side])
        return np.asarray(counts[at], np.int64)

    fits = count(left) + count(right) <= caps[rows.pass_index[left]]
    left, right = left[fits], right[fits]
    found = Sieved(
        left, right, rows.pass_index[left], rows.token[left], np.zeros(len(left), np.uint8)
    )
    sieving = np.array([each.sieve_max < NO_SIEVE for each in schema.passes])
    chosen = np.flatnonzero(sieving[found.pass_index])
    for start in range(0, len(chosen), PAIRS_SIEVED_AT_ONCE):
        part = chosen[start : start + PAIRS_SIEVED_AT_ONCE]
        found.distance[part] = _sieve(schema, encoded, left[part], right[part])
    return found


def near(schema: Schema, pairs: Sieved) -> npt.NDArray[np.bool_]:
    """Which pairs an honest linker has sealed."""
    limit = np.array([distance_max(each.sieve_max) for each in schema.passes])
    return np.asarray(pairs.distance <= limit[pairs.pass_index])


def first_meetings(
    encoded: Encoded, pairs: Sieved
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which pairs registries seal of those that an honest linker asks for, and which it samples.

    A sample of every pass comes first, then the others pass by pass; records that meet again are
    refused.
    """
    record = encoded.secrets.record
    names = record[pairs.left] * (int(record.max(initial=0)) + 1) + record[pairs.right]
    rng = np.random.default_rng(0)
    sampled = rng.random(pairs.count) * SAMPLED_ONE_IN < 1
    later = np.where(sampled, 0, 1 + pairs.pass_index)
    order = np.lexsort((rng.random(pairs.count), later))
    first = np.zeros(pairs.count, bool)
    first[order[np.unique(names[order], return_index=True)[1]]] = True
    return first, sampled


def seal(
    schema: Schema, encoded: Encoded, registry_values: dict[str, Column], pairs: Sieved
) -> Pairs:
    """Both sides of every pair sealed and compared, in chunks as the linker fetches them."""
    secrets = encoded.secrets
    parts = []
    for start in range(0, max(pairs.count, 1), PAIRS_SEALED_AT_ONCE):
        part = slice(start, start + PAIRS_SEALED_AT_ONCE)
        left, right = pairs.left[part], pairs.right[part]
        blocks = _island_blocks(encoded, left, right)
        seeds = _DRAWS.pairs(blocks, secrets.handle[left], secrets.handle[right])
        sides = [
            sealed_side(
                schema,
                secrets,
                registry_values,
                seeds=seeds,
                record=secrets.record[rows],
                null_key=null_key,
            )
            for rows, null_key in ((left, LEFT), (right, RIGHT))
        ]
        parts.append(measure(schema, *sides))
    levels, present, distance, tags = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Pairs(
        pairs.left, pairs.right, pairs.pass_index, pairs.token, pairs.distance,
        levels, present, distance, tags,
    )  # fmt: skip


def sealed_side(
    schema: Schema,
    secrets: Secrets,
    values: dict[str, Column],
    *,
    seeds: Seeds,
    record: I64,
    null_key: bytes,
) -> SealedBatch:
    """One side of pairs, sealed by the registries' function."""
    if secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    chosen = record.tolist()
    columns = [[values[field.name][i] for i in chosen] for field in schema.fields]
    digests = digest_columns(schema, columns)
    return seal_pairs(schema, seeds, secrets.fixed[record], digests, null_key)


def measure(schema: Schema, left: SealedBatch, right: SealedBatch) -> tuple[np.ndarray, ...]:
    """Levels, presence, distances and equal tags of n sealed pairs."""
    present, distances, tags = [], [], []
    for one, other in zip(left.fields, right.fields, strict=True):
        both = (one.presence == other.presence).all(axis=1)
        present.append(both)
        if one.sketch is not None and other.sketch is not None:
            bits = np.bitwise_count(one.sketch ^ other.sketch).sum(axis=1, dtype=np.uint16)
            distances.append(np.where(both, bits, MISSING).astype(np.uint16))
        if one.tags is not None and other.tags is not None:
            same = (one.tags == other.tags).reshape(len(both), -1, TAG_BYTES).all(axis=2)
            tags.append(same)
    return (
        compare(schema, left, right),
        np.column_stack(present),
        np.column_stack(distances),
        np.concatenate(tags, axis=1),
    )


def _island_blocks(encoded: Encoded, left: I64, right: I64) -> Bytes:
    """IK_AB of each pair of rows; (n, 16)."""
    rows, secrets = encoded.rows, encoded.secrets
    blocks = np.empty((len(left), BLOCK_BYTES), np.uint8)
    sides = np.column_stack([rows.registry[left], rows.registry[right]])
    for one, other in np.unique(sides, axis=0).tolist():
        here = np.flatnonzero((sides == (one, other)).all(axis=1))
        prf = Prf(keys.membership_key(secrets.pair_keys[one, other]))
        blocking_keys = secrets.blocking_key[rows.token[left[here]]]
        blocks[here] = island_blocks(island_seeds(prf, blocking_keys))
    return blocks


def _sieve(schema: Schema, encoded: Encoded, left: I64, right: I64) -> npt.NDArray[np.uint8]:
    secrets = encoded.secrets
    if secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    sketches = split_fixed(schema, secrets.fixed).record_sketch
    # What the words' XOR shows is how far the short sketches of the two sides are apart.
    blocks = _island_blocks(encoded, left, right)
    both = sketches[secrets.record[left]] ^ sketches[secrets.record[right]]
    distance = np.zeros(len(left), np.uint8)
    for index in np.unique(encoded.rows.pass_index[left]).tolist():
        of_pass = np.flatnonzero(encoded.rows.pass_index[left] == index)
        positions = open_bits(schema, schema.passes[index])
        short = short_sketches(both[of_pass], places(_DRAWS.islands(blocks[of_pass]), positions))
        distance[of_pass] = short.sum(axis=1, dtype=np.uint8)
    return distance


def meetings(islands: Islands, rows: Rows) -> tuple[I64, I64]:
    """All pairs of members of one island and two registries, the smaller registry first."""
    registry = rows.registry[islands.row]
    largest = int(np.bincount(islands.island, minlength=1).max())
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for apart in range(1, largest):
        same = islands.island[:-apart] == islands.island[apart:]
        meets = np.flatnonzero(same & (registry[:-apart] != registry[apart:]))
        left.append(islands.row[meets])
        right.append(islands.row[meets + apart])
    return np.concatenate(left), np.concatenate(right)


def _token_rows(rows: Rows, chosen: I64) -> TokenRows:
    zero = np.zeros(len(chosen), np.int64)
    return TokenRows(
        rows.registry[chosen],
        rows.pass_index[chosen],
        np.column_stack([chosen, zero]).astype(np.uint64),
        np.column_stack([rows.token[chosen], zero]).astype(np.uint64),
    )


def _islands(split: Split) -> Islands:
    found = split.islands
    return Islands(
        found.pass_index,
        _number(found.token),
        found.island.astype(np.int64),
        _number(found.handle),
    )


def _number(ids: npt.NDArray[np.uint64]) -> I64:
    return ids[:, 0].astype(np.int64)


assert SAMPLE_BYTES * 8 < MISSING  # noqa: S101 - a distance is never taken for "missing"
