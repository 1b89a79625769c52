"""Which pairs the linker has disclosed: scored by its own model, answered as the registries do.

Pairs above the schema's floor are asked for best first. Of a pair of records the first handle pair
is answered with the two subject ids, the others are "superseded"; a record has one subject id in an
epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.chance import CHANCE_PAIRS_MAX
from kinlink_linker.job import SAMPLE_MIN
from kinlink_linker.score import score, train

from redteam.keyed import some_seeds
from redteam.meetings import LEFT, RIGHT, measure, sealed_side

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Schema

    from redteam.encoded import Encoded
    from redteam.meetings import Pairs
    from redteam.places import I64
    from redteam.population import Population

CHANCE_PAIRS_UNTRAINED: Final = 2_000
_CHANCE_SEED: Final = 20261121


@dataclass(frozen=True)
class Disclosed:
    """n disclosed pairs, one a pair of records, best first; `weight` covers all sealed pairs."""

    pair: I64  # (n,) index into the sealed pairs
    left_subject: I64  # (n,) random numbers
    right_subject: I64
    linked: npt.NDArray[np.bool_]  # (n,) above the schema's threshold
    weight: npt.NDArray[np.float64]  # (pairs,) match weight of every sealed pair, bits

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.pair)


def disclose(
    schema: Schema,
    encoded: Encoded,
    population: Population,
    pairs: Pairs,
    *,
    sampled: npt.NDArray[np.bool_],
    trained: bool = True,
) -> Disclosed:
    """Train on the `sampled` pairs, score and disclose the sealed pairs of one linkage.

    Without `trained` the model is the one that EM starts from: seconds less, fewer false links.
    """
    weight, probability = _scores(
        schema, encoded, population, pairs, sampled=sampled if trained else None
    )
    asked = np.flatnonzero(probability >= schema.disclosure_floor_probability)
    asked = asked[np.argsort(-weight[asked], kind="stable")]
    record = encoded.secrets.record
    left, right = record[pairs.left[asked]], record[pairs.right[asked]]
    _, first = np.unique(left * population.records + right, return_index=True)
    answered = asked[np.sort(first)]
    subject = np.random.default_rng().permutation(population.records)
    return Disclosed(
        answered,
        subject[record[pairs.left[answered]]],
        subject[record[pairs.right[answered]]],
        probability[answered] >= schema.threshold_probability,
        weight,
    )


def _scores(
    schema: Schema,
    encoded: Encoded,
    population: Population,
    pairs: Pairs,
    *,
    sampled: npt.NDArray[np.bool_] | None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weights and probabilities; by the model that EM starts from without a sample."""
    rows_by_pass = {
        each.id: np.flatnonzero(pairs.pass_index == index)
        for index, each in enumerate(schema.passes)
    }
    levels = {name: pairs.levels[rows] for name, rows in rows_by_pass.items()}
    learnt: dict[str, npt.NDArray[np.uint8]] = {}
    if sampled is not None:
        for name, rows in rows_by_pass.items():
            drawn = rows[sampled[rows]]
            learnt[name] = pairs.levels[drawn if len(drawn) >= SAMPLE_MIN else rows]
    count = CHANCE_PAIRS_UNTRAINED if sampled is None else CHANCE_PAIRS_MAX
    chance = _chance_levels(schema, encoded, population, count)
    sizes = np.bincount(population.registry).tolist()
    model = train(schema, learnt, chance, list(combinations(sizes, 2)))
    weight = np.zeros(pairs.count)
    probability = np.zeros(pairs.count)
    for name, rows in rows_by_pass.items():
        found = score(schema, model, name, levels[name])
        weight[rows], probability[rows] = found.weight, found.probability
    return weight, probability


def _chance_levels(
    schema: Schema, encoded: Encoded, population: Population, count: int
) -> npt.NDArray[np.uint8]:
    """Levels of random pairs across registries, sealed under keys of their own."""
    rng = np.random.default_rng(_CHANCE_SEED)
    left, right = rng.integers(0, population.records, (2, count))
    apart = population.registry[left] != population.registry[right]
    left, right = left[apart], right[apart]
    seeds = some_seeds(rng, len(left))
    sides = [
        sealed_side(
            schema,
            encoded.secrets,
            population.values,
            seeds=seeds,
            record=record,
            null_key=null_key,
        )
        for record, null_key in ((left, LEFT), (right, RIGHT))
    ]
    levels: npt.NDArray[np.uint8] = measure(schema, *sides)[0]
    return levels
