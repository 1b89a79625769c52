"""Counties, prefectures and provinces of China by GB/T 2260, and how far apart they are.

Codes have two, four and six digits. A county is an index into `Divisions.counties`, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion import assumptions as assumed
from kinlink_local.tables import rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EARTH_KM: Final = 6_371.0


@dataclass(frozen=True)
class Divisions:
    """Codes in order, each level's index of the level above, and shares of the losses.

    `losses` is the share of each county among the places of loss: its province's population, more
    in those that lose more, equal among the counties of a province.
    """

    provinces: tuple[str, ...]
    registries: tuple[str, ...]
    prefectures: tuple[str, ...]
    counties: tuple[str, ...]
    province_of_prefecture: Ints
    prefecture_of_county: Ints
    population: Floats  # (provinces,), millions
    losses: Floats  # (counties,)
    neighbours: tuple[Ints, ...]  # of each prefecture
    province_km: Floats  # (provinces, provinces)

    @property
    def province_of_county(self) -> Ints:
        """Province of each county."""
        return self.province_of_prefecture[self.prefecture_of_county]


@cache
def divisions() -> Divisions:
    """All of them."""
    provinces = rows("provinces.csv")
    codes = tuple(row["code"] for row in provinces)
    population = np.array([float(row["population_millions"]) for row in provinces])
    table = rows("prefectures.csv")
    centres = np.array([(float(row["longitude"]), float(row["latitude"])) for row in table])
    province_of_prefecture = np.array([codes.index(row["code"][:2]) for row in table])
    counties, prefecture_of_county = [], []
    for number, row in enumerate(table):
        for county in row["counties"].split():
            counties.append(row["code"] + county)
            prefecture_of_county.append(number)
    above = np.array(prefecture_of_county)
    losing = [assumed.LOSING_FACTOR if code in assumed.LOSING_PROVINCES else 1.0 for code in codes]
    per_county = population * losing / np.bincount(province_of_prefecture[above])
    losses = per_county[province_of_prefecture[above]]
    apart = distances_km(centres)
    middle = np.array(
        [centres[province_of_prefecture == number].mean(axis=0) for number in range(len(codes))]
    )
    return Divisions(
        provinces=codes,
        registries=tuple(row["registry"] for row in provinces),
        prefectures=tuple(row["code"] for row in table),
        counties=tuple(counties),
        province_of_prefecture=province_of_prefecture,
        prefecture_of_county=above,
        population=population,
        losses=losses / losses.sum(),
        neighbours=tuple(
            np.flatnonzero((line < assumed.NEIGHBOUR_KM) & (np.arange(len(line)) != number))
            for number, line in enumerate(apart)
        ),
        province_km=distances_km(middle),
    )


def distances_km(centres: Floats) -> Floats:
    """Great-circle distances between points of (longitude, latitude) in degrees (n, n)."""
    longitude, latitude = np.radians(centres).T
    east = np.sin((longitude[:, None] - longitude) / 2) ** 2
    north = np.sin((latitude[:, None] - latitude) / 2) ** 2
    half = north + np.cos(latitude)[:, None] * np.cos(latitude) * east
    apart: Floats = 2 * EARTH_KM * np.arcsin(np.sqrt(half))
    return apart


@cache
def flow(sex: str) -> Floats:
    """P(province where found | province of loss) for "F" or "M" (provinces, provinces).

    A share stays; the others go by gravity: population, distance, more to net-in provinces.
    """
    where = divisions()
    pull = [
        assumed.NET_IN_FACTOR if code in assumed.NET_IN_PROVINCES else 1.0
        for code in where.provinces
    ]
    away = where.population * pull * np.exp(-where.province_km / assumed.GRAVITY_KM)
    np.fill_diagonal(away, 0.0)
    stay = assumed.STAY_SHARE[sex]
    moved: Floats = (1 - stay) * away / away.sum(axis=1, keepdims=True)
    np.fill_diagonal(moved, stay)
    return moved
