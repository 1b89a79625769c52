"""Chinese names with realistic marginals, childhood names, and the ways clerks misspell them.

Surnames follow their published shares; characters of given names follow a Zipf-like law by sex.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal

from kinlink_local.tables import rows, words

if TYPE_CHECKING:
    import random

Sex = Literal["M", "F"]

TWO_CHARACTER_GIVEN_SHARE: Final = 0.76
CHILDHOOD_TAILS: Final = ("", "", "", "儿", "娃")
CHILDHOOD_ENDINGS: Final = ("儿", "娃", "子")
CHILDHOOD_FROM_GIVEN_SHARE: Final = 0.5


@dataclass(frozen=True)
class Table:
    """Values with cumulated weights, ready for `random.choices`."""

    values: tuple[str, ...]
    cumulated: tuple[float, ...]

    def draw(self, rng: random.Random) -> str:
        """One value by weight."""
        return rng.choices(self.values, cum_weights=self.cumulated)[0]


@cache
def surnames() -> Table:
    """Surnames by their share of the population."""
    table = rows("surnames.csv")
    return Table(
        tuple(row["surname"] for row in table),
        tuple(accumulate(float(row["percent"]) for row in table)),
    )


@cache
def given_characters(sex: Sex) -> Table:
    """Characters of given names of one sex."""
    table = [row for row in rows("given_names.csv") if row["sex"] == sex]
    return Table(
        tuple(row["character"] for row in table),
        tuple(accumulate(float(row["weight"]) for row in table)),
    )


@cache
def _traditional_forms() -> dict[int, str]:
    return {
        ord(row["character"]): row["traditional"]
        for row in rows("variants.csv")
        if row["traditional"] != row["character"]
    }


@cache
def _homophones() -> dict[str, str]:
    return {row["character"]: row["homophones"] for row in rows("variants.csv")}


def draw_given(rng: random.Random, sex: Sex) -> str:
    """A given name of one or two characters."""
    table = given_characters(sex)
    if rng.random() < TWO_CHARACTER_GIVEN_SHARE:
        return table.draw(rng) + table.draw(rng)
    return table.draw(rng)


def draw_childhood_name(rng: random.Random, given: str) -> str:
    """What a child was called at home: doubled from the given name, or a customary word."""
    if rng.random() < CHILDHOOD_FROM_GIVEN_SHARE:
        last = given[-1]
        return rng.choice((last + last, "小" + last, last + "娃", last + "儿"))
    name = rng.choice(words("childhood_names"))
    return name if name.endswith(CHILDHOOD_ENDINGS) else name + rng.choice(CHILDHOOD_TAILS)


def traditional(name: str) -> str:
    """The name in traditional characters."""
    return name.translate(_traditional_forms())


def homophone_slip(rng: random.Random, name: str) -> str:
    """The name with one character of the given name replaced by another that sounds the same."""
    sites = [i for i in range(1, len(name)) if _homophones().get(name[i])]
    if not sites:
        return name
    site = rng.choice(sites)
    return name[:site] + rng.choice(_homophones()[name[site]]) + name[site + 1 :]
