"""How often the parts of two records of one person agree, learned from duplicates inside offices.

Two records of one office agree in a candidate's parts either because they are of one person or by
chance. Over all candidates that is a latent class model with two classes, and the collision
entropies are its moments:

    P(all parts of S agree) = density · ∏ m(part) + ∏ u(part) · ∏ c(field, field)

with c how much more often two fields agree together among strangers than apart (a town and its
postcode). Its parameters are fitted to all measured candidates by least squares on logarithms; the
moments of one to three parts determine them, as triples determine a latent class model of
independent fields (Allman, Matias and Rhodes 2009).

It says how duplicates *inside* offices differ. Pairs across offices may differ more, since each
office has its own clerks and forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding._transforms import part_values_max
from kinlink_core.planning.candidates import LSH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from kinlink_core.encoding.schema import Part
    from kinlink_core.planning.statistics_file import PassStatistics

    Parts = tuple[Part, ...]
    F64 = npt.NDArray[np.float64]

# Fewer pairs of duplicates say too little.
DUPLICATES_MIN: Final = 500
_HALF_STEP_BITS: Final = 0.05  # entropies are rounded down to tenths
_STEP_NOISE: Final = 0.03  # of a logarithm, by that rounding
_MODEL_NOISE: Final = 0.05  # what the model itself is allowed to be off
_M_LOW, _M_HIGH = 0.02, 0.999
_CORRELATION_MAX: Final = 8.0  # of a natural logarithm
_ITERATIONS_MAX: Final = 200
_TOLERANCE: Final = 1e-5
# Where the fit begins: m of each kind of duplicates.
_ONE_KIND: Final = (0.8,)
_TWO_KINDS: Final = (0.8, 0.3)
# A part is taken to agree unless the data say otherwise: weight of log m beside the residuals.
_AGREE_PRIOR: Final = 1.0
# A kind of duplicates whose density is this near to the largest that is believed is strangers.
_AT_BOUND: Final = 0.9


@dataclass(frozen=True)
class DuplicateKind:
    """One kind of duplicates; records differ lightly or heavily, in all fields together."""

    density: float  # share of all record pairs
    agreement: Mapping[Part, float]  # by parts of one value, and of one LSH table


@dataclass(frozen=True)
class Duplicates:
    """What duplicates inside offices tell."""

    kinds: tuple[DuplicateKind, ...]
    misfit: float  # typical error of a logarithm


def learn(
    told: Mapping[Parts, Sequence[PassStatistics]], *, records_a_person: float
) -> Duplicates | None:
    """Fit the model; None where there are too few duplicates to learn from.

    Two kinds are fitted where both are believable, since errors come together: a form is filled in
    well or badly as a whole. Else one.

    Args:
        told: of each candidate what each office measured.
        records_a_person: at most so many records does a person have in one office, on average over
            records. Strangers who are alike in many fields (families, twins) cannot be told from
            duplicates by counts, so this is what bounds their number.
    """
    chances, counts, sets = _moments(told)
    parts = sorted({part for each in sets for part in each}, key=str)
    if not sets or records_a_person <= 1:
        return None
    largest = max(each.rows for group in told.values() for each in group)
    weights = 1 / np.sqrt(1 / counts + _STEP_NOISE**2 + _MODEL_NOISE**2)
    bound = (records_a_person - 1) / largest
    densities, m, misfit = _Model(sets, parts, _TWO_KINDS, bound).fit(np.log(chances), weights)
    pairs = max(counts / chances) * densities
    if (densities > _AT_BOUND * bound).any() or (pairs < DUPLICATES_MIN).any():
        densities, m, misfit = _Model(sets, parts, _ONE_KIND, bound).fit(np.log(chances), weights)
        pairs = max(counts / chances) * densities
    if pairs.sum() < DUPLICATES_MIN:
        return None
    kinds = tuple(
        DuplicateKind(float(density), dict(zip(parts, row.tolist(), strict=True)))
        for density, row in zip(densities, m, strict=True)
    )
    return Duplicates(kinds, misfit)


def _moments(
    told: Mapping[Parts, Sequence[PassStatistics]],
) -> tuple[F64, F64, list[Parts]]:
    """Chance that two rows of an office agree, and how many pairs of rows do, of each candidate."""
    chances, counts, sets = [], [], []
    for parts, offices in told.items():
        if any(each.entropy_bits is None for each in offices):
            continue
        if any(part_values_max(part, None) > 1 and part.transform != LSH for part in parts):
            continue
        pairs = np.array([each.rows**2 / 2 for each in offices], float)
        bits = np.array([each.entropy_bits for each in offices], float) + _HALF_STEP_BITS
        agreeing = float((pairs * 2.0**-bits).sum())
        chances.append(agreeing / float(pairs.sum()))
        counts.append(agreeing)
        sets.append(parts)
    return np.array(chances), np.array(counts), sets


class _Model:
    """The parameters as one vector.

    Log density and log m of parts for each class of duplicates, log u of parts, log c of fields.
    """

    def __init__(
        self,
        sets: Sequence[Parts],
        parts: Sequence[Part],
        starts: Sequence[float],
        density_max: float,
    ) -> None:
        fields = sorted({part.field for part in parts})
        pairs = list(combinations(fields, 2))
        self._holds = np.array([[part in each for part in parts] for each in sets], float)
        self._meets = np.array(
            [[{a, b} <= {part.field for part in each} for a, b in pairs] for each in sets],
            float,
        ).reshape(len(sets), len(pairs))
        self._parts = len(parts)
        self._starts = starts
        self._density_max = density_max
        self._pairs = len(pairs)
        one = np.ones((len(sets), 1))
        # One row a class: what a parameter does to the logarithm of its share of the chance.
        self._duplicate = np.concatenate([one, self._holds], axis=1)
        self._stranger = np.concatenate([self._holds, self._meets], axis=1)

    def fit(self, logs: F64, weights: F64) -> tuple[F64, F64, float]:
        """Densities (classes,), m (classes, parts), and the typical error of a logarithm."""
        from scipy.optimize import least_squares

        start, low, high = self._bounds(logs)
        prior = np.zeros(len(start))
        for number in range(len(self._starts)):
            first = number * (1 + self._parts) + 1
            prior[first : first + self._parts] = _AGREE_PRIOR
        found = least_squares(
            lambda x: np.concatenate([(self._logs(x)[0] - logs) * weights, prior * x]),
            np.clip(start, low + 1e-6, high - 1e-6),
            jac=lambda x: np.concatenate([self._jacobian(x) * weights[:, None], np.diag(prior)]),
            bounds=(low, high),
            loss="soft_l1",
            ftol=_TOLERANCE,
            max_nfev=_ITERATIONS_MAX,
        )
        classes = found.x[: len(self._starts) * (1 + self._parts)].reshape(len(self._starts), -1)
        off = np.abs(self._logs(found.x)[0] - logs)
        return np.exp(classes[:, 0]), np.exp(classes[:, 1:]), float(np.median(off))

    def _bounds(self, logs: F64) -> tuple[F64, F64, F64]:
        count = self._parts
        alone = self._holds.sum(axis=1) == 1
        u = np.full(count, float(logs.max()))
        for row in np.flatnonzero(alone):
            u[int(np.argmax(self._holds[row]))] = logs[row]
        start, low, high = [], [], []
        for m in self._starts:
            start += [logs.min(), *[np.log(m)] * count]
            low += [-60.0, *[np.log(_M_LOW)] * count]
            high += [np.log(self._density_max), *[np.log(_M_HIGH)] * count]
        start = [*start, *u, *[0.01] * self._pairs]
        low = [*low, *(u - 4), *[-0.5] * self._pairs]
        high = [*high, *(np.minimum(u + 0.2, 0.0) + 1e-5), *[_CORRELATION_MAX] * self._pairs]
        return np.array(start), np.array(low), np.array(high)

    def _logs(self, x: F64) -> tuple[F64, F64]:
        """Log chance of each candidate, and the share of it that is of each class; (n, classes)."""
        each = 1 + self._parts
        terms = [
            self._duplicate @ x[number * each : (number + 1) * each]
            for number in range(len(self._starts))
        ]
        terms.append(self._stranger @ x[len(self._starts) * each :])
        stacked = np.stack(terms, axis=1)
        total = np.logaddexp.reduce(stacked, axis=1)
        return total, np.exp(stacked - total[:, None])

    def _jacobian(self, x: F64) -> F64:
        _, shares = self._logs(x)
        blocks = [shares[:, [number]] * self._duplicate for number in range(len(self._starts))]
        found: F64 = np.concatenate([*blocks, shares[:, [-1]] * self._stranger], axis=1)
        return found
