"""How many evaluations a registry may have: declared records x rows a record x growth.

Rows a record are what the schema allows at most: one input for each blocking value of a pass and
each of its refinement levels. A registry asks once for a value and keeps the answer, so a budget is
several times what an honest one needs in a month and a small share of the values there are.

Not guaranteed: the reach of a pass is an estimate from the entropy that the schema's author
believes in; guesses of common values reach more people than its share of values says.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from kinlink_core.encoding.extent import entropy_bits, inputs_per_record
from kinlink_core.errors import ForbiddenError, InvalidInputError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kinlink_core.encoding.schema import Schema

# The canary records of an epoch pass through the key server too.
CANARY_RECORDS: Final = 8
# Above this share of a pass's values, a budget is worth looking at.
REACH_MAX: Final = 0.05


@dataclass(frozen=True)
class Budgets:
    """Budgets by registry and pass, in evaluations; the same for each epoch."""

    passes: tuple[str, ...]
    _by_registry: Mapping[str, Mapping[str, int]]

    def of(self, registry: str) -> Mapping[str, int]:
        """Budgets of one registry by pass.

        Raises:
            ForbiddenError: `PEER_UNKNOWN`: nobody declared its records.
        """
        try:
            return self._by_registry[registry]
        except KeyError:
            raise ForbiddenError(
                Reason.PEER_UNKNOWN, "The key server's settings do not name this registry."
            ) from None

    @property
    def registries(self) -> tuple[str, ...]:
        """Who has budgets."""
        return tuple(self._by_registry)


def budgets_of(
    schema: Schema,
    records: Mapping[str, int],
    growth_factor: float,
    rows_per_record: Mapping[str, float],
) -> Budgets:
    """Budgets from declared records; `rows_per_record` overrides the schema's, by pass.

    Raises:
        InvalidInputError: `CONFIG_INVALID`: it names a pass that is not there.
    """
    ids = tuple(each.id for each in schema.passes)
    strangers = sorted(set(rows_per_record) - set(ids))
    if strangers:
        raise InvalidInputError(
            Reason.CONFIG_INVALID, f"passes: the schema has no {', '.join(strangers)}."
        )
    rows = {
        each.id: rows_per_record.get(each.id, inputs_per_record(schema, each))
        for each in schema.passes
    }
    return Budgets(
        ids,
        {
            registry: {
                each: ceil((count + CANARY_RECORDS) * rows[each] * growth_factor) for each in ids
            }
            for registry, count in records.items()
        },
    )


def reach(schema: Schema, budgets: Budgets) -> dict[str, float]:
    """Share of a pass's values that the largest budget could guess, by pass; at most 1."""
    largest = {
        each: max(budgets.of(registry)[each] for registry in budgets.registries)
        for each in budgets.passes
    }
    return {
        each.id: min(1.0, largest[each.id] / 2.0 ** entropy_bits(schema, each))
        for each in schema.passes
    }
