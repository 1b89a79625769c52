"""What the linker gets to compare of pairs that passed the sieve, each sealed for itself alone.

A sketch has 256 bytes; a sealed field has 128 bits, one bit out of each two bytes, at positions, in
an order and under a mask that the pair key's XOF (SHAKE-128) yields. So the positions are distinct
by construction, the two sides of a pair sample the same ones, and

    Hamming(sealed_l, sealed_r) = Hamming of the sampled bits of the two sketches,

while one side alone, or the same record in another pair, is uniformly random. The order matters as
much as the mask: the XOR of the two sides has no mask left, and where its bits stand in the order
of the sketch's bytes, a registry that knows the sketch keys reads both values out of it.

Equality of categories and date parts is shown by 8-byte tags, hashed by a function drawn for the
pair, presence by 2-byte tags. What is missing is random under a key of the vault, stable for the
pair, and equal to nothing (but for 2^-16 by chance).

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
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kinlink_core.encoding import keys
from kinlink_core.encoding._draws import RANK_BYTES, Reader, shuffled, xof
from kinlink_core.encoding.dates import DAY_DIGITS
from kinlink_core.encoding.encode import Column, split_fixed
from kinlink_core.encoding.features import tag_value
from kinlink_core.encoding.schema import SAMPLE_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Field, Schema
    from kinlink_core.encoding.sketch import Bytes

SAMPLE_BYTES = SAMPLE_BITS // 8
PRESENCE_TAG_BYTES = 2
TAG_BYTES = 8
RECORD_TAG_BYTES = 16
SEALED_TAG_BYTES = RECORD_TAG_BYTES + 16

# One nibble of the XOF chooses a bit of 16, the rest is the mask.
_CHOICE_BYTES = SAMPLE_BITS // 2
_SAMPLE_XOF_BYTES = _CHOICE_BYTES + SAMPLE_BYTES
# Two multipliers and two addends of 64 bits.
_TAG_XOF_BYTES = 4 * TAG_BYTES
_NONCE_ZERO = bytes(12)


@dataclass(frozen=True)
class SealedColumn:
    """One field of n sealed records."""

    presence: Bytes  # (n, 2)
    sketch: Bytes | None  # (n, 16), None for fields without a sketch
    tags: Bytes | None  # (n, 8 × tags of the field), None for fields without tags


@dataclass(frozen=True)
class SealedBatch:
    """One side of n pairs; columns in the schema's order of fields."""

    fields: tuple[SealedColumn, ...]


def seal_pairs(
    schema: Schema,
    pair_keys: Sequence[bytes],
    fixed: Bytes,
    values: Sequence[Column],
    null_key: bytes,
) -> SealedBatch:
    """Seal one side of n pairs.

    Args:
        schema: whose fields are sealed, in its order.
        pair_keys: n keys of 32 bytes.
        fixed: (n, fixed_bytes) fixed parts of the records, gathered pair by pair.
        values: for each field of the schema, n canonical values.
        null_key: 32 bytes of the vault's; makes what is missing look like anything else.

    Returns:
        n rows a field. Cost: one XOF call a row, a second one where something is missing, one
        digest a distinct value; the rest is arithmetic on arrays.
    """
    parts = split_fixed(schema, fixed)
    if not len(pair_keys) == len(fixed) or any(len(column) != len(fixed) for column in values):
        raise ValueError("pair keys, fixed parts and values must have one length")
    drawn = sum(_xof_bytes(field) for field in schema.fields)
    stream = Reader(xof(pair_keys, b"seal", drawn + RANK_BYTES * SAMPLE_BITS))
    noise = _noise(schema, pair_keys, parts.present, values, null_key)
    columns = []
    sealed = iter(_sealed_sketches(schema, parts.sketches, stream))
    for index, field in enumerate(schema.fields):
        missing = ~parts.present[:, index]
        presence = stream.take(PRESENCE_TAG_BYTES).copy()
        _overwrite(presence, missing, noise)
        sketch = None
        if field.has_sketch:
            sketch = next(sealed)
            _overwrite(sketch, missing, noise)
        tags = [_tag(tagged, stream, noise) for tagged in _digests(field, values[index])]
        columns.append(
            SealedColumn(presence, sketch, np.concatenate(tags, axis=1) if tags else None)
        )
    return SealedBatch(tuple(columns))


def _xof_bytes(field: Field) -> int:
    sample = _SAMPLE_XOF_BYTES if field.has_sketch else 0
    return PRESENCE_TAG_BYTES + sample + _TAG_XOF_BYTES * len(field.tags)


def _sealed_bytes(field: Field) -> int:
    sample = SAMPLE_BYTES if field.has_sketch else 0
    return PRESENCE_TAG_BYTES + sample + TAG_BYTES * len(field.tags)


