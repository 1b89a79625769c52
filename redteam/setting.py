"""What an attack is run on: a size, a number of registries, where people live, and a seed.

Attacks are tuned on `SEED_TUNING` and reported on `SEEDS_REPORTED`. What a setting builds is kept
while it is the current one, so that attacks share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from redteam.population import OVERLAP_DEFAULT, THIRD_SHARE, make
from redteam.view import build

if TYPE_CHECKING:
    from redteam.population import Population
    from redteam.view import View

SEED_TUNING: Final = 1
SEEDS_REPORTED: Final = (2, 3)
# A public list is an independent draw of the same marginals.
PUBLIC_SEED_OFFSET: Final = 1000
SIZES: Final = {"1k": 1_000, "3k": 3_000, "10k": 10_000, "100k": 100_000, "1m": 1_000_000}
REGISTRIES: Final = (3, 31)
RECORDS_A_PERSON: Final = 1 + OVERLAP_DEFAULT * (1 + THIRD_SHARE)


@dataclass(frozen=True)
class Setting:
    """One run of every attack. `records` in all registries together."""

    size: str
    registries: int
    correlated: bool
    seed: int
    quick: bool = False

    @property
    def label(self) -> str:
        """How the report names the setting; without the seed."""
        provinces = "correlated" if self.correlated else "independent"
        return f"{self.size}, {self.registries} registries, provinces {provinces}"

    @property
    def people(self) -> int:
        """How many people give the setting's number of records."""
        return round(SIZES[self.size] / RECORDS_A_PERSON)

    def population(self) -> Population:
        """Whom the registries know."""
        return _population(self.people, self.registries, self.seed, self.correlated)

    def public(self) -> Population:
        """People of the same marginals whom nobody knows: what a public list tells."""
        seed = self.seed + PUBLIC_SEED_OFFSET
        return _population(self.people, self.registries, seed, self.correlated)

    def view(
        self, *, lying: bool = False, all_sealed: bool = False, every_pass: bool = False
    ) -> View:
        """What the linker holds; how it lies, as in `view.build`."""
        return _view(self, lying, all_sealed, every_pass)


def settings(size: str, seeds: tuple[int, ...], *, quick: bool) -> list[Setting]:
    """Every setting of a run."""
    if quick:
        return [Setting("3k", 3, correlated=True, seed=seeds[0], quick=True)]
    return [
        Setting(size, registries, correlated, seed)
        for registries in REGISTRIES
        for correlated in (False, True)
        for seed in seeds
    ]


@lru_cache(maxsize=2)
def _population(people: int, registries: int, seed: int, correlated: bool) -> Population:  # noqa: FBT001 - a cache key
    return make(people, registries, seed, correlated=correlated)


@lru_cache(maxsize=1)
def _view(setting: Setting, lying: bool, all_sealed: bool, every_pass: bool) -> View:  # noqa: FBT001 - a cache key
    return build(
        setting.population(),
        lying=lying,
        all_sealed=all_sealed,
        every_pass=every_pass,
        trained=not setting.quick,
    )
