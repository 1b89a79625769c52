"""Notices as the encoder reads them, in this process: what benches and attacks start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.keys import MODE_PLAIN, Context, EpochSecret, KeySchedule
from kinlink_core.encoding.normalize import join_columns, normalize_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import PassInputs
    from kinlink_core.encoding.schema import Field, Schema
    from numpy.typing import NDArray

    from kinlink_local.reunion.columns import Columns

    Ints = NDArray[np.int64]
    Lists = Sequence[frozenset[str]]

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


def pairs_of_pass(inputs: PassInputs, families: int, cap: int) -> tuple[Ints, float]:
    """Distinct pairs of a pass as family * found + found, and the share lost above the cap."""
    value, row = inputs.input_index, inputs.row
    seeks = row < families
    of_family, of_found = (
        np.bincount(value[side], minlength=len(inputs.inputs)) for side in (seeks, ~seeks)
    )
    small = of_family + of_found <= cap
    family = np.flatnonzero(seeks & small[value])
    found = np.flatnonzero(~seeks & small[value])
    found = found[np.argsort(value[found], kind="stable")]
    first, last = (
        np.searchsorted(value[found], value[family], side=side) for side in ("left", "right")
    )
    count = last - first
    start = np.repeat(first - (np.cumsum(count) - count), count)
    partner = row[found[start + np.arange(count.sum())]] - families
    pairs = np.unique(np.repeat(row[family], count) * families + partner)
    every = (of_family * of_found).sum()
    lost = 1 - (of_family * of_found)[small].sum() / every if every else 0.0
    return pairs, float(lost)


def slot_lists(field: Field, value: str, *, wants: bool) -> Lists:
    """What one side lists of a value, for each list of the field's relation.

    Raises:
        ValueError: The field is no level set.
    """
    relation = field.relation
    if relation is None:
        raise ValueError(f"{field.name} is no level set")
    lists = range(len(relation.widths))
    return [frozenset(relation.slots(at, value, wants=wants)) for at in lists]


def first_level(field: Field, wanted: Lists, shown: Lists) -> int:
    """The first level of a level set whose two lists share enough; past the last if none does."""
    for number, level in enumerate(field.levels):
        at = field.list_of(number)
        if len(wanted[at] & shown[at]) >= level.shared:
            return number
    return len(field.levels)
