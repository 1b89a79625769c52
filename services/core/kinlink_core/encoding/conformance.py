"""The encoding part by part: registries that encode differently learn in what they differ.

Each part is a digest of fixed synthetic input, keyed by the epoch secret, so that the linker can
tell equal from different and nothing else. Parts stand in the order in which they rest on each
other: the first that differs is the cause, the others follow from it.

| part | covers |
|---|---|
| secret | the epoch secret alone |
| traditional, unicode, pinyin, sounds | whole tables, as fields of the schema's kinds use them |
| normalise/FIELD | raw canaries in canonical form, under the field's options |
| sketch/FIELD | tokens and sketch, and the values behind tags |
| blocking/PASS | blocking inputs, before any key server |
| sealing | sieve words, distance tags and sealed pairs |
| key-server/PASS | the key server's answers; absent in plain mode |

The digests do not depend on the schema's fingerprint, so they name what a fingerprint only tells
apart.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

import jellyfish
import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kinlink_core.encoding import chinese, folding, keys, tables
from kinlink_core.encoding.canary import canary_columns, of_both_sides
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.features import tag_values, two_sided
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.membership import island_blocks, island_seeds, prove
from kinlink_core.encoding.prf import Prf
from kinlink_core.encoding.record_tags import RECORD_TAG_BYTES, seal_record_tags
from kinlink_core.encoding.schema import Field, FieldKind, Schema
from kinlink_core.encoding.seal import digest_columns, seal_pairs
from kinlink_core.encoding.sieve import (
    distance_tags,
    open_bits,
    places,
    short_sketches,
    sieve_words,
)
from kinlink_core.encoding.vectors import canary_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kinlink_core.encoding.encode import Column, EncodedBatch
    from kinlink_core.encoding.keys import EpochSecret, Evaluator

PART_BYTES: Final = 16
SECRET: Final = "secret"  # noqa: S105 - a part's name
NORMALISE: Final = "normalise"
SKETCH: Final = "sketch"
BLOCKING: Final = "blocking"
KEY_SERVER: Final = "key-server"
TOLD_MAX: Final = 4

_TITLES: Final = {
    SECRET: "the epoch secret",
    "traditional": "the table of traditional characters",
    "unicode": "Unicode data",
    "pinyin": "the pinyin table",
    "sounds": "phonetic codes",
}
_FAMILIES: Final = {
    NORMALISE: "the reading of field",
    SKETCH: "the sketch of field",
    BLOCKING: "blocking pass",
    KEY_SERVER: "the key server's key of pass",
}

# In canonical form whatever the tables are, so that one part's fault does not show in another.
_CANONICAL: Final[dict[FieldKind, tuple[str, ...]]] = {
    FieldKind.NAME: ("jose angstrom", "oneill smith", "catherine wright", "lukasz"),
    FieldKind.NAME_ZH: ("张伟", "欧阳修", "单于丹", "gu ning ning"),
    FieldKind.TEXT: ("12 3 long st apt 4", "西安市碑林区长安路1号", "strasse 9", "unit 7"),
    FieldKind.DATE: ("19881017", "198602", "1988", "20000229"),
    FieldKind.CODE: ("610103", "F", "AB123", "M"),
    FieldKind.PHONE: ("13912345678", "02987654321", "8613912345678", "0299990000"),
    FieldKind.LEVEL_SET: ("1988", "1986", "2000", "1970"),
}
_ROWS: Final = 4
_PAIR_KEY: Final = b"conformance pair key".ljust(keys.KEY_BYTES, b".")
_NULL_KEY: Final = b"conformance null key".ljust(keys.KEY_BYTES, b".")


@dataclass(frozen=True)
class Epoch:
    """What the digests are keyed by."""

    federation: str
    secret: EpochSecret = field(repr=False)

    def key(self) -> bytes:
        """Key of all digests; 32 bytes."""
        info = keys.lp(
            b"kinlink/v1 conformance", self.federation.encode(), self.secret.epoch.encode()
        )
        return HKDF(hashes.SHA256(), keys.KEY_BYTES, None, info).derive(self.secret.secret)

    def schedule(self) -> keys.KeySchedule:
        """Keys for sketches and bands that are the same whatever the fingerprint is."""
        context = keys.Context(
            keys.MODE_PLAIN, self.federation, self.secret.epoch, fingerprint="conformance"
        )
        return keys.KeySchedule(context, self.secret)


def parts(
    schema: Schema, epoch: Epoch, *, key_server: tuple[Encoder, Evaluator] | None = None
) -> dict[str, bytes]:
    """The digest of each part, in their order; 16 bytes each.

    Args:
        schema: whose kinds, fields and passes are looked at.
        epoch: what the digests are keyed by.
        key_server: the epoch's own encoder, and who evaluates the canaries of its mode.
    """
    key = epoch.key()
    encoder = Encoder(schema, epoch.schedule())
    columns: dict[str, Column] = {each.name: _canonical(each) for each in schema.fields}
    columns |= of_both_sides(schema, _ROWS)
    batch = encoder.encode(columns)
    content = {SECRET: b"", **_tables(schema), **_readings(schema)}
    content |= _sketches(schema, columns, batch)
    content |= {
        f"{BLOCKING}/{each.pass_id}": keys.lp(*each.inputs, each.input_index.tobytes())
        for each in encoder.blocking_inputs(columns)
    }
    content["sealing"] = _sealing(schema, columns, batch)
    if key_server is not None:
        content |= _evaluations(schema, *key_server)
    return {
        name: keys.expand(key, keys.lp(name.encode(), hashlib.sha256(part).digest()), PART_BYTES)
        for name, part in content.items()
    }


def _canonical(field_: Field) -> Column:
    if field_.vector is not None:
        return [*canary_vectors(field_.vector, _ROWS)]
    return [*_CANONICAL[field_.kind]]


def _tables(schema: Schema) -> dict[str, bytes]:
    kinds = {each.kind for each in schema.fields}
    found = {"traditional": folding.simplified_table(), "unicode": folding.folded_characters()}
    if FieldKind.NAME_ZH in kinds:
        found["pinyin"] = chinese.probe().encode()
    if kinds & {FieldKind.NAME, FieldKind.TEXT}:
        sounds = [
            word for each in tables.SOUND_PROBE
            for word in (jellyfish.metaphone(each), jellyfish.soundex(each))
        ]  # fmt: skip
        found["sounds"] = " ".join(sounds).encode()
    return found


def _readings(schema: Schema) -> dict[str, bytes]:
    columns = canary_columns(schema)
    return {
        f"{NORMALISE}/{each.name}": _json([asdict(each.options), columns[each.name]])
        for each in schema.fields
    }


def _sketches(schema: Schema, columns: dict[str, Column], batch: EncodedBatch) -> dict[str, bytes]:
    found = split_fixed(schema, batch.fixed)
    sketched = [each.name for each in schema.fields if each.has_sketch]
    vectors = [each.name for each in schema.fields if each.vector is not None]
    sketches = dict(zip(sketched, np.moveaxis(found.sketches, 1, 0), strict=True))
    sketches |= dict(zip(vectors, np.moveaxis(found.vectors, 1, 0), strict=True))
    sided = two_sided(schema, [columns[each.name] for each in schema.fields])
    return {
        f"{SKETCH}/{each.name}": _json([each.comparison, _tags(each, column)])
        + (sketches[each.name].tobytes() if each.name in sketches else b"")
        for each, column in zip(schema.fields, sided, strict=True)
    }


def _tags(field_: Field, column: Column) -> list[list[str | None]]:
    by_value = [tag_values(field_, value or "") for value in column]
    return [list(values) for values in zip(*by_value, strict=True)]


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=True).encode()


def _sealing(schema: Schema, columns: dict[str, Column], batch: EncodedBatch) -> bytes:
    digests = digest_columns(schema, [columns[each.name] for each in schema.fields])
    blocking_keys = np.arange(_ROWS * keys.KEY_BYTES, dtype=np.uint8).reshape(_ROWS, -1)
    islands = island_seeds(Prf(keys.membership_key(_PAIR_KEY)), blocking_keys)
    blocks = island_blocks(islands)
    prf = Prf(keys.draw_key(_PAIR_KEY))
    seeds = prf.pairs(blocks, blocks, blocks)
    sealed = seal_pairs(schema, seeds, batch.fixed, digests, _NULL_KEY)
    records = split_fixed(schema, batch.fixed).record_sketch
    positions = open_bits(schema, schema.passes[0])
    words = sieve_words(seeds, short_sketches(records, places(prf.islands(blocks), positions)))
    tags = distance_tags(seeds, words, of_left=True)
    names = np.zeros((_ROWS, RECORD_TAG_BYTES), np.uint8)
    shown = words.astype("<u8").tobytes() + tags.astype("<u4").tobytes()
    shown += seal_record_tags(seeds, names, of_left=True).tobytes()
    shown += prove(islands, np.arange(1, _ROWS + 1), 1, of_left=True).tobytes()
    return shown + b"".join(
        b"" if column is None else column.tobytes()
        for each in sealed.fields
        for column in (each.presence, each.sketch, each.tags)
    )


def _evaluations(schema: Schema, encoder: Encoder, evaluator: Evaluator) -> dict[str, bytes]:
    return {
        f"{KEY_SERVER}/{each.pass_id}": keys.lp(*evaluator.evaluate(each.pass_id, each.inputs))
        for each in encoder.blocking_inputs(canary_columns(schema))
    }


def differing(left: Mapping[str, object], right: Mapping[str, object]) -> list[str]:
    """Names of the parts that two sides do not share, causes first."""
    names = dict.fromkeys([*left, *right])
    return [name for name in names if left.get(name) != right.get(name)]


def told(names: Sequence[str]) -> str:
    """Names of parts in words for a sentence; the first few of many."""
    titles = [_title(name) for name in names[:TOLD_MAX]]
    more = len(names) - len(titles)
    return ", ".join(titles) + (f" and {more} more" if more > 0 else "")


def _title(name: str) -> str:
    family, _, of = name.partition("/")
    return f"{_FAMILIES[family]} {of}" if family in _FAMILIES else _TITLES.get(name, name)
