"""Dates of notices as sets of possible days.

A date is `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, or two of them with `/` between (ISO 8601 intervals); its
calendar is `solar`, `lunar` or `unknown`. Days are counted from 1970-01-01.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_local.reunion.lunar import lunar_spans, solar_day

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_local.reunion.lunar import Days

CALENDARS: Final = ("solar", "lunar", "unknown")
Spans = tuple[tuple[int, int], ...]


@lru_cache(maxsize=1 << 17)
def possible_days(text: str, calendar: str) -> Spans:
    """The days that a date may mean, as spans of first and last day, in order; empty text: none.

    An unknown calendar gives both readings, a lunar month both of its name.

    Raises:
        ValueError: The text is no date, or the calendar none of `CALENDARS`.
    """
    if calendar not in CALENDARS:
        raise ValueError(f"a calendar is one of {', '.join(CALENDARS)}")
    if not text:
        return ()
    found: list[tuple[int, int]] = []
    if calendar != "lunar":
        found += _reading(text, lunar=False)
    if calendar != "solar":
        found += _reading(text, lunar=True)
    return tuple(sorted(set(found)))


def _reading(text: str, *, lunar: bool) -> list[tuple[int, int]]:
    first, slash, last = text.partition("/")
    spans = _one(first, lunar=lunar)
    if not slash:
        return spans
    ends = _one(last, lunar=lunar)
    return [(spans[0][0], ends[-1][1])] if spans and ends else []


def _one(text: str, *, lunar: bool) -> list[tuple[int, int]]:
    numbers = [int(part) for part in text.split("-")]
    if lunar:
        return lunar_spans(*numbers)
    year, month, day = (*numbers, 0, 0)[:3]
    first = solar_day(year, month or 1, day or 1)
    last = solar_day(year, month or 12, day or 31)
    return [(int(first), int(last))]


def write_days(days: Days) -> list[str]:
    """`YYYY-MM-DD` of solar days."""
    found: list[str] = np.datetime_as_string(days.astype("datetime64[D]")).tolist()
    return found


def write_precision(days: Days, precision: Sequence[int]) -> list[str]:
    """Solar days written to the day (0), the month (1) or the year (2)."""
    ends = (10, 7, 4)
    return [text[: ends[p]] for text, p in zip(write_days(days), precision, strict=True)]
