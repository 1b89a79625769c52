"""The dates and the age of an eight-part notice, as cells."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from kinlink_local.reunion.intake.outcome import Found
from kinlink_local.reunion.intake.written_ages import (
    Age,
    born_at_age,
    read_age,
    whole_years_between,
)
from kinlink_local.reunion.intake.written_dates import WrittenDate, hull, read_date

if TYPE_CHECKING:
    from kinlink_local.reunion.intake.template import RawNotice

DATE_FAULT: Final = "cannot be read as a date; write for instance 1988年10月17日(阳历), or nothing"
# Field of the template → column.
COLUMNS: Final = {
    "birth": "birth_date", "lost": "lost_date", "entered": "entry_date", "seen": "first_seen_date",
}  # fmt: skip


def date_cells(raw: RawNotice) -> Found:
    """Cells of birth, loss, first trace and entry, and of the age at loss."""
    found = Found()
    age = _age(raw)
    dates = {name: _date(raw, name, found, has_age=age is not None) for name in COLUMNS}
    born, lost = dates["birth"], dates["lost"]
    if age and not born:
        with suppress(ValueError):
            born = born_at_age(age, lost.days) if lost else None
        if not born:
            found.fault("birth_date", "an age gives no date without a day of loss that fits it")
    for name, date in (("birth", born), ("lost", lost)):
        if date:
            found.cells |= {f"{name}_date": date.text, f"{name}_calendar": date.calendar}
    for name in ("seen", "entered"):
        if date := dates[name]:
            found.cells[COLUMNS[name]] = _solar(date)
    if (years := _years(age, born, lost)) is not None:
        found.cells["age_at_loss"] = str(years)
    if born and lost and born.days[0][0] > lost.days[-1][1]:
        found.fault("lost_date", "is before the date of birth; both are kept, check")
    return found


def _years(age: Age | None, born: WrittenDate | None, lost: WrittenDate | None) -> int | None:
    """Completed years at loss: as said, or where all possible days of birth and loss agree."""
    if age and age.whole_years is not None:
        return age.whole_years
    return whole_years_between(born.days, lost.days) if born and lost else None


def _date(raw: RawNotice, name: str, found: Found, *, has_age: bool) -> WrittenDate | None:
    text = raw.text(name)
    if not text:
        return None
    try:
        date = read_date(text, "solar" if name == "entered" else _calendar(raw.hints.get(name, "")))
    except ValueError:
        if not (name == "birth" and has_age):
            found.fault(COLUMNS[name], DATE_FAULT)
        return None
    if date.note:
        found.fault(COLUMNS[name], date.note)
    return date


def _calendar(hint: str) -> str:
    """The calendar that a label names; none where it names both, to be chosen from."""
    lunar, solar = any(sign in hint for sign in "阴农旧"), any(sign in hint for sign in "阳公新")
    return "" if lunar == solar else "lunar" if lunar else "solar"


def _solar(date: WrittenDate) -> str:
    """For columns that are always solar; what names no calendar is taken for solar."""
    return hull(date.days[0][0], date.days[-1][1]) if date.calendar == "lunar" else date.text


def _age(raw: RawNotice) -> Age | None:
    """The age at loss, in its own field or where the date of birth should be."""
    text = raw.text("age")
    for each in (f"{text}岁" if text.isdigit() else text, raw.text("birth")):
        try:
            if "岁" in each or "月" in text or "天" in text:
                return read_age(each)
        except ValueError:
            continue
    return None
