"""R6 and R7: what disclosure joins, and what asking for everything adds.

The attacker is the linker, honest (R6) or lying about weights (R7). A subject id joins the handles
it was disclosed for; links join subjects to people. What is around the joined handles (pass, own
registry, how many records of which registry in the island) is a person's signature, which an
insider with the plaintext can compute too.

R6 counts linked people whose signature nobody shares, after an honest linkage. R7 claims a high
weight for every sealed pair and asks for all of them; two records are sealed under one pair of
handles and answered under one. It counts all people in islands whose signature nobody shares or of
whom one handle alone is like no other; the measure is what that is beyond the honest linkage. What
is asked for under other handles is "superseded", which confirms guesses: the last result joins
pairs across passes as R5 does, asks for both, and counts those that are told to be one.

Classical: one id a record, so that all its blocking keys are joined from the start; named by T3's
attack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.encode import LSH

from redteam.attacks.colours import one_id_named
from redteam.attacks.repeats import found, sightings
from redteam.results import Result

if TYPE_CHECKING:
    import numpy.typing as npt

    from redteam.places import I64
    from redteam.setting import Setting
    from redteam.view import View

    Bools = npt.NDArray[np.bool_]

R6_MAX: Final = {3: 0.01, 31: 0.20}
R7_GAIN_MAX: Final = 0.01
CLASSICAL_MIN: Final = 0.50
# Of fewer pairs a share says little.
SHARED_MIN: Final = 100


def run(setting: Setting) -> list[Result]:
    """R6, R7, and what "superseded" confirms."""
    view = setting.view()
    if view.disclosed is None:
        raise ValueError("this view was made without scores")
    shown = view.disclosed.pair
    linked = np.unique(_people(view, shown[view.disclosed.linked]))
    everything = np.arange(view.pairs.count)
    everyone = np.unique(view.population.person[view.secrets.record[view.islands.row]])
    alone = told_apart(view)

    def share(pairs: I64) -> float:
        return float((unique(view, pairs) | alone)[everyone].mean())

    def result(name: str, title: str, measure: str, value: float, **more: object) -> Result:
        return Result(name, title, setting.label, setting.seed, measure, value, **more)  # type: ignore[arg-type]

    before, lying = share(shown), share(everything)
    exact = share(everything[~fuzzy(view)])
    classical = one_id_named(setting)
    links = unique(view, shown[view.disclosed.linked])[linked].mean()
    return [
        result(
            "R6",
            "linked people unique through disclosure",
            "linked people whose joined islands nobody shares",
            float(unique(view, shown)[linked].mean()),
            target=R6_MAX.get(setting.registries),
            classical=classical,
            classical_min=CLASSICAL_MIN,
            detail=f"were links alone disclosed {links:.1%}; classical: one id a record",
        ),
        result(
            "R7",
            "every-handle disclosure",
            "people in islands made unique beyond the honest linkage",
            lying - before,
            target=R7_GAIN_MAX,
            classical=classical,
            classical_min=CLASSICAL_MIN,
            detail=(
                f"unique after an honest linkage {before:.1%}, every handle {lying:.1%},"
                f" of exact passes only {exact:.1%}"
            ),
        ),
        result(
            "R7",
            "guesses confirmed by 'superseded'",
            "linked pairs whose handles of two passes are joined for certain",
            _confirmed(view),
            target=R7_GAIN_MAX,
            detail="a guess of R5 is asked for in both passes; the answer confirms it or not",
        ),
    ]


def fuzzy(view: View) -> Bools:
    """Which sealed pairs met in a pass with an LSH part."""
    cut = [any(part.transform == LSH for part in each.parts) for each in view.schema.passes]
    of_pair: Bools = np.array(cut)[view.pairs.pass_index]
    return of_pair


def unique(view: View, shown: I64) -> Bools:
    """Whose signature, by the disclosed pairs `shown`, nobody shares; by person."""
    rows = np.unique(np.concatenate([view.pairs.left[shown], view.pairs.right[shown]]))
    person = view.population.person[view.secrets.record[rows]]
    code = surroundings(view)
    # A signature is the sum of random numbers, one a kind of surroundings.
    weights = np.random.default_rng(0).integers(1, 2**63, int(code.max()) + 1, dtype=np.uint64)
    signature = np.zeros(view.population.persons, np.uint64)
    np.add.at(signature, person, weights[code[rows]])
    kinds, counts = np.unique(signature[signature != 0], return_counts=True)
    return np.isin(signature, kinds[counts == 1])


def told_apart(view: View) -> Bools:
    """People one of whose handles alone has surroundings that nobody else's has."""
    row = view.islands.row
    person = view.population.person[view.secrets.record[row]]
    held = np.unique(np.column_stack([surroundings(view)[row], person]), axis=0)
    kinds, counts = np.unique(held[:, 0], return_counts=True)
    apart = np.zeros(view.population.persons, bool)
    apart[held[np.isin(held[:, 0], kinds[counts == 1]), 1]] = True
    return apart


def surroundings(view: View) -> I64:
    """A number of each row's pass, own registry, and how many records of which are with it."""
    islands = view.islands
    registries = len(view.population.names)
    held = np.zeros((islands.count, registries + 1), np.uint8)
    np.add.at(held, (islands.island, view.rows.registry[islands.row]), 1)
    held[:, -1] = islands.pass_index
    kind = np.unique(held, axis=0, return_inverse=True)[1].reshape(-1)
    code = np.full(view.rows.count, -1)
    code[islands.row] = kind[islands.island] * registries + view.rows.registry[islands.row]
    return code


def _people(view: View, pairs: I64) -> I64:
    """People whom links name, right or wrong ones."""
    sides = np.concatenate([view.pairs.left[pairs], view.pairs.right[pairs]])
    people: I64 = view.population.person[view.secrets.record[sides]]
    return people


def _confirmed(view: View) -> float:
    """Share of linked pairs that one round of guesses between two passes confirms, at best."""
    shares = [0.0]
    for seen in sightings(view):
        right, shared = found(view, seen)
        if shared >= SHARED_MIN:
            shares.append(float(right.sum() / shared))
    return max(shares)
