"""Which blocking passes are worth measuring: combinations of one to three parts of a schema.

The set follows from the fields alone, so every office measures the same one. A field gives a few
parts, from fine to coarse; a candidate takes at most one part of a field, and at most one that has
several values. Left out are transforms that tell less than a part beside them (`each_word`,
`soundex`), finer windows and level sets: a user may still write them by hand.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final

from kinlink_core.encoding._transforms import TRANSFORMS, part_values_max
from kinlink_core.encoding.schema import Field, FieldKind, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.schema import Schema

LSH: Final = "lsh"
PARTS_MAX: Final = 3
CANDIDATES_MAX: Final = 10_000
_PARTS: Final[dict[FieldKind, tuple[tuple[str, tuple[int, ...]], ...]]] = {
    FieldKind.NAME: (("exact", ()), ("phonetic", ()), ("prefix", (3,)), ("initial", ())),
    FieldKind.NAME_ZH: (("exact", ()), ("sorted_words", ()), ("phonetic", ()), ("given", ())),
    FieldKind.TEXT: (
        ("exact", ()),
        ("phonetic", ()),
        ("prefix", (4,)),
        ("prefix", (2,)),
        (LSH, (10, 4)),
    ),
    FieldKind.DATE: (
        ("exact", ()),
        ("year_month", ()),
        ("month_day", ()),
        ("year", ()),
        ("year_window", (2,)),
    ),
    FieldKind.CODE: (("exact", ()), ("prefix", (3,))),
    FieldKind.PHONE: (("exact", ()), ("suffix", (6,))),
}


def parts_of(field: Field) -> tuple[Part, ...]:
    """The parts of one field that candidates are made of, from fine to coarse."""
    known = _PARTS.get(field.kind, ())
    made = (Part(field.name, name, arguments) for name, arguments in known)
    return tuple(part for part in made if TRANSFORMS[part.transform].suits(field))


def candidates(schema: Schema) -> tuple[tuple[Part, ...], ...]:
    """The parts of each candidate pass, those of fewer parts first; at most `CANDIDATES_MAX`."""
    found: list[tuple[Part, ...]] = []
    for count in range(1, PARTS_MAX + 1):
        for fields in combinations(schema.fields, count):
            found += _of_fields(fields)
    return tuple(found[:CANDIDATES_MAX])


def _of_fields(fields: tuple[Field, ...]) -> Iterator[tuple[Part, ...]]:
    if not fields:
        yield ()
        return
    for rest in _of_fields(fields[:-1]):
        for part in parts_of(fields[-1]):
            parts = (*rest, part)
            several = [part_values_max(*each) > 1 for each in zip(parts, fields, strict=True)]
            if sum(several) <= 1:
                yield parts


def text_of(parts: tuple[Part, ...]) -> str:
    """A candidate as a schema file writes its parts; names it in files and tables."""
    return ", ".join(map(str, parts))
