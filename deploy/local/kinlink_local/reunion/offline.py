"""Notices as the encoder reads them, in this process: what benches and attacks start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.keys import MODE_PLAIN, Context, EpochSecret, KeySchedule
from kinlink_core.encoding.normalize import join_columns, normalize_column

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Schema

    from kinlink_local.reunion.columns import Columns

EPOCH: Final = "offline"


def encoder_of(schema: Schema) -> Encoder:
    """An encoder under a secret of nothing but zeros, so that LSH tables stay the same."""
    context = Context(MODE_PLAIN, EPOCH, EPOCH, schema.fingerprint())
    return Encoder(schema, KeySchedule(context, EpochSecret(EPOCH, bytes(32))))


def canonical_columns(
    schema: Schema, family: Columns, found: Columns
) -> dict[str, list[str | None]]:
    """Canonical values of both sides by field, the families' first."""
    raw = {name: [cell or None for cell in (*family[name], *found[name])] for name in family}
    return {
        field.name: normalize_column(field, join_columns(field, raw)).values
        for field in schema.fields
    }
