"""Groups that are known to differ, given different labels: exact marginals over all labellings.

Belief propagation is far off where a few labels must all be different (it sees a permanent through
the Bethe approximation), so small label sets are enumerated, group by group, the unlikely partial
labellings dropped where there are too many.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from redteam.attacks.crowds import joined

if TYPE_CHECKING:
    from redteam.places import I64

LABELLINGS_MAX: Final = 20_000
GROUPS_MAX: Final = 24


def marginals(prior: npt.NDArray[Any], left: I64, right: I64) -> npt.NDArray[np.float64]:
    """Marginal probability of each label of each group.

    Args:
        prior: (groups, labels) weights.
        left: groups that differ from `right`, edge by edge.
        right: the other ends.

    Returns:
        (groups, labels). Components of more than `GROUPS_MAX` groups keep their prior.
    """
    found: npt.NDArray[np.float64] = prior / prior.sum(axis=1, keepdims=True)
    component = joined(len(prior), left, right)
    order = np.argsort(component, kind="stable")
    bounds = np.flatnonzero(np.diff(component[order], prepend=-1, append=-1))
    edge_order = np.argsort(component[left], kind="stable")
    edge_at = np.searchsorted(component[left][edge_order], np.arange(component.max(initial=0) + 2))
    for number, (start, stop) in enumerate(pairwise(bounds.tolist())):
        if not 1 < stop - start <= GROUPS_MAX:
            continue
        groups = order[start:stop]
        edges = edge_order[edge_at[number] : edge_at[number + 1]]
        apart = np.zeros((len(groups), len(groups)), bool)
        one, other = (np.searchsorted(groups, side[edges]) for side in (left, right))
        apart[one, other] = apart[other, one] = True
        found[groups] = _component(found[groups], apart)
    return found


def _component(
    prior: npt.NDArray[np.float64], apart: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    groups, labels = prior.shape
    states = np.zeros((1, 0), np.int64)
    weight = np.ones(1)
    for group in range(groups):
        count = len(states)
        label = np.tile(np.arange(labels), count)
        states = np.repeat(states, labels, axis=0)
        clash = (states == label[:, None])[:, apart[group, :group]].any(axis=1)
        weight = np.repeat(weight, labels) * prior[group][label] * ~clash
        kept = np.flatnonzero(weight)
        if len(kept) > LABELLINGS_MAX:
            kept = kept[np.argsort(-weight[kept])[:LABELLINGS_MAX]]
        states = np.column_stack([states, label])[kept]
        weight = weight[kept] / weight[kept].sum()
    if not len(states):
        return prior
    total = np.zeros_like(prior)
    for group in range(groups):
        np.add.at(total[group], states[:, group], weight)
    return total
