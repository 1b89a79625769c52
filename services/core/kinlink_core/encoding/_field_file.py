"""The `fields` of a schema file: kinds, columns, entropy, reading options and comparison levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kinlink_core.encoding._level_set_file import read_level_set
from kinlink_core.encoding._reading import Keys
from kinlink_core.encoding.folding import canonical_code, fold_marker
from kinlink_core.encoding.schema import (
    CATEGORY_TAGS,
    DATE_TAGS,
    Field,
    FieldKind,
    FieldOptions,
    Level,
    Vector,
)
from kinlink_core.encoding.vectors import COMPONENT_MAX, DIMENSIONS_MAX, MODEL_CHARACTERS_MAX

if TYPE_CHECKING:
    from kinlink_core.encoding._faults import FaultLog
    from kinlink_core.encoding._marked_yaml import Item

COLUMNS_MAX: Final = 16
LEVELS_MAX: Final = 8
NULL_VALUES_MAX: Final = 100
CODE_VALUES_MAX: Final = 1000
LENGTHS_MAX: Final = 16
CODE_LENGTH_MAX: Final = 64
ENTROPY_BITS_MAX: Final = 64.0
YEAR_LAST: Final = 9999
M_MIN: Final = 1e-6
M_SUM_ERROR_MAX: Final = 0.005
DISTANCE_MAX: Final = 0.49  # unrelated sketches differ in half of their bits
DIMENSIONS_MIN: Final = 16
QUALITY_MIN_DEFAULT: Final = 0.5  # of the length 1 that vectors without a quality have
WEIGHT_MIN: Final = 0.1
WEIGHT_MAX: Final = 64.0

COMPARISONS: Final[dict[FieldKind, tuple[str, ...]]] = {
    FieldKind.NAME: ("sketch", "category"),
    FieldKind.NAME_ZH: ("sketch", "category"),
    FieldKind.TEXT: ("sketch", "category"),
    FieldKind.DATE: ("date", "sketch", "category"),
    FieldKind.CODE: ("category", "sketch"),
    FieldKind.PHONE: ("sketch", "category"),
    FieldKind.LEVEL_SET: ("level_set",),
    FieldKind.VECTOR: ("vector",),
}

ENTROPY_BITS: Final[dict[FieldKind, float]] = {
    FieldKind.NAME: 10.0,
    FieldKind.NAME_ZH: 13.0,
    FieldKind.TEXT: 12.0,
    FieldKind.DATE: 14.0,
    FieldKind.PHONE: 20.0,
    FieldKind.VECTOR: 20.0,
}

SKETCH_LEVELS: Final = (
    Level("same", 0.0),
    Level("very close", 0.18),
    Level("close", 0.28),
    Level("similar", 0.36),
)
LEVELS: Final[dict[str, tuple[Level, ...]]] = {
    "sketch": SKETCH_LEVELS,
    "category": (Level("equal", tag="equal"),),
    "date": (
        Level("same day", tag="day"),
        Level("day and month swapped", tag="swapped"),
        Level("one digit off, or the same partial date", 0.23),
        Level("same month of the year", tag="year_month"),
        Level("same birthday, another year", tag="month_day"),
        Level("same year", tag="year"),
    ),
}

_ORDERS: Final = ("ymd", "dmy", "mdy")
_OPTION_KINDS: Final[dict[str, tuple[FieldKind, ...]]] = {
    "null_values": tuple(FieldKind),
    "blank_faults": tuple(FieldKind),
    "honorifics": (FieldKind.NAME, FieldKind.NAME_ZH),
    "order": (FieldKind.DATE,),
    "year_min": (FieldKind.DATE,),
    "year_max": (FieldKind.DATE,),
    "keep_impossible": (FieldKind.DATE,),
    "length": (FieldKind.CODE,),
    "values": (FieldKind.CODE,),
    "country": (FieldKind.PHONE,),
}


def read_field(
    item: Item, log: FaultLog, *, entropy_wanted: bool = True
) -> tuple[str, Field | None]:
    """One entry of `fields`: its name, and the field unless it has no kind to read it by.

    Where no entropy is wanted, kinds without a default may leave it out; it is 0 then.
    """
    keys = Keys(item, log, "a field")
    name = keys.name(keys.required("name", "name the field"))
    kinds = tuple(FieldKind)
    kind_item = keys.required("kind", f"choose one of: {', '.join(kinds)}")
    kind_text = keys.choice(kind_item, kinds, "")
    if not kind_text:
        return name, None
    kind = FieldKind(kind_text)
    columns = keys.texts(keys.optional("columns"), COLUMNS_MAX, "columns") or (name,)
    comparison = keys.choice(keys.optional("comparison"), COMPARISONS[kind], COMPARISONS[kind][0])
    if kind is FieldKind.LEVEL_SET:
        relation, levels = read_level_set(keys)
    else:
        relation, levels = None, _levels(keys, comparison)
    weight_item = keys.optional("weight_max")
    weight_max = keys.number(weight_item, WEIGHT_MIN, WEIGHT_MAX, WEIGHT_MAX)
    field = Field(
        name=name,
        kind=kind,
        columns=columns,
        entropy_bits=_entropy(keys, kind, wanted=entropy_wanted),
        levels=levels,
        comparison=comparison,
        options=_options(keys, kind),
        optional=keys.boolean(keys.optional("optional"), default=False),
        relation=relation,
        m=_m(keys, len(levels) + 1),
        u_given=keys.text(keys.optional("u_given")) or None,
        weight_max=None if weight_item is None else weight_max,
        vector=_vector(keys) if kind is FieldKind.VECTOR else None,
    )
    keys.optional("description")
    keys.finish()
    return name, field


def _vector(keys: Keys) -> Vector:
    model_item = keys.required("model", "name the model of the vectors, as the cells do")
    model = keys.text(model_item).strip()
    if model_item is not None and (" " in model or not 1 <= len(model) <= MODEL_CHARACTERS_MAX):
        keys.fault(model_item, f"must be 1 to {MODEL_CHARACTERS_MAX} characters without a space")
    size_item = keys.required("dimensions", "say how many numbers a vector has")
    size = keys.whole(size_item, DIMENSIONS_MIN, DIMENSIONS_MAX, DIMENSIONS_MIN)
    quality_item = keys.optional("quality_min")
    quality = keys.number(quality_item, 1 / COMPONENT_MAX, COMPONENT_MAX, QUALITY_MIN_DEFAULT)
    return Vector(model, size, quality)


def _m(keys: Keys, count: int) -> tuple[float, ...] | None:
    item = keys.optional("m")
    if item is None:
        return None
    found = tuple(
        keys.number(each, M_MIN, 1.0, 1.0) for each in keys.entries(item, LEVELS_MAX + 1, "numbers")
    )
    if len(found) != count or abs(sum(found) - 1) > M_SUM_ERROR_MAX:
        keys.fault(
            item, f"must be {count} probabilities that add up to 1, one a level and the rest"
        )
        return None
    return tuple(each / sum(found) for each in found)


def _entropy(keys: Keys, kind: FieldKind, *, wanted: bool) -> float:
    default = ENTROPY_BITS.get(kind, 0.0)
    if default or not wanted:
        item = keys.optional("entropy_bits")
    else:
        hint = "write log2 of the number of about equally frequent values, such as 1 for sex"
        item = keys.required("entropy_bits", hint)
    return keys.number(item, 0.0, ENTROPY_BITS_MAX, default)


def _levels(keys: Keys, comparison: str) -> tuple[Level, ...]:
    if comparison == "vector":
        item = keys.required("levels", "list them: what is near depends on the model")
    else:
        item = keys.optional("levels")
    if item is None:
        return LEVELS.get(comparison, ())
    tags = {"category": CATEGORY_TAGS, "date": DATE_TAGS}.get(comparison, ())
    sketched = comparison != "category"
    levels: list[Level] = []
    for entry in keys.entries(item, LEVELS_MAX, "levels"):
        level = _level(entry, keys.log, tags, sketched=sketched)
        if any(level.label == other.label for other in levels):
            keys.fault(entry, "has the label of another level; give it its own")
        distances = [e.max_distance for e in levels if e.max_distance is not None]
        if level.max_distance is not None and distances and level.max_distance <= distances[-1]:
            keys.fault(entry, "can never hold: its max_distance must be above the one before")
        if level.tag is not None and any(level.tag == other.tag for other in levels):
            keys.fault(entry, "repeats the tag of another level; remove it")
        levels.append(level)
    return tuple(levels)


def _level(item: Item, log: FaultLog, tags: tuple[str, ...], *, sketched: bool) -> Level:
    keys = Keys(item, log, "a level")
    label = keys.text(keys.required("label", "say what the level means"))
    distance_item = keys.optional("max_distance")
    tag_item = keys.optional("tag")
    keys.finish()
    if (distance_item is None) == (tag_item is None):
        keys.fault(item, "needs either `max_distance` or `tag`")
    if tag_item is not None:
        if not tags:
            keys.fault(tag_item, "has no meaning for a sketch; use `max_distance`")
            return Level(label, 0.0)
        return Level(label, tag=keys.choice(tag_item, tags, tags[0]))
    if distance_item is not None and not sketched:
        keys.fault(distance_item, "has no meaning for a category; use `tag: equal`")
    return Level(label, keys.number(distance_item, 0.0, DISTANCE_MAX, 0.0))


def _options(keys: Keys, kind: FieldKind) -> FieldOptions:
    item = keys.optional("normalise")
    if item is None:
        return FieldOptions()
    read = Keys(item, keys.log, "how values are read")
    for option, kinds in _OPTION_KINDS.items():
        found = item.value.get(option) if isinstance(item.value, dict) else None
        if found is not None and kind not in kinds:
            suited = ", ".join(kinds)
            read.fault(found, f"does not suit a field of kind {kind}; it is for {suited}")
    nulls = read.optional("null_values")
    options = FieldOptions(
        null_values=None if nulls is None else _null_values(read, nulls),
        honorifics=read.boolean(read.optional("honorifics"), default=False),
        order=read.choice(read.optional("order"), _ORDERS, "ymd"),
        year_min=read.whole(read.optional("year_min"), 1, YEAR_LAST, FieldOptions.year_min),
        year_max=read.whole(read.optional("year_max"), 1, YEAR_LAST, FieldOptions.year_max),
        keep_impossible=read.boolean(read.optional("keep_impossible"), default=False),
        lengths=_lengths(read),
        values=_values(read),
        country=_country(read),
        blank_faults=read.boolean(read.optional("blank_faults"), default=False),
    )
    if options.year_min > options.year_max:
        read.fault(item, "has a year_min after its year_max")
    read.finish()
    return options


def _null_values(keys: Keys, item: Item) -> tuple[str, ...]:
    if item.value == []:
        return ()
    return tuple(sorted(map(fold_marker, keys.texts(item, NULL_VALUES_MAX, "texts"))))


def _lengths(keys: Keys) -> tuple[int, ...]:
    entries = keys.entries(keys.optional("length"), LENGTHS_MAX, "lengths")
    return tuple(sorted({keys.whole(entry, 1, CODE_LENGTH_MAX, 1) for entry in entries}))


def _country(keys: Keys) -> str:
    item = keys.optional("country")
    found = keys.text(item).removeprefix("+")
    if item is not None and not (found.isascii() and found.isdigit() and len(found) <= len("000")):
        keys.fault(item, 'must be a country code of 1 to 3 digits, such as "86"')
    return found


def _values(keys: Keys) -> tuple[tuple[str, str], ...]:
    """Pairs (raw text as `fold_marker` leaves it, canonical code), from `CODE: [raw, raw]`."""
    item = keys.optional("values")
    if item is None:
        return ()
    read = Keys(item, keys.log, "codes and the texts that mean them")
    pairs: dict[str, str] = {}
    for code in item.value if isinstance(item.value, dict) else ():
        entry = read.optional(code)
        canonical = canonical_code(code)
        if not canonical:
            read.fault(entry or item, "must be a code of letters and digits")
        for raw in (code, *read.texts(entry, CODE_VALUES_MAX, "texts")):
            marker = fold_marker(raw)
            if pairs.setdefault(marker, canonical) != canonical:
                read.fault(entry or item, f"takes a text that {pairs[marker]} has; keep one")
    return tuple(sorted(pairs.items()))
