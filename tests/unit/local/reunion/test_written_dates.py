"""Dates in words: whatever the spelling, the day that was meant is among the possible ones."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_local.reunion.dates import write_days
from kinlink_local.reunion.intake.writing import number
from kinlink_local.reunion.intake.written_ages import born_at_age, read_age
from kinlink_local.reunion.intake.written_dates import ABOUT_DAYS, WrittenDate, read_date
from kinlink_local.reunion.lunar import lunar_numbers, months

EPOCH: Final = date(1970, 1, 1).toordinal()
FIRST, LAST = (date(*day).toordinal() - EPOCH for day in ((1931, 1, 1), (2028, 12, 31)))
DAYS: Final = st.integers(FIRST, LAST)
DIGITS: Final = "〇一二三四五六七八九"
TENS: Final = ("", "十", "二十", "三十")
SOLAR: Final = ("阳历", "公历", "新历")
LUNAR: Final = ("阴历", "农历", "旧历")
FULL_WIDTH: Final = str.maketrans("0123456789", "０１２３４５６７８９")
TRADITIONAL: Final = str.maketrans("阳阴农历闰腊节约后", "陽陰農曆閏臘節約後")


def numeral(value: int) -> str:
    """1 to 31 in Chinese numerals."""
    tens, ones = divmod(value, 10)
    return TENS[tens] + (DIGITS[ones] if ones else "")


@dataclass(frozen=True)
class Numbers:
    """A day's year, month and day in one calendar."""

    year: int
    month: int
    day: int
    leap: bool = False


def in_solar(day: int) -> Numbers:
    at = date.fromordinal(day + EPOCH)
    return Numbers(at.year, at.month, at.day)


def in_lunar(day: int) -> Numbers:
    year, month, number_ = (int(each[0]) for each in lunar_numbers(np.array([day])))
    table = months()
    row = int(np.searchsorted(table.first, day, side="right")) - 1
    return Numbers(year, month, number_, bool(table.leap[row]))


def year_text(draw: st.DrawFn, year: int) -> str:
    digits = "".join(DIGITS[int(sign)] for sign in str(year))
    forms = [f"{year}年", f"{digits}年", f"{year}年".translate(FULL_WIDTH), f" {year} 年 "]
    if 1930 <= year <= 2029:
        forms += [f"{year % 100:02d}年", f"{digits[2:]}年"]
    return draw(st.sampled_from(forms))


def month_text(draw: st.DrawFn, said: Numbers, *, lunar: bool) -> str:
    forms = [
        f"{said.month}月",
        f"{numeral(said.month)}月",
        f"{said.month:02d}月",
        f"{said.month}月份",
    ]
    if lunar:
        forms += {1: ["正月"], 11: ["冬月"], 12: ["腊月"]}.get(said.month, [])
    return ("闰" if said.leap and draw(st.booleans()) else "") + draw(st.sampled_from(forms))


def day_text(draw: st.DrawFn, said: Numbers, *, lunar: bool) -> str:
    forms = [f"{said.day}日", f"{numeral(said.day)}日", f"{said.day}号", f"{said.day:02d}日"]
    if lunar:
        forms += [numeral(said.day)] if said.day > 10 else []
        forms += [f"初{numeral(said.day)}"] if said.day <= 10 else []
        forms += [f"廿{DIGITS[said.day - 20]}"] if 20 < said.day < 30 else []
    return draw(st.sampled_from(forms))


