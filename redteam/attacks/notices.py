"""N1, N2: the search for missing children, by a linker that has read every family's notice.

Families publish their notices on purpose, so this attacker has all of them in plaintext, and knows
which registry holds each; found people's notices it has not. The schema is the shipped `reunion`.

* N1: it counts the families under every token, by registry, and under every value that a notice
  would make. A token whose counts no other value of the pass has is that value: then it knows sex,
  years of birth and province of whoever was found and stands under it. Counted are the found people
  in islands (nothing else is ever compared), pass by pass, as a handle of one pass is not known in
  another, and over all passes, which is what subjects give away that are disclosed in each.
* N2: the worst case inside islands: of each pair it also knows which family it is. Whether parents'
  and child's blood groups fit is a level of the pair, so every family that a found person is
  compared with excludes some groups. The share of found people whose group is read off, over the
  most usual one.

The classical side is the first sketch of this schema: a token each for sex, half-year of birth and
province, under one key for all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.schema import load_schema, packaged_schema
from kinlink_local.reunion.columns import schema_columns
from kinlink_local.reunion.offline import (
    canonical_columns,
    encoder_of,
    first_level,
    pairs_of_pass,
    slot_lists,
)
from kinlink_local.reunion.population import Config, make_population
from kinlink_local.reunion.registries import groups

from redteam.results import Result

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Field
    from kinlink_local.reunion.population import Population
    from numpy.typing import NDArray

    from redteam.setting import Setting

    I64 = NDArray[np.int64]
    Bools = NDArray[np.bool_]

NOTICES: Final = 5_000
NOTICES_QUICK: Final = 1_000
REGISTRIES: Final = 2
# Of 1,000 families too few half-years have a count of their own.
CLASSICAL_MIN: Final = 0.5
BLOOD: Final = ("O", "A", "B", "AB")


def run(setting: Setting) -> list[Result]:
    """Both attacks on the notices of one seed, hard regime."""
    number = NOTICES_QUICK if setting.quick else NOTICES
    population = make_population(Config(setting.seed, number, "hard"))
    label = f"{number} notices a side, {REGISTRIES} registries of each, hard"
    registry = groups([each[1:3] for each in population.family["record_id"]], REGISTRIES)
    schema = load_schema(packaged_schema("reunion"))
    columns = canonical_columns(
        schema, schema_columns(population.family), schema_columns(population.found)
    )
    named, pairs = np.zeros(number, bool), np.empty(0, np.int64)
    worst, where = 0.0, ""
    for each, inputs in zip(
        schema.passes, encoder_of(schema).blocking_inputs(columns), strict=True
    ):
        seen = _Tokens(inputs.input_index, inputs.row, registry, each.cap)
        told, held = (
            seen.found_under(seen.singled_out & seen.islands),
            seen.found_under(seen.islands),
        )
        share = told.sum() / max(1, held.sum())
        if share > worst:
            worst, where = float(share), each.id
        named |= told
        pairs = np.union1d(pairs, pairs_of_pass(inputs, number, each.cap)[0])
    blood, usual = _blood(schema.field("blood"), columns["blood"], pairs, number)
    classical = _single_fields(population, registry)
    classical_min = None if setting.quick else CLASSICAL_MIN
    return [
        Result(
            "N1", "islands read off published notices", label, setting.seed,
            "found people in the islands of a pass whose value is known", worst,
            classical=classical, classical_min=classical_min,
            detail=f"Worst in pass {where}. The attacker has read every family's notice.",
        ),
        Result(
            "N1", "islands read off published notices", label, setting.seed,
            "found people with such an island in any pass", float(named.mean()),
            classical=classical, classical_min=classical_min,
            detail="Passes have handles of their own; only who is disclosed in each is so exposed.",
        ),
        Result(
            "N2", "blood group by which families fit", label, setting.seed,
            "blood group over the most usual one, every pair sealed and its family known",
            blood - usual,
            detail=f"{blood:.0%} of written groups; the most usual is {usual:.0%} of them.",
        ),
    ]  # fmt: skip


class _Tokens:
    """The tokens of one pass; rows are families' first, `registry` is of families."""

    def __init__(self, token: I64, row: I64, registry: I64, cap: int) -> None:
        self._families = len(registry)
        seeks = row < self._families
        self._family = token[seeks], row[seeks]
        self._found = token[~seeks], row[~seeks] - self._families
        size = int(token.max()) + 1 if len(token) else 0
        counts = np.zeros((size, REGISTRIES), np.int64)
        np.add.at(counts, (self._family[0], registry[self._family[1]]), 1)
        of_found = np.bincount(self._found[0], minlength=size)
        of_family = counts.sum(axis=1)
        self.islands: Bools = (of_found > 0) & (of_family > 0) & (of_found + of_family <= cap)
        self.singled_out = alone(counts) & (of_family > 0)

    def found_under(self, tokens: Bools) -> Bools:
        """Which found people stand under one of some tokens."""
        told = np.zeros(self._families, bool)
        told[self._found[1][tokens[self._found[0]]]] = True
        return told


def alone(counts: I64) -> Bools:
    """Which rows of counts no other row equals."""
    _, inverse, number = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
    found: Bools = number[inverse.reshape(len(counts))] == 1
    return found


def _single_fields(population: Population, registry: I64) -> float:
    """Found people whose half-year of birth and province are both read off tokens of one field."""
    told = np.ones(len(registry), bool)
    for of_family, of_found, read in (
        ("birth_date", "birth_date", _half_year),
        ("lost_place", "found_place", lambda cell: cell[:2]),
    ):
        family = [read(each) for each in population.family[of_family]]
        found = [read(each) for each in population.found[of_found]]
        codes = {each: code for code, each in enumerate(dict.fromkeys([*family, *found]))}
        counts = np.zeros((len(codes), REGISTRIES), np.int64)
        np.add.at(counts, (np.array([codes[each] for each in family]), registry), 1)
        told &= (alone(counts) & (counts.sum(axis=1) > 0))[[codes[each] for each in found]]
    return float(told.mean())


def _half_year(cell: str) -> str:
    return cell[:4] + ("b" if cell[5:7] > "06" else "a")


def _blood(field: Field, values: list[str | None], pairs: I64, number: int) -> tuple[float, float]:
    """Share of blood groups guessed right by which levels hold, and of the most usual group."""
    shown = {group: slot_lists(field, group, wants=False) for group in BLOOD}
    fits = {
        (code, group): first_level(field, slot_lists(field, code, wants=True), shown[group])
        for code in {each for each in values[:number] if each}
        for group in BLOOD
    }
    left: dict[int, set[str]] = defaultdict(lambda: set(BLOOD))
    for pair in pairs.tolist():
        family, found = divmod(pair, number)
        code, group = values[family], values[number + found]
        if code and group:
            level = fits[code, group]
            left[found] &= {each for each in BLOOD if fits[code, each] == level}
    known = [row for row in range(number) if values[number + row]]
    groups_ = Counter(values[number + row] for row in known)
    usual = [group for group, _ in groups_.most_common()]
    guesses = [min(left[row], key=usual.index) for row in known]
    right = sum(one == values[number + row] for one, row in zip(guesses, known, strict=True))
    return right / len(known), groups_[usual[0]] / len(known)
