"""Counties of the three provinces of the demo, and addresses in them.

County codes and names are those of GB/T 2260; streets, villages and house numbers are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from kinlink_local.tables import rows, words

if TYPE_CHECKING:
    import random

PROVINCE_CODE: Final = {"shaanxi": "61", "sichuan": "51", "henan": "41"}
PREFECTURE_DIGITS: Final = 4
CAPITAL_WEIGHT: Final = 4.0
URBAN_SHARE: Final = 0.6


@dataclass(frozen=True)
class County:
    """A county with its six-digit code and the names above it."""

    code: str
    province: str
    prefecture: str
    name: str

    @property
    def prefecture_code(self) -> str:
        """The first four digits."""
        return self.code[:PREFECTURE_DIGITS]


@cache
def counties(registry: str) -> tuple[County, ...]:
    """Counties of the province that `registry` serves, in order of code."""
    head = PROVINCE_CODE[registry]
    return tuple(
        County(row["code"], row["province"], row["prefecture"], row["county"])
        for row in rows("places.csv")
        if row["code"].startswith(head)
    )


@cache
def _weights(registry: str) -> tuple[float, ...]:
    capital = PROVINCE_CODE[registry] + "01"
    return tuple(
        CAPITAL_WEIGHT if county.prefecture_code == capital else 1.0
        for county in counties(registry)
    )


def draw_county(rng: random.Random, registry: str) -> County:
    """A county of the province, the capital's districts more often."""
    return rng.choices(counties(registry), _weights(registry))[0]


def draw_address(rng: random.Random, county: County) -> str:
    """An address in the county: a flat on a street, or a house in a village."""
    head = f"{county.province}{county.prefecture}{county.name}"
    if county.name == county.prefecture:
        head = f"{county.province}{county.name}"
    if rng.random() < URBAN_SHARE:
        street = rng.choice(words("streets"))
        flat = f"{rng.randint(1, 30)}栋{rng.randint(1, 18)}0{rng.randint(1, 4)}室"
        return f"{head}{street}{rng.randint(1, 399)}号{flat}"
    village = rng.choice(words("village_heads")) + rng.choice(words("village_tails"))
    return f"{head}{village}{rng.randint(1, 12)}组{rng.randint(1, 160)}号"
