"""Comparisons in which one side says what it would accept, and the other what it has.

In a search for people the two sides do not hold the same facts: a family knows the day of birth, a
found child the day it was registered, which is later. So the side that *wants* lists, for each
level of the comparison, the values of the other side that would fall in it; the side that *shows*
lists its own. A level holds where the two lists share enough. What is listed are short texts
(`slots`), which are blocked on as tokens and sealed as tags of a pair (`seal`); how many a level
has is fixed by the schema, so that a long list looks like a short one.

Values are canonical texts, the same grammar for both sides:

| relation | value |
|---|---|
| window of days | possible days: `19860223`, `198602`, `1986`, `1986~1988`; several with `,` |
| window of numbers | a number, or `2~4` |
| places | a GB/T 2260 code of 2, 4 or 6 digits |
| table | a code that the table lists |
| shared | words, several with `,` |

Not guaranteed: of a sealed pair the linker learns which levels hold and how much the lists share,
and from a level of many slots that is not shared it learns that too.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Final

from kinlink_core.encoding._faults import ValueFault, ValueFaultError
from kinlink_core.encoding.folding import canonical_code, fold

ALTERNATIVES_MAX: Final = 4
WORDS_MAX: Final = 16
# A window of a level is cut in about so many steps; what lies less than a step outside may count.
STEPS: Final = 8

Slots = tuple[str, ...]


@dataclass(frozen=True)
class Width:
    """How many slots one level has on each side."""

    wants: int
    shows: int


class Relation(ABC):
    """What a two-sided comparison compares; levels are numbered as in the schema."""

    @property
    @abstractmethod
    def widths(self) -> tuple[Width, ...]:
        """The slots of each level."""

    @abstractmethod
    def read(self, text: str) -> str:
        """The canonical form of a value, for either side; raises ValueFaultError."""

    @abstractmethod
    def wanted(self, level: int, canonical: str) -> Slots:
        """What the wanting side accepts at a level; more than its width means: it cannot say."""

    @abstractmethod
    def shown(self, level: int, canonical: str) -> Slots:
        """What the showing side has at a level; as `wanted`."""

    def slots(self, level: int, canonical: str, *, wants: bool) -> Slots:
        """One side's distinct slots of a level; none if they are more than the level has."""
        found = self.wanted(level, canonical) if wants else self.shown(level, canonical)
        distinct = tuple(dict.fromkeys(found))
        width = self.widths[level]
        return distinct if len(distinct) <= (width.wants if wants else width.shows) else ()


