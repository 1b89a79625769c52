"""A public list seen as token rows: the same blocking values without any of the registries' keys.

An attacker counts the values of people of the same marginals himself. Bands of LSH passes are cut
under a key of his own, so their values match nothing, and their counts are as good as the real.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import Encoder

from redteam.encoded import PROCESSES, RECORDS_A_POOL_MIN, digests, narrowed

if TYPE_CHECKING:
    import numpy.typing as npt
    from kinlink_core.encoding.encode import Column
    from kinlink_core.encoding.schema import Schema

    from redteam.places import I64
    from redteam.population import Population


@dataclass(frozen=True)
class Listed:
    """Rows of one pass, of all levels."""

    record: I64  # (n,)
    level: npt.NDArray[np.uint8]  # (n,)
    token: I64  # (n,) a number for each blocking value
    value: I64  # (values,) its digest


def list_values(schema: Schema, population: Population, passes: list[str]) -> dict[str, Listed]:
    """The blocking values of a population, pass by pass."""
    jobs = [
        _Job(
            narrowed(schema, pass_id),
            {
                field.name: population.values[field.name]
                for field in narrowed(schema, pass_id).fields
            },
        )
        for pass_id in passes
    ]
    if population.records < RECORDS_A_POOL_MIN:
        found = [job.run() for job in jobs]
    else:
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(_Job.run, jobs))
    return dict(zip(passes, found, strict=True))


@dataclass(frozen=True)
class _Job:
    schema: Schema
    values: dict[str, Column]

    def run(self) -> Listed:
        epoch = "the attacker's own"
        context = keys.Context(keys.MODE_PLAIN, "", epoch, "")
        schedule = keys.KeySchedule(context, keys.EpochSecret.generate(epoch))
        (found,) = Encoder(self.schema, schedule).blocking_inputs(self.values)
        levels = len(self.schema.passes[0].refine) + 1
        heads = {
            keys.lp(f"{found.pass_id}/{level}".encode()): np.uint8(level) for level in range(levels)
        }
        width = len(next(iter(heads)))
        level = np.array([heads[each[:width]] for each in found.inputs], np.uint8)
        return Listed(
            found.row.astype(np.int64),
            level[found.input_index],
            found.input_index.astype(np.int64),
            digests(found.inputs),
        )
