"""R2: categories read from equalities: the larger group of an island has the commoner value.

The attacker is the linker with the public shares of a category. Sealed pairs show whether two
records agree in sex, place or (drawn here beside the shipped schema) a blood group. Records that
agree are merged, groups that differ get different values, and belief propagation finds each
group's likeliest value. Three measures, each the share of right guesses minus the share of the
constant guess on the same records:

* inside islands at the cap, the worst of the three categories;
* chained: what disclosure joins (handles of one subject, linked subjects) ties islands together, so
  groups outgrow every cap. For sex, agreement and disagreement both chain, and the larger side of
  each component is called male;
* first design: whole islands of 12, every pair seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.schema import SAMPLE_BITS
from kinlink_local.people import BLOOD_GROUPS

from redteam.attacks.beliefs import Edges, beliefs
from redteam.attacks.colourings import marginals
from redteam.attacks.crowds import GIVEN_NAMES, MEMBERS_MIN, Crowd, all_pairs, crowd, joined
from redteam.attacks.surnames import SAME_NAME_MAX
from redteam.results import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Schema

    from redteam.places import I64
    from redteam.setting import Setting
    from redteam.view import View

GAIN_MAX: Final = 0.05
FIRST_DESIGN_GAIN_MIN: Final = 0.04
FIRST_DESIGN_ISLANDS: Final = 1_000
PLACES: Final = 100

_TITLE: Final = "category gain over the constant guess"
_BLOOD: Final = np.array([*BLOOD_GROUPS.values()]) / sum(BLOOD_GROUPS.values())


@dataclass(frozen=True)
class Seen:
    """Nodes (believed persons), how they are known to agree or differ, and the truth."""

    left: I64
    right: I64
    equal: npt.NDArray[np.bool_]
    truth: I64  # (nodes,) label, the last for whatever is not on the public list
    prior: npt.NDArray[np.float64]  # (labels,)

    def gain(self) -> float:
        """Gain of the likeliest labels over the constant guess."""
        group = joined(len(self.truth), self.left[self.equal], self.right[self.equal])
        size = np.bincount(group)
        prior = self.prior[None, :] ** size[:, None]
        prior /= prior.sum(axis=1, keepdims=True)
        one, other = group[self.left[~self.equal]], group[self.right[~self.equal]]
        apart = np.unique(np.sort(np.column_stack([one, other])[one != other], axis=1), axis=0)
        labels = min(len(self.prior), PLACES)
        if labels < PLACES:
            found = np.asarray(marginals(prior, apart[:, 0], apart[:, 1]), np.float32)
        else:
            edges = Edges(apart[:, 0], apart[:, 1], np.zeros(len(apart), np.int64))
            differ = 1 - np.eye(len(self.prior))
            differ[-1, -1] = 1  # two groups of the long tail may differ
            found = beliefs(prior, edges, differ[None])
        guess = found[:, :labels].argmax(axis=1)[group]
        constant = self.prior[:labels].argmax()
        return float((guess == self.truth).mean() - (self.truth == constant).mean())


def run(setting: Setting) -> list[Result]:
    """Gains at the cap, chained, and of the first design."""
    view = setting.view()
    met = crowd(setting, GIVEN_NAMES)
    public = setting.public().values
    gains = {
        name: _crowded(view.schema, met, setting, name, public) for name in ("sex", "place", "")
    }
    worst = max(gains, key=lambda name: gains[name])

    def result(measure: str, value: float, **more: object) -> Result:
        return Result("R2", _TITLE, setting.label, setting.seed, measure, value, **more)  # type: ignore[arg-type]

    named = ", ".join(f"{name or 'blood group'} {gain:+.3f}" for name, gain in gains.items())
    if view.disclosed is None:
        raise ValueError("this view was made without scores")
    chained, largest = _chained_sex(view, view.disclosed.pair)
    everything = np.argsort(view.disclosed.weight, kind="stable")
    lying, most = _chained_sex(view, everything)
    return [
        result(
            f"islands at the cap, {worst or 'blood group'}",
            gains[worst],
            target=GAIN_MAX if len(met.record) >= MEMBERS_MIN else None,
            classical=_first_design(setting.seed),
            classical_min=FIRST_DESIGN_GAIN_MIN,
            detail=f"{len(met.record)} members; {named}; first design: every pair of 12 seen",
        ),
        result(
            "sex, chained through disclosed subjects",
            chained,
            target=GAIN_MAX,
            detail=f"the largest component holds {largest:.1%} of the handles in islands",
        ),
        result(
            "sex, chained through every handle that lies disclose (R7)",
            lying,
            target=GAIN_MAX,
            detail=f"the largest component holds {most:.1%} of the handles in islands",
        ),
    ]


def _crowded(
    schema: Schema, met: Crowd, setting: Setting, name: str, public: dict[str, Any]
) -> float:
    """Gain inside crowded islands; an empty name is the blood group."""
    person = _persons(met)
    first = np.unique(person, return_index=True)[1]
    if name:
        used, equal = _agreement(schema, met.pairs, name)
        labels, prior = _labels(public[name])
        values = setting.population().values[name]
        truth = np.array([labels.get(values[i], len(prior) - 1) for i in met.record[first]])
    else:
        blood = _blood_groups(setting)
        of_person = blood[setting.population().person[met.record]]
        used = np.ones(len(met.node_l), bool)
        equal = of_person[met.node_l] == of_person[met.node_r]
        truth, prior = of_person[first], _BLOOD
    left, right = person[met.node_l[used]], person[met.node_r[used]]
    apart = left != right
    return Seen(left[apart], right[apart], equal[used][apart], truth, prior).gain()


def _persons(met: Crowd) -> I64:
    """Members that are the same person, as far as the attacker can tell."""
    distance = met.pairs.distance[:, 0].astype(np.int64)
    same = (distance <= SAME_NAME_MAX * SAMPLE_BITS) & met.pairs.tags[:, 0]
    return joined(len(met.record), met.node_l[same], met.node_r[same])


def _agreement(
    schema: Schema, pairs: Any, name: str
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Pairs in which both sides have a category, and where it is equal."""
    index = [field.name for field in schema.fields].index(name)
    tag = sum(len(field.tags) for field in schema.fields[:index])
    return pairs.present[:, index], pairs.tags[:, tag]


