"""Ages in words, and the days of birth that they leave possible.

周岁 are completed years; 虚岁 count the lunar years that a life has touched; where neither is said,
both are possible. Months are counted begun or completed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_local.reunion.intake.writing import NUMERAL, close_up, number, plain
from kinlink_local.reunion.intake.written_dates import WrittenDate, hull
from kinlink_local.reunion.lunar import lunar_numbers

if TYPE_CHECKING:
    from kinlink_local.reunion.dates import Spans

YEAR_MONTHS: Final = 12
DAYS_PER_MONTH_MIN: Final = 28
_EPOCH: Final = date(1970, 1, 1).toordinal()
_N: Final = rf"(?:\d{{1,3}}|[{NUMERAL}]{{1,3}})"
_SUI: Final = re.compile(rf"虚(?:岁)?(?:约)?({_N})岁?|({_N})虚岁|({_N})岁\(?虚岁?\)?")
_SPAN: Final = re.compile(
    rf"(?<!\d)(\d{{1,2}})(?:-|~|到|至|或|、)(\d{{1,2}})(?:周)?岁|(?<![{NUMERAL}])([一二两三四五六七八])([二三四五六七八九])(?:周)?岁"
)
_YEARS: Final = re.compile(
    rf"(?:周岁|实岁|年龄)?({_N})(?:周|实)?岁(?:零)?(?:({_N})个?月)?(半|多)?|(?:周岁|实岁)({_N})"
)
_MONTHS: Final = re.compile(rf"({_N})个(多|半)?月")
_DAYS: Final = re.compile(rf"({_N})(?:多)?(?:天|日)")
_ABOUT: Final = re.compile(r"约|左右|大概|上下|估计|多岁")
_NEWBORN: Final = re.compile(r"刚出生|初生|出生当[天日]|新生儿")
_UNDER: Final = re.compile(rf"不到({_N})岁|未满({_N})(?:周)?岁|不满({_N})(?:周)?岁")
_COMPLETED: Final = re.compile(r"周岁|实岁|周")


@dataclass(frozen=True)
class Age:
    """Months of life, from the first to before the last; or a count of lunar years."""

    months: tuple[int, int] = (0, 0)
    lunar_years: tuple[int, int] | None = None  # 虚岁, least and most

    @property
    def whole_years(self) -> int | None:
        """The age in completed years, where it is certain."""
        low, high = self.months
        if self.lunar_years or low // YEAR_MONTHS != (high - 1) // YEAR_MONTHS:
            return None
        return low // YEAR_MONTHS


def read_age(text: str) -> Age:
    """The age that a text says.

    Raises:
        ValueError: It says none.
    """
    text = close_up(plain(text))
    about = _ABOUT.search(text) is not None
    if found := _SUI.search(text):
        years = number(next(each for each in found.groups() if each))
        return Age(lunar_years=(years - about, years + about))
    if _NEWBORN.search(text):
        return Age((0, 1))
    if found := _UNDER.search(text):
        most = number(next(each for each in found.groups() if each))
        return Age((YEAR_MONTHS * max(0, most - 2), YEAR_MONTHS * most))
    low, high = _months(text)
    if about:
        slack = YEAR_MONTHS if "岁" in text else 1
        low, high = max(0, low - slack), high + slack
    return Age((low, high))


def _months(text: str) -> tuple[int, int]:
    """First month, and month after the last; a year counted as 虚岁 reaches two years lower."""
    # Who says 周岁 counts completed years; who says no more than 岁 may count the other way.
    slack = 0 if _COMPLETED.search(text) else 2 * YEAR_MONTHS
    if found := _SPAN.search(text):
        one, other = (number(each) for each in found.groups() if each)
        return max(0, YEAR_MONTHS * one - slack), YEAR_MONTHS * (other + 1)
    if found := _YEARS.search(text):
        start = YEAR_MONTHS * number(found[1] or found[4])
        if found[2]:
            return max(0, start + number(found[2]) - 1), start + number(found[2]) + 1
        if found[3] == "半":
            return start + 3, start + 10
        return max(0, start - slack), start + YEAR_MONTHS
    if found := _MONTHS.search(text):
        months = number(found[1])
        return max(0, months - 1), months + 1 + bool(found[2])
    if found := _DAYS.search(text):
        return 0, number(found[1]) // DAYS_PER_MONTH_MIN + 2
    raise ValueError("no age is said")


def born_at_age(age: Age, days: Spans) -> WrittenDate:
    """The possible days of birth of somebody of an age on one of some days.

    Raises:
        ValueError: None of them is in the calendar's table.
    """
    found = _born(age, days)
    if not found.days:
        raise ValueError("nobody is that old")
    return found


def _born(age: Age, days: Spans) -> WrittenDate:
    first, last = days[0][0], days[-1][1]
    if age.lunar_years:
        low, high = age.lunar_years
        years = lunar_numbers(np.array([first, last]))[0].tolist()
        ends = years[0] - high + 1, years[1] - low + 1
        return WrittenDate(str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}/{ends[1]}", "lunar")
    low, high = age.months
    return WrittenDate(hull(_before(first, high) + 1, _before(last, low)), "solar")


def whole_years_between(born: Spans, day: Spans) -> int | None:
    """Completed years between two dates, where all their possible days agree."""
    if not born or not day:
        return None
    least = _completed(born[-1][1], day[0][0])
    most = _completed(born[0][0], day[-1][1])
    return most if least == most and most >= 0 else None


def _completed(born: int, day: int) -> int:
    one, other = (date.fromordinal(_EPOCH + each) for each in (born, day))
    return other.year - one.year - ((other.month, other.day) < (one.month, one.day))


def _before(day: int, months: int) -> int:
    """The day so many months earlier; one that the month does not have is its last."""
    at = date.fromordinal(_EPOCH + day)
    count = at.year * 12 + at.month - 1 - months
    year, month = divmod(count, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)  # noqa: PLR2004 - December
    last = (following - timedelta(days=1)).day
    return date(year, month + 1, min(at.day, last)).toordinal() - _EPOCH
