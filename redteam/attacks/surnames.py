"""R1: surnames read inside islands from the distances of names and a public list of names.

The attacker is the linker with a public name list (an independent draw of the same population, by
registry). In an island whose pass leaves the surname open it sees how far names are apart, pair by
pair. Distances tell more than equality: how many tokens two surnames share depends on which
surnames they are, and the attacker tabulates that on the public list under a key of its own. Belief
propagation then finds each member's likeliest surname.

The measure is the share of right guesses among members of such islands, minus the share that the
constant guess gets there (the commonest surname of the registry).

First design: surnames a field of their own, all members of an island sealed alike with 512 samples,
so every pair is seen. It must gain 10 points at the cap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.chinese import split_name
from kinlink_core.encoding.features import sketch_tokens
from kinlink_core.encoding.schema import SAMPLE_BITS

from redteam.attacks.beliefs import Edges, beliefs
from redteam.attacks.crowds import (
    GIVEN_NAMES,
    MEMBERS_MIN,
    YEAR_PLACES,
    Crowd,
    all_pairs,
    crowd,
    joined,
)
from redteam.attacks.namelists import (
    BIN_BITS,
    OTHERS,
    SURNAMES,
    PublicList,
    Table,
    angles,
    table_of,
    tables_of,
)
from redteam.meetings import MISSING
from redteam.results import Result
from redteam.view import shipped_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Field

    from redteam.places import I64
    from redteam.setting import Setting

GAIN_MAX: Final = 0.02
FIRST_DESIGN_GAIN_MIN: Final = 0.10
FIRST_DESIGN_BITS: Final = 512
FIRST_DESIGN_ISLANDS: Final = 60

SAME_NAME_MAX: Final = 0.12

_FIRST_DESIGN: Final = "surname its own field, every pair of an island of 12, 512 samples"


def run(setting: Setting) -> list[Result]:
    """Gains at the cap, where a pass fixes the given name and where it leaves names open."""
    public = PublicList.of(setting.public())
    field = shipped_schema().field("name")

    def result(measure: str, value: float, **more: object) -> Result:
        title = "surname gain over the constant guess inside islands"
        return Result("R1", title, setting.label, setting.seed, measure, value, **more)  # type: ignore[arg-type]

    found = []
    for what, passes in (("name open", YEAR_PLACES), ("given name fixed", GIVEN_NAMES)):
        met = crowd(setting, passes)
        tables = tables_of(field, public, fixed=what == "given name fixed")
        names = setting.population().values["name"]
        open_name = what == "name open"
        found.append(
            result(
                f"islands at the cap, {what}",
                _gain(met, names, public, tables),
                target=GAIN_MAX if len(met.record) >= MEMBERS_MIN else None,
                classical=None if open_name else _first_design(field, public, setting.seed),
                classical_min=None if open_name else FIRST_DESIGN_GAIN_MIN,
                detail=f"{len(met.record)} members"
                + ("" if open_name else f"; first design: {_FIRST_DESIGN}"),
            )
        )
    return found


def _gain(
    met: Crowd, names: Sequence[str | None], public: PublicList, tables: list[Table]
) -> float:
    """Right guesses minus right constant guesses, as a share of all members."""
    distance, seen = _name_distance(met)
    same = seen & (distance <= SAME_NAME_MAX * SAMPLE_BITS) & met.pairs.tags[:, 0]
    person = joined(len(met.record), met.node_l[same], met.node_r[same])
    first = np.unique(person, return_index=True)[1]
    left, right = person[met.node_l], person[met.node_r]
    used = seen & (left != right)
    edges = Edges(left[used], right[used], distance[used].astype(np.int64) // BIN_BITS)
    prior = public.prior[met.registry[first]]
    island = met.island[first]
    chosen = _likeliest(edges, island, prior.mean(axis=0), tables)
    kinds = len(tables[0])
    known = Edges(edges.left, edges.right, edges.kind + kinds * chosen[island[edges.left]])
    guess = beliefs(prior, known, np.concatenate(tables))[:, :SURNAMES].argmax(axis=1)[person]
    constant = public.prior[:, :SURNAMES].argmax(axis=1)[met.registry]
    truth = [split_name(names[i] or "")[0] for i in met.record.tolist()]
    title = np.array(public.surnames)
    return float((title[guess] == truth).mean() - (title[constant] == truth).mean())


def _name_distance(met: Crowd) -> tuple[I64, npt.NDArray[np.bool_]]:
    distance = met.pairs.distance[:, 0].astype(np.int64)
    return distance, distance != MISSING


def _likeliest(
    edges: Edges, island: I64, prior: npt.NDArray[np.float64], tables: list[Table]
) -> I64:
    """Which table (how long the island's given name is) fits an island's distances best."""
    score = np.zeros((len(tables), int(island.max(initial=0)) + 1))
    for number, table in enumerate(tables):
        by_kind = np.log(np.einsum("i,kij,j->k", prior, table, prior))
        np.add.at(score[number], island[edges.left], by_kind[edges.kind])
    best: I64 = score.argmax(axis=0)
    return best


def _first_design(
    field: Field, public: PublicList, seed: int, islands: int = FIRST_DESIGN_ISLANDS
) -> float:
    """The same attack on islands of 12 strangers, sealed as the first design sealed them."""
    rng = np.random.default_rng([seed, 12])
    exact = angles(*[[sketch_tokens(field, surname) for surname in public.surnames]] * 2)
    share = public.prior.mean(axis=0)
    island = np.repeat(np.arange(islands), 12)
    label = rng.choice(SURNAMES + 1, len(island), p=share)
    left, right = all_pairs(island)
    # A surname outside of the attacker's list is one of those that stand for the rest.
    surname = np.where(label < SURNAMES, label, SURNAMES + rng.integers(0, OTHERS, len(label)))
    differing = rng.binomial(FIRST_DESIGN_BITS, exact[surname[left], surname[right]])
    differing[surname[left] == surname[right]] = 0
    prior = np.tile(share, (len(island), 1))
    table = table_of([exact], FIRST_DESIGN_BITS)
    found = beliefs(prior, Edges(left, right, differing // BIN_BITS), table)
    right_guesses = found[:, :SURNAMES].argmax(axis=1) == label
    return float(right_guesses.mean() - (label == share[:SURNAMES].argmax()).mean())
