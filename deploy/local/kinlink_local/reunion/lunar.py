"""The Chinese lunar calendar of 1900 to 2049, on arrays of days since 1970-01-01.

`data/lunar_years.csv` has each lunar year's first solar day, leap month and lengths of months.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.tables import rows

Days = NDArray[np.int64]
FEBRUARY: Final = 2


@dataclass(frozen=True)
class Months:
    """Lunar months in order; the leap month follows the month whose number it repeats."""

    first: Days  # (months + 1,), the last entry ends the table
    year: Days
    month: Days
    leap: NDArray[np.bool_]


@cache
def months() -> Months:
    """All lunar months of the table."""
    first, year, month, leap = [], [], [], []
    day = 0
    for row in rows("lunar_years.csv"):
        day = int(np.datetime64(row["first_day"]).astype(np.int64))
        repeated = int(row["leap_month"])
        labels = [(number, False) for number in range(1, 13)]
        if repeated:
            labels.insert(repeated, (repeated, True))
        for (number, again), length in zip(labels, row["month_days"].split(), strict=True):
            first.append(day)
            year.append(int(row["year"]))
            month.append(number)
            leap.append(again)
            day += int(length)
    return Months(np.array([*first, day]), np.array(year), np.array(month), np.array(leap))


def lunar_numbers(days: Days) -> tuple[Days, Days, Days]:
    """Lunar year, month and day of solar days, each (n,); a leap month has its number twice."""
    table = months()
    row = np.searchsorted(table.first, days, side="right") - 1
    return table.year[row], table.month[row], days - table.first[row] + 1


def solar_day(year: Any, month: Any, day: Any) -> Days:
    """Days since 1970-01-01 of Gregorian numbers; a day past the month's end is its last day."""
    start = np.asarray((np.asarray(year) - 1970) * 12 + np.asarray(month) - 1)
    first = start.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (start + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    found: Days = np.minimum(first + np.asarray(day) - 1, after - 1)
    return found


def numbers_read_as_solar(days: Days) -> Days:
    """The solar day that has a day's lunar numbers: 19 to 54 days too early (n,)."""
    return solar_day(*lunar_numbers(days))


@cache
def _months_of() -> dict[tuple[int, int], tuple[tuple[int, int], ...]]:
    """Lunar year and month to the rows of `months` it may mean: one, or two with a leap month."""
    table = months()
    found: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {}
    for number, key in enumerate(zip(table.year.tolist(), table.month.tolist(), strict=True)):
        span = (int(table.first[number]), int(table.first[number + 1]) - 1)
        found[key] = (*found.get(key, ()), span)
    return found


def lunar_spans(year: int, month: int = 0, day: int = 0) -> list[tuple[int, int]]:
    """Solar days that a lunar date may mean, as (first, last); 0 is an unknown month or day.

    A day the month does not have gives nothing, and nor does a year outside the table.
    """
    if not month:
        every = [span for number in range(1, 13) for span in _months_of().get((year, number), ())]
        return [(min(every)[0], max(every)[1])] if every else []
    spans = _months_of().get((year, month), ())
    if not day:
        return list(spans)
    return [(first + day - 1, first + day - 1) for first, last in spans if first + day - 1 <= last]
