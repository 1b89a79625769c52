"""Do two registries encode alike? A fixed synthetic record set under the live key, as one digest.

Equal digests mean one epoch secret and one behaviour of normalisation, sketches and blocking. The
digest shows neither: it is keyed by the epoch secret.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.keys import KeySchedule, expand
from kinlink_core.encoding.normalize import normalize_column
from kinlink_core.encoding.schema import FieldKind
from kinlink_core.encoding.vectors import canary_vectors

if TYPE_CHECKING:
    from kinlink_core.encoding.encode import Column
    from kinlink_core.encoding.keys import Evaluator
    from kinlink_core.encoding.schema import Field, Schema

CANARY_BYTES = 16
_VECTORS = 4

# Values that drift shows itself in: accents, width, variants, polyphones, date orders.
_CANARIES: dict[FieldKind, tuple[str, ...]] = {
    FieldKind.NAME: ("José Ångström", "O’Neill-SMITH", "ｍａｒｉａ  de la Cruz", "Łukasz"),
    FieldKind.NAME_ZH: ("張偉", "张伟", "欧阳修", "单于", "Gu Ningning"),
    FieldKind.TEXT: ("12/3 Long St., Apt. 4", "西安市碑林區長安路１號", "Straße 9", "unit 7"),
    FieldKind.DATE: ("1988-10-17", "1986-02", "1988", "2000-02-29"),
    FieldKind.CODE: ("610103", "f", "Ab-12 3", "M"),
    FieldKind.PHONE: ("+86 139 1234 5678", "029-8765 4321", "13912345678", "(02) 9999 0000"),
    # Every relation reads a number of four digits.
    FieldKind.LEVEL_SET: ("1988", "1986", "2000", "1970"),
}


def canary_columns(schema: Schema) -> dict[str, Column]:
    """The canaries in canonical form, one list a field; a key server evaluates them too."""
    rows = max(len(values) for values in _CANARIES.values())
    columns = {field.name: _column(field, rows) for field in schema.fields}
    return columns | of_both_sides(schema, rows)


def of_both_sides(schema: Schema, rows: int) -> dict[str, Column]:
    """The column that tells sides apart, in turns; nothing without sides."""
    if schema.sides is None:
        return {}
    codes = schema.side_codes
    return {schema.sides.field: [codes[row % len(codes)] for row in range(rows)]}


def canary_digest(
    schema: Schema, schedule: KeySchedule, evaluator: Evaluator | None = None
) -> bytes:
    """Digest of the canaries under the live key; 16 bytes.

    In key-server mode it also tells whether two registries are answered under the same keys.
    """
    batch = Encoder(schema, schedule).encode(canary_columns(schema), evaluator)
    parts = split_fixed(schema, batch.fixed)
    digest = hashlib.sha256(parts.present.tobytes() + parts.sketches.tobytes())
    digest.update(parts.vectors.tobytes())
    for part in (batch.blocking.pass_index, batch.blocking.level, batch.blocking.token):
        digest.update(part.tobytes())
    return expand(schedule.derive(b"canary"), digest.digest(), CANARY_BYTES)


def _column(field: Field, rows: int) -> list[str | None]:
    values = (
        _CANARIES[field.kind] if field.vector is None else canary_vectors(field.vector, _VECTORS)
    )
    repeated = [values[row % len(values)] for row in range(rows)]
    return list(normalize_column(field, repeated).values)
