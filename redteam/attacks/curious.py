"""X14: what a registry learns from being asked; X15: who lacks a value.

X14. The attacker is a registry that keeps to the protocol and reads its requests. It holds the
plaintext of its own records and its blocking keys, so each island it is asked about says: the
partner has so many people with this blocking value. Pairs that are asked for again after the sieve
are near ones. How well does it tell, before any disclosure, which of its people the partner has?

X15. The attacker is the linker. No null bitmap leaves, but presence tags are equal only where both
sides have a value: of a handle whose pairs never agree on presence the field is guessed missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from redteam.results import Result

if TYPE_CHECKING:
    import numpy.typing as npt

    from redteam.setting import Setting
    from redteam.view import View

    Scores = npt.NDArray[np.float64] | npt.NDArray[np.int64]

REGISTRY = 0


def run(setting: Setting) -> list[Result]:
    """Both from one linkage as it is."""
    view = setting.view()
    told, strangers = _told(view)
    return [
        Result("X14", "what a registry learns from being asked", setting.label, setting.seed,
               "AUC of a partner having the same person", told, unit="number",
               detail="A curious registry alone, before any disclosure."),
        Result("X14", "what a registry learns from being asked", setting.label, setting.seed,
               "own records of which it learns that a partner has another person with its values",
               strangers, detail="A curious registry alone; islands of strangers."),
        Result("X15", "who lacks a value", setting.label, setting.seed,
               "AUC of a field missing in a record", _missing(view), unit="number",
               detail="Linker alone, from presence tags of sealed pairs."),
    ]  # fmt: skip


def _told(view: View) -> tuple[float, float]:
    """AUC of a partner having the person, by requests; share of records with strangers only."""
    population, record = view.population, view.secrets.record
    registries, count = len(population.names), population.records
    asked = np.zeros((registries, count), np.int64)
    for pairs in (view.sieved, view.pairs):
        for mine, yours in ((pairs.left, pairs.right), (pairs.right, pairs.left)):
            own = view.rows.registry[mine] == REGISTRY
            partner = view.rows.registry[yours[own]].astype(np.int64)
            np.add.at(asked, (partner, record[mine[own]]), 1)
    own_records = np.flatnonzero(population.registry == REGISTRY)
    held = np.zeros((registries, population.persons), bool)
    held[population.registry, population.person] = True
    truth = held[1:, population.person[own_records]].reshape(-1)
    seen = asked[1:, own_records].reshape(-1)
    strangers = (seen > 0) & ~truth
    return fast_auc(seen[truth], seen[~truth]), float(
        strangers.reshape(registries - 1, -1).any(axis=0).mean()
    )


def _missing(view: View) -> float:
    """AUC of "never both present" over all handles of sealed pairs and all fields."""
    pairs, rows = view.pairs, len(view.secrets.record)
    seen = np.zeros(rows, np.int64)
    both = np.zeros((rows, pairs.present.shape[1]), np.int64)
    for side in (pairs.left, pairs.right):
        np.add.at(seen, side, 1)
        np.add.at(both, side, pairs.present.astype(np.int64))
    chosen = np.flatnonzero(seen)
    names = [field.name for field in view.schema.fields]
    lacking = np.array(
        [[view.population.values[name][i] is None for name in names]
         for i in view.secrets.record[chosen].tolist()]
    )  # fmt: skip
    score = -both[chosen] / seen[chosen, None]
    return fast_auc(score[lacking], score[~lacking])


def fast_auc(positive: Scores, negative: Scores) -> float:
    """Area under the ROC curve by ranks; ties count half."""
    everything = np.concatenate([positive, negative])
    values, inverse, counts = np.unique(everything, return_inverse=True, return_counts=True)
    del values
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(above / (len(positive) * len(negative)))
