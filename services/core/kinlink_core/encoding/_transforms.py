"""The transforms a pass may apply to a field: which kinds they suit, what they take and keep.

The entropy a transform keeps is an estimate, made to catch passes that are plainly too coarse, not
a privacy proof. It never exceeds the field's own `entropy_bits`. The rules, in bits:

| transform | keeps |
|---|---|
| exact, sorted_words | all |
| phonetic, soundex | three quarters |
| prefix, suffix (n) | n characters at 7 (Chinese), 3.3 (codes, phones) or 3 (letters) |
| initial | 4 |
| family | 7 |
| given | all but 6 |
| each_word | 8 |
| year | 6 |
| year_month | 9.5 |
| month_day | 8.5 |
| year_window, month_window, day_window (k) | as year, year_month, exact, less log2(2(k + 1)) |
| lsh (bits, tables) | bits |
| level (n) | all but log2 of the slots the wanting side has at level n |
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING, Final

from kinlink_core.encoding.schema import LSH_TABLES_MAX, Field, FieldKind, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LETTER_BITS: Final = 3.0
DIGIT_BITS: Final = 3.3
HANZI_BITS: Final = 7.0
INITIAL_BITS: Final = 4.0
FAMILY_BITS: Final = 7.0
FAMILY_BITS_LOST: Final = 6.0
WORD_BITS: Final = 8.0
PHONETIC_SHARE: Final = 0.75
YEAR_BITS: Final = 6.0
YEAR_MONTH_BITS: Final = 9.5
MONTH_DAY_BITS: Final = 8.5

WORDS_MAX: Final = 6
WINDOW_VALUES: Final = 2

_NAMES: Final = frozenset({FieldKind.NAME, FieldKind.NAME_ZH})
_WORDS: Final = _NAMES | {FieldKind.TEXT}
_DIGITS: Final = frozenset({FieldKind.CODE, FieldKind.PHONE})
_DATES: Final = frozenset({FieldKind.DATE})
_ALL: Final = frozenset(FieldKind) - {FieldKind.LEVEL_SET, FieldKind.VECTOR}
_SETS: Final = frozenset({FieldKind.LEVEL_SET})

Arguments = tuple[int | str, ...]


@dataclass(frozen=True)
class Argument:
    """One whole-number argument of a transform, with its bounds."""

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Transform:
    """What is fixed about a transform, before any value is seen."""

    kinds: frozenset[FieldKind]
    keeps_bits: Callable[[Field, Arguments], float]
    arguments: tuple[Argument, ...] = ()
    values_max: int = 1
    needs_sketch: bool = False

    def suits(self, field: Field) -> bool:
        """Whether the transform makes sense for the field."""
        if self.needs_sketch:
            return field.has_sketch or field.vector is not None
        return field.kind in self.kinds


def _constant(bits: float) -> Callable[[Field, Arguments], float]:
    return lambda _field, _args: bits


def _share(share: float) -> Callable[[Field, Arguments], float]:
    return lambda field, _args: field.entropy_bits * share


def _characters(field: Field, args: Arguments) -> float:
    each = LETTER_BITS
    if field.kind is FieldKind.NAME_ZH:
        each = HANZI_BITS
    elif field.kind in _DIGITS:
        each = DIGIT_BITS
    return int(args[0]) * each


def _window(bits: float | None) -> Callable[[Field, Arguments], float]:
    def keeps(field: Field, args: Arguments) -> float:
        whole = field.entropy_bits if bits is None else min(bits, field.entropy_bits)
        return max(0.0, whole - log2(2 * (int(args[0]) + 1)))

    return keeps


def _of_level(field: Field, args: Arguments) -> float:
    level = int(args[0])
    if field.relation is None or level >= len(field.levels):
        return 0.0  # a fault that is reported elsewhere
    return max(0.0, field.entropy_bits - log2(field.relation.widths[field.list_of(level)].wants))


def _window_transform(bits: float | None, widest: int) -> Transform:
    return Transform(_DATES, _window(bits), (Argument("k", 1, widest),), values_max=WINDOW_VALUES)


TRANSFORMS: Final[dict[str, Transform]] = {
    "exact": Transform(_ALL, _share(1.0)),
    "sorted_words": Transform(_WORDS, _share(1.0)),
    "phonetic": Transform(_WORDS, _share(PHONETIC_SHARE)),
    "soundex": Transform(_WORDS - {FieldKind.NAME_ZH}, _share(PHONETIC_SHARE)),
    "prefix": Transform(_WORDS | _DIGITS, _characters, (Argument("n", 1, 32),)),
    "suffix": Transform(_DIGITS, _characters, (Argument("n", 1, 32),)),
    "initial": Transform(_NAMES, _constant(INITIAL_BITS)),
    "family": Transform(frozenset({FieldKind.NAME_ZH}), _constant(FAMILY_BITS)),
    "given": Transform(
        frozenset({FieldKind.NAME_ZH}),
        lambda field, _args: max(0.0, field.entropy_bits - FAMILY_BITS_LOST),
    ),
    "each_word": Transform(_WORDS, _constant(WORD_BITS), values_max=WORDS_MAX),
    "year": Transform(_DATES, _constant(YEAR_BITS)),
    "year_month": Transform(_DATES, _constant(YEAR_MONTH_BITS)),
    "month_day": Transform(_DATES, _constant(MONTH_DAY_BITS)),
    "year_window": _window_transform(YEAR_BITS, 10),
    "month_window": _window_transform(YEAR_MONTH_BITS, 60),
    "day_window": _window_transform(None, 400),
    "lsh": Transform(
        _ALL,
        lambda _field, args: float(args[0]),
        (Argument("bits", 4, 32), Argument("tables", 1, LSH_TABLES_MAX)),
        values_max=LSH_TABLES_MAX,
        needs_sketch=True,
    ),
    "level": Transform(_SETS, _of_level, (Argument("n", 0, 7),)),
}


def part_bits(field: Field, part: Part) -> float:
    """The estimated entropy the part contributes, at most the field's own."""
    return min(field.entropy_bits, TRANSFORMS[part.transform].keeps_bits(field, part.args))


def part_values_max(part: Part, field: Field | None) -> int:
    """How many blocking values one record can have under this part."""
    if part.transform == "lsh":
        return int(part.args[1])
    if field is not None and field.relation is not None:
        width = field.relation.widths[field.list_of(int(part.args[0]))]
        return max(width.wants, width.shows)
    return TRANSFORMS[part.transform].values_max


def pass_bits(fields: Mapping[str, Field | None], parts: tuple[Part, ...]) -> float:
    """The estimated entropy of a pass; parts of one field together count at most that field's."""
    by_field: dict[str, float] = {}
    for part in parts:
        field = fields[part.field]
        if field is None:
            continue
        so_far = by_field.get(part.field, 0.0)
        by_field[part.field] = min(field.entropy_bits, so_far + part_bits(field, part))
    return sum(by_field.values())
