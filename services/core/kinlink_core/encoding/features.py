"""What a canonical value becomes before any key touches it: sketch tokens, blocking values, parts.

Pure functions of one value, called once per distinct value. Nothing here leaves a registry as it
is: tokens go into keyed sketches (`sketch`), blocking values into keyed tokens (`keys`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import jellyfish

from kinlink_core.encoding._transforms import WORDS_MAX
from kinlink_core.encoding.chinese import merge_sounds, split_name, syllables
from kinlink_core.encoding.dates import DAY_DIGITS, MONTH_DIGITS, MONTHS, YEAR_DIGITS, ordinal
from kinlink_core.encoding.schema import Field, FieldKind, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinlink_core.encoding.schema import Schema

    Column = list[str | None]

WORD_LETTERS_MIN: Final = 3  # shorter words (of, de, st) tie everyone together
PAD: Final = "_"
# From here on (Chinese, kana, Hangul) one character is about one syllable.
# Before the value of a level set: whose it is.
WANTS: Final = "<"
SHOWS: Final = ">"
SYLLABIC_FIRST: Final = "\u2e80"


def sketch_tokens(field: Field, canonical: str) -> tuple[str, ...]:
    """The distinct tokens whose sum is the sketch of a value; never empty for a canonical value."""
    match field.kind:
        case FieldKind.NAME:
            tokens = _word_bigrams(canonical)
        case FieldKind.NAME_ZH:
            tokens = _name_zh_tokens(canonical)
        case FieldKind.TEXT:
            words = [f"w:{word}" for word in canonical.split(" ")]
            tokens = [*words, *_word_bigrams(canonical)]
        case _:
            positions = [f"p{place}:{sign}" for place, sign in enumerate(canonical)]
            tokens = [*_bigrams(canonical), *positions]
    return tuple(dict.fromkeys(tokens))


def _bigrams(word: str) -> list[str]:
    padded = f"{PAD}{word}{PAD}"
    return [f"b:{first}{second}" for first, second in pairwise(padded)]


def _word_bigrams(canonical: str) -> list[str]:
    return [bigram for word in canonical.split(" ") for bigram in _bigrams(word)]


def _name_zh_tokens(canonical: str) -> list[str]:
    sounds = syllables(canonical)
    characters = [f"c:{sign}" for sign in canonical if sign >= SYLLABIC_FIRST]
    spoken = [f"s:{sound}" for sound in sounds]
    return [*_numbered(characters), *_numbered(spoken), *_bigrams("".join(sounds))]


def _numbered(tokens: list[str]) -> list[str]:
    """Repeated tokens told apart, or 丽 and 丽丽 would be one name to a set."""
    if len(set(tokens)) == len(tokens):
        return tokens
    return [f"{token}{tokens[:at].count(token) or ''}" for at, token in enumerate(tokens)]


def date_parts(canonical: str) -> dict[str, str | None]:
    """The values behind the equality tags of a date; None for what a partial date does not hold.

    `swapped` is the same for a date and for itself with day and month exchanged.
    """
    full = len(canonical) == DAY_DIGITS
    year, month, day = canonical[:4], canonical[4:6], canonical[6:]
    return {
        "day": canonical if full else None,
        "year_month": year + month if month else None,
        "month_day": month + day if full else None,
        "year": year,
        "swapped": year + min(month, day) + max(month, day) if full else None,
    }


def two_sided(schema: Schema, columns: Sequence[Column]) -> list[Column]:
    """Columns in the schema's order, in which values of level sets say whose they are.

    A record that does not tell its side has no such value.
    """
    if schema.sides is None:
        return list(columns)
    names = [field.name for field in schema.fields]
    roles = columns[names.index(schema.sides.field)]
    signs = {role: WANTS if role == schema.sides.wants else SHOWS for role in set(roles) - {None}}
    return [
        column
        if field.relation is None
        else [
            None if value is None or role is None else f"{signs[role]}{value}"
            for value, role in zip(column, roles, strict=True)
        ]
        for field, column in zip(schema.fields, columns, strict=True)
    ]


def level_slots(field: Field, level: int, sided: str, *, wants: bool) -> tuple[str, ...]:
    """The slots that a value fills on one side of a level; none on the other side."""
    if field.relation is None or sided.startswith(WANTS) != wants:
        return ()
    return field.relation.slots(level, sided.removeprefix(WANTS).removeprefix(SHOWS), wants=wants)


def tag_values(field: Field, canonical: str) -> list[str | None]:
    """The values behind the field's equality tags, in their order; None for what it lacks."""
    if field.relation is None:
        return [tag_value(field, tag, canonical) for tag in field.tags]
    values: list[str | None] = []
    for level, width in enumerate(field.relation.widths):
        for wants, count in ((True, width.wants), (False, width.shows)):
            found = [
                f"{level}:{slot}" for slot in level_slots(field, level, canonical, wants=wants)
            ]
            values += [*found, *[None] * (count - len(found))]
    return values


