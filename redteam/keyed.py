"""What a registry of the federation can compute about anyone: it has the epoch secret.

A colluding registry lends the linker its keys. The sketch of any value it can guess is then known
bit by bit; only what is sealed under keys of two other registries is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.prf import BLOCK_BYTES, Prf

from redteam.encoded import EPOCH, FEDERATION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kinlink_core.encoding.encode import Column
    from kinlink_core.encoding.fixed_parts import FixedParts
    from kinlink_core.encoding.prf import Seeds
    from kinlink_core.encoding.schema import Schema

    from redteam.encoded import Bytes


@dataclass(frozen=True)
class Known:
    """Values as whoever has the epoch secret encodes them."""

    schema: Schema
    encoder: Encoder

    @staticmethod
    def of(schema: Schema, secret: bytes) -> Known:
        """The encoder of an epoch; the passes are of no interest here."""
        context = keys.Context(keys.MODE_PLAIN, FEDERATION, EPOCH, schema.fingerprint())
        schedule = keys.KeySchedule(context, keys.EpochSecret(EPOCH, secret))
        return Known(schema, Encoder(schema, schedule))

    def fixed(self, values: Mapping[str, Column]) -> Bytes:
        """Fixed parts of records; fields that are not named are missing."""
        rows = len(next(iter(values.values())))
        columns = {
            field.name: values.get(field.name, [None] * rows) for field in self.schema.fields
        }
        return self.encoder.encode(columns).fixed

    def parts(self, values: Mapping[str, Column]) -> FixedParts:
        """The same by meaning."""
        return split_fixed(self.schema, self.fixed(values))

    def sketch(self, field: str, values: Sequence[str | None]) -> Bytes:
        """Sketches of one field, (n, 256)."""
        sketched = [each.name for each in self.schema.fields if each.has_sketch]
        return np.ascontiguousarray(
            self.parts({field: list(values)}).sketches[:, sketched.index(field)]
        )


def sample(rng: np.random.Generator, left: Bytes, right: Bytes) -> Bytes:
    """One bit of each byte of the XOR of sketches, in the order of the bytes; (n, 256).

    What a pair showed before its bits were shuffled.
    """
    bits = np.unpackbits((left ^ right)[:, :, None], axis=2)
    choice = rng.integers(0, 8, bits.shape[:2])
    chosen: Bytes = np.take_along_axis(bits, choice[:, :, None], axis=2)[:, :, 0]
    return chosen


def some_seeds(rng: np.random.Generator, count: int) -> Seeds:
    """What is drawn for so many pairs of registries that nobody is."""
    blocks = rng.integers(0, 256, (count, BLOCK_BYTES), np.uint8)
    return Prf(rng.bytes(keys.KEY_BYTES)).islands(blocks)
