"""Encoding v1 is frozen: these vectors fail when any byte of it moves.

Print a new file with `python tests/golden/test_encoding_vectors.py`; commit it only beside a new
encoding version.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kinlink_core.encoding import chance, keys, membership
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.normalize import normalize_column
from kinlink_core.encoding.prf import Prf
from kinlink_core.encoding.record_tags import seal_record_tags
from kinlink_core.encoding.schema import parse_schema
from kinlink_core.encoding.seal import digest_columns, seal_pairs
from kinlink_core.encoding.sieve import (
    distance_tags,
    open_bits,
    places,
    short_sketches,
    sieve_words,
)

VECTORS = Path(__file__).parent / "encoding_v1.json"
SCHEMA_TEXT = """
name: golden
fields:
  - {name: name, kind: name_zh}
  - {name: latin, kind: name, entropy_bits: 12}
  - {name: dob, kind: date}
  - {name: address, kind: text}
  - {name: sex, kind: code, entropy_bits: 1}
  - {name: phone, kind: phone}
passes:
  - {id: name_dob, parts: {name: exact, dob: year_month}, refine: {dob: exact}}
  - {id: band, parts: {dob: exact, address: "lsh(8, 2)"}}
"""
PEOPLE: list[dict[str, str | None]] = [
    {"name": "張偉", "latin": "Zhang Wei", "dob": "1986-02-23", "address": "西安市碑林區1號",
     "sex": "m", "phone": "139 1234 5678"},
    {"name": "顾宁宁", "latin": None, "dob": "1986", "address": None, "sex": "m", "phone": None},
]  # fmt: skip


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def vectors() -> dict[str, Any]:
    schema = parse_schema(SCHEMA_TEXT, source="golden")
    # The fingerprint has its own golden test; here it is fixed, so that only the encoding shows.
    context = keys.Context(keys.MODE_PLAIN, "golden", "2026-11", "0" * 64)
    schedule = keys.KeySchedule(context, keys.EpochSecret("2026-11", bytes(range(32))))
    columns = {
        field.name: list(normalize_column(field, [p[field.name] for p in PEOPLE]).values)
        for field in schema.fields
    }
    batch = Encoder(schema, schedule).encode(columns)
    parts = split_fixed(schema, batch.fixed)
    bk = bytes(batch.blocking.key[0])
    handles = [np.full((2, keys.HANDLE_BYTES), i, np.uint8) for i in (1, 2)]
    members = Prf(keys.membership_key(b"K" * 32))
    islands = membership.island_seeds(members, batch.blocking.key[[0, 0]])
    island = membership.island_blocks(islands)
    prf = Prf(keys.draw_key(b"K" * 32))
    seeds = prf.pairs(island, *handles)
    values = [columns[field.name] for field in schema.fields]
    sealed = seal_pairs(schema, seeds, batch.fixed, digest_columns(schema, values), b"n" * 32)
    looked_at = places(prf.islands(island), open_bits(schema, schema.passes[0]))
    short = short_sketches(parts.record_sketch, looked_at)
    words = sieve_words(seeds, short)
    names = np.frombuffer(b"t" * 16 + b"u" * 16, np.uint8).reshape(2, 16)
    drawn = chance.draw(
        schedule,
        b"K" * 32,
        "a",
        np.arange(320, dtype=np.uint16).astype(np.uint8).reshape(20, 16),
        10,
    )
    return {
        "canonical": columns,
        "context": context.to_bytes().hex(),
        "blocking_key": bk.hex(),
        "tokens": [bytes(t).hex() for t in batch.blocking.token],
        "levels": batch.blocking.level.tolist(),
        "membership_key": keys.membership_key(b"K" * 32).hex(),
        "proofs": {
            side: membership.prove(islands, np.array([3, 4]), 20_780, of_left=of_left)
            .tobytes()
            .hex()
            for side, of_left in (("left", True), ("right", False))
        },
        "island": island[0].tobytes().hex(),
        "draw_key": keys.draw_key(b"K" * 32).hex(),
        "seeds": seeds.state.astype("<u8").tobytes().hex(),
        "places": looked_at.tolist(),
        "field_keys": {f.name: schedule.field_key(f.name).hex() for f in schema.fields},
        "sketches": [[digest(bytes(s)) for s in row] for row in parts.sketches],
        "record_sketches": [digest(bytes(s)) for s in parts.record_sketch],
        "sieve_words": [f"{word:016x}" for word in words],
        "distance_tags": {
            side: distance_tags(seeds, words, of_left=of_left).tobytes().hex()
            for side, of_left in (("left", True), ("right", False))
        },
        "sealed": [
            {
                "presence": column.presence.tobytes().hex(),
                "sketch": "" if column.sketch is None else column.sketch.tobytes().hex(),
                "tags": "" if column.tags is None else column.tags.tobytes().hex(),
            }
            for column in sealed.fields
        ],
        "record_tags": {
            side: seal_record_tags(seeds, names, of_left=of_left).tobytes().hex()
            for side, of_left in (("left", True), ("right", False))
        },
        "chance_index": drawn.index[:20].tolist(),
        "chance_draws": digest(drawn.seeds.draw(b"x", 16).tobytes()),
    }


def test_encoding_v1_gives_the_frozen_vectors() -> None:
    assert vectors() == json.loads(VECTORS.read_text())


if __name__ == "__main__":
    json.dump(vectors(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
