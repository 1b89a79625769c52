"""What the linker gets to compare of pairs that passed the sieve, each sealed for itself alone.

A sketch has 256 bytes; a sealed field has 128 bits, one bit out of each two bytes, at positions, in
an order and under a mask that are drawn for the pair (`prf`). Of a vector's 4,096 bits it has
2,048, one out of each two. So the positions are distinct by construction, the two sides of a pair
sample the same ones, and

    Hamming(sealed_l, sealed_r) = Hamming of the sampled bits of the two sketches,

while one side alone, or the same record in another pair, is uniformly random. The order matters as
much as the mask: the XOR of the two sides has no mask left, and where its bits stand in the order
of the sketch's bytes, a registry that knows the sketch keys reads both values out of it.

Equality of categories and date parts is shown by 8-byte tags, hashed by a function drawn for the
pair, presence by 2-byte tags; slots of level sets (`level_sets`) by 8-byte MACs under the pair's
key, sorted, so that their places tell nothing. What is missing is random under a key of the vault,
stable for the pair, and equal to nothing (but for 2^-16 by chance).

Not guaranteed: the linker learns the sampled distance and the equalities of every pair it gets both
sides of; whoever knows the sketch keys can compare distances to people it knows with what a guess
would give. A registry that colludes with the linker reads what is sealed towards itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kinlink_core.encoding import keys
from kinlink_core.encoding._draws import RANK_BYTES, Reader, shuffled
from kinlink_core.encoding.features import tag_values, two_sided
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.prf import Prf
from kinlink_core.encoding.schema import SAMPLE_BITS, VECTOR_BITS, VECTOR_SAMPLE_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import Column
    from kinlink_core.encoding.level_sets import Relation
    from kinlink_core.encoding.prf import Seeds
    from kinlink_core.encoding.schema import Field, Schema
    from kinlink_core.encoding.sketch import Bytes

SAMPLE_BYTES = SAMPLE_BITS // 8
PRESENCE_TAG_BYTES = 2
TAG_BYTES = 8

# One nibble of what is drawn chooses a bit of 16, the rest is the mask.
_CHOICE_BYTES = SAMPLE_BITS // 2
_SAMPLE_DRAWN_BYTES = _CHOICE_BYTES + SAMPLE_BYTES
# Of a vector every second bit of what is drawn chooses one bit of two.
_VECTOR_CHOICE_BYTES = VECTOR_BITS // 8
_VECTOR_DRAWN_BYTES = _VECTOR_CHOICE_BYTES + VECTOR_SAMPLE_BITS // 8
_EVERY_SECOND_BIT = np.uint8(0x55)
# Two multipliers and two addends of 64 bits.
_TAG_DRAWN_BYTES = 4 * TAG_BYTES


@dataclass(frozen=True)
class SealedColumn:
    """One field of n sealed records."""

    presence: Bytes  # (n, 2)
    sketch: Bytes | None  # (n, 16), of vectors (n, 256), None for fields without a sketch
    tags: Bytes | None  # (n, 8 × tags of the field), None for fields without tags


@dataclass(frozen=True)
class SealedBatch:
    """One side of n pairs; columns in the schema's order of fields."""

    fields: tuple[SealedColumn, ...]


@dataclass(frozen=True)
class TagDigests:
    """What the equality tags of one field are made of, for n records; k tags, none for most."""

    digest: npt.NDArray[np.uint64]  # (n, k)
    missing: npt.NDArray[np.bool_]  # (n, k)

    def take(self, rows: npt.NDArray[np.int64]) -> TagDigests:
        """Some records, in the order of the rows."""
        return TagDigests(self.digest[rows], self.missing[rows])


def _digest_values(field: Field, values: Column) -> TagDigests:
    """Digest n canonical values for the tags of a field; each distinct value once."""
    index: dict[str | None, int] = {}
    codes = np.fromiter((index.setdefault(v, len(index)) for v in values), np.int64, len(values))
    by_value = [_digests(field, value) for value in index]
    shape = len(index), len(field.tags)
    table = np.array([[digest or 0 for digest in row] for row in by_value], np.uint64)
    missing = np.array([[digest is None for digest in row] for row in by_value], bool)
    return TagDigests(table.reshape(shape), missing.reshape(shape)).take(codes)


def digest_columns(schema: Schema, columns: Sequence[Column]) -> list[TagDigests]:
    """Digests of n records, by fields and their canonical values in the schema's order."""
    return [
        _digest_values(field, column)
        for field, column in zip(schema.fields, two_sided(schema, columns), strict=True)
    ]


