"""Features: which tokens a sketch is made of, and under which values two records meet."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.encoding._transforms import TRANSFORMS, part_values_max
from kinlink_core.encoding.chinese import merge_sounds, split_name, split_pinyin, syllables
from kinlink_core.encoding.features import (
    blocking_values,
    category_value,
    date_parts,
    sketch_tokens,
    tag_value,
)
from kinlink_core.encoding.normalize import normalize_column
from kinlink_core.encoding.schema import Field, FieldKind, Part, parse_schema


def field(kind: str) -> Field:
    content = {
        "name": "test",
        "fields": [{"name": "f", "kind": kind, "entropy_bits": 20}],
        "passes": [{"id": "p", "parts": {"f": "exact"}}],
    }
    return parse_schema(json.dumps(content), source="test").fields[0]


OTHER_KINDS = {FieldKind.LEVEL_SET, FieldKind.VECTOR}
FIELDS = {kind: field(kind) for kind in FieldKind if kind not in OTHER_KINDS}


def canonical(kind: FieldKind, raw: str) -> str:
    found = normalize_column(FIELDS[kind], [raw]).values[0]
    assert found is not None
    return found


def values(kind: FieldKind, raw: str, transform: str, *args: int) -> tuple[str, ...]:
    return blocking_values(Part("f", transform, args), FIELDS[kind], canonical(kind, raw))


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("王小明", "wang xiao ming"),
        ("单雄信", "shan xiong xin"),  # dan elsewhere
        ("曾国藩", "zeng guo fan"),
        ("解晓东", "xie xiao dong"),
        ("仇英", "qiu ying"),
        ("尉迟恭", "yu chi gong"),  # two characters of surname
        ("尉健行", "wei jian xing"),
        ("欧阳修", "ou yang xiu"),
        ("万俟卨", "mo qi xie"),
        ("万里", "wan li"),
        ("长孙无忌", "zhang sun wu ji"),
        ("吕布", "lv bu"),
        ("朴智星", "piao zhi xing"),
        ("单", "dan"),
        ("王david", "wang david"),
        ("wang xiao ming", "wang xiao ming"),
    ],
)
def test_surnames_have_their_own_readings(name: str, reading: str) -> None:
    assert syllables(name) == tuple(reading.split())


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("王小明", ("王", "小明")),
        ("欧阳娜娜", ("欧阳", "娜娜")),
        ("欧阳", ("欧", "阳")),
        ("司马光", ("司马", "光")),
        ("王", ("王", "")),
        ("wang xiao ming", ("wang", "xiao ming")),
    ],
)
def test_compound_surnames_are_not_split(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("xiaoming", "xiao ming"),
        ("xian", "xian"),
        ("jianguo", "jian guo"),
        ("zhuangzhuang", "zhuang zhuang"),
        ("lyu", "lv"),
        ("john", "john"),
        ("", ""),
    ],
)
def test_pinyin_words_fall_into_syllables(word: str, parts: str) -> None:
    assert " ".join(split_pinyin(word)) == parts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("zhang", "zan"),
        ("shi", "si"),
        ("chen", "ceng"),
        ("ning", "lin"),
        ("huang", "fang"),
        ("hui", "fei"),
        ("lv", "lu"),
        ("jing", "jin"),
    ],
)
def test_sounds_that_people_confuse_are_merged(one: str, other: str) -> None:
    assert merge_sounds(one) == merge_sounds(other)


def test_sounds_that_people_tell_apart_stay_apart() -> None:
    assert len({merge_sounds(each) for each in ("wang", "li", "hao", "gong", "ma", "bo")}) == 6


def test_a_name_and_its_pinyin_share_syllables_and_bigrams() -> None:
    zh = FIELDS[FieldKind.NAME_ZH]
    characters = set(sketch_tokens(zh, "王小明"))
    pinyin = set(sketch_tokens(zh, "wang xiao ming"))
    assert pinyin < characters
    assert characters - pinyin == {"c:王", "c:小", "c:明"}


def test_a_doubled_character_is_another_name() -> None:
    zh = FIELDS[FieldKind.NAME_ZH]
    single, doubled = set(sketch_tokens(zh, "欧阳娜")), set(sketch_tokens(zh, "欧阳娜娜"))
    assert doubled - single == {"c:娜1", "s:na1"}


def test_word_order_does_not_change_the_sketch_of_a_latin_name() -> None:
    latin = FIELDS[FieldKind.NAME]
    assert set(sketch_tokens(latin, "ann lee")) == set(sketch_tokens(latin, "lee ann"))


def test_the_tokens_of_each_kind_are_those_of_encoding_v1() -> None:
    assert sketch_tokens(FIELDS[FieldKind.NAME], "ann") == ("b:_a", "b:an", "b:nn", "b:n_")
    assert sketch_tokens(FIELDS[FieldKind.TEXT], "西安12号") == (
        *("w:西安12号", "b:_西", "b:西安", "b:安1", "b:12", "b:2号", "b:号_"),
    )
    assert sketch_tokens(FIELDS[FieldKind.DATE], "1988") == (
        *("b:_1", "b:19", "b:98", "b:88", "b:8_", "p0:1", "p1:9", "p2:8", "p3:8"),
    )


def test_date_tags_say_what_a_partial_date_holds() -> None:
    assert date_parts("19880203") == {
        "day": "19880203",
        "year_month": "198802",
        "month_day": "0203",
        "year": "1988",
        "swapped": "19880203",
    }
    assert date_parts("19880302")["swapped"] == "19880203"
    partial = {"day": None, "month_day": None, "swapped": None, "year": "1988"}
    assert date_parts("198802") == {**partial, "year_month": "198802"}
    assert date_parts("1988") == {**partial, "year_month": None}


def test_a_tag_value_is_the_category_or_the_part_of_a_date() -> None:
    born = FIELDS[FieldKind.DATE]
    assert tag_value(born, "year", "198802") == "1988"
    assert tag_value(FIELDS[FieldKind.CODE], "equal", "M") == "M"
    assert category_value(born, "198802") is None


@pytest.mark.parametrize(
    ("kind", "raw", "transform", "args", "found"),
    [
        (FieldKind.NAME, "Catherine", "exact", (), ("catherine",)),
        (FieldKind.NAME, "Catherine", "prefix", (3,), ("cat",)),
        (FieldKind.NAME, "Al", "prefix", (3,), ()),
        (FieldKind.NAME, "Catherine", "initial", (), ("c",)),
        (FieldKind.NAME, "Catherine Smith", "phonetic", (), ("K0RN SM0",)),
        (FieldKind.NAME, "Robert", "soundex", (), ("R163",)),
        (FieldKind.NAME, "Иванов", "phonetic", (), ("иванов",)),
        (FieldKind.NAME, "Smith Ann", "sorted_words", (), ("ann smith",)),
        (FieldKind.NAME, "Jo van der Berg Berg", "each_word", (), ("van", "der", "berg")),
        (FieldKind.NAME_ZH, "王小明", "exact", (), ("王小明",)),
        (FieldKind.NAME_ZH, "張偉", "phonetic", (), ("zan wei",)),
        (FieldKind.NAME_ZH, "Xiaoming Wang", "sorted_words", (), ("ming wang xiao",)),
        (FieldKind.NAME_ZH, "王小明", "sorted_words", (), ("ming wang xiao",)),
        (FieldKind.NAME_ZH, "单雄信", "initial", (), ("s",)),
        (FieldKind.NAME_ZH, "欧阳修", "family", (), ("欧阳",)),
        (FieldKind.NAME_ZH, "欧阳修", "given", (), ("修",)),
        (FieldKind.NAME_ZH, "王", "given", (), ()),
        (FieldKind.NAME_ZH, "王小明", "prefix", (2,), ("王小",)),
        (FieldKind.DATE, "1988-02-03", "exact", (), ("19880203",)),
        (FieldKind.DATE, "1988-02", "exact", (), ()),
        (FieldKind.DATE, "1988", "year", (), ("1988",)),
        (FieldKind.DATE, "1988", "year_month", (), ()),
        (FieldKind.DATE, "1988-02", "year_month", (), ("198802",)),
        (FieldKind.DATE, "1988-02", "month_day", (), ()),
        (FieldKind.DATE, "1988-02-03", "month_day", (), ("0203",)),
        (FieldKind.DATE, "1988", "year_window", (1,), ("994", "995")),
        (FieldKind.DATE, "1988", "month_window", (1,), ()),
        (FieldKind.DATE, "1988-02", "day_window", (1,), ()),
        (FieldKind.CODE, "sw1a 1aa", "prefix", (3,), ("SW1",)),
        (FieldKind.PHONE, "13800138000", "suffix", (4,), ("8000",)),
    ],
)
def test_a_transform_gives_its_blocking_values(
    kind: FieldKind, raw: str, transform: str, args: tuple[int, ...], found: tuple[str, ...]
) -> None:
    assert values(kind, raw, transform, *args) == found


def meet(part: Part, one: str, other: str) -> bool:
    born = FIELDS[FieldKind.DATE]
    return not set(blocking_values(part, born, one)).isdisjoint(blocking_values(part, born, other))


@settings(deadline=None)
@given(st.integers(1000, 2100), st.integers(1, 10), st.data())
def test_years_within_a_window_meet_and_far_ones_do_not(year: int, k: int, data: Any) -> None:
    part = Part("f", "year_window", (k,))
    near = year + data.draw(st.integers(-k, k))
    assert meet(part, f"{year:04d}", f"{near:04d}")
    assert not meet(part, f"{year:04d}", f"{year + 2 * (k + 1):04d}")


@settings(deadline=None)
@given(st.dates(date(1000, 1, 1), date(2100, 1, 1)), st.integers(1, 400), st.data())
def test_days_within_a_window_meet(day: date, k: int, data: Any) -> None:
    near = day + timedelta(days=data.draw(st.integers(-k, k)))
    one, other = (f"{d.year:04d}{d.month:02d}{d.day:02d}" for d in (day, near))
    assert meet(Part("f", "day_window", (k,)), one, other)


@settings(deadline=None)
@given(st.integers(1000, 2100), st.integers(1, 12), st.integers(1, 60), st.data())
def test_months_within_a_window_meet(year: int, month: int, k: int, data: Any) -> None:
    number = year * 12 + month - 1 + data.draw(st.integers(-k, k))
    near = f"{number // 12:04d}{number % 12 + 1:02d}"
    assert meet(Part("f", "month_window", (k,)), f"{year:04d}{month:02d}", near)


def test_an_impossible_date_has_no_day_window_and_julian_leap_days_do() -> None:
    part = Part("f", "day_window", (1,))
    assert blocking_values(part, FIELDS[FieldKind.DATE], "19882103") == ()
    assert meet(part, "17000229", "17000301")


@settings(deadline=None)
@given(st.sampled_from(list(FIELDS)), st.text(min_size=1, max_size=40))
def test_every_canonical_value_has_tokens_and_suits_every_transform(
    kind: FieldKind, raw: str
) -> None:
    of = FIELDS[kind]
    found = normalize_column(of, [raw]).values[0]
    if found is None:
        return
    tokens = sketch_tokens(of, found)
    assert tokens
    assert len(set(tokens)) == len(tokens)
    for name, transform in TRANSFORMS.items():
        if name == "lsh" or not transform.suits(of):
            continue
        part = Part("f", name, tuple(argument.low for argument in transform.arguments))
        blocking = blocking_values(part, of, found)
        assert len(blocking) <= part_values_max(part, of)
        assert all(blocking)
