"""R6 and R7: what disclosure joins, and what asking for everything adds.

The attacker is the linker, honest (R6) or lying about weights (R7). A subject id joins the handles
it was disclosed for; links join subjects to people. What is around the joined handles (pass, how
many records of which registry in the island) is a person's signature, which an insider with the
plaintext can compute too. The measure is the share of people whose signature nobody shares.

R6 counts linked people after an honest linkage. R7 claims a high weight for every sealed pair, asks
for all of them, those nobody would link first, and counts all people in islands; the measure is
what that gains over the honest linkage. A registry's ledger is played here by its rule: the first
handle pair of two records is answered, others are "superseded" (a test holds it to the real one).
"Superseded" also confirms guesses: the last result joins pairs across passes as R5 does, asks for
both at once, and counts those that are told to be one.

First design: every handle that is asked for is answered with its subject.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from redteam.attacks.crowds import joined
from redteam.attacks.repeats import matched, sightings
from redteam.results import Result

if TYPE_CHECKING:
    import numpy.typing as npt

    from redteam.places import I64
    from redteam.setting import Setting
    from redteam.view import View

R6_MAX: Final = {3: 0.01, 31: 0.20}
R6_FIRST_MIN: Final = {3: 0.50, 31: 0.80}
R7_GAIN_MAX: Final = 0.01
R7_FIRST_MIN: Final = 0.50


def run(setting: Setting) -> list[Result]:
    """R6, R7, and what "superseded" confirms."""
    view = setting.view()
    if view.disclosed is None:
        raise ValueError("this view was made without scores")
    shown, floor = view.disclosed.pair, _above_floor(view)
    linked = np.unique(_people(view, shown[view.disclosed.linked]))
    honest = unique(view, shown, linked)
    first = unique(view, floor, linked)
    everything = np.argsort(view.disclosed.weight, kind="stable")
    everyone = np.unique(view.population.person[view.secrets.record[view.islands.row]])
    before = unique(view, shown, everyone)
    lying = unique(view, answered(view, everything), everyone)
    untagged = unique(view, everything, everyone)

    def result(name: str, title: str, measure: str, value: float, **more: object) -> Result:
        return Result(name, title, setting.label, setting.seed, measure, value, **more)  # type: ignore[arg-type]

    return [
        result(
            "R6",
            "linked people unique through disclosure",
            "linked people whose joined islands nobody shares",
            honest,
            target=R6_MAX.get(setting.registries),
            classical=first,
            classical_min=R6_FIRST_MIN.get(setting.registries),
            detail="first design: every handle pair above the floor disclosed",
        ),
        result(
            "R7",
            "every-handle disclosure",
            "people in islands made unique beyond the honest linkage",
            lying - before,
            target=R7_GAIN_MAX,
            classical=untagged - before,
            classical_min=R7_FIRST_MIN,
            detail=f"honest {before:.1%}, every handle {lying:.1%}, without record tags {untagged:.1%}",
        ),
        result(
            "R7",
            "guesses confirmed by 'superseded'",
            "linked pairs whose handles of two passes are joined for certain",
            _confirmed(view),
            target=R7_GAIN_MAX,
            detail="a guess of R5 is asked for on both sides; the answer says whether it was right",
        ),
    ]


def _above_floor(view: View) -> I64:
    """Sealed pairs as good as the worst disclosed one."""
    if view.disclosed is None or not view.disclosed.count:
        return np.empty(0, np.int64)
    worst = view.disclosed.weight[view.disclosed.pair].min()
    above: I64 = np.flatnonzero(view.disclosed.weight >= worst)
    return above


def answered(view: View, asked: I64) -> I64:
    """Of pairs in the order they are asked for, those that registries answer with subjects."""
    record = view.secrets.record
    left, right = record[view.pairs.left[asked]], record[view.pairs.right[asked]]
    first = np.unique(left * view.population.records + right, return_index=True)[1]
    return asked[np.sort(first)]


def unique(view: View, shown: I64, people: I64) -> float:
    """Share of `people` whose signature, by the disclosed pairs `shown`, nobody shares."""
    rows = np.unique(np.concatenate([view.pairs.left[shown], view.pairs.right[shown]]))
    person = view.population.person[view.secrets.record[rows]]
    code = surroundings(view)[rows]
    signatures = _signatures(person, code, view.population.persons)
    kinds, counts = np.unique(signatures[signatures != 0], return_counts=True)
    alone = np.isin(signatures[people], kinds[counts == 1])
    return float(alone.mean()) if len(people) else 0.0


def surroundings(view: View) -> I64:
    """For each row a number of its pass and of how many records of which registry are there."""
    islands = view.islands
    registries = len(view.population.names)
    held = np.zeros((islands.count, registries + 1), np.uint8)
    np.add.at(held, (islands.island, view.rows.registry[islands.row]), 1)
    held[:, -1] = islands.pass_index
    kind = np.unique(held, axis=0, return_inverse=True)[1].reshape(-1)
    code = np.full(view.rows.count, -1)
    code[islands.row] = kind[islands.island]
    return code


def _signatures(person: I64, code: I64, persons: int) -> npt.NDArray[np.uint64]:
    """A hash of each person's multiset of codes, 0 where there is none."""
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 2**63, int(code.max(initial=0)) + 1, dtype=np.uint64)
    total = np.zeros(persons, np.uint64)
    np.add.at(total, person, weights[code])
    return total


def _people(view: View, pairs: I64) -> I64:
    """People whom links name, right or wrong ones."""
    sides = np.concatenate([view.pairs.left[pairs], view.pairs.right[pairs]])
    people: I64 = view.population.person[view.secrets.record[sides]]
    return people


def _confirmed(view: View) -> float:
    """Share of linked pairs that one round of guesses between the two best passes confirms."""
    passes = sightings(view)
    if len(passes) < 2:  # noqa: PLR2004 - two passes
        return 0.0
    one, other = sorted(passes, key=lambda each: -len(each.pair))[:2]
    hits, shared = matched(one, other, 256)
    return float(hits.sum() / max(shared, 1))


def subjects_joined(view: View, shown: I64) -> I64:
    """Component of each row when rows of one subject are one."""
    rows = view.rows.count
    sides = np.concatenate([view.pairs.left[shown], view.pairs.right[shown]])
    return joined(rows + view.population.records, sides, view.secrets.record[sides] + rows)[:rows]
