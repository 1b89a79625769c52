"""What the notices of a side say, read back from their cells into arrays for scoring.

Nothing here knows the truth: all comes from the flat table. -1 is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion import blood, terms
from kinlink_local.reunion.children import SEXES
from kinlink_local.reunion.dates import possible_days
from kinlink_local.reunion.divisions import divisions
from kinlink_local.reunion.faces import Floats32, read_faces
from kinlink_local.reunion.found_side import age_at_trace
from kinlink_local.reunion.marginals import band_of
from kinlink_local.reunion.notices import LIST_SEPARATOR, Notices
from kinlink_local.reunion.sounds import sound, take_apart

if TYPE_CHECKING:
    from collections.abc import Sequence

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
UNKNOWN: Final = -1
LEAST: Final = 1e-30  # a probability that stands for none
NAME_COLUMNS: Final = ("family_surname", "father_name", "mother_name")
READINGS: Final = 3  # solar, lunar, and the lunar leap month


@dataclass(frozen=True)
class Side:
    """Evidence of both sides that has the same form on either (n notices)."""

    sex: Ints
    category: Ints
    names: dict[str, list[str]]  # column → sounds, empty where unknown
    nickname: list[tuple[str, int]]  # sound of the stem and form; ("", -1)
    siblings: Ints
    marks: Bools
    marks_known: Bools
    memories: Bools
    memories_known: Bools
    blood: Ints  # blood.UNKNOWN where unknown
    height: Floats  # z score, nan where unknown
    photo_age: Ints
    faces: Floats32

    def __len__(self) -> int:
        return len(self.sex)


@dataclass(frozen=True)
class FamilySide(Side):
    """What families say."""

    band: Ints  # of the age at loss
    county: Ints
    birth: Ints  # (n, READINGS, 2) first and last day, 0 and -1 where there is no such reading
    birth_weight: Floats  # (n, READINGS)
    lost: Ints
    lost_weight: Floats
    sibling_names: list[list[str]]
    parents: Ints  # (n, 2) blood groups of mother and father


@dataclass(frozen=True)
class FoundSide(Side):
    """What the found say."""

    found_as: Ints
    place: Ints  # index of `places()`
    province: Ints  # where found
    birth: Ints  # (n, 2) solar reading; the middle month of an estimate
    trace: Ints  # (n, 2), 0 and -1 where unknown


def places() -> dict[str, int]:
    """Index of every code that a place may be recalled by: counties, prefectures, provinces."""
    where = divisions()
    codes = (*where.counties, *where.prefectures, *where.provinces)
    return {code: number for number, code in enumerate(codes)}


def read_family_side(notices: Notices) -> FamilySide:
    """Evidence of families' notices."""
    age = _numbers(notices["age_at_loss"])
    county = {code: number for number, code in enumerate(divisions().counties)}
    birth, birth_weight = _readings(notices["birth_date"], notices["birth_calendar"])
    lost, lost_weight = _readings(notices["lost_date"], notices["lost_calendar"])
    return FamilySide(
        **_both(notices, age),
        band=band_of(age),
        county=np.array([county[code] for code in notices["lost_place"]]),
        birth=birth,
        birth_weight=birth_weight,
        lost=lost,
        lost_weight=lost_weight,
        sibling_names=[
            [sound(name) for name in cell.split(LIST_SEPARATOR)] if cell else []
            for cell in notices["sibling_names"]
        ],
        parents=np.stack(
            [_groups(notices["mother_blood_group"]), _groups(notices["father_blood_group"])], axis=1
        ),
    )


def read_found_side(notices: Notices) -> FoundSide:
    """Evidence of found people's notices."""
    kinds = [*assumed.FOUND_AS]
    known, provinces = places(), divisions().provinces
    age = age_at_trace(notices["birth_date"], notices["first_seen_date"])
    both = _both(notices, age)
    both["names"]["sibling_names"] = [sound(name) for name in notices["sibling_names"]]
    return FoundSide(
        **both,
        found_as=np.array([kinds.index(each) for each in notices["found_as"]]),
        place=np.array([known.get(code, UNKNOWN) for code in notices["lost_place"]]),
        province=np.array([provinces.index(code[:2]) for code in notices["found_place"]]),
        birth=_spans([_middle(text) for text in notices["birth_date"]]),
        trace=_spans(notices["first_seen_date"]),
    )


def _both(notices: Notices, age: Ints) -> dict[str, Any]:
    marks, marks_known = terms.read(notices["marks"], terms.marks())
    memories, memories_known = terms.read(notices["memories"], terms.memories())
    years, expected = zip(*assumed.HEIGHT_FOR_AGE, strict=True)
    height = np.array([float(cell) if cell else np.nan for cell in notices["height_cm"]])
    return {
        "sex": np.array([SEXES.index(each) for each in notices["sex"]]),
        "category": np.array([
            assumed.CATEGORIES.index(each) if each else UNKNOWN for each in notices["category"]
        ]),
        "names": {name: [sound(cell) for cell in notices[name]] for name in NAME_COLUMNS},
        "nickname": [take_apart(cell) if cell else ("", UNKNOWN) for cell in notices["nickname"]],
        "siblings": _numbers(notices["sibling_count"]),
        "marks": marks,
        "marks_known": marks_known,
        "memories": memories,
        "memories_known": memories_known,
        "blood": _groups(notices["blood_group"]),
        "height": (height - np.interp(age, years, expected)) / assumed.HEIGHT_SD_CM,
        "photo_age": _numbers(notices["photo_age"]),
        "faces": read_faces(notices["face_embedding"]),
    }  # fmt: skip


def _numbers(cells: Sequence[str]) -> Ints:
    return np.array([int(cell) if cell else UNKNOWN for cell in cells])


def _groups(cells: Sequence[str]) -> Ints:
    number = {name: index for index, name in enumerate((*blood.GROUPS, ""))}
    return np.array([number[cell] for cell in cells])


def _readings(texts: list[str], calendars: list[str]) -> tuple[Ints, Floats]:
    """Possible days of each date, and how probable each reading is."""
    spans = np.zeros((len(texts), READINGS, 2), np.int64)
    spans[:, :, 1] = -1
    weight = np.zeros((len(texts), READINGS))
    for row, (text, calendar) in enumerate(zip(texts, calendars, strict=True)):
        found: list[tuple[tuple[int, int], float]] = []
        if calendar != "lunar":
            share = 1.0 if calendar == "solar" else 1 - assumed.LUNAR_SHARE
            found += [(span, share) for span in possible_days(text, "solar")]
        if calendar != "solar":
            found += [(span, assumed.LUNAR_SHARE) for span in possible_days(text, "lunar")]
        for number, (span, share) in enumerate(found):
            spans[row, number] = span
            weight[row, number] = share
    return spans, weight / weight.sum(axis=1, keepdims=True)


def _middle(text: str) -> str:
    """The month that an estimate of a year more or less has in its middle."""
    if "/" not in text:
        return text
    return f"{int(text[:4]) + 1:04d}{text[4:7]}"


def _spans(texts: list[str]) -> Ints:
    return np.array([
        (*possible_days(text, "solar"), (0, -1))[0] for text in texts
    ])  # fmt: skip
