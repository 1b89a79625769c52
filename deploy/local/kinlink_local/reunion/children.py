"""Who the children are before anybody writes a notice: the truth of a synthetic population.

Everything is drawn for all children at once. Each kind of fact has its own stream of chance, so
that another fact, or another share of photographs, leaves the others as they are.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.names import TWO_CHARACTER_GIVEN_SHARE
from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion import blood, terms
from kinlink_local.reunion.divisions import divisions
from kinlink_local.reunion.marginals import loss_days, who
from kinlink_local.reunion.sounds import (
    NO_SECOND,
    given_vocabulary,
    nickname_forms,
    stem_vocabulary,
    surname_vocabulary,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
YEAR_DAYS: Final = 365.2425
SEXES: Final = ("F", "M")


def stream(seed: int, name: str) -> np.random.Generator:
    """The generator of one kind of fact."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class Children:
    """One row a child. Days since 1970; places, names and terms are indices of their tables."""

    family: Ints  # siblings share it
    category: Ints
    age: Ints  # whole years at loss
    sex: Ints  # 0 girl, 1 boy
    born: Ints
    lost: Ints
    county: Ints
    surname: Ints
    father: Ints  # (n, 2) characters of the given name, NO_SECOND where it has one
    mother: Ints
    siblings: Ints  # how many
    sibling_names: Ints  # (n, 3, 2), the first `siblings` of them
    stem: Ints
    form: Ints
    marks: Bools  # (n, marks)
    home: Bools  # (n, memories)
    height: Floats  # z score for age
    mother_alleles: Ints  # (n, 2)
    father_alleles: Ints
    alleles: Ints

    def __len__(self) -> int:
        return len(self.born)

    def take(self, rows: Any) -> Children:
        """The children at `rows`."""
        return Children(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


def draw_children(seed: int, size: int) -> Children:
    """Independent children, each of its own family."""
    rng = stream(seed, "who")
    cells = rng.choice(who().size, size, p=who().ravel())
    category, age, sex = np.unravel_index(cells, who().shape)
    days, share = loss_days()
    lost = rng.choice(days, size, p=share)
    # Up to the birthday after the last one that the child had at home.
    into = rng.random(size) * (YEAR_DAYS - 1)
    born = lost - np.floor(age * YEAR_DAYS + into).astype(np.int64) - 1
    where = stream(seed, "where")
    blood_rng = stream(seed, "blood")
    mothers, fathers = blood.draw_parents(blood_rng, size)
    names = stream(seed, "names")
    body = stream(seed, "body")
    mark_share = terms.shares(len(terms.marks()), assumed.MARKS_MEAN)
    home_share = terms.shares(len(terms.memories()), assumed.MEMORIES_MEAN)
    girls, boys = (stem_vocabulary(each).draw(names, size) for each in SEXES)
    siblings = names.choice(len(assumed.SIBLING_COUNTS), size, p=assumed.SIBLING_COUNTS)
    return Children(
        family=np.arange(size),
        category=category,
        age=age,
        sex=sex,
        born=born,
        lost=lost,
        county=where.choice(len(divisions().counties), size, p=divisions().losses),
        surname=surname_vocabulary().draw(names, size),
        father=draw_given(names, size),
        mother=draw_given(names, size),
        siblings=siblings,
        sibling_names=draw_given(names, 3 * size).reshape(size, 3, 2),
        stem=np.where(sex == 1, boys, girls),
        form=names.choice(len(nickname_forms()[0]), size, p=nickname_forms()[1]),
        marks=terms.draw(body, size, mark_share),
        home=terms.draw(stream(seed, "home"), size, home_share),
        height=body.normal(size=size),
        mother_alleles=mothers,
        father_alleles=fathers,
        alleles=blood.draw_children(blood_rng, mothers, fathers),
    )


def draw_given(rng: np.random.Generator, size: int) -> Ints:
    """Given names of one or two characters (size, 2)."""
    table = given_vocabulary()
    first, second = table.draw(rng, size), table.draw(rng, size)
    long = rng.random(size) < TWO_CHARACTER_GIVEN_SHARE
    return np.stack([first, np.where(long, second, NO_SECOND)], axis=1)


# What brothers and sisters have in common.
_FAMILY: Final = (
    "family", "county", "surname", "father", "mother", "siblings", "home", "mother_alleles",
    "father_alleles",
)  # fmt: skip


def make_siblings(seed: int, children: Children, rows: Ints, of: Ints) -> tuple[Children, Bools]:
    """Turn the children at `rows` into brothers and sisters of those at `of`.

    Returns:
        All children, and which of the rows became an identical twin.
    """
    rng = stream(seed, "siblings")
    size = len(rows)
    twin = rng.random(size) < assumed.TWIN_SHARE
    identical = twin & (rng.random(size) < 1 / 3)
    apart = rng.integers(300, 6 * 365, size) * rng.choice([-1, 1], size)
    born = np.where(twin, children.born[of], children.born[of] + apart)
    lost = np.maximum(children.lost[of], born)
    changed = {each.name: getattr(children, each.name).copy() for each in fields(children)}
    for name in _FAMILY:
        changed[name][rows] = changed[name][of]
    changed["born"][rows] = born
    changed["lost"][rows] = lost
    age = ((lost - born) / YEAR_DAYS).astype(np.int64)
    changed["age"][rows] = np.minimum(age, assumed.AGES - 1)
    drawn = blood.draw_children(
        rng, changed["mother_alleles"][rows], changed["father_alleles"][rows]
    )
    changed["alleles"][rows] = np.where(identical[:, None], children.alleles[of], drawn)
    changed["sex"][rows] = np.where(identical, children.sex[of], children.sex[rows])
    # A stem is an index of its sex's table.
    girls, boys = (stem_vocabulary(each).draw(rng, size) for each in SEXES)
    changed["stem"][rows] = np.where(changed["sex"][rows] == 1, boys, girls)
    return Children(**changed), identical


def make_neighbours(seed: int, children: Children, rows: Ints, of: Ints) -> Children:
    """Turn the children at `rows` into strangers of the sex, county, birth and loss of `of`."""
    rng = stream(seed, "neighbours")
    size, most = len(rows), assumed.NEIGHBOUR_DAYS
    sex, age, county = children.sex.copy(), children.age.copy(), children.county.copy()
    born, lost, stem = children.born.copy(), children.lost.copy(), children.stem.copy()
    shift = rng.integers(-most, most + 1, size)
    born[rows] = children.born[of] + shift
    lost[rows] = children.lost[of] + shift
    sex[rows], age[rows], county[rows] = children.sex[of], children.age[of], children.county[of]
    girls, boys = (stem_vocabulary(each).draw(rng, size) for each in SEXES)
    stem[rows] = np.where(sex[rows] == 1, boys, girls)
    return replace(
        children, born=born, lost=lost, sex=sex, age=age, county=county, stem=stem
    )  # fmt: skip
