"""What the linker gets to compare: sieve words inside an island, and pairs sealed one by one.

A sketch has 256 bytes; a sealed field has 256 bits, one bit out of each byte, at positions and
under a mask that the pair key's XOF (SHAKE-128) yields. So the positions are distinct by
construction, the two sides of a pair sample the same ones, and

    Hamming(sealed_l, sealed_r) = Hamming of the sampled bits of the two sketches,

while one side alone, or the same record in another pair, is uniformly random. Equality of
categories and date parts is shown by 8-byte HMACs under the pair key, presence by 2-byte tags. What
is missing is random under a key of the vault, stable for the pair, and equal to nothing (but for
2^-16 by chance).

Not guaranteed: the linker learns the sampled distance and the equalities of every pair it gets both
sides of. A registry that colludes with the linker learns them for pairs of its own records.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import Column, split_fixed
from kinlink_core.encoding.features import category_value, date_parts
from kinlink_core.encoding.schema import SAMPLE_BITS
from kinlink_core.encoding.sketch import SKETCH_BYTES, Bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Field, Schema

SAMPLE_BYTES = SAMPLE_BITS // 8
PRESENCE_TAG_BYTES = 2
TAG_BYTES = 8
RECORD_TAG_BYTES = 16
SEALED_TAG_BYTES = RECORD_TAG_BYTES + 16
SIEVE_BITS = 64

# One nibble of the XOF chooses a bit of a byte (its top bit is dropped), the rest is the mask.
_CHOICE_BYTES = SKETCH_BYTES // 2
_FIELD_XOF_BYTES = _CHOICE_BYTES + SAMPLE_BYTES
_SIEVE_STRIDE_BYTES = SKETCH_BYTES // SIEVE_BITS
_NONCE_ZERO = bytes(12)


@dataclass(frozen=True)
class SealedColumn:
    """One field of n sealed records."""

    presence: Bytes  # (n, 2)
    sketch: Bytes | None  # (n, 32), None for fields without a sketch
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
        n rows a field. Cost: one XOF call, and one HMAC for each tag, a row.
    """
    parts = split_fixed(schema, fixed)
    if not len(pair_keys) == len(fixed) or any(len(column) != len(fixed) for column in values):
        raise ValueError("pair keys, fixed parts and values must have one length")
    sketched = [field for field in schema.fields if field.has_sketch]
    head = PRESENCE_TAG_BYTES * len(schema.fields)
    stream = _xof(pair_keys, b"seal", head + _FIELD_XOF_BYTES * len(sketched))
    noise = _Noise(schema, pair_keys, null_key)
    columns = []
    position = 0
    for index, field in enumerate(schema.fields):
        presence = stream[:, PRESENCE_TAG_BYTES * index :][:, :PRESENCE_TAG_BYTES].copy()
        missing = ~parts.present[:, index]
        presence[missing] = noise.take(index, missing, PRESENCE_TAG_BYTES, b"presence")
        sketch = None
        if field.has_sketch:
            start = head + _FIELD_XOF_BYTES * position
            sketch = _sample(
                parts.sketches[:, position], stream[:, start : start + _FIELD_XOF_BYTES]
            )
            sketch[missing] = noise.take(index, missing, SAMPLE_BYTES, b"sketch")
            position += 1
        columns.append(
            SealedColumn(presence, sketch, _tags(field, index, pair_keys, values[index], noise))
        )
    return SealedBatch(tuple(columns))


def _xof(seal_keys: Sequence[bytes], purpose: bytes, length: int) -> Bytes:
    shake = hashlib.shake_128
    stream = b"".join([shake(key + purpose).digest(length) for key in seal_keys])
    return np.frombuffer(stream, np.uint8).reshape(len(seal_keys), length)


def _sample(sketches: Bytes, stream: Bytes) -> Bytes:
    choice = np.empty((len(sketches), SKETCH_BYTES), np.uint8)
    nibbles = stream[:, :_CHOICE_BYTES]
    choice[:, 0::2] = nibbles & 7
    choice[:, 1::2] = (nibbles >> 4) & 7
    bits = (sketches >> choice) & 1
    masked: Bytes = np.packbits(bits, axis=1) ^ stream[:, _CHOICE_BYTES:]
    return masked


def _tags(
    field: Field, index: int, pair_keys: Sequence[bytes], values: Column, noise: _Noise
) -> Bytes | None:
    if not field.tags:
        return None
    parts = [None if value is None else _tagged(field, value) for value in values]
    columns = []
    for tag in field.tags:
        prefix = keys.lp(b"tag", field.name.encode(), tag.encode())
        tagged = [None if part is None else part[tag] for part in parts]
        missing = np.array([value is None for value in tagged], bool)
        column = np.empty((len(tagged), TAG_BYTES), np.uint8)
        digests = b"".join(
            hmac.digest(key, prefix + value.encode(), "sha256")[:TAG_BYTES]
            for key, value in zip(pair_keys, tagged, strict=True)
            if value is not None
        )
        column[~missing] = np.frombuffer(digests, np.uint8).reshape(-1, TAG_BYTES)
        column[missing] = noise.take(index, missing, TAG_BYTES, b"tag" + tag.encode())
        columns.append(column)
    return np.concatenate(columns, axis=1)


def _tagged(field: Field, canonical: str) -> dict[str, str | None]:
    if field.comparison == "date":
        return date_parts(canonical)
    return {"equal": category_value(field, canonical)}


class _Noise:
    """Random bytes for what is missing: fixed for (vault, pair, field, purpose)."""

    def __init__(self, schema: Schema, pair_keys: Sequence[bytes], key: bytes) -> None:
        self._names = [field.name.encode() for field in schema.fields]
        self._pair_keys = pair_keys
        self._key = key

    def take(self, index: int, rows: npt.NDArray[np.bool_], length: int, purpose: bytes) -> Bytes:
        head = self._key + keys.lp(self._names[index], purpose)
        chosen = np.flatnonzero(rows)
        stream = b"".join(
            hashlib.shake_128(head + self._pair_keys[i]).digest(length) for i in chosen.tolist()
        )
        return np.frombuffer(stream, np.uint8).reshape(len(chosen), length)


def sieve_words(sieve_keys: Sequence[bytes], record_sketches: Bytes) -> npt.NDArray[np.uint64]:
    """64 masked bits of each record, comparable only under one sieve key.

    One bit out of each 4 bytes of the record sketch; (n,) uint64. Records of one island share a
    key, so the XOR of two words is the XOR of their sampled bits.
    """
    distinct: dict[bytes, int] = {}
    codes = np.fromiter(
        (distinct.setdefault(key, len(distinct)) for key in sieve_keys), np.int64, len(sieve_keys)
    )
    stream = _xof(list(distinct), b"sieve", SIEVE_BITS + SIEVE_BITS // 8)
    choice = stream[:, :SIEVE_BITS] & (_SIEVE_STRIDE_BYTES * 8 - 1)
    mask = np.ascontiguousarray(stream[:, SIEVE_BITS:]).view("<u8").reshape(-1)
    position = np.arange(SIEVE_BITS) * _SIEVE_STRIDE_BYTES + (choice >> 3)
    sampled = np.take_along_axis(record_sketches, position[codes], axis=1)
    bits = (sampled >> (choice[codes] & 7)) & 1
    words = np.ascontiguousarray(np.packbits(bits, axis=1)).view("<u8").reshape(-1)
    masked: npt.NDArray[np.uint64] = (words ^ mask[codes]).astype(np.uint64)
    return masked


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