def _labels(values: Sequence[str | None]) -> tuple[dict[str, int], npt.NDArray[np.float64]]:
    """Public values, commonest first, and their shares; a long tail is one label."""
    known = [value for value in values if value]
    distinct, counts = np.unique(known, return_counts=True)
    order = np.argsort(-counts)[:PLACES]
    share = counts[order] / len(known)
    labels = {value: number for number, value in enumerate(distinct[order].tolist())}
    tail = max(1 - share.sum(), 0.0)
    return labels, share if tail < 1e-9 else np.append(share, tail)


def _blood_groups(setting: Setting) -> I64:
    rng = np.random.default_rng([setting.seed, 4])
    drawn: I64 = rng.choice(len(_BLOOD), setting.population().persons, p=_BLOOD)
    return drawn


def _first_design(seed: int) -> float:
    """Whole islands of 12 strangers, whose blood groups are seen to be equal or not."""
    rng = np.random.default_rng([seed, 12])
    island = np.repeat(np.arange(FIRST_DESIGN_ISLANDS), 12)
    blood = rng.choice(len(_BLOOD), len(island), p=_BLOOD)
    left, right = all_pairs(island)
    return Seen(left, right, blood[left] == blood[right], blood, _BLOOD).gain()


def _chained_sex(view: View, shown: I64) -> tuple[float, float]:
    """Gain for sex over all people in islands, and the largest component's share of them."""
    node = _joined_rows(view, shown)
    nodes = int(node.max()) + 1
    used, equal = _agreement(view.schema, view.pairs, "sex")
    left, right = node[view.pairs.left[used]], node[view.pairs.right[used]]
    same = _one_sex(view)
    left, right = np.concatenate([left, node[same[0]]]), np.concatenate([right, node[same[1]]])
    differ = np.concatenate([~equal[used], np.zeros(len(same[0]), bool)])
    # Two copies of every node, one a side: an edge of agreement stays on its side.
    side = joined(
        2 * nodes,
        np.concatenate([left, left + nodes]),
        np.concatenate([right + nodes * differ, right + nodes * ~differ]),
    )
    islanders = np.unique(node[view.islands.row])
    first = np.full(nodes, -1)
    first[node] = np.arange(len(node))
    record = view.secrets.record[first[islanders]]
    male = np.array(view.population.values["sex"])[record] == "M"
    here, there = side[islanders], side[islanders + nodes]
    size = np.bincount(here, minlength=2 * nodes)
    guess = size[here] >= size[there]
    largest = np.bincount(np.minimum(here, there)).max() / len(islanders)
    return float((guess == male).mean() - male.mean()), float(largest)


def _joined_rows(view: View, shown: I64) -> I64:
    """Node of each row: rows disclosed for one subject are one, and so are linked pairs."""
    if view.disclosed is None:
        raise ValueError("this view was made without scores")
    rows, record = view.rows.count, view.secrets.record
    linked = shown[view.disclosed.weight[shown] >= 0]
    sides = np.concatenate([view.pairs.left[shown], view.pairs.right[shown]])
    return joined(
        rows + view.population.records,
        np.concatenate([sides, view.pairs.left[linked]]),
        np.concatenate([record[sides] + rows, view.pairs.right[linked]]),
    )[:rows]


def _one_sex(view: View) -> tuple[I64, I64]:
    """Neighbours in islands whose pass fixes the sex."""
    fixing = np.array(
        [any(part.field == "sex" for part in each.parts) for each in view.schema.passes]
    )
    island, row = view.islands.island, view.islands.row
    meets = (island[:-1] == island[1:]) & fixing[view.rows.pass_index[row[:-1]]]
    return row[:-1][meets], row[1:][meets]
