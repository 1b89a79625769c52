"""What a federation agrees to compare: fields, comparison levels and blocking passes.

A schema is written by hand as YAML or JSON (`load_schema`), checked as a whole, and then never
changes: everything in it is frozen. Its `fingerprint` is what two offices must share before a
record flows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kinlink_core.encoding._faults import Fault, SchemaError

if TYPE_CHECKING:
    from kinlink_core.encoding.level_sets import Relation

__all__ = [
    "CAP_DEFAULT",
    "DISCLOSURE_FLOOR_DEFAULT",
    "LSH_TABLES_MAX",
    "PASS_ENTROPY_BITS_MIN",
    "SAMPLE_BITS",
    "SIEVE_FRACTION_DEFAULT",
    "SKETCH_BITS",
    "THRESHOLD_DEFAULT",
    "VECTOR_BITS",
    "VECTOR_SAMPLE_BITS",
    "Fault",
    "Field",
    "FieldKind",
    "FieldOptions",
    "Level",
    "LinkType",
    "Part",
    "Pass",
    "Schema",
    "SchemaError",
    "Sides",
    "Vector",
    "load_fields",
    "load_schema",
    "packaged_schema",
    "parse_schema",
]

SKETCH_BITS: Final = 2048
SAMPLE_BITS: Final = 128  # one bit of each two sketch bytes
VECTOR_BITS: Final = 4096
# One bit of each two. Were it more than half, the exact distance would tell pairs apart.
VECTOR_SAMPLE_BITS: Final = 2048

CAP_DEFAULT: Final = 12
LSH_TABLES_MAX: Final = 8
PASS_ENTROPY_BITS_MIN: Final = 16.0
SIEVE_FRACTION_DEFAULT: Final = 0.40
THRESHOLD_DEFAULT: Final = 0.5
DISCLOSURE_FLOOR_DEFAULT: Final = 0.01

CATEGORY_TAGS: Final = ("equal",)
DATE_TAGS: Final = ("day", "year_month", "month_day", "year", "swapped")


class FieldKind(StrEnum):
    """How a field's values are normalised and turned into features."""

    NAME = "name"
    NAME_ZH = "name_zh"
    TEXT = "text"
    DATE = "date"
    CODE = "code"
    PHONE = "phone"
    LEVEL_SET = "level_set"
    VECTOR = "vector"


class LinkType(StrEnum):
    """How many records of one registry may be the same person as one record of another."""

    MANY_TO_MANY = "many_to_many"
    ONE_TO_ONE = "one_to_one"


@dataclass(frozen=True)
class Level:
    """One step of a comparison; the first level that holds, from the top, is the one scored.

    A sketch level holds where the sampled Hamming fraction is at most `max_distance`; a tag level
    where both sides hold the same value of `tag`, or, of a level set, share `shared` slots.
    Missing on either side and "none of these" are implied.
    """

    label: str
    max_distance: float | None = None
    tag: str | None = None
    shared: int = 1


@dataclass(frozen=True)
class Vector:
    """Which embeddings a field compares: those of one model, which is never compared with another.

    `quality_min` is the least length of an embedding: models that tell quality do so by length
    (Meng et al., MagFace, CVPR 2021); of others it leaves out what is close to nothing.
    """

    model: str
    dimensions: int
    quality_min: float


