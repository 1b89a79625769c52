"""Who is lost, at what age and when: tables that meet the published margins exactly."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion import assumptions as assumed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FITTING_ROUNDS: Final = 200
SATURDAY: Final = 5


@cache
def who() -> Floats:
    """P(category, age in whole years, sex) with sex 0 for girls (categories, 20, 2).

    Iterative proportional fitting (Deming and Stephan 1940) of the assumed leanings to the three
    published margins.
    """
    ages = np.array([_ages(name) for name in assumed.CATEGORIES])
    girls = np.array([assumed.GIRL_LEAN[name] for name in assumed.CATEGORIES])
    table: Floats = ages[:, :, None] * np.stack([girls, 1 - girls], axis=1)[:, None, :]
    categories = np.array([*assumed.CATEGORY_COUNTS.values()], float)
    sexes = np.array([assumed.GIRLS, assumed.BOYS], float)
    bands = np.array([count for _, _, count in assumed.AGE_COUNTS], float)
    for _ in range(FITTING_ROUNDS):
        table *= (categories / categories.sum() / table.sum(axis=(1, 2)))[:, None, None]
        for (first, last, _), share in zip(assumed.AGE_COUNTS, bands / bands.sum(), strict=True):
            table[:, first : last + 1] *= share / table[:, first : last + 1].sum()
        table *= sexes / sexes.sum() / table.sum(axis=(0, 1))
    return table


def _ages(category: str) -> list[float]:
    years, factors = assumed.AGE_LEAN[category]
    above = [
        factor / (last - first + 1)
        for factor, (first, last, _) in zip(factors, assumed.AGE_COUNTS[1:], strict=True)
        for _ in range(first, last + 1)
    ]
    return [*years, *above]


def band_of(age: Ints) -> Ints:
    """Index of the age band that decides what is recalled."""
    band: Ints = np.searchsorted(np.array(assumed.AGE_BANDS), age, side="right") - 1
    return band


@cache
def loss_days() -> tuple[Ints, Floats]:
    """Every possible day of loss and its share."""
    years, heights = zip(*assumed.YEAR_CORNERS, strict=True)
    days = np.arange(np.datetime64(f"{years[0]}-01-01"), np.datetime64(f"{years[-1]}-01-01"))
    numbers = days.astype(np.int64)
    months = days.astype("datetime64[M]")
    year = years[0] + (days - days[0]).astype(np.int64) / 365.2425
    weight = np.interp(year, years, heights)
    month = months.astype(np.int64) % 12 + 1
    weight = weight * np.where(np.isin(month, assumed.SUMMER_MONTHS), assumed.SUMMER_FACTOR, 1)
    weekday = (numbers + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    weight = weight * np.where(weekday >= SATURDAY, assumed.WEEKEND_FACTOR, 1)
    first = days == months.astype("datetime64[D]")
    weight = weight * np.where(first, assumed.FIRST_OF_MONTH_FACTOR, 1)
    return numbers, weight / weight.sum()
