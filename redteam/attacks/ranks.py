"""T1: the rank attack. Whoever has a public list of names knows which values are common.

The linker counts the records under every token, by registry, as no key hides. A public list (here
an independent draw of as many people of the same marginals) has the same counts for known values.
Two ways to match them:

* *by rank*: the most frequent tokens of a pass against the most frequent values, as the assignment
  that is most likely under Poisson counts of all registries;
* *by table*: of all public records in tokens of that size in that registry, which surname, year,
  sex or place is the most usual? Guessed for every row, so for rare tokens too; what counts is the
  gain over the constant guess of the registry.

Tags of categories are under pair keys: they are equal or not in one pair, and there is nothing to
count over pairs; what equalities inside an island tell is R2. Against field Bloom filters under one
key the plainest form is enough: i-th filter, i-th value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from redteam.attributes import read, told_by, whole_value
from redteam.baselines import field_filters
from redteam.counted import Counted, guess_by_table, share
from redteam.listed import list_values
from redteam.results import Result
from redteam.view import build_tokens, shipped_schema

if TYPE_CHECKING:
    from redteam.attributes import Attributes
    from redteam.listed import Listed
    from redteam.places import I64
    from redteam.population import Population
    from redteam.setting import Setting
    from redteam.view import TokenView

TARGET: Final = 0.005
# What is gained in surnames, and in whatever falls most, by size. Few people give no ranks.
BASELINE_MIN: Final = {"100k": (0.15, 0.45), "1m": (0.40, 0.45)}
TITLE: Final = "rank attack with a public name list"
TOP_TOKENS: Final = 1_000
PSEUDO_COUNT: Final = 0.5
# National ids and phones are under tokens as good as unique: at a million records they would only
# cost time.
LARGE_PASSES: Final = (
    "name_birth", "name_sound_month", "name_years", "name_place", "given_birth", "birth_place",
    "name_address",
)  # fmt: skip

_KEY: Final = b"one key for all of them"


@dataclass(frozen=True)
class _Guess:
    """One figure of the attack on one pass."""

    where: str
    what: str
    value: float


def run(setting: Setting) -> list[Result]:
    """Tokens by rank and by table, tags by rank, and the classical side."""
    schema = shipped_schema()
    passes = [each.id for each in schema.passes]
    if setting.size == "1m":
        passes = [name for name in passes if name in LARGE_PASSES]
        # Finer tokens of a million people are no more than those of a hundred thousand.
        schema = replace(schema, passes=tuple(replace(each, refine=()) for each in schema.passes))
    public = setting.public()
    ours = build_tokens(setting.population(), schema=schema, passes=passes, valued=True)
    listed = list_values(schema, public, passes)
    attributes = read((ours.population, public))
    ranked: list[_Guess] = []
    gained: list[_Guess] = []
    for name in passes:
        for level in range(len(schema.passes[schema.pass_index(name)].refine) + 1):
            one = _OnePass.of(
                ours,
                listed[name],
                attributes,
                public_registry=public.registry,
                place=(name, level),
            )
            ranked.append(one.by_rank())
            gained += one.by_table()
    best, most = max(ranked, key=_value), max(gained, key=_value)
    surname = max((each for each in gained if each.what == "surname"), key=_value)
    classical = baseline(setting.population(), public)
    names, anything = classical["surname"], max(classical.values())
    names_min, anything_min = BASELINE_MIN.get(setting.size, (None, None))
    return [
        _result(setting, "blocking values read off tokens", best, names, names_min),
        _result(setting, "surname over the constant guess", surname, names, names_min),
        _result(setting, "any attribute over the constant guess", most, anything, anything_min),
    ]


def _value(guess: _Guess) -> float:
    return guess.value


def _result(
    setting: Setting,
    measure: str,
    guess: _Guess,
    classical: float,
    classical_min: float | None,
) -> Result:
    return Result(
        id="T1",
        title=TITLE,
        setting=setting.label,
        seed=setting.seed,
        measure=measure,
        value=guess.value,
        target=TARGET,
        classical=classical,
        classical_min=classical_min,
        detail=f"Highest for {guess.what} in pass {guess.where}.",
    )


@dataclass(frozen=True)
class _OnePass:
    """One pass and level on both sides, and what its values are."""

    where: str
    target: Counted
    public: Counted
    target_value: I64  # (rows,)
    public_value: I64
    told: dict[str, tuple[I64, I64]]  # attribute → labels of target and public rows

    @classmethod
    def of(
        cls,
        ours: TokenView,
        listed: Listed,
        attributes: list[Attributes],
        *,
        public_registry: I64,
        place: tuple[str, int],
    ) -> _OnePass:
        name, level = place
        registries = len(ours.population.names)
        index = ours.schema.pass_index(name)
        rows = np.flatnonzero((ours.rows.pass_index == index) & (ours.rows.level == level))
        record = ours.secrets.record[rows]
        target = Counted.of(record, ours.rows.registry[rows], ours.rows.token[rows], registries)
        theirs = np.flatnonzero(listed.level == level)
        public = Counted.of(
            listed.record[theirs],
            public_registry[listed.record[theirs]],
            listed.token[theirs],
            registries,
        )
        blocking_pass = ours.schema.passes[index]
        told = {
            each: (attributes[0].codes[each][record], attributes[1].codes[each][public.record])
            for each in told_by(blocking_pass, level)
        }
        if any(part.transform == "lsh" for part in blocking_pass.parts):
            # The band's bits are under a key; what can be read is what stands beside it.
            whole = whole_value(blocking_pass, level)
            ours_of, theirs_of = (side.joint(whole) for side in attributes)
            values = (ours_of[record], theirs_of[public.record])
        else:
            if ours.secrets.value is None:
                raise ValueError("the view was made without values")
            values = (ours.secrets.value[ours.rows.token[rows]], listed.value[listed.token[theirs]])
        return cls(f"{name}/{level}", target, public, values[0], values[1], told)

    def by_rank(self) -> _Guess:
        """Share of all rows whose value is read off the top tokens, over the constant guess."""
        gain = assigned_gain(self.target, self.public, self.target_value, self.public_value)
        return _Guess(self.where, "the value", gain)

    def by_table(self) -> list[_Guess]:
        """Gain in each attribute that the pass stands for."""
        found = []
        for what, (truth, labels) in self.told.items():
            guess, constant = guess_by_table(self.public, labels, self.target)
            known = truth >= 0
            gain = share(guess == truth, known) - share(constant == truth, known)
            found.append(_Guess(self.where, what, gain))
        return found


def assigned_gain(target: Counted, public: Counted, target_value: I64, public_value: I64) -> float:
    """Assign the values of the top public tokens to the top tokens; share of all rows gained.

    From the rows that are right are taken those among them that the most usual value gets.
    """
    tops = [np.argsort(-side.sizes, kind="stable")[:TOP_TOKENS] for side in (target, public)]
    expected = public.vectors(tops[1]) + PSEUDO_COUNT
    cost = expected.sum(axis=1)[None, :] - target.vectors(tops[0]) @ np.log(expected).T
    one, other = linear_sum_assignment(cost)
    guess = np.zeros(len(target.first), np.int64)
    guess[tops[0][one]] = public_value[public.first[tops[1][other]]]
    guessed = np.zeros(len(target.first), bool)
    guessed[tops[0][one]] = True
    values, counts = np.unique(public_value, return_counts=True)
    usual = values[np.argmax(counts)]
    rows = guessed[target.token]
    right = rows & (guess[target.token] == target_value)
    constant = rows & (target_value == usual)
    return float(right.mean() - constant.mean())


def baseline(target: Population, public: Population) -> dict[str, float]:
    """Surnames and sexes, over the constant guess, that filters of the field give away."""
    attributes = read((target, public))
    return {
        name: _filters((target, public), attributes[0], attributes[1], name)
        for name in ("surname", "sex")
    }


def _filters(
    populations: tuple[Population, Population], target: Attributes, public: Attributes, name: str
) -> float:
    """The same assignment on filters of one field under one key."""
    sides = []
    for population, attributes in zip(populations, (target, public), strict=True):
        record = np.flatnonzero(attributes.codes[name] >= 0)
        code = attributes.codes[name][record]
        registry = population.registry[record]
        sides.append((Counted.of(record, registry, code, len(population.names)), code))
    (ours, code), (listed, listed_code) = sides
    # Equal filters are what the linker counts: a filter is a function of its value.
    filters = field_filters([target.texts[name][i] for i in code[ours.first].tolist()], _KEY)
    _, same = np.unique(filters, axis=0, return_inverse=True)
    seen = Counted.of(ours.record, ours.registry, same.reshape(-1)[ours.token], ours.registries)
    return assigned_gain(seen, listed, code, listed_code)
