"""A schema file as a `Schema`, or as the list of everything that is wrong with it."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, Final

from kinlink_core.encoding._faults import Fault, FaultLog, SchemaError
from kinlink_core.encoding._field_file import read_field
from kinlink_core.encoding._marked_yaml import Item, read_items
from kinlink_core.encoding._reading import Keys
from kinlink_core.encoding._transforms import TRANSFORMS, part_values_max, pass_bits
from kinlink_core.encoding.schema import (
    CAP_DEFAULT,
    DISCLOSURE_FLOOR_DEFAULT,
    LSH_TABLES_MAX,
    PASS_ENTROPY_BITS_MIN,
    SIEVE_FRACTION_DEFAULT,
    THRESHOLD_DEFAULT,
    Field,
    LinkType,
    Part,
    Pass,
    Schema,
    Sides,
)

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES_MAX: Final = 256 * 1024
FIELDS_MAX: Final = 32
TWO_SIDED_FIELDS_MAX: Final = 31
PASSES_MAX: Final = 64
PARTS_MAX: Final = 6
REFINEMENTS_MAX: Final = 4
CAP_MAX: Final = 1000
VALUES_PER_PASS_MAX: Final = 512  # blocking values of one record in one pass
EXPOSURE_CHARACTERS_MIN: Final = 20
FORMAT: Final = "1"

_TRANSFORM: Final = re.compile(r"\s*([a-z_]+)\s*(?:\(([^()]*)\))?\s*\Z")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NUMBER: Final = re.compile(r"[0-9]{1,6}\Z")


# Fields by name; None where the field's own faults leave nothing to check its passes by.
_Fields = dict[str, "Field | None"]


def read_text(path: Path) -> str:
    """The text of a schema file; raises SchemaError if it is missing, too large or not UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise SchemaError(str(path), (Fault(1, "(file)", reason),)) from error
    if len(content) > FILE_BYTES_MAX:
        reason = f"is larger than {FILE_BYTES_MAX // 1024} KiB; is this a schema?"
        raise SchemaError(str(path), (Fault(1, "(file)", reason),))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        reason = "is not UTF-8 text; save it as UTF-8"
        raise SchemaError(str(path), (Fault(line, "(file)", reason),)) from error


def read_schema(text: str, source: str, *, fields_only: bool = False) -> Schema:
    """The schema written in `text`; raises SchemaError with all its faults.

    With `fields_only` passes are neither wanted nor read, and entropies may be missing (0).
    """
    log = FaultLog(source)
    if len(text.encode(errors="replace")) > FILE_BYTES_MAX:
        log.add(1, "(file)", f"is larger than {FILE_BYTES_MAX // 1024} KiB; is this a schema?")
    if _SURROGATE.search(text):
        log.add(1, "(file)", "holds characters that are not Unicode text; save it as UTF-8")
    log.raise_if_any()
    root = read_items(text, log)
    schema = None if root is None else _schema(root, log, fields_only=fields_only)
    log.raise_if_any()
    if schema is None:
        raise SchemaError(source, (Fault(1, "(file)", "holds no schema"),))
    return schema


def _schema(root: Item, log: FaultLog, *, fields_only: bool) -> Schema:
    keys = Keys(root, log, "a schema")
    keys.choice(keys.optional("format"), (FORMAT,), FORMAT)
    name = keys.name(keys.required("name", "name the schema"))
    description = keys.text(keys.optional("description"))
    link_types = tuple(LinkType)
    link_type = keys.choice(keys.optional("link_type"), link_types, LinkType.MANY_TO_MANY)
    threshold_item = keys.optional("threshold_probability")
    threshold = keys.number(threshold_item, 0.0, 1.0, THRESHOLD_DEFAULT)
    floor_item = keys.optional("disclosure_floor_probability")
    floor = keys.number(floor_item, 0.0, 1.0, min(DISCLOSURE_FLOOR_DEFAULT, threshold))
    if floor > threshold:
        at = floor_item or threshold_item or root
        keys.fault(at, "is above threshold_probability: links would never be disclosed")
    field_items = keys.entries(keys.required("fields", "list them"), FIELDS_MAX, "fields")
    sides_item = keys.optional("sides")
    passes_item = keys.optional("passes") if fields_only else keys.required("passes", "list them")
    pass_items = [] if fields_only else keys.entries(passes_item, PASSES_MAX, "passes")
    keys.finish()
    fields = _fields(field_items, log, fields_only=fields_only)
    sides = _sides(sides_item, fields, keys)
    _check_given(field_items, fields, sides, log)
    return Schema(
        name=name,
        fields=tuple(field for field in fields.values() if field is not None),
        passes=_passes(pass_items, fields, log),
        link_type=LinkType(link_type),
        threshold_probability=threshold,
        disclosure_floor_probability=floor,
        description=description,
        sides=sides,
    )