def seal_pairs(
    schema: Schema,
    seeds: Seeds,
    fixed: Bytes,
    digests: Sequence[TagDigests],
    null_key: bytes,
) -> SealedBatch:
    """Seal one side of n pairs.

    Args:
        schema: whose fields are sealed, in its order.
        seeds: of the n pairs, the same for both sides.
        fixed: (n, fixed_bytes) fixed parts of the records, gathered pair by pair.
        digests: `digest_columns` of the records, gathered alike.
        null_key: 32 bytes of the vault's; makes what is missing look like anything else.

    Returns:
        n rows a field. Cost: about 130 bytes drawn a field and row, and arithmetic on arrays; 768
        bytes a field of vectors, and 4 KiB for the order of their bits, which are sorted.
    """
    parts = split_fixed(schema, fixed)
    if not len(seeds) == len(fixed) or any(len(each.digest) != len(fixed) for each in digests):
        raise ValueError("seeds, fixed parts and digests must have one length")
    drawn = sum(_drawn_bytes(field) for field in schema.fields)
    stream = Reader(seeds.draw(b"seal", drawn + RANK_BYTES * SAMPLE_BITS))
    noise = _noise(schema, seeds, parts.present, digests, null_key)
    columns = []
    sealed = iter(_sealed_sketches(schema, parts.sketches, stream))
    vectors = iter(_sealed_vectors(parts.vectors, seeds))
    for index, field in enumerate(schema.fields):
        missing = ~parts.present[:, index]
        presence = stream.take(PRESENCE_TAG_BYTES).copy()
        _overwrite(presence, missing, noise)
        sketch = None
        if field.sample_bytes:
            sketch = next(sealed if field.vector is None else vectors)
            _overwrite(sketch, missing, noise)
        columns.append(
            SealedColumn(presence, sketch, _tags(field, digests[index], seeds, stream, noise))
        )
    return SealedBatch(tuple(columns))


def _drawn_bytes(field: Field) -> int:
    sample = _SAMPLE_DRAWN_BYTES if field.has_sketch else 0
    tags = 0 if field.relation is not None else len(field.tags)
    return PRESENCE_TAG_BYTES + sample + _TAG_DRAWN_BYTES * tags


def _sealed_bytes(field: Field) -> int:
    return PRESENCE_TAG_BYTES + field.sample_bytes + TAG_BYTES * len(field.tags)


def _noise(
    schema: Schema,
    seeds: Seeds,
    present: npt.NDArray[np.bool_],
    digests: Sequence[TagDigests],
    null_key: bytes,
) -> Reader:
    """Bytes for what is missing, fixed for (vault, pair); rows that miss nothing stay zero."""
    incomplete = ~present.all(axis=1)
    for each in digests:
        incomplete |= each.missing.any(axis=1)  # a partial date lacks some of its tags
    chosen = np.flatnonzero(incomplete)
    width = sum(_sealed_bytes(field) for field in schema.fields)
    noise = np.zeros((len(seeds), width), np.uint8)
    noise[chosen] = Prf(null_key).again(seeds.take(chosen)).draw(b"null", width)
    return Reader(noise)


def _overwrite(column: Bytes, missing: npt.NDArray[np.bool_], noise: Reader) -> None:
    random = noise.take(column.shape[1])
    column[missing] = random[missing]


def _sealed_sketches(schema: Schema, sketches: Bytes, stream: Reader) -> list[Bytes]:
    """The sampled, shuffled and masked bits of each sketched field, (n, 16)."""
    draws = [stream.take(_SAMPLE_DRAWN_BYTES) for field in schema.fields if field.has_sketch]
    ranks = stream.take(RANK_BYTES * SAMPLE_BITS)
    sampled = [
        _sample(sketch, draw[:, :_CHOICE_BYTES])
        for sketch, draw in zip(np.moveaxis(sketches, 1, 0), draws, strict=True)
    ]
    return [
        np.packbits(bits, axis=1) ^ draw[:, _CHOICE_BYTES:]
        for bits, draw in zip(shuffled(sampled, ranks), draws, strict=True)
    ]


