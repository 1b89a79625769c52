"""EM of one blocking pass by Splink: m, λ, and u of what the pass fixes in part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kinlink_linker.compare import NULL_LEVEL, Levels
from kinlink_linker.splink_database import Compared, estimated, half_known_matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kinlink_core.encoding.schema import Field, Pass, Schema

    from kinlink_linker.splink_database import Database

TRAINING_PAIRS_MAX = 25_000
# Half a pair a level: no level is impossible, and a rare one is not more certain than the sample
# allows.
PSEUDO_PAIRS = 0.5
PROBABILITY_START = 0.3
_M_START_BEST = 0.75
_M_START_WORST = 0.05
_SAMPLE_SEED = 20261121

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """What EM learnt of a pass: m, u of the partly fixed fields, λ, from so many pairs."""

    m: dict[str, Floats]
    u: dict[str, Floats]
    probability: float
    iterations: int
    pairs: int


def counts(levels: npt.NDArray[np.uint8], count: int) -> Floats:
    """Pairs of each level of one field, missing ones left out; (count,)."""
    return np.bincount(levels[levels != NULL_LEVEL], minlength=count)[:count].astype(np.float64)


def smoothed(count: Floats) -> Floats:
    """Shares of counts, none of them 0."""
    raised = count + PSEUDO_PAIRS
    return np.asarray(raised / raised.sum(), np.float64)


def sample(levels: Levels) -> Levels:
    """At most `TRAINING_PAIRS_MAX` of some pairs, the same each time."""
    if len(levels) <= TRAINING_PAIRS_MAX:
        return levels
    chosen = np.random.default_rng(_SAMPLE_SEED).choice(
        len(levels), TRAINING_PAIRS_MAX, replace=False
    )
    return levels[chosen]


def m_start(count: int) -> Floats:
    """Where EM starts from: most matches agree well, a few not at all."""
    if count == 2:  # noqa: PLR2004 - equal or not
        return np.array([1 - _M_START_WORST, _M_START_WORST])
    middle = (1 - _M_START_BEST - _M_START_WORST) / (count - 2)
    return np.array([_M_START_BEST, *[middle] * (count - 2), _M_START_WORST])


def compared_fields(schema: Schema, blocking_pass: Pass) -> list[tuple[int, Field]]:
    """The fields that count in a pass, with their places in the schema."""
    out = blocking_pass.fixed_fields | blocking_pass.ignores | schema.unscored
    return [(i, field) for i, field in enumerate(schema.fields) if field.name not in out]


def train_pass(
    database: Database,
    schema: Schema,
    blocking_pass: Pass,
    levels: Levels,
    u: Mapping[str, Floats],
) -> Trained:
    """Learn a pass from its pairs; `u` is of chance."""
    compared = [
        (i, field)
        for i, field in compared_fields(schema, blocking_pass)
        if (levels[:, i] != NULL_LEVEL).any()
    ]
    partly = {part.field for part in blocking_pass.parts}
    rows = np.concatenate([levels, _strangers(schema, partly), _half_known(schema, compared)])
    final, iterations = estimated(
        database,
        [
            Compared(
                field.name,
                m_start(len(field.levels) + 1) if field.m is None else np.array(field.m),
                u[field.name],
                fix_m=field.m is not None,
                fix_u=field.name not in partly,
            )
            for _, field in compared
        ],
        rows[:, [i for i, _ in compared]],
        PROBABILITY_START,
    )
    # Strangers and half-known pairs are no candidates: λ is the share among the real pairs, and no
    # surer than their number allows.
    share = float(final.probability_two_random_records_match)
    matches = share * len(rows) - half_known_matches(share, final.comparisons)
    matches = min(max(matches, 0.0), len(levels))
    probability = (matches + PSEUDO_PAIRS) / (len(levels) + 2 * PSEUDO_PAIRS)
    m, free_u = {}, {}
    for (index, field), comparison in zip(compared, final.comparisons, strict=True):
        present = int((levels[:, index] != NULL_LEVEL).sum())
        known = [level for level in comparison.comparison_levels if not level.is_null_level]
        m[field.name] = (
            _estimate(
                [level._m_probability for level in known],  # noqa: SLF001 - the public one hides what EM never saw
                probability * present,
            )
            if field.m is None
            else np.array(field.m)
        )
        if field.name in partly:
            free_u[field.name] = _estimate(
                [level._u_probability for level in known],  # noqa: SLF001 - as above
                (1 - probability) * present,
            )
    return Trained(m, free_u, probability, iterations, len(levels))


def _strangers(schema: Schema, partly: set[str]) -> Levels:
    """One certain non-match for each level of the partly fixed fields, unlike in all else.

    Without them a level that only matches show would get u = 0, which is no probability.
    """
    unlike = np.array([len(field.levels) for field in schema.fields], np.uint8)
    blocks = []
    for index, field in enumerate(schema.fields):
        if field.name in partly:
            block = np.tile(unlike, (len(field.levels) + 1, 1))
            block[:, index] = np.arange(len(block))
            blocks.append(block)
    return np.concatenate(blocks)


def _half_known(schema: Schema, compared: Sequence[tuple[int, Field]]) -> Levels:
    """One pair for each level of each compared field, with all else missing.

    Where matches and others are far apart, EM squares a level's m at every step until it
    underflows, and Splink stops. What such a pair adds depends on its own level alone, so m shrinks
    at most by a constant factor a step.
    """
    blocks = []
    for index, field in compared:
        block = np.full((len(field.levels) + 1, len(schema.fields)), NULL_LEVEL, np.uint8)
        block[:, index] = np.arange(len(block))
        blocks.append(block)
    return np.concatenate(blocks)


def _estimate(estimates: list[float | str | None], pairs: float) -> Floats:
    """Splink's estimates with pseudo counts; it gives text for levels that it never saw."""
    seen = np.array([each if isinstance(each, float) else 0.0 for each in estimates])
    return smoothed(seen * pairs)