def _sides(item: Item | None, fields: _Fields, keys: Keys) -> Sides | None:
    sets = [f.name for f in fields.values() if f is not None and f.relation is not None]
    if item is None:
        if sets:
            reason = f"is missing; `{sets[0]}` is a level set, and those have two sides"
            keys.log.add(keys.item.line, "sides", reason)
        return None
    read = Keys(item, keys.log, "the two sides")
    name = read.text(read.required("field", "name the field that tells the sides apart"))
    wants = read.text(read.required("wants", "give the code of the side that searches"))
    read.finish()
    field = fields.get(name)
    codes = {code for _, code in field.options.values} if field is not None else set()
    if field is None or field.comparison != "category" or len(codes) != 2 or wants not in codes:  # noqa: PLR2004 - two sides
        read.fault(item, "`field` must be a code with `values` for two codes, `wants` one of them")
    if len(fields) > TWO_SIDED_FIELDS_MAX:
        read.fault(item, f"leaves room for {TWO_SIDED_FIELDS_MAX} fields, not {len(fields)}")
    return Sides(name, wants)


def _fields(items: list[Item], log: FaultLog, *, fields_only: bool) -> _Fields:
    fields: _Fields = {}
    for item in items:
        name, field = read_field(item, log, entropy_wanted=not fields_only)
        if name in fields:
            log.add(item.line, f"{item.path}.name", f"`{name}` is another field's name")
        fields.setdefault(name, field)
    return fields


def _check_given(items: list[Item], fields: _Fields, sides: Sides | None, log: FaultLog) -> None:
    """`u_given` names another scored field; it is for models of which no m is learnt."""
    scored = {
        name: field
        for name, field in fields.items()
        if field is not None and (sides is None or name != sides.field)
    }
    learnt = [name for name, field in scored.items() if field.m is None]
    for item, (name, field) in zip(items, fields.items(), strict=False):
        if field is None or field.u_given is None:
            continue
        at = f"{item.path}.u_given"
        if field.u_given not in scored or field.u_given == name or name not in scored:
            log.add(item.line, at, "must name another field that is scored")
        elif learnt:
            log.add(item.line, at, f"needs `m` of every field; `{learnt[0]}` has none")


def _passes(items: list[Item], fields: _Fields, log: FaultLog) -> tuple[Pass, ...]:
    passes: list[Pass] = []
    tables = 0
    for item in items:
        found = _pass(item, fields, log)
        if any(found.id == other.id for other in passes):
            log.add(item.line, f"{item.path}.id", f"`{found.id}` is another pass's id")
        if found.parts and any(set(found.parts) == set(other.parts) for other in passes):
            log.add(item.line, item.path, "has the parts of another pass; remove one of them")
        tables += sum(int(part.args[1]) for part in found.parts if part.transform == "lsh")
        if tables > LSH_TABLES_MAX:
            reason = f"brings the schema to {tables} LSH tables; at most {LSH_TABLES_MAX} in sum"
            log.add(item.line, item.path, reason)
        passes.append(found)
    return tuple(passes)


def _pass(item: Item, fields: _Fields, log: FaultLog) -> Pass:
    keys = Keys(item, log, "a pass")
    pass_id = keys.name(keys.required("id", "name the pass"))
    parts_hint = "write for example `{family: exact, dob: year}`"
    part_items = _part_items(keys, keys.required("parts", parts_hint), PARTS_MAX)
    refine_items = _part_items(keys, keys.optional("refine"), REFINEMENTS_MAX)
    parts = _parts(part_items, fields, keys)
    refine = _parts(refine_items, fields, keys)
    cap_item = keys.optional("cap")
    cap = keys.whole(cap_item, 2, CAP_MAX, CAP_DEFAULT)
    sieve_max = keys.number(keys.optional("sieve_max"), 0.01, 1.0, SIEVE_FRACTION_DEFAULT)
    exposure_item = keys.optional("exposure")
    exposure = keys.text(exposure_item).strip() or None
    ignores_item = keys.optional("ignores")
    ignores = _ignores(ignores_item, fields, parts, keys)
    keys.optional("description")
    keys.finish()
    if exposure_item is not None and len(exposure or "") < EXPOSURE_CHARACTERS_MIN:
        keys.fault(exposure_item, "must say in a sentence what is exposed and why that is accepted")
    if cap > CAP_DEFAULT and exposure is None:
        reason = f"is above {CAP_DEFAULT}: add `exposure:` with the reason, or lower it"
        keys.fault(cap_item or item, reason)
    _check_parts(keys, fields, parts, len(part_items), refine)
    if len(parts) == len(part_items) and parts and exposure is None:
        _check_entropy(item, keys, pass_bits(fields, parts))
    return Pass(pass_id, parts, cap, refine, sieve_max, exposure, ignores)