@dataclass(frozen=True)
class Window(Relation):
    """The showing side's number less the wanting side's lies in a window, one a level.

    A number is one of several intervals. It is compared in steps of an eighth of the window, so
    that up to a step beyond its ends may still count; a window of one number is exact.
    """

    windows: tuple[tuple[int, int], ...]
    of_days: bool

    @cached_property
    def widths(self) -> tuple[Width, ...]:
        """Room for two alternatives of one value."""
        return tuple(
            Width(2 * (-(-(high - low) // self._step(level)) + 2), 2 * 2)
            if high > low
            else Width(ALTERNATIVES_MAX, ALTERNATIVES_MAX)
            for level, (low, high) in enumerate(self.windows)
        )

    def read(self, text: str) -> str:
        """Intervals in order."""
        read = _days if self.of_days else _numbers
        found = [read(each) for each in re.split("[,;、，；]", text) if each.strip()]
        if not found or len(found) > ALTERNATIVES_MAX:
            raise ValueFaultError(ValueFault.NOT_A_DATE)
        return ",".join(sorted(set(found)))

    def wanted(self, level: int, canonical: str) -> Slots:
        """The steps that the window around each interval touches."""
        low, high = self.windows[level]
        return self._steps(level, [(a + low, b + high) for a, b in self._intervals(canonical)])

    def shown(self, level: int, canonical: str) -> Slots:
        """The steps of each interval."""
        return self._steps(level, self._intervals(canonical))

    def _step(self, level: int) -> int:
        low, high = self.windows[level]
        return max(1, (high - low) // STEPS)

    def _steps(self, level: int, intervals: list[tuple[int, int]]) -> Slots:
        step, most = self._step(level), max(self.widths[level].wants, self.widths[level].shows)
        found: list[str] = []
        for first, last in intervals:
            if last // step - first // step >= most:
                return tuple(map(str, range(most + 1)))  # more than can be said
            found += map(str, range(first // step, last // step + 1))
        return tuple(found)

    def _intervals(self, canonical: str) -> list[tuple[int, int]]:
        found = []
        for each in canonical.split(","):
            first, _, last = each.partition("~")
            ends = (first, last or first)
            found.append(
                (_first_day(ends[0]), _last_day(ends[1]))
                if self.of_days
                else (int(ends[0]), int(ends[1]))
            )
        return found


@dataclass(frozen=True)
class Places(Relation):
    """Administrative places: the same county, prefecture, a neighbouring prefecture, province.

    A level is `county`, `prefecture`, `near` or `province`; `near` are the neighbours that the
    schema lists.
    """

    steps: tuple[str, ...]
    neighbours: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @cached_property
    def _near(self) -> dict[str, tuple[str, ...]]:
        return dict(self.neighbours)

    @cached_property
    def widths(self) -> tuple[Width, ...]:
        """One place, or as many as the prefecture with most neighbours has."""
        most = max((len(near) for _, near in self.neighbours), default=1)
        return tuple(Width(most if step == "near" else 1, 1) for step in self.steps)

    def read(self, text: str) -> str:
        """A code without the zeros that stand for "all of it"."""
        code = canonical_code(text)
        if not re.fullmatch("[1-9][0-9]([0-9]{2}){0,2}", code):
            raise ValueFaultError(ValueFault.WRONG_LENGTH)
        while len(code) > PROVINCE and code.endswith("00"):
            code = code[:-2]
        return code

    def wanted(self, level: int, canonical: str) -> Slots:
        """The place, or its neighbours."""
        if self.steps[level] == "near":
            return self._near.get(canonical[:PREFECTURE], ())
        return self.shown(level, canonical)

    def shown(self, level: int, canonical: str) -> Slots:
        """The place as far as the level goes."""
        digits = _DIGITS[self.steps[level]]
        return (canonical[:digits],) if len(canonical) >= digits else ()


PROVINCE: Final = 2
PREFECTURE: Final = 4
COUNTY: Final = 6
_DIGITS: Final = {
    "county": COUNTY, "prefecture": PREFECTURE, "near": PREFECTURE, "province": PROVINCE,
}  # fmt: skip
PLACE_STEPS: Final = tuple(_DIGITS)


@dataclass(frozen=True)
class Table(Relation):
    """The schema lists, for each value of the wanting side, the shown values of each level."""

    rows: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    digits: int = 0  # only so many characters of a value count, all if 0

    @cached_property
    def _lists(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        return dict(self.rows)

    @cached_property
    def widths(self) -> tuple[Width, ...]:
        """The longest list of each level."""
        levels = max((len(lists) for _, lists in self.rows), default=0)
        return tuple(
            Width(
                max([len(lists[level]) for _, lists in self.rows if level < len(lists)] or [1]), 1
            )
            for level in range(levels)
        )

    def read(self, text: str) -> str:
        """A code."""
        code = canonical_code(text)
        return code[: self.digits] if self.digits else code

    def wanted(self, level: int, canonical: str) -> Slots:
        """The list of the level."""
        lists = self._lists.get(canonical, ())
        return lists[level] if level < len(lists) else ()

    def shown(self, level: int, canonical: str) -> Slots:  # noqa: ARG002 - every level the same
        """The value."""
        return (canonical,)


@dataclass(frozen=True)
class Shared(Relation):
    """Sets of words: each level asks for a number of shared ones, perhaps among the rare alone.

    Levels that look at the same words have one list.
    """

    lists: tuple[bool, ...]  # of each list, whether only rare words are on it
    rare: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        """Part of the schema's fingerprint, so in one order in every process."""
        return f"Shared(lists={self.lists!r}, rare={sorted(self.rare)!r})"

    @cached_property
    def widths(self) -> tuple[Width, ...]:
        """As many words as are read."""
        return tuple(Width(WORDS_MAX, WORDS_MAX) for _ in self.lists)

    def read(self, text: str) -> str:
        """Distinct words in order, at most `WORDS_MAX`."""
        words = sorted({fold(each) for each in re.split("[,;|、，；]", text) if each.strip()})
        return ",".join([word for word in words if word][:WORDS_MAX])

    def wanted(self, level: int, canonical: str) -> Slots:
        """The words on a list."""
        words = canonical.split(",")
        return tuple(w for w in words if w in self.rare) if self.lists[level] else tuple(words)

    def shown(self, level: int, canonical: str) -> Slots:
        """As `wanted`."""
        return self.wanted(level, canonical)


_DAY: Final = re.compile(r"([0-9]{4})(?:-?([0-9]{2})(?:-?([0-9]{2}))?)?\Z")
_DECEMBER: Final = 12


def _days(text: str) -> str:
    ends = [_day(each.strip()) for each in re.split("[~～]", text)]
    if len(ends) > 2 or _first_day(ends[0]) > _last_day(ends[-1]):  # noqa: PLR2004 - two ends
        raise ValueFaultError(ValueFault.NOT_A_DATE)
    return "~".join(ends)


def _day(text: str) -> str:
    found = _DAY.match(text)
    if not found:
        raise ValueFaultError(ValueFault.NOT_A_DATE)
    digits = "".join(part for part in found.groups() if part)
    try:
        _first_day(digits)
    except ValueError as error:
        raise ValueFaultError(ValueFault.IMPOSSIBLE_DATE) from error
    return digits


def _first_day(digits: str) -> int:
    return date(int(digits[:4]), int(digits[4:6] or 1), int(digits[6:] or 1)).toordinal()


def _last_day(digits: str) -> int:
    year, month = int(digits[:4]), int(digits[4:6] or _DECEMBER)
    if digits[6:]:
        return _first_day(digits)
    following = date(year + 1, 1, 1) if month == _DECEMBER else date(year, month + 1, 1)
    return (following - timedelta(days=1)).toordinal()


def _numbers(text: str) -> str:
    ends = [each.strip() for each in re.split("[~～]", text)]
    if len(ends) > 2 or any(not re.fullmatch("[0-9]{1,6}", each) for each in ends):  # noqa: PLR2004 - two ends
        raise ValueFaultError(ValueFault.NOT_A_NUMBER)
    low, high = int(ends[0]), int(ends[-1])
    if low > high:
        raise ValueFaultError(ValueFault.NOT_A_NUMBER)
    return f"{low}" if low == high else f"{low}~{high}"
