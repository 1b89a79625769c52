"""How registries write people down: what they leave out, what they mistype, who has moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_local.tables import rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from redteam.places import I64

# Chances of a value that is there to go wrong, as in `kinlink demo`.
HOMOPHONE_RATE: Final = 0.03
DAY_SLIP_RATE: Final = 0.02
DAY_MONTH_SWAP_RATE: Final = 0.01
DIGIT_SLIP_RATE: Final = 0.02
# Chances of a value to be missing.
MISSING: Final = {
    "dob": 0.015,
    "address": 0.04,
    "place": 0.05,
    "phone": 0.25,
    "national_id": 0.40,
}
# What changes between a person's first entry and another registry's.
ADDRESS_MOVED_SHARE: Final = 0.50
PLACE_MOVED_SHARE: Final = 0.35
PHONE_CHANGED_SHARE: Final = 0.40

MONTHS: Final = 12


Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Books:
    """One row a record."""

    person: I64
    registry: I64
    moved: Bools  # an entry in another registry than the first


@dataclass(frozen=True)
class Draws:
    """Where new values of people who moved come from."""

    counties: Callable[[I64], I64]  # of provinces
    addresses: Callable[[I64], list[str]]  # of counties
    phones: Callable[[I64], list[str]]  # of provinces
    codes: tuple[str, ...]


def write_records(
    rng: np.random.Generator,
    clean: dict[str, list[str]],
    books: Books,
    draws: Draws,
    errors: float,
) -> dict[str, list[str | None]]:
    """The values of every record; `errors` scales every rate, 0 writes all clean."""
    person = books.person.tolist()
    values: dict[str, list[str | None]] = {
        key: [column[i] for i in person] for key, column in clean.items()
    }
    _move(rng, values, books, draws, errors)
    count = len(person)
    homophones = {row["character"]: row["homophones"] for row in rows("variants.csv")}

    def some(rate: float) -> list[int]:
        return np.flatnonzero(rng.random(count) < rate * errors).tolist()

    for row in some(HOMOPHONE_RATE):
        values["name"][row] = _misheard(rng, values["name"][row] or "", homophones)
    for row in some(DAY_SLIP_RATE):
        values["dob"][row] = f"{(values['dob'][row] or '')[:6]}{rng.integers(1, 29):02d}"
    for row in some(DAY_MONTH_SWAP_RATE):
        values["dob"][row] = _swapped(values["dob"][row] or "")
    for field in ("address", "phone", "national_id"):
        for row in some(DIGIT_SLIP_RATE):
            values[field][row] = _slip_digit(rng, values[field][row] or "")
    for field, rate in MISSING.items():
        for row in some(rate):
            values[field][row] = None
    return values


def _move(
    rng: np.random.Generator,
    values: dict[str, list[str | None]],
    books: Books,
    draws: Draws,
    errors: float,
) -> None:
    def movers(share: float) -> npt.NDArray[np.int64]:
        return np.flatnonzero(books.moved & (rng.random(len(books.moved)) < share * errors))

    county = draws.counties(books.registry)
    for row in movers(PLACE_MOVED_SHARE).tolist():
        values["place"][row] = draws.codes[int(county[row])]
    addressed = movers(ADDRESS_MOVED_SHARE)
    for row, address in zip(addressed.tolist(), draws.addresses(county[addressed]), strict=True):
        values["address"][row] = address
    called = movers(PHONE_CHANGED_SHARE)
    for row, phone in zip(called.tolist(), draws.phones(books.registry[called]), strict=True):
        values["phone"][row] = phone


def _misheard(rng: np.random.Generator, name: str, homophones: dict[str, str]) -> str:
    sites = [i for i in range(1, len(name)) if homophones.get(name[i])]
    if not sites:
        return name
    site = sites[int(rng.integers(len(sites)))]
    sounds = homophones[name[site]]
    return name[:site] + sounds[int(rng.integers(len(sounds)))] + name[site + 1 :]


def _swapped(day: str) -> str:
    return day[:4] + day[6:] + day[4:6] if int(day[6:]) <= MONTHS else day


def _slip_digit(rng: np.random.Generator, text: str) -> str:
    sites = [i for i, sign in enumerate(text) if sign.isdigit()]
    site = sites[int(rng.integers(len(sites)))]
    return f"{text[:site]}{rng.integers(10)}{text[site + 1 :]}"
