"""Notices of people who were found: what they recall, what offices estimate, and how both err."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion import blood, terms
from kinlink_local.reunion.children import SEXES, YEAR_DAYS, Children, draw_given, stream
from kinlink_local.reunion.dates import write_days, write_precision
from kinlink_local.reunion.divisions import divisions, flow
from kinlink_local.reunion.faces import (
    Floats,
    draw_again,
    draw_strangers,
    gap_class,
    separations,
    write_faces,
)
from kinlink_local.reunion.family_side import write_groups, write_heights
from kinlink_local.reunion.lunar import Days, numbers_read_as_solar
from kinlink_local.reunion.marginals import band_of
from kinlink_local.reunion.notices import FOUND
from kinlink_local.reunion.sounds import (
    nickname_forms,
    stem_vocabulary,
    surname_vocabulary,
)
from kinlink_local.reunion.writing import Bools, Pen, respell_given

if TYPE_CHECKING:
    from kinlink_local.reunion.notices import Notices

Ints = NDArray[np.int64]
NOBODY: Final = -1
RESCUED: Final = [*assumed.FOUND_AS].index("rescued_minor")
INFANT_CATEGORIES: Final = tuple(
    assumed.CATEGORIES.index(each) for each in ("given_up", "abandoned")
)


@dataclass(frozen=True)
class Relations:
    """Whom of the family side each found person is: (n,) rows of the family side, or NOBODY."""

    partner: Ints
    sibling: Ints
    identical: Bools  # twin of `sibling`


def is_estimated(found_as: Ints, category: Ints, age: Ints) -> Bools:
    """Whether a date of birth errs as an estimate does."""
    infant = np.isin(category, INFANT_CATEGORIES) & (age == 0)
    estimated: Bools = (found_as == RESCUED) | infant
    return estimated


def write_found_notices(
    seed: int,
    children: Children,
    regime: assumed.Regime,
    relations: Relations,
    *,
    family_faces: Floats,
    family_photo_ages: list[str],
) -> Notices:
    """One notice a child, grown or not; without ids."""
    size = len(children)
    rng = stream(seed, "found notices")
    pen = Pen(rng, size)
    band = band_of(children.age)

    def recalls(rates: tuple[float, ...]) -> Bools:
        return rng.random(size) < np.array(rates)[band]

    found_as = rng.choice(len(assumed.FOUND_AS), size, p=[*assumed.FOUND_AS.values()])
    birth, birth_calendar = _births(seed, children, found_as, regime)
    trace = children.lost + _draw_kernel(rng, assumed.TRACE_KERNEL, size)
    trace_text = _write_traces(rng, trace)
    sex = np.where(rng.random(size) < assumed.SEX_ERROR, 1 - children.sex, children.sex)
    place = _places(rng, children.county, recalls(regime.place))
    at_home = (relations.sibling != NOBODY) & (rng.random(size) < assumed.SIBLING_AT_HOME_SHARE)
    registered = _arrivals(seed, children, at_home)
    stem, form = _nicknames(rng, children)
    photo_age = _photo_ages(rng, birth, trace_text)
    return {
        "kind": [FOUND] * size,
        "found_as": [[*assumed.FOUND_AS][each] for each in found_as.tolist()],
        "category": _categories(rng, children.category),
        "entry_date": write_days(_entries(rng, trace)),
        "sex": [SEXES[each] for each in sex.tolist()],
        "birth_date": birth,
        "birth_calendar": birth_calendar,
        "age_at_loss": [""] * size,
        "lost_date": [""] * size,
        "lost_calendar": [""] * size,
        "first_seen_date": trace_text,
        "lost_place": place,
        "found_place": [divisions().prefectures[each] for each in registered.tolist()],
        "registered_name": pen.full(
            surname_vocabulary().draw(rng, size), draw_given(rng, size)
        ),
        "nickname": pen.nicknames(children.sex, stem, form, recalls(regime.nickname)),
        "family_surname": pen.surnames(_surnames(rng, children.surname), recalls(regime.surname)),
        "father_name": pen.given(_recalled(rng, children.father), recalls(regime.parent)),
        "mother_name": pen.given(_recalled(rng, children.mother), recalls(regime.parent)),
        "sibling_names": pen.given(
            _recalled(rng, _one_sibling(rng, children)), recalls(regime.sibling)
        ),
        "sibling_count": _sibling_counts(rng, children.siblings, recalls(regime.siblings)),
        "marks": terms.write(
            terms.thin(rng, children.marks, assumed.MARK_KEPT)
            | terms.draw(rng, size, terms.shares(len(terms.marks()), assumed.MARKS_NEW)),
            rng.random(size) < assumed.MARKS_SHARE[1],
            terms.marks(),
        ),
        "memories": terms.write(
            terms.thin(rng, children.home, np.array(regime.memory_kept)[band])
            | terms.draw(rng, size, terms.shares(len(terms.memories()), assumed.MEMORIES_NEW)),
            recalls(regime.memory),
            terms.memories(),
        ),
        "blood_group": write_groups(
            blood.write_group(rng, children.alleles, assumed.BLOOD_SHARE["found"])
        ),
        "mother_blood_group": [""] * size,
        "father_blood_group": [""] * size,
        "height_cm": _heights(rng, children, found_as, birth, trace_text),
        "photo_age": [str(age) for age in photo_age.tolist()],
        "face_model": [assumed.FACE_MODEL] * size,
        "face_embedding": write_faces(
            _faces(seed, relations, family_faces, family_photo_ages, photo_age)
        ),
        "dna_held": [""] * size,
    }  # fmt: skip


def _draw_kernel(
    rng: np.random.Generator, kernel: tuple[tuple[int, int, float], ...], size: int
) -> Days:
    first, last, share = (np.array(each) for each in zip(*kernel, strict=True))
    which = rng.choice(len(share), size, p=share / share.sum())
    return rng.integers(first[which], last[which] + 1)


def _births(
    seed: int, children: Children, found_as: Ints, regime: assumed.Regime
) -> tuple[list[str], list[str]]:
    """Stated dates of birth, and what calendar they are said to be in."""
    size = len(children)
    rng = stream(seed, "found births")
    if regime.dates_from_table:
        lunar = rng.random(size) < assumed.LUNAR_READ_AS_SOLAR
        stated = np.where(
            lunar,
            numbers_read_as_solar(children.born),
            children.born + _draw_kernel(rng, assumed.TABLE_KERNEL, size),
        )
        guess = children.born + _draw_kernel(rng, assumed.ESTIMATED_KERNEL, size)
        estimated = is_estimated(found_as, children.category, children.age)
        stated = np.where(estimated, guess, stated)
    else:
        error = np.round(rng.normal(size=size) * assumed.HARD_SD_DAYS).astype(np.int64)
        stated = children.born + np.clip(error, -4 * assumed.HARD_SD_DAYS, 4 * assumed.HARD_SD_DAYS)
    precision = rng.choice(3, size, p=assumed.FOUND_BIRTH_PRECISION)
    texts = write_precision(stated, precision.tolist())
    # A rescued minor's age is one that somebody guessed, a year more or less.
    months = stated.astype("datetime64[D]").astype("datetime64[M]")
    early, late = np.datetime_as_string(months - 12), np.datetime_as_string(months + 12)
    is_guess = found_as == RESCUED
    cells = [
        f"{first}/{last}" if guessed else text
        for text, first, last, guessed in zip(texts, early, late, is_guess.tolist(), strict=True)
    ]
    unsure = (precision == 0) & (rng.random(size) < assumed.FOUND_CALENDAR_UNKNOWN_SHARE)
    return cells, ["unknown" if each else "solar" for each in (unsure & ~is_guess).tolist()]


def _write_traces(rng: np.random.Generator, trace: Days) -> list[str]:
    precision = rng.choice(3, len(trace), p=assumed.FOUND_TRACE_PRECISION)
    known = rng.random(len(trace)) < assumed.FOUND_TRACE_SHARE
    texts = write_precision(trace, precision.tolist())
    return [text if has else "" for text, has in zip(texts, known.tolist(), strict=True)]


def _entries(rng: np.random.Generator, trace: Days) -> Days:
    kernel = assumed.TRACE_KERNEL
    mean_trace = sum(share * (first + last) / 2 for first, last, share in kernel) / YEAR_DAYS
    scale = (assumed.REUNION_DELAY_YEARS - mean_trace) / assumed.FOUND_WAIT_SHAPE
    wait = rng.gamma(assumed.FOUND_WAIT_SHAPE, scale * YEAR_DAYS, len(trace)).astype(np.int64)
    last = np.datetime64(assumed.ENTRY_LAST).astype(np.int64)
    found: Days = np.minimum(trace + wait, last)
    return found


def _categories(rng: np.random.Generator, category: Ints) -> list[str]:
    """What the found side believes; a wrong belief is any other category."""
    size, kinds = len(category), len(assumed.CATEGORIES)
    other = (category + rng.integers(1, kinds, size)) % kinds
    believed = np.where(rng.random(size) < assumed.CATEGORY_RIGHT, category, other)
    known = rng.random(size) < assumed.CATEGORY_BELIEVED_SHARE
    return [
        assumed.CATEGORIES[each] if has else ""
        for each, has in zip(believed.tolist(), known.tolist(), strict=True)
    ]


# How a place is recalled: share, digits of the code, and of which county.
_RECALLED: Final = (
    (assumed.PLACE_COUNTY, 6, "true"),
    (assumed.PLACE_PREFECTURE, 4, "true"),
    (assumed.PLACE_NEIGHBOUR, 4, "near"),
    (assumed.PLACE_PROVINCE, 2, "true"),
    (assumed.PLACE_WRONG, 6, "any"),
    (assumed.PLACE_WRONG, 4, "any"),
    (assumed.PLACE_WRONG, 2, "any"),
)


def _places(rng: np.random.Generator, county: Ints, known: Bools) -> list[str]:
    """The place of loss as recalled: a code of six, four or two digits."""
    where = divisions()
    size = len(county)
    how = rng.choice(len(_RECALLED), size, p=[share for share, _, _ in _RECALLED])
    anywhere = rng.choice(len(where.counties), size, p=where.losses)
    point = rng.random(size)
    cells = []
    for number, true, other, u, has in zip(
        *(how.tolist(), county.tolist(), anywhere.tolist(), point.tolist(), known.tolist()),
        strict=True,
    ):
        _, digits, whose = _RECALLED[number]
        code = where.counties[other if whose == "any" else true]
        near = where.neighbours[where.prefecture_of_county[true]]
        if whose == "near" and len(near):
            code = where.prefectures[near[int(u * len(near))]]
        cells.append(code[:digits] if has else "")
    return cells


def _arrivals(seed: int, children: Children, at_home: Bools) -> Ints:
    """Prefecture where the found person is registered: by flow, then any of the province."""
    where = divisions()
    rng = stream(seed, "arrivals")
    home = where.province_of_county[children.county]
    by_sex = np.stack([np.cumsum(flow(each), axis=1) for each in SEXES])
    point = rng.random(len(children))[:, None]
    province = (by_sex[children.sex, home] < point).sum(axis=1)
    province = np.where(at_home, home, np.minimum(province, len(where.provinces) - 1))
    count = np.bincount(where.province_of_prefecture)
    first = np.cumsum(count) - count
    found: Ints = first[province] + (rng.random(len(province)) * count[province]).astype(np.int64)
    return found


def _nicknames(rng: np.random.Generator, children: Children) -> tuple[Ints, Ints]:
    """Stem and form as recalled: both, the stem alone, or somebody else's."""
    size = len(children)
    kind = rng.random(size)
    forms = rng.choice(len(nickname_forms()[0]), size, p=nickname_forms()[1])
    wrong = kind >= assumed.NICKNAME_EXACT + assumed.NICKNAME_STEM
    form = np.where(kind < assumed.NICKNAME_EXACT, children.form, forms)
    stem = np.empty(size, np.int64)
    for number, sex in enumerate(SEXES):
        table = stem_vocabulary(sex)
        rows = np.flatnonzero(children.sex == number)
        heard = table.sound_of[children.stem[rows]]
        stem[rows] = np.where(wrong[rows], table.draw(rng, len(rows)), table.respell(rng, heard))
    return stem, form


