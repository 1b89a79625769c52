"""R14: is a person on a registry's books? Asked of chance agreement, again and again.

The attacker is the linker, helped by an insider: it knows every value of both registries but for
one thing, whether a certain person stands on the left one's books. It asks for pairs drawn at
random, compares how often each field agrees with what either world would give, and asks again.

First design: each call drew anew (here 100,000 calls), so the mean tells. Kinlink draws once a
size, partner and epoch, and the sizes are powers of two. What is left shrinks with the registry: it
is reported for a tiny one too, which the target does not cover.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.chance import ROUNDS_MAX
from kinlink_registry.chance import round_rows

from redteam.population import make
from redteam.results import Result

if TYPE_CHECKING:
    import numpy.typing as npt

    from redteam.population import Population
    from redteam.setting import Setting

    Floats = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int64]

RECORDS: Final = (1_500, 300)
RECORDS_TARGETED_MIN: Final = 1_000
WORLDS: Final = 1_500  # of each kind
WORLDS_QUICK: Final = 500
CALLS: Final = 100_000
PAIRS_A_CALL: Final = 8_192
TARGET: Final = 0.55
CLASSICAL_MIN: Final = 0.89


def run(setting: Setting) -> list[Result]:
    """AUC of telling worlds with the person from worlds without."""
    return [_result(setting, records) for records in RECORDS]


def _result(setting: Setting, records: int) -> Result:
    rng = np.random.default_rng([setting.seed, 14, records])
    population = make(2 * records, 2, setting.seed, correlated=False, overlap=0.1)
    left, right = (_codes(population, registry) for registry in (0, 1))
    worlds = WORLDS_QUICK if setting.quick else WORLDS
    scores: dict[tuple[str, bool], list[float]] = {
        (kind, here): [] for kind in ("ours", "first") for here in (False, True)
    }
    for _ in range(worlds):
        person = int(rng.integers(len(left)))
        without = np.delete(left, person, axis=0)
        rates = {True: _rates(left, right), False: _rates(without, right)}
        for here, books in ((True, left), (False, without)):
            agreed, pairs = _drawn(rng, books, right)
            scores["ours", here].append(_likelier(agreed / pairs, rates, pairs))
            calls = CALLS * PAIRS_A_CALL
            anew = rng.binomial(calls, rates[here]) / calls
            scores["first", here].append(_likelier(anew, rates, calls))
    ours, first = (auc(scores[kind, True], scores[kind, False]) for kind in ("ours", "first"))
    return Result(
        id="R14",
        title="chance agreement, repeated calls",
        setting=f"registries of about {records} records, {worlds} people",
        seed=setting.seed,
        measure="AUC of present against absent",
        value=ours,
        target=TARGET if records >= RECORDS_TARGETED_MIN else None,
        classical=first,
        classical_min=CLASSICAL_MIN,
        unit="number",
        detail="Linker that knows everyone else. First design: pairs drawn anew each call.",
    )


def auc(positive: list[float], negative: list[float]) -> float:
    """Area under the ROC curve, never below one half: an attacker may turn its guess round."""
    above = np.subtract.outer(np.array(positive), np.array(negative))
    area = float(((above > 0) + 0.5 * (above == 0)).mean())
    return max(area, 1 - area)


def _codes(population: Population, registry: int) -> Codes:
    """Values as numbers, a column a field; names and dates by what people share: surname, year."""
    rows = np.flatnonzero(population.registry == registry).tolist()
    columns = []
    for name, values in population.values.items():
        width = {"name": 1, "dob": 4, "phone": 5, "national_id": 4, "address": 6}.get(name)
        texts = [(values[i] or f"missing {registry} {i}")[:width] for i in rows]
        columns.append([hash((name, text)) for text in texts])
    return np.array(columns, np.int64).T


def _rates(left: Codes, right: Codes) -> Floats:
    """Share of all pairs across the two that agree, field by field."""
    rates = []
    for one, other in zip(left.T, right.T, strict=True):
        values, counts = np.unique(other, return_counts=True)
        at = np.minimum(np.searchsorted(values, one), len(values) - 1)
        rates.append((counts[at] * (values[at] == one)).sum() / (len(one) * len(other)))
    return np.array(rates)


def _drawn(rng: np.random.Generator, left: Codes, right: Codes) -> tuple[Floats, int]:
    """Agreements in all that the linker can draw in one epoch.

    The keyed orders of `kinlink_core.encoding.chance` are random permutations to whoever lacks the
    epoch secret; they are drawn as such, once for all sizes.
    """
    agreed, pairs = np.zeros(left.shape[1]), 0
    orders = [[rng.permutation(len(books)) for _ in range(ROUNDS_MAX)] for books in (left, right)]
    sizes = {round_rows(len(left), claimed) for claimed in range(1, 2 * len(left))} - {0}
    for size in sorted(sizes):
        one, other = (np.concatenate([order[:size] for order in side]) for side in orders)
        rows = min(len(one), len(other))
        for field in range(left.shape[1]):
            # Each registry shuffles each field for itself.
            mine, yours = rng.permutation(one[:rows]), rng.permutation(other[:rows])
            agreed[field] += (left[mine, field] == right[yours, field]).sum()
        pairs += rows
    return agreed, pairs


def _likelier(seen: Floats, rates: dict[bool, Floats], pairs: int) -> float:
    """Log-likelihood of "present" over "absent", fields taken as independent and normal."""
    variance = np.maximum(rates[False] * (1 - rates[False]) / pairs, 1e-12)
    middle = (rates[True] + rates[False]) / 2
    return float(((seen - middle) * (rates[True] - rates[False]) / variance).sum())