def _ignores(
    item: Item | None, fields: _Fields, parts: tuple[Part, ...], keys: Keys
) -> frozenset[str]:
    """The fields that scoring leaves out; a field of the pass's own parts cannot be one."""
    named = frozenset(keys.texts(item, FIELDS_MAX, "fields"))
    for name in sorted(named):
        if name not in fields:
            keys.fault(item or keys.item, f"`{name}` is no field of this schema")
        elif any(part.field == name for part in parts):
            keys.fault(item or keys.item, f"`{name}` is a part of the pass; ignore others")
    if named and fields and named >= set(fields) - {part.field for part in parts}:
        keys.fault(item or keys.item, "leaves nothing to compare; ignore fewer fields")
    return named


def _check_entropy(item: Item, keys: Keys, bits: float) -> None:
    if bits < PASS_ENTROPY_BITS_MIN:
        reason = (
            f"tells about {bits:.1f} bits of a person, below {PASS_ENTROPY_BITS_MIN:g}: add a "
            "part, use finer transforms, or add `exposure:` with the reason"
        )
        keys.fault(item, reason)


def _check_parts(
    keys: Keys, fields: _Fields, parts: tuple[Part, ...], written: int, refine: tuple[Part, ...]
) -> None:
    item = keys.item
    if written and len(set(parts + refine)) != len(parts + refine):
        keys.fault(item, "uses one part twice; remove one")
    several = {part: part_values_max(part, fields[part.field]) for part in (*parts, *refine)}
    if prod(several[part] for part in parts) > VALUES_PER_PASS_MAX:
        reason = f"could give a record more than {VALUES_PER_PASS_MAX} blocking values; drop a set"
        keys.fault(item, reason)
    if any(several[part] > 1 or part.transform == "lsh" for part in refine):
        keys.fault(item, "refines by a transform with several values; use one with a single value")


def _part_items(keys: Keys, item: Item | None, high: int) -> list[tuple[str, Item]]:
    """`{a: exact, b: year}` or `[a: exact, b: year]` as (field name, transform item) pairs."""
    if item is None:
        return []
    mappings = item.value if isinstance(item.value, list) else [item]
    pairs: list[tuple[str, Item]] = []
    for mapping in mappings:
        if isinstance(mapping.value, dict):
            pairs += [pair for pair in mapping.value.items() if not pair[0].endswith(")")]
        else:
            keys.fault(mapping, "must be `field: transform`, such as `dob: year`")
    if not 1 <= len(pairs) <= high:
        keys.fault(item, f"must hold 1 to {high} parts, not {len(pairs)}")
    return pairs[:high]


def _parts(items: list[tuple[str, Item]], fields: _Fields, keys: Keys) -> tuple[Part, ...]:
    found = (_part(name, item, fields, keys) for name, item in items)
    return tuple(part for part in found if part is not None)


def _part(name: str, item: Item, fields: _Fields, keys: Keys) -> Part | None:
    if name not in fields:
        keys.fault(item, f"names no field of this schema; fields: {', '.join(fields)}")
        return None
    text = keys.text(item)
    match = _TRANSFORM.match(text)
    if match is None or match[1] not in TRANSFORMS:
        split = "(" in text and ")" not in text
        hint = 'has a comma inside {…}; quote it: `"lsh(10, 4)"`' if split else ""
        keys.fault(item, hint or f"is no transform; known: {', '.join(TRANSFORMS)}")
        return None
    field = fields[name]
    if field is None:
        return None
    written = [word for word in re.split(r"[,\s]+", match[2] or "") if word]
    return _checked_part(item, keys, field, match[1], written)


def _checked_part(
    item: Item, keys: Keys, field: Field, name: str, written: list[str]
) -> Part | None:
    transform = TRANSFORMS[name]
    if not transform.suits(field):
        suited = ", ".join(key for key, each in TRANSFORMS.items() if each.suits(field))
        reason = f"`{name}` does not suit a field of kind {field.kind}; these do: {suited}"
        keys.fault(item, reason)
        return None
    wanted = transform.arguments
    fits = len(written) == len(wanted) and all(
        _NUMBER.match(word) and argument.low <= int(word) <= argument.high
        for word, argument in zip(written, wanted, strict=True)
    )
    if not fits:
        shape = ", ".join(f"{each.name} from {each.low} to {each.high}" for each in wanted)
        keys.fault(item, f"`{name}` takes {shape or 'no arguments'}")
        return None
    if field.relation is not None and int(written[0]) >= len(field.levels):
        keys.fault(item, f"names level {written[0]} of {len(field.levels)}, counted from 0")
        return None
    return Part(field.name, name, tuple(int(word) for word in written))
