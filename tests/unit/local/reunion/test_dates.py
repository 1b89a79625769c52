"""Dates of notices: lunar days, and sets that contain the true one."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinlink_local.reunion.dates import possible_days, write_days
from kinlink_local.reunion.lunar import lunar_numbers, numbers_read_as_solar

EPOCH = date(1970, 1, 1).toordinal()
FIRST, LAST = (date(y, 3, 1).toordinal() - EPOCH for y in (1900, 2049))
DAYS = st.integers(FIRST, LAST)


def spans(text: str, calendar: str) -> list[tuple[str, str]]:
    return [
        (write_days(np.array([first]))[0], write_days(np.array([last]))[0])
        for first, last in possible_days(text, calendar)
    ]


# New years and leap months as almanacs have them.
@pytest.mark.parametrize(
    ("lunar", "solar"),
    [
        ("2016-03-23", "2016-04-29"),
        ("1986-01-15", "1986-02-23"),
        ("1985-01-01", "1985-02-20"),
        ("2000-01-01", "2000-02-05"),
        ("1949-01-01", "1949-01-29"),
        ("2023-01-01", "2023-01-22"),
    ],
)
def test_a_lunar_day_is_the_solar_day_of_the_almanac(lunar: str, solar: str) -> None:
    assert spans(lunar, "lunar") == [(solar, solar)]


def test_a_leap_month_gives_two_days() -> None:
    # 2020 had a fourth month and a leap fourth one.
    assert spans("2020-04-01", "lunar") == [
        ("2020-04-23", "2020-04-23"),
        ("2020-05-23", "2020-05-23"),
    ]


@given(DAYS)
def test_lunar_numbers_lead_back_to_the_day(day: int) -> None:
    year, month, number = (int(each[0]) for each in lunar_numbers(np.array([day])))
    text = f"{year:04d}-{month:02d}-{number:02d}"
    assert any(first <= day <= last for first, last in possible_days(text, "lunar"))


@given(DAYS)
def test_lunar_numbers_read_as_solar_are_up_to_two_months_early(day: int) -> None:
    early = day - int(numbers_read_as_solar(np.array([day]))[0])
    assert 17 <= early <= 55


@given(DAYS, st.sampled_from((4, 7, 10)), st.sampled_from(("solar", "unknown")))
def test_a_solar_date_contains_its_day_however_short(day: int, length: int, calendar: str) -> None:
    text = write_days(np.array([day]))[0][:length]
    assert any(first <= day <= last for first, last in possible_days(text, calendar))


def test_a_range_runs_from_the_first_day_to_the_last() -> None:
    assert spans("1985-02/1987-02", "solar") == [("1985-02-01", "1987-02-28")]


def test_what_is_not_known_has_no_days_and_no_date_is_refused() -> None:
    assert possible_days("", "unknown") == ()
    with pytest.raises(ValueError, match="invalid literal"):
        possible_days("in spring", "solar")
    with pytest.raises(ValueError, match="a calendar is one of"):
        possible_days("1988", "julian")