def _surnames(rng: np.random.Generator, surname: Ints) -> Ints:
    table = surname_vocabulary()
    right = rng.random(len(surname)) < assumed.NAME_RIGHT
    same = table.respell(rng, table.sound_of[surname])
    return np.where(right, same, table.draw(rng, len(surname)))


def _recalled(rng: np.random.Generator, given: Ints) -> Ints:
    right = rng.random(len(given)) < assumed.NAME_RIGHT
    return np.where(right[:, None], respell_given(rng, given), draw_given(rng, len(given)))


def _one_sibling(rng: np.random.Generator, children: Children) -> Ints:
    """Given name of one of the first siblings; of nobody in particular where there is none."""
    size = len(children)
    named = np.minimum(children.siblings, assumed.FAMILY_SIBLING_NAMES_MAX)
    which = (rng.random(size) * np.maximum(named, 1)).astype(np.int64)
    return children.sibling_names[np.arange(size), which]


def _sibling_counts(rng: np.random.Generator, siblings: Ints, known: Bools) -> list[str]:
    size, most = len(siblings), len(assumed.SIBLING_COUNTS) - 1
    kind = rng.random(size)
    near = np.abs(siblings + rng.choice([-1, 1], size))
    near = np.where(near > most, most - 1, near)
    other = rng.choice(most + 1, size, p=assumed.SIBLING_COUNTS)
    within = assumed.SIBLINGS_EQUAL + assumed.SIBLINGS_NEAR
    count = np.where(kind < assumed.SIBLINGS_EQUAL, siblings, np.where(kind < within, near, other))
    return [str(each) if has else "" for each, has in zip(count, known.tolist(), strict=True)]


