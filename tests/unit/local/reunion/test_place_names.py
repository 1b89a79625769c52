"""Places in words: the longest name, old names, and no more than is certain."""

from __future__ import annotations

import pytest
from kinlink_local.reunion.divisions import divisions
from kinlink_local.reunion.intake.place_names import codes, place_code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("陕西省西安市新城区后宰门", "610102"),
        ("陝西 西安 新城區", "610102"),
        ("西安火车站", "6101"),
        ("成都市金牛区", "510106"),
        ("四川省达县地区宣汉县", "511722"),  # the prefecture became Dazhou
        ("四川省万县地区开县", "500234"),  # went to Chongqing in 1997
        ("四川重庆", "50"),
        ("广东省海口市", "4601"),  # Hainan was in Guangdong until 1988
        ("福建省莆田县", "3503"),  # dissolved: its prefecture
        ("北京市大兴县", "110115"),  # a district since
        ("河南周口地区淮阳县", "411626"),
        ("湖北省恩施州巴东县", "422823"),
        ("甘肃临夏州东乡县", "622926"),
        ("陕西省咸阳市乾县", "610424"),
        ("北京朝阳", "110105"),
        ("辽宁朝阳", "2113"),
        ("吉林", "22"),
        ("吉林省吉林市", "2202"),
    ],
)
def test_a_place_has_its_code_of_2013(text: str, code: str) -> None:
    assert place_code(text) == code


@pytest.mark.parametrize("text", ["朝阳区", "和平路三号", "老家村口", "", "新华书店"])
def test_what_may_be_anywhere_has_no_code(text: str) -> None:
    assert place_code(text) == ""


def test_the_province_of_another_field_decides_unless_the_place_names_one() -> None:
    assert place_code("朝阳区", "北京市") == "110105"
    assert place_code("毕节", "四川省") == "51"
    assert place_code("贵州省毕节地区", "四川省") == "5205"
    assert place_code("村口", "湖南省") == "43"


def test_what_comes_after_the_address_is_not_read() -> None:
    assert place_code("西安市，后来听说被带到四川成都") == "6101"


def test_every_code_that_notices_are_drawn_from_is_known() -> None:
    where = divisions()
    assert set(where.counties) | set(where.provinces) <= codes().keys()
