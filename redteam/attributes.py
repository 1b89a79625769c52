"""What an attacker wants to know about the records behind a token, as numbers.

The same text has the same number for two populations, so that what a public list says can be held
against the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.chinese import split_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kinlink_core.encoding.schema import Pass

    from redteam.places import I64
    from redteam.population import Population

UNKNOWN: Final = -1

_READERS: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "surname": ("name", lambda name: split_name(name)[0]),
    "given name": ("name", lambda name: split_name(name)[1]),
    "name": ("name", str),
    "birth year": ("dob", lambda day: day[:4]),
    "birth month": ("dob", lambda day: day[:6]),
    "birth date": ("dob", str),
    "sex": ("sex", str),
    "place": ("place", str),
    "province": ("place", lambda place: place[:2]),
}
# What an equal blocking value tells for sure, by transform.
_TOLD: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("name", "exact"): ("surname", "given name", "name"),
    ("name", "phonetic"): ("surname", "name"),
    ("name", "sorted_words"): ("surname", "name"),
    ("name", "family"): ("surname",),
    ("name", "given"): ("given name",),
    ("dob", "exact"): ("birth year", "birth date"),
    ("dob", "year_month"): ("birth year", "birth month"),
    ("dob", "year_window"): ("birth year",),
    ("dob", "year"): ("birth year",),
    ("place", "exact"): ("province", "place"),
    ("sex", "exact"): ("sex",),
}


@dataclass(frozen=True)
class Attributes:
    """Attribute → a number for each record; UNKNOWN where it has none."""

    codes: dict[str, I64]
    texts: dict[str, list[str]]  # attribute → the text of each number

    def joint(self, names: Sequence[str]) -> I64:
        """One number for several attributes of each record together; UNKNOWN if one is."""
        joint = np.zeros(len(next(iter(self.codes.values()))), np.int64)
        known = np.ones(len(joint), bool)
        for name in names:
            code = self.codes[name]
            known &= code != UNKNOWN
            joint = joint * (_SPAN if code.max(initial=0) < _SPAN else _WIDE_SPAN) + code
        return np.where(known, joint, UNKNOWN)


_SPAN: Final = 1 << 16
_WIDE_SPAN: Final = 1 << 24


def read(populations: Sequence[Population]) -> list[Attributes]:
    """The attributes of every record of each population, numbered alike."""
    return of_columns([population.values for population in populations])


def of_columns(tables: Sequence[Mapping[str, Sequence[str | None]]]) -> list[Attributes]:
    """The same for bare columns."""
    codes: list[dict[str, I64]] = [{} for _ in tables]
    texts: dict[str, list[str]] = {}
    for name, (field, reader) in _READERS.items():
        numbers: dict[str, int] = {}
        known: dict[str, int] = {}
        for table, found in zip(tables, codes, strict=True):
            column = table[field]
            for value in set(column) - {None} - known.keys():
                text = reader(value or "")
                known[value or ""] = numbers.setdefault(text, len(numbers))
            found[name] = np.fromiter(
                (UNKNOWN if value is None else known[value] for value in column),
                np.int64,
                len(column),
            )
        texts[name] = list(numbers)
    return [Attributes(each, texts) for each in codes]


def told_by(blocking_pass: Pass, level: int) -> tuple[str, ...]:
    """The attributes that a token of a pass and level stands for."""
    parts = (*blocking_pass.parts, *blocking_pass.refine[:level])
    told = [name for part in parts for name in _TOLD.get((part.field, part.transform), ())]
    return tuple(dict.fromkeys(told))


def whole_value(blocking_pass: Pass, level: int) -> tuple[str, ...]:
    """The finest attribute of each part: together the blocking value, but for LSH bands."""
    parts = (*blocking_pass.parts, *blocking_pass.refine[:level])
    finest = [
        _TOLD[part.field, part.transform][-1]
        for part in parts
        if (part.field, part.transform) in _TOLD
    ]
    return tuple(dict.fromkeys(finest))
