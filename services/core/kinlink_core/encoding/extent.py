"""How many blocking values a pass makes of one record, and how many it can make at all.

What budgets of a key server are measured by. Both follow from the schema alone.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from kinlink_core.encoding._transforms import part_values_max, pass_bits

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Pass, Schema


def inputs_per_record(schema: Schema, blocking_pass: Pass) -> int:
    """Blocking inputs of one record at most, over the pass and all its refinement levels."""
    values = prod(part_values_max(part, schema.field(part.field)) for part in blocking_pass.parts)
    total = values
    for part in blocking_pass.refine:
        values *= part_values_max(part, schema.field(part.field))
        total += values
    return total


def entropy_bits(schema: Schema, blocking_pass: Pass) -> float:
    """Log2 of the number of about equally frequent values, as the schema's author believes."""
    return pass_bits({each.name: each for each in schema.fields}, blocking_pass.parts)
