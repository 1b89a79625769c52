"""Dates as people and databases write them, to `YYYYMMDD`, `YYYYMM` or `YYYY`.

Read: year first with any of `-`, `/`, `.`, space between (`1988-2-3`, `19880203`, `1988`), the same
with a time after it, 1988年2月3日 and 一九八八年二月三日, English month names (`3 Feb 1988`), and,
where the field says so by `order`, `3/2/1988`. Month or day zero means unknown. A year of two
digits is refused: guessing the century would silently move people by a hundred years.
"""

from __future__ import annotations

import re
from calendar import isleap
from datetime import date
from typing import TYPE_CHECKING, Final

from kinlink_core.encoding._faults import ValueFault, ValueFaultError
from kinlink_core.encoding.folding import HAN_CHARACTER, fold

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import FieldOptions

YEAR_DIGITS: Final = 4
MONTH_DIGITS: Final = 6
DAY_DIGITS: Final = 8
MONTHS: Final = 12
JULIAN_YEAR_MAX: Final = 1923  # until then some country still had 29 February in 1900
_MONTH_DAYS: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FEBRUARY: Final = 2
_LEAP_DAY: Final = 29

_BARE: Final = re.compile(r"([0-9]{4})([0-9]{2})?([0-9]{2})?\Z")
_YEAR_FIRST: Final = re.compile(r"([0-9]{4})[-/. ]([0-9]{1,2})(?:[-/. ]([0-9]{1,2}))?\Z")
_YEAR_LAST: Final = re.compile(r"(?:([0-9]{1,2})[-/. ])?([0-9]{1,2})[-/. ]([0-9]{4})\Z")
_SHORT_YEAR: Final = re.compile(r"[0-9]{1,2}[-/. ][0-9]{1,2}[-/. ][0-9]{1,2}\Z")
_TIME: Final = re.compile(r"[T ][0-9]{1,2}:[0-9]{2}.*\Z", re.DOTALL)
_SPACED: Final = re.compile(r"\s*([-/.\s])\s*")
_CHINESE: Final = re.compile(r"([^年月日号]+)年(?:([^年月日号]+)月(?:([^年月日号]+)[日号]?)?)?\Z")
_NAMED: Final = re.compile(
    r"(?:([0-9]{1,2})(?:st|nd|rd|th)? )?([a-z]{3,9})(?: ([0-9]{1,2})(?:st|nd|rd|th)?)? ([0-9]{4})\Z"
)
_MONTH_NAMES: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_NUMERALS: Final = str.maketrans("〇零一二三四五六七八九", "00123456789")
_TENS: Final = re.compile("([1-9]?)十([1-9]?)")


def parse_date(text: str, options: FieldOptions) -> str:
    """The canonical form of a date; raises ValueFaultError."""
    year, month, day = _split(text, options.order)
    if not options.year_min <= year <= options.year_max:
        raise ValueFaultError(ValueFault.YEAR_OUTSIDE)
    possible = month <= MONTHS and day <= _days(year, month)
    if not possible and not options.keep_impossible:
        raise ValueFaultError(ValueFault.IMPOSSIBLE_DATE)
    if not month:
        return f"{year:04d}"
    return f"{year:04d}{month:02d}{day:02d}" if day else f"{year:04d}{month:02d}"


def _days(year: int, month: int) -> int:
    """The days of a month; 31 for an unknown month."""
    if month != _FEBRUARY:
        return _MONTH_DAYS[month] or max(_MONTH_DAYS)
    leap = isleap(year) or (year <= JULIAN_YEAR_MAX and year % 4 == 0)
    return _LEAP_DAY if leap else _LEAP_DAY - 1


def _split(text: str, order: str) -> tuple[int, int, int]:
    text = _SPACED.sub(r"\1", text.strip())
    match = _BARE.match(text) or _YEAR_FIRST.match(text)
    if match:
        return _numbers(*match.groups())
    if not text.isascii():
        text = _ascii(text)
        match = _BARE.match(text) or _YEAR_FIRST.match(text)
        if match:
            return _numbers(*match.groups())
    without_time = _TIME.sub("", text)
    if without_time != text:
        return _split(without_time, order)
    return _split_year_last(text, order)


def _split_year_last(text: str, order: str) -> tuple[int, int, int]:
    match = _YEAR_LAST.match(text)
    if match:
        first, second, year = match.groups()
        if first is None:
            return _numbers(year, second, None)
        if order == "ymd":
            raise ValueFaultError(ValueFault.ORDER_UNKNOWN)
        return _numbers(year, *((second, first) if order == "dmy" else (first, second)))
    if _SHORT_YEAR.match(text):
        raise ValueFaultError(ValueFault.TWO_DIGIT_YEAR)
    match = _NAMED.match(fold(text))
    if match is None or (match[1] and match[3]):
        raise ValueFaultError(ValueFault.NOT_A_DATE)
    months = [n for n, name in enumerate(_MONTH_NAMES, 1) if name.startswith(match[2])]
    if len(months) != 1:
        raise ValueFaultError(ValueFault.NOT_A_DATE)
    return _numbers(match[4], str(months[0]), match[1] or match[3])


def _numbers(year: str, month: str | None, day: str | None) -> tuple[int, int, int]:
    return int(year), int(month or 0), int(day or 0)


def _ascii(text: str) -> str:
    """Full-width and Chinese forms as `YYYY-M-D`, or the folded text if it is none of them."""
    if not HAN_CHARACTER.search(text):
        return _SPACED.sub(r"\1", "".join(fold(c) or " " if not c.isascii() else c for c in text))
    joined = fold(text.replace("○", "〇")).replace(" ", "").translate(_NUMERALS)
    joined = _TENS.sub(lambda match: f"{match[1] or 1}{match[2] or 0}", joined)
    match = _CHINESE.match(joined)
    return "-".join(part for part in match.groups() if part) if match else joined


def ordinal(canonical: str) -> int | None:
    """A day count of a full date, None for one that is partial or impossible.

    A Julian 29 February counts as 1 March.
    """
    if len(canonical) != DAY_DIGITS:
        return None
    year, month, day = int(canonical[:4]), int(canonical[4:6]), int(canonical[6:])
    if month > MONTHS or day > _days(year, month):
        return None
    if (month, day) == (_FEBRUARY, _LEAP_DAY) and not isleap(year):
        month, day = _FEBRUARY + 1, 1
    return date(year, month, day).toordinal()