@st.composite
def spelled(draw: st.DrawFn) -> tuple[int, str, str, int]:
    """A day, its date in words, the calendar its label names, and the most days it may mean."""
    day = draw(DAYS)
    lunar = draw(st.booleans())
    said = in_lunar(day) if lunar else in_solar(day)
    text = year_text(draw, said.year)
    length = draw(st.sampled_from(("year", "month", "third", "day", "iso", "X")))
    hint = ""
    if length == "iso":
        sign = draw(st.sampled_from("-./"))
        text = f"{said.year}{sign}{said.month:02d}{sign}{said.day:02d}"
    elif length != "year":
        text += month_text(draw, said, lunar=lunar)
        if length == "day":
            text += day_text(draw, said, lunar=lunar)
        elif length == "third":
            third = min(2, (said.day - 1) // 10)
            text += (
                ("上旬", "中旬", "下旬")[third]
                if draw(st.booleans())
                else ("初", "中旬", "底")[third]
            )
        elif length == "X":
            text += draw(st.sampled_from(("X日", "x日", "×日", "X号", "某日", "")))
    named = draw(st.sampled_from(("before", "after", "label", "nowhere")))
    if named == "before":
        text = draw(st.sampled_from(LUNAR if lunar else SOLAR)) + text
    elif named == "after":
        text += f"（{draw(st.sampled_from(LUNAR if lunar else SOLAR))}）"
    elif named == "label":
        hint = "lunar" if lunar else "solar"
    # A year of either calendar has 385 days at most; a leap month doubles months and days, and a
    # date that names no calendar is read in both.
    days = {"year": 385, "month": 60, "X": 60, "third": 40, "day": 2, "iso": 2}[length]
    most = days if named != "nowhere" else 400 if length == "year" else days + 31
    return day, draw(st.sampled_from((text, text.translate(TRADITIONAL)))), hint, most


def holds(found: WrittenDate, day: int) -> bool:
    return any(first <= day <= last for first, last in found.days)


@settings(max_examples=600, deadline=None)
@given(spelled())
def test_the_day_that_was_meant_is_possible_and_few_others_are(
    case: tuple[int, str, str, int],
) -> None:
    day, text, hint, most = case
    found = read_date(text, hint)
    assert holds(found, day)
    if found.calendar != "unknown":
        assert sum(last - first + 1 for first, last in found.days) <= most


@settings(max_examples=200, deadline=None)
@given(
    DAYS,
    st.integers(-ABOUT_DAYS, ABOUT_DAYS),
    st.booleans(),
    st.sampled_from(("约{}", "{}左右", "大概{}", "{}前后")),
)
def test_about_a_day_is_ten_days_to_either_side(day: int, off: int, lunar: bool, form: str) -> None:  # noqa: FBT001
    said = in_lunar(day) if lunar else in_solar(day)
    calendar = "农历" if lunar else ""
    text = form.format(f"{calendar}{said.year}年{said.month}月{said.day}日")
    assert holds(read_date(text), day + off)


@settings(max_examples=150, deadline=None)
@given(DAYS, st.sampled_from(("约{}年", "{}年左右", "大约{}年")))
def test_about_a_year_is_a_year_to_either_side(day: int, form: str) -> None:
    year = in_solar(day).year
    for said in range(year - 1, year + 2):
        assert holds(read_date(form.format(said)), day)


@settings(max_examples=200, deadline=None)
@given(DAYS, st.booleans(), st.booleans())
def test_a_season_is_that_of_the_weather_or_of_the_lunar_year(
    day: int,
    lunar: bool,  # noqa: FBT001 - hypothesis passes it so
    again: bool,  # noqa: FBT001
) -> None:
    said = in_lunar(day) if lunar else in_solar(day)
    season = (
        "春夏秋冬"[(said.month - 1) // 3] if lunar else "冬冬春春春夏夏夏秋秋秋冬"[said.month - 1]
    )
    # A winter has the year in which it begins.
    year = said.year - 1 if not lunar and said.month <= 2 else said.year
    assert holds(read_date(f"{year}年{season}{'天' if again else ''}"), day)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(DAYS, DAYS, DAYS).map(sorted),
    st.booleans(),
    st.sampled_from(("至", "到", "~", "—", "－")),
)
def test_a_range_holds_what_lies_between(days: list[int], lunar: bool, sign: str) -> None:  # noqa: FBT001
    first, middle, last = days
    ends = [in_lunar(each) if lunar else in_solar(each) for each in (first, last)]
    words = [f"{'农历' if lunar else '阳历'}{e.year}年{e.month}月{e.day}日" for e in ends]
    found = read_date(sign.join(words))
    assert all(holds(found, day) for day in (first, middle, last))


@settings(max_examples=150, deadline=None)
@given(DAYS)
def test_one_day_in_both_calendars_is_that_day(day: int) -> None:
    sun, moon = in_solar(day), in_lunar(day)
    leap = "闰" if moon.leap else ""
    text = f"{sun.year}年{sun.month}月{sun.day}日（农历{leap}{moon.month}月{numeral(moon.day)}）"
    assert read_date(text).days == ((day, day),)


@settings(max_examples=250, deadline=None)
@given(
    DAYS.filter(lambda day: day < LAST - 366 * 14),
    st.integers(0, 12 * 366),
    st.sampled_from(("周", "虚", "", "月")),
)
def test_an_age_leaves_the_day_of_birth_possible(born: int, later: int, kind: str) -> None:
    lost = born + later
    one, other = (date.fromordinal(each + EPOCH) for each in (born, lost))
    years = other.year - one.year - ((other.month, other.day) < (one.month, one.day))
    counted = int(lunar_numbers(np.array([lost]))[0][0] - lunar_numbers(np.array([born]))[0][0]) + 1
    months_ = 12 * (other.year - one.year) + other.month - one.month - (other.day < one.day)
    texts = {
        "周": [f"{years}周岁"], "虚": [f"虚岁{counted}", f"{counted}虚岁"],
        "": [f"{years}岁", f"{counted}岁"],
        "月": [f"{months_}个月", f"{years}岁{months_ % 12}个月"],
    }[kind]  # fmt: skip
    for text in texts:
        assert holds(born_at_age(read_age(text), ((lost, lost),)), born), text


@pytest.mark.parametrize(
    ("text", "expected", "calendar"),
    [
        ("1985年腊月廿三", "1985-12-23", "lunar"),
        ("1990年闰五月初八", "1990-05-08", "lunar"),
        ("一九八六年正月", "1986-01", "lunar"),
        ("88年10月17号下午5点", "1988-10-17", "unknown"),
        ("198X年", "1980/1989", "unknown"),
        ("八十年代初", "1980/1984", "unknown"),
        ("1988年七八月份", "1988-07/1988-08", "unknown"),
        ("1986年3~5月", "1986-03/1986-05", "unknown"),
        ("19881017", "1988-10-17", "unknown"),
        ("1988年中秋节", "1988-08-15", "lunar"),
        ("1988年国庆节", "1988-10-01", "solar"),
        ("1988年冬月", "1988-11", "lunar"),
        ("1986年属虎", "1986", "unknown"),
        ("05年6月", "2005-06", "unknown"),
        ("85、86年", "1985/1986", "unknown"),
        ("1985、1986年", "1985/1986", "unknown"),
        ("七几年", "1970/1979", "unknown"),
        ("198几年", "1980/1989", "unknown"),
        ("一九九0年三月", "1990-03", "unknown"),
        ("1985年（农历八月初六）", "1985-08-06", "lunar"),
        ("1986年农历8月", "1986-08", "lunar"),
    ],
)
def test_dates_are_written_as_notices_write_them(text: str, expected: str, calendar: str) -> None:
    found = read_date(text)
    assert (found.text, found.calendar, found.note) == (expected, calendar, "")


@pytest.mark.parametrize("text", ["1986年2月30日（阳历）", "农历1987年二月三十"])
def test_a_day_that_its_month_lacks_gives_the_month_and_a_note(text: str) -> None:
    found = read_date(text)
    assert len(found.text) == len("1986-02")
    assert found.note


def test_two_dates_that_differ_give_all_between_and_a_note() -> None:
    found = read_date("1986年2月23日（农历1987年正月十五）")
    assert holds(found, date(1986, 2, 23).toordinal() - EPOCH)
    assert holds(found, date(1987, 2, 12).toordinal() - EPOCH)
    assert found.note


@pytest.mark.parametrize(
    "text",
    [
        "不记得",
        "1988年以前",
        "10月17日",
        "1988年13月",
        "小时候",
        "1820年",
        "出生后三天",
        "1986年至今",
        "1982年，实际大一岁",
    ],
)
def test_what_names_no_days_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_date(text)


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert read_date(text).days


@pytest.mark.parametrize("value", range(1, 32))
def test_numerals_are_numbers(value: int) -> None:
    assert number(numeral(value)) == value


def test_an_age_that_may_be_counted_either_way_spans_three_years() -> None:
    lost = date(1988, 10, 17).toordinal() - EPOCH
    spans = {text: born_at_age(read_age(text), ((lost, lost),)).text for text in ("5周岁", "5岁")}
    assert spans == {"5周岁": "1982-10-18/1983-10-17", "5岁": "1982-10-18/1985-10-17"}
    assert read_age("5周岁").whole_years == 5
    assert read_age("5岁").whole_years is None
    assert write_days(np.array([lost])) == ["1988-10-17"]
