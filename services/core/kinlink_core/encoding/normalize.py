"""Raw values of a field in one canonical form, so that equal people give equal blocking values.

| kind | canonical form |
|---|---|
| name | folded words (see `folding.fold`), titles such as Mr or Dr dropped |
| name_zh | simplified characters without spaces; where there are none, spaced pinyin syllables |
| text | folded words; no spaces between Chinese characters |
| date | YYYYMMDD, YYYYMM or YYYY |
| code | letters and digits, upper case |
| phone | digits, without the country code if the schema names it |
| level_set | as its relation writes it (`level_sets`) |
| vector | its model and base64 of its numbers (`vectors`) |

Canonical values are fixed points: normalising one again changes nothing. Missing (None) are empty
values and the words of `NULL_VALUES` (without Na and Nan in Chinese names). What cannot be read is
a fault with a fixed reason; a vector that cannot be compared is missing, and its reason counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from typing import Final

from kinlink_core.encoding._faults import ValueFault, ValueFaultError
from kinlink_core.encoding.chinese import spell_out, split_pinyin
from kinlink_core.encoding.dates import parse_date
from kinlink_core.encoding.folding import HAN, HAN_CHARACTER, canonical_code, fold, fold_marker
from kinlink_core.encoding.schema import Field, FieldKind, FieldOptions
from kinlink_core.encoding.vectors import CELL_CHARACTERS_MAX, read_vector

__all__ = [
    "NULL_VALUES",
    "VALUE_CHARACTERS_MAX",
    "Normalized",
    "ValueFault",
    "join_columns",
    "normalize_column",
]

NULL_VALUES: Final = frozenset(
    {
        "", "-", "--", "---", "—", "——", "/", "\\", ".", "?", "??", "*",
        "n/a", "na", "#n/a", "<na>", "nan", "null", "none", "nil", "unknown", "not known",
        "不详", "不詳", "不明", "未知", "未填", "无", "無", "空", "暂无", "暫無",
    }
)  # fmt: skip

NAMES_NOT_NULL: Final = frozenset({"na", "nan"})  # 娜 and 南 in pinyin

VALUE_CHARACTERS_MAX: Final[dict[FieldKind, int]] = {
    FieldKind.NAME: 200,
    FieldKind.NAME_ZH: 200,
    FieldKind.TEXT: 1000,
    FieldKind.DATE: 60,
    FieldKind.CODE: 100,
    FieldKind.PHONE: 60,
    FieldKind.LEVEL_SET: 400,
    FieldKind.VECTOR: CELL_CHARACTERS_MAX,
}

PHONE_DIGITS_MIN: Final = 5
PHONE_DIGITS_MAX: Final = 15  # E.164

_HONORIFICS: Final = frozenset(
    {
        "mr", "mrs", "ms", "miss", "mx", "dr", "prof", "professor", "sir", "dame", "rev",
        "reverend", "hon", "master", "madam", "mme", "mlle",
    }
)  # fmt: skip
_HONORIFICS_ZH: Final = ("先生", "女士", "小姐", "同志")
_NAME_ZH_CHARACTERS_MIN: Final = 2

_UNREADABLE: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffd]")
_UNDECODED: Final = re.compile("[\ud800-\udfff\ufffd]")
_SPACE_BY_HAN: Final = re.compile(f"(?<=[{HAN}]) | (?=[{HAN}])")
_SPACE_IN_HAN: Final = re.compile(f"(?<=[{HAN}]) (?=[{HAN}])")
_MARKER_SPACES_MAX: Final = 8
_NOT_DIGITS: Final = re.compile("[^0-9]+")

_Reader = Callable[[str], str]


@dataclass(frozen=True)
class Normalized:
    """A column after normalisation.

    `values` has one canonical value or None a row; `faults` the (row index, reason) of every value
    that could not be read, in row order (such a row's value is None), `blanks` those of values that
    count as missing for a reason. Reasons never hold values.
    """

    values: list[str | None]
    faults: list[tuple[int, str]]
    blanks: list[tuple[int, str]] = dataclass_field(default_factory=list)


def join_columns(field: Field, columns: Mapping[str, Sequence[str | None]]) -> list[str | None]:
    """The raw values of a field: its source columns joined by a space, absent ones left out.

    A row in which every column is missing gives None. Raises KeyError with the column's name if no
    column of the field is there and the field is not optional.
    """
    present = [columns[name] for name in field.columns if name in columns]
    if len(present) < len(field.columns) and not field.optional:
        raise KeyError(next(name for name in field.columns if name not in columns))
    if not present:
        rows = len(next(iter(columns.values()), ()))
        return [None] * rows
    if len(present) == 1:
        return list(present[0])
    is_null = _null_test(field)
    joined: list[str | None] = []
    for row in zip(*present, strict=True):
        parts = [value for value in row if value is not None and not is_null(value)]
        joined.append(" ".join(parts) if parts else None)
    return joined


def normalize_column(field: Field, values: Sequence[str | None]) -> Normalized:
    """Canonical values of a whole column; equal raw values are read once."""
    read = _reader(field)
    limit = VALUE_CHARACTERS_MAX[field.kind]
    is_null = _null_test(field)
    known: dict[str, str | ValueFault | None] = {}
    canonical: list[str | None] = []
    faults: list[tuple[int, str]] = []
    blanks: list[tuple[int, str]] = []
    for row, value in enumerate(values):
        if value is None:
            canonical.append(None)
            continue
        if value in known:
            result = known[value]
        else:
            result = known[value] = _read(value, read, limit, is_null)
        if isinstance(result, ValueFault):
            if field.vector is not None:
                blanks.append((row, result.value))
            elif not field.options.blank_faults:
                faults.append((row, result.value))
            result = None
        canonical.append(result)
    return Normalized(canonical, faults, blanks)


def _read(
    value: str, read: _Reader, limit: int, is_null: Callable[[str], bool]
) -> str | ValueFault | None:
    if len(value) > limit:
        return ValueFault.TOO_LONG
    if _UNREADABLE.search(value):
        lost = _UNDECODED.search(value)
        return ValueFault.UNDECODED if lost else ValueFault.CONTROL_CHARACTER
    if is_null(value):
        return None
    try:
        canonical = read(value)
    except ValueFaultError as error:
        return error.fault
    if len(canonical) > limit:
        return ValueFault.TOO_LONG
    return None if is_null(canonical) else canonical


def _null_test(field: Field) -> Callable[[str], bool]:
    own = field.options.null_values
    markers = NULL_VALUES if own is None else frozenset(own)
    if own is None and field.kind is FieldKind.NAME_ZH:
        markers -= NAMES_NOT_NULL
    longest = max(map(len, markers), default=0) + _MARKER_SPACES_MAX

    def is_null(value: str) -> bool:
        short = len(value) <= longest and fold_marker(value) in markers
        return short or not value or value.isspace()

    return is_null


def _reader(field: Field) -> _Reader:
    if field.vector is not None:
        return partial(read_vector, field.vector)
    return _plain_reader(field) if field.relation is None else field.relation.read


def _plain_reader(field: Field) -> _Reader:
    options = field.options
    match field.kind:
        case FieldKind.NAME:
            return fold if options.honorifics else _name
        case FieldKind.NAME_ZH:
            return lambda value: _name_zh(value, keep_titles=options.honorifics)
        case FieldKind.TEXT:
            return _text
        case FieldKind.DATE:
            return lambda value: parse_date(value, options)
        case FieldKind.CODE:
            return _code_reader(options)
        case FieldKind.PHONE:
            return lambda value: _phone(value, options.country)
        case FieldKind.LEVEL_SET | FieldKind.VECTOR:
            raise ValueError(f"{field.name} does not say what it compares")


def _name(value: str) -> str:
    return _without_titles(fold(value))


def _without_titles(name: str) -> str:
    parts = name.split(" ")
    start = 0
    while start < len(parts) - 1 and parts[start] in _HONORIFICS:
        start += 1
    return " ".join(parts[start:]) if start else name


def _name_zh(value: str, *, keep_titles: bool) -> str:
    name = fold(spell_out(value))
    if name.isascii() or not HAN_CHARACTER.search(name):
        name = name if keep_titles else _without_titles(name)
        return " ".join(s for word in name.split(" ") for s in split_pinyin(word))
    name = _SPACE_BY_HAN.sub("", name)
    return name if keep_titles else _without_titles_zh(name)


def _without_titles_zh(name: str) -> str:
    for title in _HONORIFICS_ZH:
        if name.endswith(title) and len(name) >= len(title) + _NAME_ZH_CHARACTERS_MIN:
            return _without_titles_zh(name.removesuffix(title))
    return name


def _text(value: str) -> str:
    words = fold(value)
    return words if words.isascii() else _SPACE_IN_HAN.sub("", words)


def _code_reader(options: FieldOptions) -> _Reader:
    if options.values:
        listed = dict(options.values)

        def from_list(value: str) -> str:
            code = listed.get(fold_marker(value))
            if code is None:
                raise ValueFaultError(ValueFault.NOT_LISTED)
            return code

        return from_list
    if not options.lengths:
        return canonical_code

    def of_length(value: str) -> str:
        code = canonical_code(value)
        if code and len(code) not in options.lengths:
            raise ValueFaultError(ValueFault.WRONG_LENGTH)
        return code

    return of_length


def _phone(value: str, country: str) -> str:
    marked = value.strip()
    digits = _NOT_DIGITS.sub("", marked if marked.isascii() else fold(marked))
    plus = marked.startswith(("+", "＋", "(+"))
    if country and plus:
        digits = digits.removeprefix(country)
    elif country and digits.startswith(f"00{country}"):
        digits = digits.removeprefix(f"00{country}")
    if digits and not PHONE_DIGITS_MIN <= len(digits) <= PHONE_DIGITS_MAX:
        raise ValueFaultError(ValueFault.NOT_A_PHONE)
    return digits
