"""Invented counties of the 31 provinces, and the digits a place leaves in other values.

Province codes are those of GB/T 2260 and registries are named after provinces. Everything below a
province is invented: its prefectures and counties, their names and their codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_local.tables import words

if TYPE_CHECKING:
    from collections.abc import Sequence

I64 = npt.NDArray[np.int64]

PREFECTURES_A_PROVINCE: Final = 11
COUNTIES_A_PREFECTURE: Final = 8
COUNTIES_A_PROVINCE: Final = PREFECTURES_A_PROVINCE * COUNTIES_A_PREFECTURE
CAPITAL_WEIGHT: Final = 4.0
URBAN_SHARE: Final = 0.6

# name of the registry, first digits of a county's code, how an address begins
PROVINCES: Final = (
    ("anhui", "34", "安徽省"), ("beijing", "11", "北京市"), ("chongqing", "50", "重庆市"),
    ("fujian", "35", "福建省"), ("gansu", "62", "甘肃省"), ("guangdong", "44", "广东省"),
    ("guangxi", "45", "广西壮族自治区"), ("guizhou", "52", "贵州省"), ("hainan", "46", "海南省"),
    ("hebei", "13", "河北省"), ("heilongjiang", "23", "黑龙江省"), ("henan", "41", "河南省"),
    ("hubei", "42", "湖北省"), ("hunan", "43", "湖南省"), ("jiangsu", "32", "江苏省"),
    ("jiangxi", "36", "江西省"), ("jilin", "22", "吉林省"), ("liaoning", "21", "辽宁省"),
    ("neimenggu", "15", "内蒙古自治区"), ("ningxia", "64", "宁夏回族自治区"),
    ("qinghai", "63", "青海省"), ("shaanxi", "61", "陕西省"), ("shandong", "37", "山东省"),
    ("shanghai", "31", "上海市"), ("shanxi", "14", "山西省"), ("sichuan", "51", "四川省"),
    ("tianjin", "12", "天津市"), ("xinjiang", "65", "新疆维吾尔自治区"),
    ("xizang", "54", "西藏自治区"), ("yunnan", "53", "云南省"), ("zhejiang", "33", "浙江省"),
)  # fmt: skip

_FIRST: Final = "安永平清兴新南东长宝临金石云河江山龙"
_SECOND: Final = "阳州宁城川林水原泉山江海丰平"


@dataclass(frozen=True)
class Atlas:
    """All counties of some provinces; county numbers run province by province."""

    codes: tuple[str, ...]
    heads: tuple[str, ...]  # how an address in the county begins
    weights: npt.NDArray[np.float64]  # (counties a province,), sums to 1


def registries_of(count: int) -> tuple[str, ...]:
    """Names of `count` registries, spread over the 31 provinces, in the order of their names."""
    if not 2 <= count <= len(PROVINCES):
        raise ValueError(f"a federation has 2 to {len(PROVINCES)} registries, not {count}")
    chosen = np.linspace(0, len(PROVINCES) - 1, count).round().astype(int)
    return tuple(PROVINCES[i][0] for i in chosen)


@cache
def atlas(registries: tuple[str, ...]) -> Atlas:
    """The counties of the provinces that some registries serve."""
    provinces = {name: (code, title) for name, code, title in PROVINCES}
    codes, heads = [], []
    for number, registry in enumerate(registries):
        code, title = provinces[registry]
        for county in range(COUNTIES_A_PROVINCE):
            prefecture, rest = divmod(county, COUNTIES_A_PREFECTURE)
            codes.append(f"{code}{prefecture + 1:02d}{rest + 1:02d}")
            prefecture_name = _name(number * PREFECTURES_A_PROVINCE + prefecture) + "市"
            heads.append(
                title
                + prefecture_name
                + _name(7 * number + 5 * county)
                + ("区" if rest < 2 else "县")
            )
    weights = np.ones(COUNTIES_A_PROVINCE)
    weights[:COUNTIES_A_PREFECTURE] = CAPITAL_WEIGHT
    return Atlas(tuple(codes), tuple(heads), weights / weights.sum())


def _name(number: int) -> str:
    first, second = divmod(number, len(_SECOND))
    return _FIRST[first % len(_FIRST)] + _SECOND[second]


def draw_counties(rng: np.random.Generator, places: Atlas, province: I64) -> I64:
    """A county number of each person's province, the capital's districts more often."""
    within = rng.choice(COUNTIES_A_PROVINCE, len(province), p=places.weights)
    drawn: I64 = province * COUNTIES_A_PROVINCE + within
    return drawn


def draw_addresses(rng: np.random.Generator, places: Atlas, county: I64) -> list[str]:
    """A flat on a street or a house in a village for each county number."""
    count = len(county)
    streets, heads, tails = words("streets"), words("village_heads"), words("village_tails")
    columns: Sequence[list[int]] = [
        column.tolist()
        for column in (
            rng.integers(0, len(streets), count),
            rng.integers(1, 400, count),
            rng.integers(1, 31, count),
            rng.integers(1, 19, count),
            rng.integers(1, 5, count),
            rng.integers(0, len(heads), count),
            rng.integers(0, len(tails), count),
            rng.integers(1, 161, count),
        )
    ]
    urban = (rng.random(count) < URBAN_SHARE).tolist()
    return [
        f"{places.heads[where]}{streets[street]}{number}号{block}栋{floor}0{door}室"
        if in_town
        else f"{places.heads[where]}{heads[village]}{tails[tail]}{door}组{house}号"
        for where, in_town, street, number, block, floor, door, village, tail, house in zip(
            county.tolist(), urban, *columns, strict=True
        )
    ]