@dataclass(frozen=True)
class FieldOptions:
    """How raw values of a field are read; each option belongs to some kinds only.

    Attributes:
        null_values: Texts that mean "missing", instead of the default list of `normalize`.
        honorifics: For names, whether titles (Mr, Dr, 先生) are kept.
        order: For dates, the order of day, month and year where the year is not first.
        year_min: For dates, the first year that is believed.
        year_max: For dates, the last year that is believed.
        keep_impossible: For dates, whether 1988-21-03 stands as it is, so that a typing error can
            still be compared, instead of being a fault.
        lengths: For codes, the allowed lengths; empty allows any.
        values: For codes, (raw text, canonical code) pairs; when given, other texts are faults.
        country: For phones, the country code to strip, digits only.
        blank_faults: Whether a value that cannot be read counts as missing, not as a fault.
    """

    null_values: tuple[str, ...] | None = None
    honorifics: bool = False
    order: str = "ymd"
    year_min: int = 1
    year_max: int = 2199
    keep_impossible: bool = False
    lengths: tuple[int, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    country: str = ""
    blank_faults: bool = False


@dataclass(frozen=True)
class Field:
    """One thing that is compared, read from `columns` (joined by a space) of an office's table.

    `entropy_bits` is what the field's author believes a value tells about a person: log2 of the
    number of about equally frequent values. Passes are refused by it (`PASS_ENTROPY_BITS_MIN`).
    `relation` is what a level set compares. `m` is how often each level holds among matches, the
    last for none of them, where that is known before any pair is seen; training keeps it. Among
    strangers a field may depend on another one; its u is then counted by the levels of `u_given`.
    `weight_max` is the most that an agreement may add to a match weight, in bits. `vector` is what
    a field of that kind takes.
    """

    name: str
    kind: FieldKind
    columns: tuple[str, ...]
    entropy_bits: float
    levels: tuple[Level, ...]
    comparison: str
    options: FieldOptions = field(default_factory=FieldOptions)
    optional: bool = False
    relation: Relation | None = None
    m: tuple[float, ...] | None = None
    u_given: str | None = None
    weight_max: float | None = None
    vector: Vector | None = None

    @property
    def has_sketch(self) -> bool:
        """Whether a similarity sketch of the value's tokens is made; vectors have their own."""
        return self.comparison not in {"category", "level_set", "vector"}

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sealed sketch; 0 where nothing of a sketch is sealed."""
        if self.vector is not None:
            return VECTOR_SAMPLE_BITS // 8
        return SAMPLE_BITS // 8 if self.has_sketch else 0

    def list_of(self, level: int) -> int:
        """Which list of its relation a level of a level set looks at."""
        return int(self.levels[level].tag or 0)

    @property
    def tags(self) -> tuple[str, ...]:
        """The names of the 8-byte equality tags of a sealed value."""
        if self.comparison == "category":
            return CATEGORY_TAGS
        if self.relation is not None:
            return tuple(
                f"{level} {side} {number}"
                for level, width in enumerate(self.relation.widths)
                for side, count in (("wants", width.wants), ("shows", width.shows))
                for number in range(count)
            )
        return DATE_TAGS if self.comparison == "date" else ()


@dataclass(frozen=True)
class Part:
    """One field's share of a blocking value, for example `dob: year_window(2)`."""

    field: str
    transform: str
    args: tuple[int | str, ...] = ()

    def __str__(self) -> str:
        """The part as a schema file writes it."""
        arguments = f"({', '.join(str(arg) for arg in self.args)})" if self.args else ""
        return f"{self.field}: {self.transform}{arguments}"


@dataclass(frozen=True)
class Pass:
    """One way for two records to become candidates: all `parts` equal, at most `cap` records.

    Islands above the cap are refined by `refine`, one part more a level. `sieve_max` is the largest
    fraction of the 64 sieve bits in which two records may differ and still be sealed. `exposure` is
    why the federation accepts a pass that is coarser or larger than the defaults. Scoring leaves
    out the fields that it `ignores`: a pass that looks for the renamed holds no name against them.
    """

    id: str
    parts: tuple[Part, ...]
    cap: int = CAP_DEFAULT
    refine: tuple[Part, ...] = ()
    sieve_max: float = SIEVE_FRACTION_DEFAULT
    exposure: str | None = None
    ignores: frozenset[str] = frozenset()

    @property
    def fixed_fields(self) -> frozenset[str]:
        """The fields whose whole value is equal for every pair of this pass."""
        return frozenset(part.field for part in self.parts if part.transform == "exact")


@dataclass(frozen=True)
class Sides:
    """Who is compared with whom: records whose code in `field` is `wants` with all others."""

    field: str
    wants: str


@dataclass(frozen=True)
class Schema:
    """A checked schema; build it by `load_schema` or `parse_schema`."""

    name: str
    fields: tuple[Field, ...]
    passes: tuple[Pass, ...]
    link_type: LinkType = LinkType.MANY_TO_MANY
    threshold_probability: float = THRESHOLD_DEFAULT
    disclosure_floor_probability: float = DISCLOSURE_FLOOR_DEFAULT
    description: str = ""
    sides: Sides | None = None

    @cached_property
    def _fields_by_name(self) -> dict[str, Field]:
        return {each.name: each for each in self.fields}

    @cached_property
    def _pass_indices(self) -> dict[str, int]:
        return {each.id: index for index, each in enumerate(self.passes)}

    @property
    def side_codes(self) -> tuple[str, ...]:
        """The codes of the two sides, in order; none without sides."""
        if self.sides is None:
            return ()
        values = self.field(self.sides.field).options.values
        return tuple(sorted({code for _, code in values}))

    @property
    def unscored(self) -> frozenset[str]:
        """The field that tells the sides apart: it says who is compared, and nothing of a pair."""
        return frozenset() if self.sides is None else frozenset({self.sides.field})

    def field(self, name: str) -> Field:
        """The field called `name`; raises KeyError."""
        return self._fields_by_name[name]

    def pass_index(self, pass_id: str) -> int:
        """The position of the pass called `pass_id`; raises KeyError."""
        return self._pass_indices[pass_id]

    @property
    def lsh_tables(self) -> int:
        """LSH tables of all passes together."""
        parts = (part for each in self.passes for part in each.parts if part.transform == "lsh")
        return sum(int(part.args[1]) for part in parts)

    def fingerprint(self) -> str:
        """Hex SHA-256 over all that decides which values encode alike.

        In it: the tables and versions of normalisation and features (of the kinds in use), the
        fields with their reading and comparison, the passes with their transforms and refinements.
        Not in it: names of columns, levels, entropy, caps, sieves, ignored fields, thresholds,
        largest weights, link type, so tuning does not re-key a federation.
        """
        from kinlink_core.encoding.tables import tables_digest

        kinds = sorted({each.kind.value for each in self.fields})
        content = {
            "format": "kinlink-schema/1",
            "sketch": [SKETCH_BITS, SAMPLE_BITS],
            "tables": tables_digest(tuple(kinds)),
            "fields": [
                [each.name, each.kind.value, each.comparison, asdict(each.options)]
                for each in self.fields
            ],
            **self._two_sided(),
            **self._vectors(),
            "passes": [
                [each.id, [str(part) for part in each.parts], [str(part) for part in each.refine]]
                for each in self.passes
            ],
        }
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def _two_sided(self) -> dict[str, object]:
        """What of sides and level sets decides how values encode; nothing for most schemas."""
        if self.sides is None:
            return {}
        relations = {
            each.name: [type(each.relation).__name__, repr(each.relation)]
            for each in self.fields
            if each.relation is not None
        }
        return {"sides": asdict(self.sides), "relations": relations}

    def _vectors(self) -> dict[str, object]:
        """Which embeddings are compared, and how; nothing for most schemas."""
        found = {each.name: asdict(each.vector) for each in self.fields if each.vector is not None}
        return {"vectors": [VECTOR_BITS, VECTOR_SAMPLE_BITS, found]} if found else {}


def parse_schema(text: str, *, source: str) -> Schema:
    """Read a schema from YAML or JSON text; `source` names it in faults.

    Raises:
        SchemaError: With every fault of the text, each with its line and what to do.
    """
    from kinlink_core.encoding._schema_file import read_schema

    return read_schema(text, source)


def load_schema(path: Path) -> Schema:
    """Read a schema file (UTF-8 YAML or JSON).

    Raises:
        SchemaError: With every fault of the file, or with one if it cannot be read at all.
    """
    from kinlink_core.encoding._schema_file import read_text

    return parse_schema(read_text(path), source=str(path))


def load_fields(path: Path) -> Schema:
    """Read a schema file whose passes are yet to be found: it has none, whatever the file says.

    Fields may leave out `entropy_bits`; it is 0 where the kind has no default.

    Raises:
        SchemaError: With every fault of the file beside its passes.
    """
    from kinlink_core.encoding._schema_file import read_schema, read_text

    return read_schema(read_text(path), str(path), fields_only=True)


def packaged_schema(name: str) -> Path:
    """The path of a schema that ships with Kinlink, such as `person`."""
    return Path(__file__).parent / "schemas" / f"{name}.yaml"