def _noise(
    schema: Schema,
    pair_keys: Sequence[bytes],
    present: npt.NDArray[np.bool_],
    values: Sequence[Column],
    null_key: bytes,
) -> Reader:
    """Bytes for what is missing, fixed for (vault, pair); rows that miss nothing stay zero."""
    incomplete = ~present.all(axis=1)
    for field, column in zip(schema.fields, values, strict=True):
        # A partial date lacks some of its tags.
        if field.comparison == "date" or field.kind == "date":
            incomplete |= np.array(
                [value is None or len(value) < DAY_DIGITS for value in column], bool
            )
    chosen = np.flatnonzero(incomplete)
    width = sum(_sealed_bytes(field) for field in schema.fields)
    noise = np.zeros((len(pair_keys), width), np.uint8)
    noise[chosen] = xof([null_key + pair_keys[i] for i in chosen.tolist()], b"null", width)
    return Reader(noise)


def _overwrite(column: Bytes, missing: npt.NDArray[np.bool_], noise: Reader) -> None:
    random = noise.take(column.shape[1])
    column[missing] = random[missing]


def _sealed_sketches(schema: Schema, sketches: Bytes, stream: Reader) -> list[Bytes]:
    """The sampled, shuffled and masked bits of each sketched field, (n, 16)."""
    draws = [stream.take(_SAMPLE_XOF_BYTES) for field in schema.fields if field.has_sketch]
    ranks = stream.take(RANK_BYTES * SAMPLE_BITS)
    sampled = [
        _sample(sketch, draw[:, :_CHOICE_BYTES])
        for sketch, draw in zip(np.moveaxis(sketches, 1, 0), draws, strict=True)
    ]
    return [
        np.packbits(bits, axis=1) ^ draw[:, _CHOICE_BYTES:]
        for bits, draw in zip(shuffled(sampled, ranks), draws, strict=True)
    ]


def _sample(sketches: Bytes, nibbles: Bytes) -> Bytes:
    """One bit of each two bytes; (n, 128) zeros and ones."""
    choice = np.empty((len(sketches), SAMPLE_BITS), np.uint16)
    choice[:, 0::2] = nibbles & 15
    choice[:, 1::2] = nibbles >> 4
    pairs_of_bytes = np.ascontiguousarray(sketches).view("<u2")
    return ((pairs_of_bytes >> choice) & np.uint16(1)).astype(np.uint8)


@dataclass(frozen=True)
class _Tagged:
    """64-bit digests of one tag's values, and where there is none."""

    digest: npt.NDArray[np.uint64]  # (n,)
    missing: npt.NDArray[np.bool_]  # (n,)


def _digests(field: Field, values: Column) -> list[_Tagged]:
    if not field.tags:
        return []
    index: dict[str | None, int] = {}
    codes = np.fromiter((index.setdefault(v, len(index)) for v in values), np.int64, len(values))
    by_value = [[_digest(field, tag, value) for tag in field.tags] for value in index]
    table = np.array([[digest or 0 for digest in row] for row in by_value], np.uint64)
    absent = np.array([[digest is None for digest in row] for row in by_value], bool)
    table, absent = table.reshape(-1, len(field.tags)), absent.reshape(-1, len(field.tags))
    return [
        _Tagged(table[codes, number], absent[codes, number]) for number in range(len(field.tags))
    ]


def _digest(field: Field, tag: str, canonical: str | None) -> int | None:
    value = None if canonical is None else tag_value(field, tag, canonical)
    if value is None:
        return None
    text = keys.lp(field.name.encode(), tag.encode(), value.encode())
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _tag(tagged: _Tagged, stream: Reader, noise: Reader) -> Bytes:
    """Hash digests, 32 bits at a time, by a function that the XOF draws for this pair and tag.

    Multiply-shift, (a·x + b mod 2^64) >> 32, is strongly universal for 32-bit x (Dietzfelbinger,
    STACS 1996): each function serves two values, one a side, and for different values the two
    results are independent and uniform. So they show equality and nothing else.
    """
    drawn = np.ascontiguousarray(stream.take(_TAG_XOF_BYTES)).view("<u8")
    halves = (tagged.digest >> np.uint64(32), tagged.digest & np.uint64(0xFFFFFFFF))
    hashed = [
        (drawn[:, 2 * i] * half + drawn[:, 2 * i + 1]) >> np.uint64(32)
        for i, half in enumerate(halves)
    ]
    tag = np.column_stack([half.astype("<u4") for half in hashed]).view(np.uint8)
    column = np.ascontiguousarray(tag).reshape(len(tagged.digest), TAG_BYTES)
    _overwrite(column, tagged.missing, noise)
    return column


def seal_record_tag(pair_key: bytes, side: str, tag: bytes) -> bytes:
    """Seal a record tag for the partner of a pair; 32 bytes the linker relays and cannot read.

    AES-GCM under a key of this pair and side alone, so a fixed nonce is used once.
    """
    return _tag_cipher(pair_key, side).encrypt(_NONCE_ZERO, tag, None)


def open_record_tag(pair_key: bytes, side: str, sealed: bytes) -> bytes:
    """Open the partner's record tag; `KeyFault` if it was not sealed for this pair and side."""
    try:
        return _tag_cipher(pair_key, side).decrypt(_NONCE_ZERO, sealed, None)
    except (InvalidTag, ValueError) as error:
        raise keys.KeyFault("the record tag was not sealed for this pair") from error


def _tag_cipher(pair_key: bytes, side: str) -> AESGCM:
    return AESGCM(keys.expand(pair_key, b"record tag" + keys.lp(side.encode())))
