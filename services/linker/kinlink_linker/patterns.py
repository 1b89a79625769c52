"""The compared pairs of a linkage as patterns: which levels, found how, and how often.

Everything that is estimated of a linkage as a whole is computed from these. Pairs of one pattern
have one weight, so nothing is lost but which pair is which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kinlink_linker.score import score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.domain import F64, I64, U8, Bools
    from kinlink_linker.model import Model
    from kinlink_linker.seal import ComparedPairs

RegistryPair = tuple[str, str]


@dataclass(frozen=True)
class Patterns:
    """Distinct patterns of compared pairs, one a row of all arrays."""

    registry_pairs: tuple[RegistryPair, ...]
    between: I64  # (n,) index into `registry_pairs`
    pass_index: I64  # (n,) the pass in which the pairs were sealed
    sampled: Bools  # (n,) whether they were of the random sample of that pass
    levels: U8  # (n, fields)
    count: I64  # (n,) pairs with this pattern
    weight: F64  # (n,) bits
    probability: F64  # (n,)

    @property
    def matches(self) -> F64:
        """Expected matches of each pattern."""
        expected: F64 = self.count * self.probability
        return expected


def patterns_of(
    schema: Schema,
    model: Model,
    compared: Sequence[ComparedPairs],
    registry_pairs: Sequence[RegistryPair],
) -> Patterns:
    """Count the patterns of compared pairs; pairs of other registries are left out."""
    numbers = {pair: number for number, pair in enumerate(registry_pairs)}
    parts = [
        _part(schema, model, pairs, numbers[pairs.left, pairs.right])
        for pairs in compared
        if (pairs.left, pairs.right) in numbers
    ]
    no_rows = np.empty(0, np.int64)
    empty = Patterns(
        tuple(registry_pairs),
        no_rows,
        no_rows,
        np.empty(0, np.bool_),
        np.empty((0, len(schema.fields)), np.uint8),
        no_rows,
        np.empty(0),
        np.empty(0),
    )
    return Patterns(
        tuple(registry_pairs),
        *(np.concatenate([getattr(each, name) for each in (empty, *parts)]) for name in _COLUMNS),
    )


_COLUMNS = (
    "between",
    "pass_index",
    "sampled",
    "levels",
    "count",
    "weight",
    "probability",
)


def _part(schema: Schema, model: Model, pairs: ComparedPairs, number: int) -> Patterns:
    # A row as one value sorts faster than by its columns.
    rows = np.ascontiguousarray(pairs.levels).view(f"V{pairs.levels.shape[1]}").reshape(-1)
    _, first, count = np.unique(rows, return_index=True, return_counts=True)
    levels = pairs.levels[first]
    scores = score(schema, model, schema.passes[pairs.pass_index].id, levels)
    return Patterns(
        (),
        np.full(len(first), number, np.int64),
        np.full(len(first), pairs.pass_index, np.int64),
        np.full(len(first), pairs.sampled, np.bool_),
        levels,
        count.astype(np.int64),
        scores.weight,
        scores.probability,
    )
