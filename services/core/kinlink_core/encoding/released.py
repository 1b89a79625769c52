"""Does this installation encode as the released version does? Known answers, part by part.

The answers are those of a schema that has every kind of field, under a secret that is none, so they
are the same everywhere. An office asks this of its own machine before it connects; after a package
changed a table, the part that moved has a name.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Final

from kinlink_core.encoding.conformance import Epoch, parts
from kinlink_core.encoding.keys import ENCODING_VERSION, SECRET_BYTES, EpochSecret
from kinlink_core.encoding.schema import Schema, parse_schema

_SCHEMA: Final = """
name: released
fields:
  - {name: name, kind: name, entropy_bits: 12}
  - {name: name_zh, kind: name_zh, entropy_bits: 13}
  - {name: text, kind: text, entropy_bits: 14}
  - {name: date, kind: date, entropy_bits: 14}
  - {name: code, kind: code, entropy_bits: 8}
  - {name: phone, kind: phone, entropy_bits: 20, normalise: {country: "86"}}
passes:
  - {id: name, parts: {name: phonetic, date: exact}, refine: {name: sorted_words}}
  - {id: sound, parts: {name: soundex, date: month_day}, refine: {name: initial}}
  - {id: name_zh, parts: {name_zh: phonetic, date: year_month}, refine: {name_zh: given}}
  - {id: family, parts: {name_zh: family, date: exact}, refine: {date: year}}
  - {id: words, parts: {text: each_word, date: exact}, refine: {text: exact}}
  - {id: bands, parts: {text: "lsh(10, 2)", date: exact}}
  - {id: days, parts: {date: "day_window(2)", phone: "suffix(4)"}}
  - {id: months, parts: {date: "month_window(1)", phone: exact}}
  - {id: years, parts: {date: "year_window(1)", phone: exact}}
  - {id: code, parts: {code: "prefix(2)", date: exact}, refine: {code: exact}}
"""


def known_parts() -> dict[str, str]:
    """Hex digest of each part in the released version."""
    source = files("kinlink_core.encoding").joinpath(f"released_{ENCODING_VERSION}.json")
    known: dict[str, str] = json.loads(source.read_text(encoding="utf-8"))
    return known


def found_parts() -> dict[str, str]:
    """Hex digest of each part as this installation computes it."""
    epoch = Epoch("released", EpochSecret("released", bytes(SECRET_BYTES)))
    return {name: digest.hex() for name, digest in parts(_schema(), epoch).items()}


def moved_parts() -> list[str]:
    """Names of the parts in which this installation differs, causes first; empty when in none."""
    known, found = known_parts(), found_parts()
    names = dict.fromkeys([*known, *found])
    return [name for name in names if known.get(name) != found.get(name)]


def _schema() -> Schema:
    return parse_schema(_SCHEMA, source="released")
