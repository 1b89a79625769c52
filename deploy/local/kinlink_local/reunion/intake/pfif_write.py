"""Notices as PFIF 1.4, and how much of them it cannot carry.

Persons stand in the order of the notices, each with one note. `entry_date` is the time of the
export, the same for all, so that it never goes back within a file or from one export to the next.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import numpy as np

from kinlink_local.reunion.dates import possible_days, write_days
from kinlink_local.reunion.intake.pfif_terms import NAMESPACE, NO_NAME, SEXES, STATES
from kinlink_local.reunion.intake.place_names import PROVINCE, place_text
from kinlink_local.reunion.notices import FOUND, LIST_SEPARATOR, SEEKING_CHILD, TIP
from kinlink_local.reunion.terms import NONE_KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from kinlink_local.reunion.intake.outcome import Cells
    from kinlink_local.reunion.notices import Notices

# Columns that reach PFIF whole or, the two dates and `found_as`, in part.
CARRIED: Final = frozenset({
    "record_id", "kind", "sex", "birth_calendar", "lost_place", "registered_name",
    "nickname", "family_surname", "marks",
})  # fmt: skip
AUTHOR: Final = "Kinlink"
NOTE_TEXT: Final = "Written from a table of notices."
_STATE_OF: Final = {number: letters for letters, number in STATES.items() if letters.isalpha()}
_SEX_OF: Final = {value: name for name, value in SEXES.items()}
_DIGITS_OF: Final = (10, 7, 4)


def export_pfif(notices: Notices, path: Path, domain: str, now: datetime) -> Counter[str]:
    """Write the notices; ids that have no domain yet get `domain`.

    Args:
        notices: whole table.
        path: XML file.
        domain: of the office, which PFIF ids begin with.
        now: time of the export, UTC.

    Returns:
        Filled cells that PFIF does not carry, by column.
    """
    left: Counter[str] = Counter()
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    with path.open("w", encoding="utf-8") as file:
        file.write(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<pfif:pfif xmlns:pfif="{NAMESPACE}">\n'
        )
        for row in zip(*notices.values(), strict=True):
            cells = dict(zip(notices, row, strict=True))
            left.update(_not_carried(cells))
            file.write(_person(cells, domain, stamp))
        file.write("</pfif:pfif>\n")
    return left


def _not_carried(cells: Cells) -> Iterator[str]:
    for name, cell in cells.items():
        if not cell or name in CARRIED:
            continue
        if name == "birth_date" and (cells["birth_calendar"] or "solar") == "solar":
            whole = "/" not in cell
        elif name == "entry_date":
            whole = len(cell) == _DIGITS_OF[0]
        elif name == "found_as":
            whole = cell == "self_seeking"
        else:
            whole = name == "found_place" and cells["kind"] != SEEKING_CHILD
        if not whole:
            yield name


def _person(cells: Cells, domain: str, stamp: str) -> str:
    record_id = (
        cells["record_id"] if "/" in cells["record_id"] else f"{domain}/{cells['record_id']}"
    )
    source = (
        f"{cells['entry_date']}T00:00:00Z" if len(cells["entry_date"]) == _DIGITS_OF[0] else stamp
    )
    values = {
        "person_record_id": record_id,
        "entry_date": stamp,
        "source_date": source,
        "full_name": cells["registered_name"] or NO_NAME,
        "family_name": cells["family_surname"],
        "alternate_names": cells["nickname"],
        "description": _marks(cells["marks"]),
        "sex": _SEX_OF.get(cells["sex"], ""),
        "date_of_birth": birth(cells["birth_date"], cells["birth_calendar"]),
        **(_home(cells["found_place"]) if cells["kind"] != SEEKING_CHILD else {}),
    }
    status, met = _status(cells)
    note = {
        "note_record_id": f"{record_id}.note",
        "person_record_id": record_id,
        "entry_date": stamp,
        "author_name": AUTHOR,
        "source_date": source,
        "author_made_contact": met,
        "status": status,
        "last_known_location": place_text(cells["lost_place"]) if cells["lost_place"] else "",
        "text": NOTE_TEXT,
    }
    lines = [
        *_elements(values.items(), 2),
        "  <pfif:note>",
        *_elements(note.items(), 3),
        "  </pfif:note>",
    ]
    return "\n".join([" <pfif:person>", *lines, " </pfif:person>\n"])


def _elements(values: Iterable[tuple[str, str]], indent: int) -> Iterator[str]:
    for name, value in values:
        if value:
            yield f"{' ' * indent}<pfif:{name}>{escape(_clean(value))}</pfif:{name}>"


def _clean(value: str) -> str:
    """Without the control signs that XML cannot hold."""
    return "".join(sign for sign in value if sign >= " " or sign in "\t\n")


def _status(cells: Cells) -> tuple[str, str]:
    if cells["kind"] == FOUND:
        return (
            "is_note_author" if cells["found_as"] == "self_seeking" else "believed_alive"
        ), "true"
    return ("believed_alive", "false") if cells["kind"] == TIP else ("information_sought", "")


def birth(text: str, calendar: str) -> str:
    """The shortest of day, month and year that holds all possible days; empty if none does."""
    days = possible_days(text, calendar or "solar")
    if not days:
        return ""
    first, last = write_days(np.array([days[0][0], max(end for _, end in days)]))
    if calendar in {"", "solar"} and "/" not in text:
        return text
    return next((first[:size] for size in _DIGITS_OF if first[:size] == last[:size]), "")


def _home(code: str) -> dict[str, str]:
    if not code:
        return {}
    state = _STATE_OF.get(code[:PROVINCE], "")
    city = place_text(code).removeprefix(place_text(code[:PROVINCE]))
    return {"home_city": city, "home_state": state, "home_country": "CN"}


def _marks(cell: str) -> str:
    if cell in {"", NONE_KNOWN}:
        return "无明显特征" if cell else ""
    return ",".join(mark.replace("/", "") for mark in cell.split(LIST_SEPARATOR))
