"""Notices of families that seek a child: what they know, mostly exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion import blood, terms
from kinlink_local.reunion.children import SEXES, Children, draw_given, stream
from kinlink_local.reunion.dates import write_days, write_precision
from kinlink_local.reunion.divisions import divisions
from kinlink_local.reunion.faces import Floats, draw_strangers, write_faces
from kinlink_local.reunion.lunar import Days, lunar_numbers, solar_day
from kinlink_local.reunion.notices import LIST_SEPARATOR, SEEKING_CHILD
from kinlink_local.reunion.writing import Bools, Pen, spell_given

if TYPE_CHECKING:
    from kinlink_local.reunion.notices import Notices


def write_family_notices(seed: int, children: Children, photos: float) -> tuple[Notices, Floats]:
    """One notice a child.

    Returns:
        The notices without ids, and the face of each child, also of those without a photograph.
    """
    size = len(children)
    rng = stream(seed, "family notices")
    pen = Pen(rng, size)
    everyone = np.ones(size, bool)
    birth, birth_calendar = _write_dates(rng, children.born, assumed.FAMILY_BIRTH_MONTH_SHARE)
    lost, lost_calendar = _write_dates(rng, children.lost, assumed.FAMILY_LOSS_MONTH_SHARE)
    faces = draw_strangers(stream(seed, "family faces"), size)
    has_photo = stream(seed, "family photos").random(size) < photos
    photo_age = np.maximum(children.age - rng.integers(0, 2, size), 0)
    groups = [
        blood.write_group(rng, alleles, assumed.BLOOD_SHARE[who])
        for who, alleles in (
            ("child", children.alleles),
            ("mother", children.mother_alleles),
            ("father", children.father_alleles),
        )
    ]
    notices: Notices = {
        "kind": [SEEKING_CHILD] * size,
        "found_as": [""] * size,
        "category": [assumed.CATEGORIES[each] for each in children.category.tolist()],
        "entry_date": write_days(_entries(rng, children.lost)),
        "sex": [SEXES[each] for each in children.sex.tolist()],
        "birth_date": birth,
        "birth_calendar": birth_calendar,
        "age_at_loss": [str(age) for age in children.age.tolist()],
        "lost_date": lost,
        "lost_calendar": lost_calendar,
        "first_seen_date": [""] * size,
        "lost_place": [divisions().counties[each] for each in children.county.tolist()],
        "found_place": [""] * size,
        "registered_name": pen.full(children.surname, draw_given(rng, size)),
        "nickname": pen.nicknames(
            children.sex,
            children.stem,
            children.form,
            rng.random(size) < assumed.FAMILY_NICKNAME_SHARE,
        ),
        "family_surname": pen.surnames(children.surname, everyone),
        "father_name": pen.given(children.father, _given(rng, size)),
        "mother_name": pen.given(children.mother, _given(rng, size)),
        "sibling_names": _sibling_names(children),
        "sibling_count": [str(each) for each in children.siblings.tolist()],
        "marks": terms.write(
            terms.thin(rng, children.marks, assumed.MARK_SHOWN),
            rng.random(size) < assumed.MARKS_SHARE[0],
            terms.marks(),
        ),
        "memories": terms.write(
            terms.thin(rng, children.home, assumed.MEMORY_SHOWN),
            rng.random(size) < assumed.MEMORY_SHARE,
            terms.memories(),
        ),
        "blood_group": write_groups(groups[0]),
        "mother_blood_group": write_groups(groups[1]),
        "father_blood_group": write_groups(groups[2]),
        "height_cm": write_heights(
            children.age, children.height, rng.random(size) < assumed.HEIGHT_SHARE
        ),
        "photo_age": [
            str(age) if has else ""
            for age, has in zip(photo_age.tolist(), has_photo.tolist(), strict=True)
        ],
        "face_model": [assumed.FACE_MODEL if has else "" for has in has_photo.tolist()],
        "face_embedding": [
            face if has else ""
            for face, has in zip(write_faces(faces), has_photo.tolist(), strict=True)
        ],
        "dna_held": [""] * size,
    }
    return notices, faces


def _given(rng: np.random.Generator, size: int) -> Bools:
    return rng.random(size) < assumed.FAMILY_NAMES_SHARE


def _write_dates(
    rng: np.random.Generator, days: Days, month_share: float
) -> tuple[list[str], list[str]]:
    """Exact days with the numbers of either calendar, which is stated or not; or solar months."""
    size = len(days)
    lunar = rng.random(size) < assumed.LUNAR_SHARE
    stated = rng.random(size) < assumed.CALENDAR_STATED_SHARE
    month_only = rng.random(size) < month_share
    solar = write_precision(days, month_only.astype(int).tolist())
    numbers = zip(*(each.tolist() for each in lunar_numbers(days)), strict=True)
    # Numbers that no solar day has, such as 30 February, can only be lunar.
    betrays = solar_day(*lunar_numbers(days)) - solar_day(*lunar_numbers(days)[:2], 1) + 1
    certain = betrays != lunar_numbers(days)[2]
    texts, calendars = [], []
    for text, (year, month, day), is_lunar, is_stated, is_month in zip(
        solar, numbers, lunar.tolist(), (stated | (lunar & certain)).tolist(), month_only.tolist(),
        strict=True,
    ):  # fmt: skip
        use_lunar = is_lunar and not is_month
        texts.append(f"{year:04d}-{month:02d}-{day:02d}" if use_lunar else text)
        known = "lunar" if use_lunar else "solar"
        calendars.append(known if is_stated or is_month else "unknown")
    return texts, calendars


def _entries(rng: np.random.Generator, lost: Days) -> Days:
    start = np.datetime64(f"{assumed.FAMILY_ENTRY_FIRST}-01-01").astype(np.int64)
    drawn = start + (rng.random(len(lost)) * assumed.FAMILY_ENTRY_YEARS * 365).astype(np.int64)
    found: Days = np.maximum(drawn, lost + 30)
    return found


def _sibling_names(children: Children) -> list[str]:
    size, most = len(children), assumed.FAMILY_SIBLING_NAMES_MAX
    flat = spell_given(children.sibling_names.reshape(-1, 2))
    return [
        LIST_SEPARATOR.join(flat[most * row : most * row + min(count, most)])
        for row, count in zip(range(size), children.siblings.tolist(), strict=True)
    ]


def write_groups(groups: Days) -> list[str]:
    """Cells of blood groups."""
    names = (*blood.GROUPS, "")
    return [names[each] for each in groups.tolist()]


def write_heights(age: Days, height: Floats, known: Bools) -> list[str]:
    """Cells in whole centimetres of z scores at an age in years."""
    years, expected = zip(*assumed.HEIGHT_FOR_AGE, strict=True)
    centimetres = np.interp(age, years, expected) + assumed.HEIGHT_SD_CM * height
    return [
        f"{each:.0f}" if given else ""
        for each, given in zip(centimetres.tolist(), known.tolist(), strict=True)
    ]
