"""A synthetic Chinese population on the books of several registries, for the red team.

Nobody in it exists. Surnames follow their published shares of the population and characters of
given names a Zipf-like law by sex, from the tables of `kinlink demo` (`kinlink_local/data`); dates
of birth are uniform over 65 years, two people in five live in another's household, phones and
national ids are unassignable (prefix 12, wrong checksum). Everything follows from one seed.

Provinces are independent of the person (`correlated=False`: who is on whose books is chance), or
correlated with it: the registry is the province of birth, and surnames, places, the first digits
of phones and national ids vary with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_local.names import Sex, given_characters, surnames
from kinlink_local.people import CHECK_CHARACTERS, PHONE_HEAD, check_character

from redteam.places import I64, Atlas, atlas, draw_addresses, draw_counties, registries_of
from redteam.slips import Books, Bools, Draws, write_records

if TYPE_CHECKING:
    from kinlink_local.names import Table

FIELDS: Final = ("name", "dob", "sex", "address", "place", "phone", "national_id")
OVERLAP_DEFAULT: Final = 0.35
THIRD_SHARE: Final = 0.10  # of those on the books of two registries, also on a third's

BIRTH_FIRST: Final = np.datetime64("1940-01-01")
BIRTH_DAYS: Final = 65 * 365
MALE_SHARE: Final = 0.513
TWO_CHARACTER_GIVEN_SHARE: Final = 0.76
HOUSEHOLD_MEMBER_SHARE: Final = 0.40
HEAD_SURNAME_SHARE: Final = 0.5
# Spread of a province's surnames around the national shares, in logs.
SURNAME_TILT_SIGMA: Final = 0.7
_TILT_SEED: Final = 31
_FOLDED: Final = str.maketrans("於", "于")


@dataclass(frozen=True)
class Population:
    """Records of all registries in one list, and whom they are about.

    `registry` indexes `names`, which are in the order of their names, as pairs are. `values` has
    what the registries wrote down, canonical as the schema normalises it; `people` the clean value
    of every field of every person: what an insider with the plaintext knows.
    """

    names: tuple[str, ...]
    person: I64  # (records,)
    registry: I64  # (records,)
    values: dict[str, list[str | None]]
    people: dict[str, list[str | None]]

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self.person)

    @property
    def persons(self) -> int:
        """How many people there are."""
        return len(self.people["name"])


def make(
    people: int,
    registries: int,
    seed: int,
    *,
    correlated: bool,
    overlap: float = OVERLAP_DEFAULT,
    errors: float = 1.0,
) -> Population:
    """Draw a population; the same arguments give the same people.

    Args:
        people: how many; records are about people x (1 + 1.1 x overlap).
        registries: 2 to 31.
        seed: of all chance. Another seed is an independent draw from the same marginals, which is
            what a public name list is to an attacker.
        correlated: whether the registry follows from the person.
        overlap: share of people with records in more than one registry.
        errors: factor on the rates of slips, removals and missing values; 0 writes all clean.
    """
    rng = np.random.default_rng([seed, people, registries, int(correlated)])
    names = registries_of(registries)
    places = atlas(names)
    home = rng.integers(0, registries, people)
    first = home if correlated else rng.integers(0, registries, people)
    household = _households(rng, people)
    home = home[household]
    first = first[household]
    clean = _clean(rng, places, home, household, correlated=correlated)
    books = _books(rng, first, registries, overlap)
    draws = Draws(
        partial(draw_counties, rng, places),
        partial(draw_addresses, rng, places),
        partial(draw_phones, rng, correlated=correlated),
        places.codes,
    )
    values = write_records(rng, clean, books, draws, errors)
    return Population(
        names, books.person, books.registry, values, {key: [*clean[key]] for key in FIELDS}
    )


def _households(rng: np.random.Generator, people: int) -> I64:
    """For each person the head of its household, often itself."""
    member = rng.random(people) < HOUSEHOLD_MEMBER_SHARE
    member[:1] = False
    heads: I64 = np.maximum.accumulate(np.where(member, 0, np.arange(people)))
    return heads


def _clean(
    rng: np.random.Generator, places: Atlas, home: I64, household: I64, *, correlated: bool
) -> dict[str, list[str]]:
    people = len(home)
    male = rng.random(people) < MALE_SHARE
    born = BIRTH_FIRST + rng.integers(0, BIRTH_DAYS, people)
    days = [text.replace("-", "") for text in np.datetime_as_string(born).tolist()]
    county = draw_counties(rng, places, home)[household]
    addresses = draw_addresses(rng, places, county)
    origin = draw_counties(rng, places, home)
    codes = places.codes
    return {
        "name": _names(rng, home, male, household, correlated=correlated),
        "dob": days,
        "sex": np.where(male, "M", "F").tolist(),
        "address": [addresses[head] for head in household.tolist()],
        "place": [codes[number] for number in county.tolist()],
        "phone": draw_phones(rng, home, correlated=correlated),
        "national_id": [
            _national_id(codes[number], day, order)
            for number, day, order in zip(
                origin.tolist(), days, (rng.integers(0, 499, people) * 2 + male).tolist(),
                strict=True,
            )
        ],
    }  # fmt: skip


def _names(
    rng: np.random.Generator, home: I64, male: Bools, household: I64, *, correlated: bool
) -> list[str]:
    people = len(home)
    family = _surnames(rng, home, correlated=correlated)
    shares = (rng.random(people) < HEAD_SURNAME_SHARE) & (household != np.arange(people))
    family = np.where(shares, family[household], family)
    given = np.empty(people, object)
    sexes: tuple[tuple[Sex, I64], ...] = (("M", np.flatnonzero(male)), ("F", np.flatnonzero(~male)))
    for sex, rows in sexes:
        signs, shares_of = _table(given_characters(sex))
        one, two = (signs[rng.choice(len(signs), len(rows), p=shares_of)] for _ in range(2))
        long = rng.random(len(rows)) < TWO_CHARACTER_GIVEN_SHARE
        given[rows] = np.where(long, one + two, one)
    # The schema folds one rare surname into another; values here are canonical.
    titles = [title.translate(_FOLDED) for title in surnames().values]
    return [titles[number] + name for number, name in zip(family.tolist(), given, strict=True)]


def _surnames(rng: np.random.Generator, home: I64, *, correlated: bool) -> I64:
    _, shares = _table(surnames())
    if not correlated:
        return rng.choice(len(shares), len(home), p=shares)
    drawn = np.empty(len(home), np.int64)
    for province in np.unique(home).tolist():
        # The tilt of a province is a fact about it, the same in every draw.
        tilt = np.random.default_rng([_TILT_SEED, province]).normal(
            0, SURNAME_TILT_SIGMA, len(shares)
        )
        local = shares * np.exp(tilt)
        rows = np.flatnonzero(home == province)
        drawn[rows] = rng.choice(len(shares), len(rows), p=local / local.sum())
    return drawn


def _table(table: Table) -> tuple[np.ndarray, np.ndarray]:
    shares = np.diff(np.array(table.cumulated), prepend=0.0)
    return np.array(table.values, object), shares / shares.sum()


def draw_phones(rng: np.random.Generator, home: I64, *, correlated: bool) -> list[str]:
    """Eleven digits that no operator has assigned; the third to fifth may tell the province."""
    area = home * 32 + rng.integers(0, 32, len(home))
    area = area if correlated else rng.integers(0, 1000, len(home))
    rest = rng.integers(0, 10**6, len(home))
    return [
        f"{PHONE_HEAD}{a:03d}{r:06d}" for a, r in zip(area.tolist(), rest.tolist(), strict=True)
    ]


def _national_id(county: str, day: str, order: int) -> str:
    head = f"{county}{day}{order:03d}"
    right = CHECK_CHARACTERS.index(check_character(head))
    return head + CHECK_CHARACTERS[(right + 1) % len(CHECK_CHARACTERS)]


def _books(rng: np.random.Generator, first: I64, registries: int, overlap: float) -> Books:
    """Which person stands on which registry's books, shuffled; `moved` is not the first entry."""
    people = len(first)
    second = (first + rng.integers(1, registries, people)) % registries
    two = np.flatnonzero(rng.random(people) < overlap)
    person, registry = [np.arange(people), two], [first, second[two]]
    if registries > 2:
        three = two[rng.random(len(two)) < THIRD_SHARE]
        third = _other(rng, first[three], second[three], registries)
        person.append(three)
        registry.append(third)
    moved = np.arange(sum(map(len, person))) >= people
    order = rng.permutation(len(moved))
    return Books(np.concatenate(person)[order], np.concatenate(registry)[order], moved[order])


def _other(rng: np.random.Generator, one: I64, two: I64, registries: int) -> I64:
    """A registry that is neither of two."""
    drawn = rng.integers(0, registries - 2, len(one))
    low, high = np.minimum(one, two), np.maximum(one, two)
    drawn += drawn >= low
    drawn += drawn >= high
    return drawn
