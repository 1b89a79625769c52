"""The columns that `reunion.yaml` reads, made from notices by the office that holds them.

A schema compares values; notices hold what people wrote. In between stand the calendar (a date
becomes its possible days), hearing (a name becomes its sound), and growth (a height becomes how far
it is from the usual one at that age), and photographs have an age. All of it is a function of one
notice.
"""

from __future__ import annotations

import csv
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion.dates import Spans, possible_days
from kinlink_local.reunion.face_columns import FACE_COLUMNS, face_columns
from kinlink_local.reunion.notices import LIST_SEPARATOR, SEEKING_CHILD
from kinlink_local.reunion.sounds import sound
from kinlink_local.reunion.terms import NONE_KNOWN

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_local.reunion.face_columns import Progression
    from kinlink_local.reunion.notices import Notices

SCHEMA_COLUMNS: Final = (
    "record_id", "kind", "sex", "born", "parted", "arrival", "place", "nickname", "surname", "kin",
    "siblings", "marks", "memories", "blood", "category", "height", *FACE_COLUMNS,
)  # fmt: skip
# A blood group as one letter, so that mother, father and child are a code of three.
BLOOD_LETTERS: Final = {"O": "O", "A": "A", "B": "B", "AB": "C", "": "X"}
BLOOD_UNKNOWN: Final = "XXX"
# Tenths of a standard deviation; the usual height is this, so that no height is negative.
HEIGHT_USUAL: Final = 100
HEIGHT_STEPS: Final = 10
YEAR_DAYS: Final = 365.2425
# A found person's date of birth that spans more is the estimate of an age; its middle is what was
# estimated (docs/reference/notices.md). A lunar year is no longer than the first of these.
ESTIMATE_DAYS_MIN: Final = 385
ESTIMATE_DAYS: Final = 365
_PROVINCE_DIGITS: Final = 2
_COMMA: Final = ","
_UNIX_EPOCH: Final = date(1970, 1, 1)

Columns = dict[str, list[str]]
Cells = dict[str, str]


def schema_columns(notices: Notices, progress: Progression | None = None) -> Columns:
    """One cell a notice of each of `SCHEMA_COLUMNS`; empty is unknown.

    Raises:
        ValueError: A date, a number or a blood group cannot be read; with the notice's number.
        ProgressionError: The age progression failed.
    """
    found: Columns = {name: [] for name in SCHEMA_COLUMNS}
    names = tuple(notices)
    for number, cells in enumerate(zip(*notices.values(), strict=True), start=1):
        try:
            line = _of_notice(dict(zip(names, cells, strict=True)), progress)
        except (ValueError, KeyError):
            reason = "has a date, number or blood group that cannot be read"
            raise ValueError(f"notice {number} {reason}") from None
        for name, cell in line.items():
            found[name].append(cell)
    return found


def write_columns(path: Path, columns: Columns) -> None:
    """A file that `kinlink-registry ingest` and `kinlink rehearse` read: CSV with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCHEMA_COLUMNS)
        writer.writerows(zip(*(columns[name] for name in SCHEMA_COLUMNS), strict=True))


def days_text(spans: Spans) -> str:
    """Spans of days since 1970 as the schema reads them: `19860223,19860401~19860430`."""
    return _COMMA.join(
        _day(first) if first == last else f"{_day(first)}~{_day(last)}" for first, last in spans
    )


def _of_notice(cells: Cells, progress: Progression | None) -> Cells:
    seeks = cells["kind"] == SEEKING_CHILD
    born = possible_days(cells["birth_date"], cells["birth_calendar"] or "solar")
    parted = (
        possible_days(cells["lost_date"], cells["lost_calendar"] or "solar")
        if seeks
        else possible_days(cells["first_seen_date"], "solar")
    )
    age = _age_at_loss(cells) if seeks else _age_at_trace(born, parted)
    born = born if seeks else tuple(map(_estimate, born))
    return {
        "record_id": cells["record_id"],
        "kind": cells["kind"],
        "sex": cells["sex"],
        "born": days_text(born),
        "parted": days_text(parted),
        "arrival": cells["lost_place" if seeks else "found_place"][:_PROVINCE_DIGITS],
        "place": cells["lost_place"],
        "nickname": cells["nickname"],
        "surname": sound(cells["family_surname"]).replace(" ", ""),
        "kin": _kin(cells),
        "siblings": cells["sibling_count"],
        "marks": _terms(cells["marks"]),
        "memories": _terms(cells["memories"]),
        "blood": _blood(cells) if seeks else cells["blood_group"],
        "category": cells["category"],
        "height": _height(cells["height_cm"], age),
        **face_columns(cells, seeks=seeks, progress=progress),
    }


def _estimate(span: tuple[int, int]) -> tuple[int, int]:
    """Of an age that was estimated, a range of more than a year, the year in its middle."""
    first, last = span
    if last - first < ESTIMATE_DAYS_MIN:
        return span
    middle = (first + last) // 2
    return middle - ESTIMATE_DAYS // 2, middle + ESTIMATE_DAYS // 2


def _day(number: int) -> str:
    return (_UNIX_EPOCH + timedelta(days=number)).strftime("%Y%m%d")


def _age_at_loss(cells: Cells) -> float | None:
    return float(cells["age_at_loss"]) if cells["age_at_loss"] else None


def _age_at_trace(born: Spans, seen: Spans) -> float | None:
    """Whole years between the middles of what may be meant."""
    if not born or not seen:
        return None
    middle = [(spans[0][0] + spans[-1][1]) / 2 for spans in (born, seen)]
    return max(0.0, (middle[1] - middle[0]) // YEAR_DAYS)


def _height(centimetres: str, age: float | None) -> str:
    if not centimetres or age is None:
        return ""
    years, usual = zip(*assumed.HEIGHT_FOR_AGE, strict=True)
    score = (float(centimetres) - float(np.interp(age, years, usual))) / assumed.HEIGHT_SD_CM
    return str(max(0, HEIGHT_USUAL + round(HEIGHT_STEPS * score)))


def _kin(cells: Cells) -> str:
    """Sounds of given names, each with who it is: a father's name is no mother's."""
    told = [
        f"{who} {sound(cells[name])}"
        for who, name in (("father", "father_name"), ("mother", "mother_name"))
        if cells[name]
    ]
    siblings = cells["sibling_names"]
    told += [f"sibling {sound(name)}" for name in siblings.split(LIST_SEPARATOR) if name]
    return _COMMA.join(told)


def _terms(cell: str) -> str:
    """A list without what would part its terms; known to be empty is as good as unknown."""
    if cell == NONE_KNOWN:
        return ""
    return _COMMA.join(term.replace("/", " ") for term in cell.split(LIST_SEPARATOR))


def _blood(cells: Cells) -> str:
    """Mother's, father's and child's group as three letters, X where one is unknown."""
    groups = ("mother_blood_group", "father_blood_group", "blood_group")
    code = "".join(BLOOD_LETTERS[cells[name]] for name in groups)
    return "" if code == BLOOD_UNKNOWN else code
