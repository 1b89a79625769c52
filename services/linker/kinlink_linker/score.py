"""Fellegi–Sunter on comparison levels: u from chance pairs, m and λ by Splink's EM.

Each pass is trained by itself, because its token changes what its pairs can show:

* a field that the pass fixes exactly takes no part: its agreement is why the pair is here, and its
  value as evidence lies in the pass's λ;
* a field that the pass fixes in part (a prefix, a year, an LSH band) keeps its u free in EM: among
  pairs that share a prefix, names agree far more often than by chance;
* a field that the pass ignores takes no part either;
* every other field keeps the u of chance pairs, drawn across registries.

λ is free and is the pass's prior. Measured on 50,578 records: F1 at probability 0.5 is within 0.003
of the best threshold's, against 0.17 below it when partly fixed fields kept chance u (docs/adr). A
pass with too few pairs to learn from has the prior of two random records, raised by what agreement
in the fields that it fixes says, so that a pair weighs about the same wherever it was met.

Where the schema gives m of every field nothing is left for EM but how many pairs match. Then a
pair weighs the same in every pass: all its fields count with the u of chance, before them the odds
of two random records, such that the expected matches are what the probabilities add up to. There
a field's u may be counted by the levels of another one (`u_given`): strangers of one age have often
lost their families at one time, so that both agree is less than what each says by itself.

Splink estimates; the weight of a pair is then the sum it would predict, log2 of λ's odds plus
log2(m / u) of each field, taken from a table (a test holds it against Splink's own prediction).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from kinlink_linker.compare import NULL_LEVEL, Levels
from kinlink_linker.em import (
    PSEUDO_PAIRS,
    Floats,
    Trained,
    compared_fields,
    counts,
    m_start,
    sample,
    smoothed,
    train_pass,
)
from kinlink_linker.model import GivenU, LevelParameters, Model, PassModel, level_labels
from kinlink_linker.splink_database import (
    EM_CONVERGENCE,
    EM_ITERATIONS_MAX,
    DuckDatabase,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kinlink_core.encoding.schema import Field, Pass, Schema

    from kinlink_linker.splink_database import Database

TRAINING_PAIRS_MIN = 30
# Most of a session is Splink writing and DuckDB planning SQL: two at once take 0.6 of the time.
TRAINING_THREADS = 2
# A u by another field's level starts from the field's own u, as if so many pairs had shown that.
GIVEN_PSEUDO_PAIRS = 50.0
# Where nothing could be learnt: one in ten records of the smaller of two registries is assumed to
# have a partner in the other. A pass's token alone is never taken as surer than the limit: records
# agree for other reasons than chance, such as twins and shared telephones.
PARTNERS_ASSUMED = 0.1
PROBABILITY_UNTRAINED_MAX = 0.95
PROBABILITY_MAX = 1 - 1e-9


@dataclass(frozen=True)
class Scores:
    """Scores of n pairs of one pass."""

    weight: Floats  # (n,) bits
    probability: Floats  # (n,)

    def part(self, rows: slice) -> Scores:
        """Some rows."""
        return Scores(self.weight[rows], self.probability[rows])


@dataclass(frozen=True)
class FieldEvidence:
    """What one field says about one pair."""

    field: str
    level: str
    weight: float
    m: float
    u: float


def chance_agreement(schema: Schema, chance: Levels) -> dict[str, Floats]:
    """U of every level of every field from the levels of chance pairs; each sums to 1."""
    return {
        field.name: smoothed(counts(chance[:, index], len(field.levels) + 1))
        for index, field in enumerate(schema.fields)
    }


def given_agreement(schema: Schema, chance: Levels, u: Mapping[str, Floats]) -> dict[str, GivenU]:
    """U of the fields that have `u_given`, by the other field's levels.

    Each row sums to 1, or to more where `weight_max` raises it.
    """
    places = {field.name: index for index, field in enumerate(schema.fields)}
    found = {}
    for index, field in enumerate(schema.fields):
        if field.u_given is None:
            continue
        other = chance[:, places[field.u_given]]
        rows = []
        for level in range(len(schema.field(field.u_given).levels) + 1):
            count = counts(chance[other == level, index], len(u[field.name]))
            drawn = count + GIVEN_PSEUDO_PAIRS * u[field.name]
            rows.append(tuple(_bounded(field, np.array(field.m), drawn / drawn.sum()).tolist()))
        found[field.name] = GivenU(field.u_given, tuple(rows))
    return found


def warm_up() -> None:
    """Import Splink and what it brings, which takes seconds, before the first linkage needs it."""
    import splink.comparison_level_library
    import splink.comparison_library  # noqa: F401 - for its import

    pa.array(np.zeros(1))  # Arrow looks for pandas when it first meets an array


def train(
    schema: Schema,
    levels_by_pass: Mapping[str, Levels],
    chance: Levels,
    couples: Sequence[tuple[int, int]],
    *,
    progress: Callable[[str], None] = lambda _pass: None,
    database: Database | None = None,
) -> Model:
    """Train a model on the candidate pairs of every pass.

    Args:
        schema: its passes are trained in order.
        levels_by_pass: (n, fields) levels of each pass's pairs; a missing or tiny pass borrows the
            others' m.
        chance: (n, fields) levels of chance pairs.
        couples: of each two registries that are linked, how many records they hold.
        progress: called with each pass that was trained; what it raises ends the training.
        database: where EM runs; DuckDB unless told otherwise.

    Returns:
        m averaged over passes in log-odds where a pass has too few pairs of its own. Time grows
        with the pairs up to `TRAINING_PAIRS_MAX` a pass, not beyond.
    """
    u = chance_agreement(schema, chance)
    if all_m_given(schema):
        given = given_agreement(schema, chance, u)
        return _given_model(schema, levels_by_pass, u, given, couples)
    enough = [
        (each, sample(levels_by_pass[each.id]))
        for each in schema.passes
        if len(levels_by_pass.get(each.id, ())) >= TRAINING_PAIRS_MIN
    ]
    where = database or DuckDatabase()
    trained: dict[str, Trained] = {}
    pool = ThreadPoolExecutor(TRAINING_THREADS, thread_name_prefix="train")
    try:
        results = pool.map(lambda each: train_pass(where, schema, each[0], each[1], u), enough)
        for (blocking_pass, _), result in zip(enough, results, strict=True):
            trained[blocking_pass.id] = result
            progress(blocking_pass.id)
    finally:
        pool.shutdown(cancel_futures=True)
    average = _average_m(schema, trained)
    # What the others learnt of may be samples: then there are more matches, never fewer.
    learnt = sum(each.probability * each.pairs for each in trained.values())
    at_random = max(
        _odds_of_two_random_records(couples), learnt / max(_pairs_of(couples) - learnt, 1.0)
    )
    return Model(
        schema_name=schema.name,
        passes={
            each.id: _pass_model(
                schema,
                each,
                average,
                u,
                trained=trained.get(each.id)
                or min(_prior(each, average, u, at_random), PROBABILITY_UNTRAINED_MAX),
            )
            for each in schema.passes
        },
        em_iterations=max((each.iterations for each in trained.values()), default=0),
        trained_pairs=sum(each.pairs for each in trained.values()),
    )


def all_m_given(schema: Schema) -> bool:
    """Whether no m is left to learn, so that `train` wants all pairs and runs no EM."""
    return all(field.m is not None or field.name in schema.unscored for field in schema.fields)


def score(schema: Schema, model: Model, pass_id: str, levels: Levels) -> Scores:
    """Score pairs of one pass."""
    trained = model.passes[pass_id]
    places = {field.name: index for index, field in enumerate(schema.fields)}
    weight = np.full(len(levels), trained.prior_weight)
    for index, field in enumerate(schema.fields):
        parameters = trained.fields.get(field.name)
        if parameters is None:
            continue
        table = np.zeros(256)
        table[: len(parameters)] = [level.weight for level in parameters]
        given = trained.given.get(field.name)
        if given is None:
            weight += table[levels[:, index]]
            continue
        by_other = np.tile(table, (256, 1))
        m = np.array([level.m for level in parameters])
        by_other[: len(given.u), : len(parameters)] = np.log2(m / np.array(given.u))
        weight += by_other[levels[:, places[given.field]], levels[:, index]]
    return Scores(weight, 1 / (1 + np.exp2(-np.clip(weight, -1000, 1000))))


def evidence(schema: Schema, model: Model, pass_id: str, levels: Levels) -> list[FieldEvidence]:
    """Explain one pair by its levels, (fields,); prior and weights add up to its match weight."""
    found = []
    trained = model.passes[pass_id]
    level_of = dict(zip((field.name for field in schema.fields), levels.tolist(), strict=True))
    for index, field in enumerate(schema.fields):
        parameters = trained.fields.get(field.name)
        level = int(levels[index])
        if parameters is None:
            fixed = field.name in schema.passes[schema.pass_index(pass_id)].fixed_fields
            why = "fixed by the pass" if fixed else "ignored by the pass"
            found.append(FieldEvidence(field.name, why, 0.0, 1.0, 1.0))
        elif level == NULL_LEVEL:
            found.append(FieldEvidence(field.name, "missing", 0.0, 1.0, 1.0))
        else:
            held = parameters[level]
            given = trained.given.get(field.name)
            if given is not None and level_of[given.field] != NULL_LEVEL:
                held = replace(held, u=given.u[level_of[given.field]][level])
            found.append(FieldEvidence(field.name, held.label, held.weight, held.m, held.u))
    return found


def _average_m(schema: Schema, trained: Mapping[str, Trained]) -> dict[str, Floats]:
    """M of each field over the passes that compare it whole, averaged in log-odds."""
    average = {}
    for field in schema.fields:
        known = [each.m[field.name] for each in trained.values() if field.name in each.m]
        if field.m is not None:
            m = np.array(field.m)
        elif known:
            odds = np.mean([np.log(m / (1 - m)) for m in known], axis=0)
            m = 1 / (1 + np.exp(-odds))
        else:
            m = m_start(len(field.levels) + 1)
        average[field.name] = m / m.sum()
    return average


def _odds_of_two_random_records(couples: Sequence[tuple[int, int]]) -> float:
    pairs = _pairs_of(couples)
    matches = PARTNERS_ASSUMED * sum(min(couple) for couple in couples)
    return matches / pairs if pairs else PARTNERS_ASSUMED


def _pairs_of(couples: Sequence[tuple[int, int]]) -> int:
    return sum(one * other for one, other in couples)


def _prior(
    blocking_pass: Pass, m: Mapping[str, Floats], u: Mapping[str, Floats], at_random: float
) -> float:
    """Odds of two random records, raised by what the pass fixes, as a probability."""
    odds = at_random
    for field in blocking_pass.fixed_fields:
        odds *= float(m[field][0] / u[field][0])
    return odds / (1 + odds)


def _given_model(
    schema: Schema,
    levels_by_pass: Mapping[str, Levels],
    u: Mapping[str, Floats],
    given: Mapping[str, GivenU],
    couples: Sequence[tuple[int, int]],
) -> Model:
    m = _average_m(schema, {})
    odds, pairs = _odds_of_two_random_records(couples), max(_pairs_of(couples), 1)

    def model(odds: float, iterations: int) -> Model:
        passes = {
            each.id: _pass_model(
                schema,
                each,
                m,
                u,
                trained=min(_prior(each, m, u, odds), PROBABILITY_MAX),
                given=given,
            )
            for each in schema.passes
        }
        return Model(schema.name, passes, iterations, sum(map(len, levels_by_pass.values())))

    # The odds move every weight alike, so what fields say is added up once.
    first = model(odds, 0)
    said = [np.empty(0)]
    said += [
        score(schema, first, name, levels).weight - np.log2(odds)
        for name, levels in levels_by_pass.items()
    ]
    against = np.exp2(-np.clip(np.concatenate(said), -1000, 1000))
    iterations, before = 0, 0.0
    while abs(odds - before) >= EM_CONVERGENCE * before and iterations < EM_ITERATIONS_MAX:
        expected = PSEUDO_PAIRS + float((1 / (1 + against / odds)).sum())
        before, odds = odds, expected / max(pairs - expected, 1.0)
        iterations += 1
    return model(before, iterations)


def _bounded(field: Field, m: Floats, u: Floats) -> Floats:
    """U, raised where agreement would add more than the field may."""
    if field.weight_max is None:
        return u
    bounded: Floats = np.maximum(u, m / 2**field.weight_max)
    return bounded


def _pass_model(
    schema: Schema,
    blocking_pass: Pass,
    average: Mapping[str, Floats],
    u: Mapping[str, Floats],
    *,
    trained: Trained | float,
    given: Mapping[str, GivenU] = MappingProxyType({}),
) -> PassModel:
    """A pass's model by what was learnt of it, or with a prior where nothing was.

    Where a field's weight is bounded, u of its strongest levels is raised, never m lowered: a level
    that a chance sample shows too seldom, or never, says no more than the bound.
    """
    fields = {}
    for _, field in compared_fields(schema, blocking_pass):
        m, own_u = average[field.name], u[field.name]
        if isinstance(trained, Trained):
            m, own_u = trained.m.get(field.name, m), trained.u.get(field.name, own_u)
        own_u = _bounded(field, m, own_u)
        fields[field.name] = tuple(
            LevelParameters(label, float(m[i]), float(own_u[i]))
            for i, label in enumerate(level_labels(schema, field.name))
        )
    probability = trained.probability if isinstance(trained, Trained) else trained
    return PassModel(
        blocking_pass.id,
        probability,
        fields,
        {name: each for name, each in given.items() if name in fields},
    )
