"""What each cell of a notice has to be: good cells are kept, others emptied with their fault."""

from __future__ import annotations

import base64
import binascii
import re
from functools import cache
from typing import TYPE_CHECKING, Final

from kinlink_local.reunion import terms
from kinlink_local.reunion.dates import CALENDARS, possible_days
from kinlink_local.reunion.intake.place_names import codes
from kinlink_local.reunion.notices import FOUND, KINDS, LIST_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from kinlink_local.reunion.intake.outcome import Cells

CATEGORIES: Final = ("given_up", "lost", "abducted", "abandoned", "runaway", "other")
FOUND_AS: Final = ("self_seeking", "rescued_minor", "adoptee")
SEXES: Final = ("F", "M")
GROUPS: Final = ("O", "A", "B", "AB")
HELD: Final = ("mother", "father", "sibling", "self")
HEIGHT_CM: Final = (30, 230)
AGE_MAX: Final = 120
SIBLINGS_MAX: Final = 30
NAME_CHARACTERS_MAX: Final = 60
VECTOR_BYTES_MAX: Final = 8_192
_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d)?)?(/\d{4}(-\d\d(-\d\d)?)?)?")

DATE_FAULT: Final = "is no date; write 1988, 1988-10, 1988-10-17, or two with / between"
PLACE_FAULT: Final = "is no code of GB/T 2260 of 2013; write two, four or six digits"


def check(cells: Cells) -> list[tuple[str, str]]:
    """Empty what cannot be used, in place, and say of each column why; other columns stay.

    A date goes without its calendar where that is unknown: it is then read both ways.
    """
    faults = []
    for name, rule in _rules().items():
        value = cells.get(name, "")
        if value and not rule[0](value):
            cells[name] = ""
            faults.append((name, rule[1]))
    for date, calendar in (("birth_date", "birth_calendar"), ("lost_date", "lost_calendar")):
        if cells.get(date) and not cells.get(calendar):
            cells[calendar] = "unknown"
        if cells.get(date) and not _has_days(cells[date], cells[calendar]):
            cells[date] = ""
            faults.append((date, "there is no such day; write the month alone"))
        if not cells.get(date):
            cells[calendar] = ""
    if cells.get("face_embedding") and not cells.get("face_model"):
        cells["face_embedding"] = ""
        faults.append(("face_model", "is missing, so the vector is left out"))
    if cells.get("found_as") and cells.get("kind") != FOUND:
        cells["found_as"] = ""
        faults.append(("found_as", "belongs to notices of kind found only"))
    return faults


@cache
def _rules() -> dict[str, tuple[Callable[[str], bool], str]]:
    """Columns → whether a value is one, and what to do if not."""
    groups = (set(GROUPS).__contains__, "is none of O, A, B, AB")
    place = (is_place, PLACE_FAULT)
    date = (_is_date, DATE_FAULT)
    calendar = (set(CALENDARS).__contains__, "is none of solar, lunar, unknown; read both ways")
    name = (_is_name, f"is longer than {NAME_CHARACTERS_MAX} characters; write a name alone")
    marks = (_list_of(frozenset(terms.marks())), "has a term that is not in the list of marks")
    memories = (_list_of(frozenset(terms.memories())), "has a term not in the list of memories")
    return {
        "kind": (set(KINDS).__contains__, f"is none of {', '.join(KINDS)}"),
        "found_as": (set(FOUND_AS).__contains__, f"is none of {', '.join(FOUND_AS)}"),
        "category": (set(CATEGORIES).__contains__, f"is none of {', '.join(CATEGORIES)}"),
        "sex": (set(SEXES).__contains__, "is neither F nor M"),
        "entry_date": date, "birth_date": date, "lost_date": date, "first_seen_date": date,
        "birth_calendar": calendar, "lost_calendar": calendar,
        "age_at_loss": (_whole(0, AGE_MAX), "is no age in whole years"),
        "photo_age": (_whole(0, AGE_MAX), "is no age in whole years"),
        "sibling_count": (_whole(0, SIBLINGS_MAX), "is no number of brothers and sisters"),
        "height_cm": (_whole(*HEIGHT_CM), "is no height in whole centimetres from 30 to 230"),
        "lost_place": place, "found_place": place,
        "registered_name": name, "nickname": name, "family_surname": name, "father_name": name,
        "mother_name": name,
        "sibling_names": (_are_names, "has a name that is too long, or more than three"),
        "marks": marks, "memories": memories,
        "blood_group": groups, "mother_blood_group": groups, "father_blood_group": groups,
        "face_embedding": (_is_vector, "is no base64 of half-precision numbers"),
        "dna_held": (_list_of(frozenset(HELD)), f"has a term that is none of {', '.join(HELD)}"),
    }  # fmt: skip


def is_place(code: str) -> bool:
    """Whether it is a code of a province, prefecture or county, in either form."""
    while code.endswith("00"):
        code = code.removesuffix("00")
    return code in _levels()


@cache
def _levels() -> frozenset[str]:
    """Every code, and what stands above it though it is no place: the county level of Beijing."""
    return frozenset(code[:size] for code in codes() for size in (2, 4, 6) if size <= len(code))


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and _has_days(text, "unknown")


def _has_days(text: str, calendar: str) -> bool:
    try:
        return bool(possible_days(text, calendar)) and _months_exist(text)
    except (ValueError, OverflowError):
        return False


def _months_exist(text: str) -> bool:
    """The reader of dates counts months on into the next year; nobody writes them so."""
    parts = [each.split("-") for each in text.split("/")]
    months = [int(each[1]) for each in parts if len(each) > 1]
    days = [int(each[2]) for each in parts if len(each) > 2]  # noqa: PLR2004 - year, month, day
    return all(1 <= each <= 12 for each in months) and all(1 <= each <= 31 for each in days)  # noqa: PLR2004


def _whole(low: int, high: int) -> Callable[[str], bool]:
    return lambda text: text.isascii() and text.isdigit() and low <= int(text[:9]) <= high


def _is_name(text: str) -> bool:
    return len(text) <= NAME_CHARACTERS_MAX


def _are_names(text: str) -> bool:
    names = text.split(LIST_SEPARATOR)
    return len(names) <= 3 and all(map(_is_name, names))  # noqa: PLR2004 - as the table says


def _list_of(known: frozenset[str]) -> Callable[[str], bool]:
    return lambda text: text == terms.NONE_KNOWN or set(text.split(LIST_SEPARATOR)) <= known


def _is_vector(text: str) -> bool:
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
    return 0 < size <= VECTOR_BYTES_MAX and size % 2 == 0