def age_at_trace(birth: list[str], trace: list[str]) -> Ints:
    """Whole years by the stated dates, 0 at least; NOBODY where there is no trace (n,)."""
    ages = [
        max(int(seen[:4]) - int(born[:4]) - ("/" in born), 0) if seen else NOBODY
        for born, seen in zip(birth, trace, strict=True)
    ]
    return np.array(ages)


def _photo_ages(rng: np.random.Generator, birth: list[str], trace: list[str]) -> Ints:
    age = age_at_trace(birth, trace)
    early = (rng.random(len(age)) < assumed.EARLY_PHOTO_SHARE) & (age != NOBODY)
    return np.where(early, age, rng.integers(*assumed.ADULT_PHOTO_AGES, len(age)))


def _heights(
    rng: np.random.Generator, children: Children, found_as: Ints, birth: list[str], trace: list[str]
) -> list[str]:
    """Heights of rescued minors, at the age that they were taken for."""
    age = age_at_trace(birth, trace)
    rho = assumed.HEIGHT_CORRELATION
    height = rho * children.height + np.sqrt(1 - rho**2) * rng.normal(size=len(age))
    return write_heights(age, height, (found_as == RESCUED) & (age != NOBODY))


def _faces(
    seed: int,
    relations: Relations,
    family_faces: Floats,
    family_photo_ages: list[str],
    photo_age: Ints,
) -> Floats:
    """Faces of strangers, of the missing themselves, and of their siblings."""
    rng = stream(seed, "found faces")
    faces = draw_strangers(rng, len(photo_age))
    shown = np.array([int(age) if age else NOBODY for age in family_photo_ages])
    alike = np.where(relations.identical, relations.sibling, relations.partner)
    rows = np.flatnonzero((alike != NOBODY) & (shown[alike] != NOBODY))
    of = alike[rows]
    kind = gap_class(shown[of], photo_age[rows])
    faces[rows] = draw_again(rng, family_faces[of], separations()[kind])
    rows = np.flatnonzero((relations.sibling != NOBODY) & ~relations.identical)
    faces[rows] = draw_again(
        rng, family_faces[relations.sibling[rows]], np.full(len(rows), assumed.FACE_SIBLING)
    )
    return faces