def _sealed_vectors(vectors: Bytes, seeds: Seeds) -> list[Bytes]:
    """The same of each field of vectors, (n, 256); drawn apart from all else."""
    count = vectors.shape[1]
    if not count:
        return []
    width = _VECTOR_DRAWN_BYTES * count + RANK_BYTES * VECTOR_SAMPLE_BITS
    stream = Reader(seeds.draw(b"vectors", width))
    draws = [stream.take(_VECTOR_DRAWN_BYTES) for _ in range(count)]
    ranks = stream.take(RANK_BYTES * VECTOR_SAMPLE_BITS)
    sampled = [
        _half(vector, draw[:, :_VECTOR_CHOICE_BYTES])
        for vector, draw in zip(np.moveaxis(vectors, 1, 0), draws, strict=True)
    ]
    return [
        np.packbits(bits, axis=1) ^ draw[:, _VECTOR_CHOICE_BYTES:]
        for bits, draw in zip(shuffled(sampled, ranks), draws, strict=True)
    ]


def _half(vectors: Bytes, choice: Bytes) -> Bytes:
    """One bit of each two; (n, 2048) zeros and ones."""
    differing = (vectors ^ vectors >> np.uint8(1)) & choice & _EVERY_SECOND_BIT
    return np.ascontiguousarray(np.unpackbits(vectors ^ differing, axis=1)[:, 1::2])


def _sample(sketches: Bytes, nibbles: Bytes) -> Bytes:
    """One bit of each two bytes; (n, 128) zeros and ones."""
    choice = np.empty((len(sketches), SAMPLE_BITS), np.uint16)
    choice[:, 0::2] = nibbles & 15
    choice[:, 1::2] = nibbles >> 4
    pairs_of_bytes = np.ascontiguousarray(sketches).view("<u2")
    return ((pairs_of_bytes >> choice) & np.uint16(1)).astype(np.uint8)


def _digests(field: Field, canonical: str | None) -> list[int | None]:
    values = [None] * len(field.tags) if canonical is None else tag_values(field, canonical)
    # Slots of a level set hold the same value under any number.
    tags = field.tags if field.relation is None else [""] * len(values)
    return [
        None if value is None else _digest(field, tag, value)
        for tag, value in zip(tags, values, strict=True)
    ]


def _digest(field: Field, tag: str, value: str) -> int:
    text = keys.lp(field.name.encode(), tag.encode(), value.encode())
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _tags(
    field: Field, digests: TagDigests, seeds: Seeds, stream: Reader, noise: Reader
) -> Bytes | None:
    if not field.tags:
        return None
    if field.relation is not None:
        return _slots(field.relation, digests, seeds, noise)
    tags = [
        _tag(digest, missing, stream, noise)
        for digest, missing in zip(digests.digest.T, digests.missing.T, strict=True)
    ]
    return np.concatenate(tags, axis=1)


def _slots(relation: Relation, digests: TagDigests, seeds: Seeds, noise: Reader) -> Bytes:
    """Tags of a level set, (n, 8 × slots); each side of each level in an order that tells nothing.

    A pair compares many values of a level with each other, which takes more than a function that is
    universal for two: these are MACs under the pair's key. Empty slots are noise.
    """
    tags = seeds.macs(b"slots", digests.digest).astype("<u8")
    random = np.ascontiguousarray(noise.take(TAG_BYTES * digests.digest.shape[1])).view("<u8")
    tags[digests.missing] = random[digests.missing]
    start = 0
    for width in relation.widths:
        for count in (width.wants, width.shows):
            tags[:, start : start + count].sort(axis=1)
            start += count
    return np.ascontiguousarray(tags).view(np.uint8)


def _tag(
    digest: npt.NDArray[np.uint64],
    missing: npt.NDArray[np.bool_],
    stream: Reader,
    noise: Reader,
) -> Bytes:
    """Hash digests, 32 bits at a time, by a function that is drawn for this pair and tag.

    Multiply-shift, (a·x + b mod 2^64) >> 32, is strongly universal for 32-bit x (Dietzfelbinger,
    STACS 1996): each function serves two values, one a side, and for different values the two
    results are independent and uniform. So they show equality and nothing else.
    """
    drawn = np.ascontiguousarray(stream.take(_TAG_DRAWN_BYTES)).view("<u8")
    halves = (digest >> np.uint64(32), digest & np.uint64(0xFFFFFFFF))
    hashed = [
        (drawn[:, 2 * i] * half + drawn[:, 2 * i + 1]) >> np.uint64(32)
        for i, half in enumerate(halves)
    ]
    tag = np.column_stack([half.astype("<u4") for half in hashed]).view(np.uint8)
    column = np.ascontiguousarray(tag).reshape(len(digest), TAG_BYTES)
    _overwrite(column, missing, noise)
    return column