def category_value(field: Field, canonical: str) -> str | None:
    """The value behind the `equal` tag; None for a partial date, which equals nothing for sure."""
    partial = field.kind is FieldKind.DATE and len(canonical) != DAY_DIGITS
    return None if partial else canonical


def tag_value(field: Field, tag: str, canonical: str) -> str | None:
    """The value behind one of the field's equality tags, or None if the value does not hold it."""
    return category_value(field, canonical) if tag == "equal" else date_parts(canonical)[tag]


def blocking_values(part: Part, field: Field, canonical: str) -> tuple[str, ...]:
    """The values under which a record can be found by this part; empty if the part has none.

    Every transform but `lsh`, whose bands are cut from sketches. Windows give two values of which
    two records within k of each other share at least one.
    """
    found = _TRANSFORMS[part.transform](field, canonical, int(part.args[0]) if part.args else 0)
    if found is None or found == "":
        return ()
    return (found,) if isinstance(found, str) else found


_Found = str | tuple[str, ...] | None


def _level(field: Field, canonical: str, n: int) -> _Found:
    number = field.list_of(n)
    return tuple(
        slot
        for wants in (True, False)
        for slot in level_slots(field, number, canonical, wants=wants)
    )


def _exact(field: Field, canonical: str, _n: int) -> _Found:
    return category_value(field, canonical)


def _sorted_words(field: Field, canonical: str, _n: int) -> _Found:
    return " ".join(sorted(_words(field, canonical)))


def _each_word(field: Field, canonical: str, _n: int) -> _Found:
    words = dict.fromkeys(_words(field, canonical))
    long = [word for word in words if len(word) >= WORD_LETTERS_MIN or not word.isascii()]
    return tuple(long[:WORDS_MAX])


def _words(field: Field, canonical: str) -> list[str]:
    return list(syllables(canonical)) if field.kind is FieldKind.NAME_ZH else canonical.split(" ")


def _phonetic(field: Field, canonical: str, _n: int) -> _Found:
    if field.kind is FieldKind.NAME_ZH:
        return " ".join(merge_sounds(sound) for sound in syllables(canonical))
    return _coded(canonical, jellyfish.metaphone)


def _soundex(_field: Field, canonical: str, _n: int) -> _Found:
    return _coded(canonical, jellyfish.soundex)


def _coded(canonical: str, code: Callable[[str], str]) -> str:
    """Each word by its sound; numbers and words of other scripts as they are."""
    words = (code(word) if _is_latin(word) else word for word in canonical.split(" "))
    return " ".join(word for word in words if word)


def _is_latin(word: str) -> bool:
    return word.isascii() and word.isalpha()


def _prefix(_field: Field, canonical: str, n: int) -> _Found:
    return canonical[:n] if len(canonical) >= n else None


def _suffix(_field: Field, canonical: str, n: int) -> _Found:
    return canonical[-n:] if len(canonical) >= n else None


def _initial(field: Field, canonical: str, _n: int) -> _Found:
    return syllables(canonical)[0][0] if field.kind is FieldKind.NAME_ZH else canonical[0]


def _family(_field: Field, canonical: str, _n: int) -> _Found:
    return split_name(canonical)[0]


def _given(_field: Field, canonical: str, _n: int) -> _Found:
    return split_name(canonical)[1]


def _year(_field: Field, canonical: str, _n: int) -> _Found:
    return canonical[:YEAR_DIGITS]


def _year_month(_field: Field, canonical: str, _n: int) -> _Found:
    return date_parts(canonical)["year_month"]


def _month_day(_field: Field, canonical: str, _n: int) -> _Found:
    return date_parts(canonical)["month_day"]


def _window(number: int, k: int) -> tuple[str, str]:
    """Two neighbouring buckets of width k + 1: numbers at most k apart share one."""
    bucket = number // (k + 1)
    return f"{bucket}", f"{bucket + 1}"


def _year_window(_field: Field, canonical: str, k: int) -> _Found:
    return _window(int(canonical[:YEAR_DIGITS]), k)


def _month_window(_field: Field, canonical: str, k: int) -> _Found:
    if len(canonical) < MONTH_DIGITS:
        return None
    return _window(int(canonical[:4]) * MONTHS + int(canonical[4:6]), k)


def _day_window(_field: Field, canonical: str, k: int) -> _Found:
    day = ordinal(canonical)
    return None if day is None else _window(day, k)


_TRANSFORMS: Final[dict[str, Callable[[Field, str, int], _Found]]] = {
    "exact": _exact,
    "sorted_words": _sorted_words,
    "each_word": _each_word,
    "phonetic": _phonetic,
    "soundex": _soundex,
    "prefix": _prefix,
    "suffix": _suffix,
    "initial": _initial,
    "family": _family,
    "given": _given,
    "year": _year,
    "year_month": _year_month,
    "month_day": _month_day,
    "year_window": _year_window,
    "month_window": _month_window,
    "day_window": _day_window,
    "level": _level,
}
