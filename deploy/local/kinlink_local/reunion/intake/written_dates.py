"""Chinese dates in words as sets of possible days, in the notices' own way to write them.

Each date is written so that the set holds the day that was meant, if the words are true:
"about" is a year, a month or ten days to either side; a season runs from its first to its last day
by either calendar; what names no calendar is read both ways.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_local.reunion.dates import possible_days, write_days
from kinlink_local.reunion.intake.date_words import Said, take_apart

if TYPE_CHECKING:
    from kinlink_local.reunion.dates import Spans

ABOUT_DAYS: Final = 10
MONTH_DAYS_MIN: Final = 28
YEAR_FIRST, YEAR_LAST = 1900, 2049
# First and last month and day of what may be meant, the second in the next year if it is earlier.
# Seasons: those of the weather, the lunar ones, and those from 立春 on, together.
SEASONS: Final = {
    "春": ("01-21", "05-31"), "夏": ("04-20", "08-31"), "秋": ("07-20", "11-30"),
    "冬": ("10-20", "02"),
}  # fmt: skip
# Parts of a year by either calendar; a lunar year begins three to seven weeks late.
YEAR_PARTS: Final = {
    "年初": ("01", "04"), "年中": ("05", "09"), "年底": ("10", "02"), "年末": ("10", "02"),
    "年尾": ("10", "02"), "上半年": ("01", "08"), "下半年": ("07", "02"), "除夕": ("01", "02"),
}  # fmt: skip
THIRDS: Final = {
    "上旬": ("01", "10"), "中旬": ("11", "20"), "下旬": ("21", ""), "月初": ("01", "10"),
    "月中": ("11", "20"), "月底": ("21", ""), "月末": ("21", ""),
}  # fmt: skip


@dataclass(frozen=True)
class WrittenDate:
    """A date as the notices have it, with its calendar; `note` says what was given up."""

    text: str
    calendar: str
    note: str = ""

    @property
    def days(self) -> Spans:
        """The possible days."""
        return possible_days(self.text, self.calendar)


def read_date(text: str, calendar: str = "") -> WrittenDate:
    """The date that a text says.

    Args:
        text: of one field.
        calendar: `solar` or `lunar` where the field's name says so.

    Raises:
        ValueError: It cannot be read as a date with a year from 1900 to 2049.
    """
    said = _calendars_apart(take_apart(text))
    dates: list[WrittenDate] = []
    year = (0, 0)
    for each in said:
        if each.joined and dates:
            dates[-1] = _range(dates[-1], _write(each, calendar))
        elif each.years[0]:
            dates.append(_write(each, calendar))
            year = each.years if not (each.month or each.part) else (0, 0)
        elif year[0] and each.month:  # a year, and in brackets the day in it
            dates[-1] = _write(replace(each, years=year), calendar)
    if not dates:
        raise ValueError("no year is said")
    found = _agree(dates)
    if not found.days:
        raise ValueError("there is no such date")
    return found


def _calendars_apart(said: list[Said]) -> list[Said]:
    """A date beside one of the lunar calendar is solar, and one beside a solar one lunar."""
    named = {
        each.lunar or each.forces_lunar
        for each in said
        if (each.lunar is not None or each.forces_lunar) and not each.festival
    }
    if len(named) != 1 or any(each.joined for each in said):
        return said
    (lunar,) = named
    return [
        each if each.lunar is not None or each.forces_lunar else replace(each, lunar=not lunar)
        for each in said
    ]


def hull(first: int, last: int) -> str:
    """A range of solar days."""
    ends = write_days(np.array([first, last]))
    return ends[0] if first == last else f"{ends[0]}/{ends[1]}"


def _agree(dates: list[WrittenDate]) -> WrittenDate:
    """One date said in several ways: the narrowest, if the others allow it."""
    dates = sorted(dates, key=lambda each: sum(last - first + 1 for first, last in each.days))
    best = dates[0]
    if all(_meet(best.days, other.days) for other in dates[1:]):
        return best
    days = [day for each in dates for span in each.days for day in span]
    note = "says dates that differ; all days between them are kept, check"
    return WrittenDate(hull(min(days), max(days)), "solar", note)


def _meet(one: Spans, other: Spans) -> bool:
    return any(a <= d and c <= b for a, b in one for c, d in other)


def _range(first: WrittenDate, last: WrittenDate) -> WrittenDate:
    if first.calendar == last.calendar:
        text = f"{first.text.partition('/')[0]}/{last.text.rpartition('/')[2]}"
        found = WrittenDate(text, first.calendar, first.note or last.note)
        if found.days and all(a <= b for a, b in found.days) and _covers(found, first, last):
            return found
    days = [day for each in (first, last) for span in each.days for day in span]
    return WrittenDate(hull(min(days), max(days)), "solar", first.note or last.note)


def _covers(whole: WrittenDate, first: WrittenDate, last: WrittenDate) -> bool:
    return all(
        any(a <= c and d <= b for a, b in whole.days)
        for each in (first, last)
        for c, d in each.days
    )


def _write(said: Said, hint: str) -> WrittenDate:
    if not all(YEAR_FIRST <= year <= YEAR_LAST - 1 for year in said.years):
        raise ValueError("the year is not from 1900 to 2048")
    calendar = _calendar(said, hint)
    if said.part in SEASONS or said.part in YEAR_PARTS:
        return _part_of_year(said)
    text = _text(said)
    if said.about:
        return _about(said, text, calendar)
    return _existing(said, text, calendar)


def _calendar(said: Said, hint: str) -> str:
    if said.forces_lunar:
        return "unknown" if said.lunar is False else "lunar"
    if said.lunar is not None:
        return "lunar" if said.lunar else "solar"
    return hint or "unknown"


def _part_of_year(said: Said) -> WrittenDate:
    begin, end = SEASONS.get(said.part) or YEAR_PARTS[said.part]
    first, last = said.years
    last += end < begin
    found = WrittenDate(f"{first}-{begin}/{last}-{end}", "solar")
    if not said.about:
        return found
    (low, high), *_ = found.days
    return WrittenDate(hull(low - 3 * ABOUT_DAYS, high + 3 * ABOUT_DAYS), "solar")


def _text(said: Said) -> str:
    first, last = said.years
    if first != last:
        return f"{first}/{last}"
    if not said.month:
        return str(first)
    month = f"{first}-{said.month:02d}"
    if said.part in THIRDS and not said.about:
        low, high = THIRDS[said.part]
        return f"{month}-{low}/{month}" + (f"-{high}" if high else "")
    return f"{month}-{said.day:02d}" if said.day and not said.part else month


def _about(said: Said, text: str, calendar: str) -> WrittenDate:
    """To either side: a year of a year, a month of a month, ten days of a day."""
    first, last = said.years
    if not said.month:
        return WrittenDate(f"{first - 1}/{last + 1}", calendar)
    if said.day and calendar == "solar":
        (low, high), *_ = possible_days(text, calendar)
        return WrittenDate(hull(low - ABOUT_DAYS, high + ABOUT_DAYS), calendar)
    months = [first * 12 + said.month - 1 + step for step in (-1, 1)]
    # Ten days around a day reach into one of the two months next to it at most.
    if said.day and said.day > ABOUT_DAYS:
        months[0] += 1
    if said.day and said.day < MONTH_DAYS_MIN - ABOUT_DAYS:
        months[1] -= 1
    ends = [f"{each // 12}-{each % 12 + 1:02d}" for each in months]
    return WrittenDate(ends[0] if ends[0] == ends[1] else "/".join(ends), calendar)


def _existing(said: Said, text: str, calendar: str) -> WrittenDate:
    """A day that its month does not have gives the month."""
    found = WrittenDate(text, calendar)
    if said.day and calendar != "unknown":
        days = found.days
        clamped = calendar == "solar" and _is_clamped(said)
        if not days or clamped:
            note = "its month has no such day; the month is kept, check the calendar"
            return WrittenDate(text.rpartition("-")[0], calendar, note)
    if not found.days:
        raise ValueError("there is no such date")
    return found


def _is_clamped(said: Said) -> bool:
    """Whether a solar month is shorter than the day's number."""
    (_, last), *_ = possible_days(f"{said.years[0]}-{said.month:02d}", "solar")
    return said.day > int(write_days(np.array([last]))[0][-2:])
