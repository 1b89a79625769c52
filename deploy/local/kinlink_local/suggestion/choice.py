"""Choosing a set of passes: most true pairs for the pairs that have to be sealed.

A greedy choice under a price: what one pair of strangers costs in true pairs. Passes are added
while they find more than they cost, then those are dropped that stopped paying. Sets over a range
of prices make the frontier; the one with most true pairs under the budget is suggested. Greedy
choice of a submodular gain is within 1 - 1/e of the best (Nemhauser, Wolsey and Fisher 1978)
without prices; with prices it is a heuristic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.schema import LSH_TABLES_MAX, PASS_ENTROPY_BITS_MIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from kinlink_local.suggestion.prediction import Candidate, Prediction

    F32 = npt.NDArray[np.float32]

# A pass that finds less of its own is only exposure (docs/adr/0019-fewer-passes.md).
GAIN_MIN: Final = 0.002
# Where more rows than this are in islands above the cap, a pass works by luck.
WITHIN_MIN: Final = 0.8
PRICES: Final = (0.0, *np.geomspace(0.0003, 3.0, 32).tolist())
# Where no matches are expected a price needs some number of them.
_MATCHES_OF_RECORDS: Final = 0.01


@dataclass(frozen=True)
class Budget:
    """What a set of passes may cost."""

    pairs_max: float
    passes_max: int
    bits_min: float = PASS_ENTROPY_BITS_MIN
    tables_max: int = LSH_TABLES_MAX


@dataclass(frozen=True)
class Choice:
    """A set of passes and what it is expected to do."""

    passes: tuple[Candidate, ...]
    completeness: float  # share of true pairs that any of them finds
    own: tuple[float, ...]  # share that only this pass finds
    pairs: float  # candidate pairs across offices, at most; each is sealed once
    meetings: float  # the same, counted in every pass in which a pair meets


def frontier(prediction: Prediction, budget: Budget) -> tuple[Choice, ...]:
    """Sets that no other set beats in both completeness and pairs, by rising pairs."""
    allowed = [
        each
        for each in prediction.candidates
        if each.declared_bits >= budget.bits_min and each.within >= WITHIN_MIN
    ]
    if not allowed:
        return ()
    found = [_greedy(prediction, allowed, budget, price) for price in PRICES]
    best: list[Choice] = []
    for each in sorted(found, key=lambda choice: (choice.pairs, -choice.completeness)):
        if each.passes and (not best or each.completeness > best[-1].completeness):
            best.append(each)
    return tuple(best)


def best_under(choices: Iterable[Choice], budget: Budget) -> Choice | None:
    """The choice with most true pairs within the budget."""
    fitting = [each for each in choices if each.pairs <= budget.pairs_max]
    return max(fitting, key=lambda each: each.completeness, default=None)


def judge(prediction: Prediction, passes: Iterable[Candidate]) -> Choice:
    """What a set of passes is expected to do together."""
    chosen = tuple(passes)
    missed = [_missed(prediction, each) for each in chosen]
    union = 1 - float(_product(prediction, missed).mean())
    own = tuple(
        union - (1 - float(_product(prediction, missed[:at] + missed[at + 1 :]).mean()))
        for at in range(len(chosen))
    )
    pairs = sum(each.strangers for each in chosen) + prediction.matches * union
    meetings = sum(each.strangers + prediction.matches * each.completeness for each in chosen)
    return Choice(chosen, union, own, pairs, meetings)


def _greedy(
    prediction: Prediction, allowed: list[Candidate], budget: Budget, price: float
) -> Choice:
    columns = np.array([each.column for each in allowed])
    within = np.array([each.within for each in allowed], np.float32)
    matches = max(prediction.matches, _MATCHES_OF_RECORDS * prediction.records)
    cost = np.array([each.strangers for each in allowed]) * price / matches
    tables = np.array([each.tables for each in allowed])
    chosen: list[Candidate] = []
    missed = np.ones(len(prediction.agrees), np.float32)
    while len(chosen) < budget.passes_max:
        reached = (missed @ prediction.agrees) / len(missed)
        gain = reached[columns] * within
        worth = gain - cost
        spent = sum(each.tables for each in chosen)
        worth[(gain < GAIN_MIN) | (tables + spent > budget.tables_max)] = 0.0
        at = int(np.argmax(worth))
        if worth[at] <= 0:
            break
        chosen.append(allowed[at])
        missed *= _missed(prediction, allowed[at])
    return _pruned(prediction, chosen, price / matches)


def _pruned(prediction: Prediction, chosen: list[Candidate], price: float) -> Choice:
    found = judge(prediction, chosen)
    while found.passes:
        spare = [
            own - each.strangers * price if own >= GAIN_MIN else -1.0
            for own, each in zip(found.own, found.passes, strict=True)
        ]
        at = int(np.argmin(spare))
        if spare[at] >= 0:
            break
        found = judge(prediction, found.passes[:at] + found.passes[at + 1 :])
    return found


def _missed(prediction: Prediction, candidate: Candidate) -> F32:
    missed: F32 = 1 - np.float32(candidate.within) * prediction.agrees[:, candidate.column]
    return missed


def _product(prediction: Prediction, missed: list[F32]) -> F32:
    product = np.ones(len(prediction.agrees), np.float32)
    for each in missed:
        product *= each
    return product
