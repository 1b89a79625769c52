"""Compared pairs drawn from known m, u and λ."""

from __future__ import annotations

import numpy as np
from kinlink_core.encoding.schema import parse_schema
from kinlink_linker.compare import NULL_LEVEL, Levels

SCHEMA_TEXT = """
name: score_test
fields:
  - {name: family, kind: name, entropy_bits: 9}
  - {name: given, kind: name, entropy_bits: 9}
  - {name: dob, kind: date}
  - {name: sex, kind: code, entropy_bits: 1}
passes:
  - {id: names, parts: {family: exact, given: exact}}
  - {id: part, parts: {given: "prefix(3)", dob: exact}}
  - {id: rare, parts: {family: exact, dob: exact}}
"""
SCHEMA = parse_schema(SCHEMA_TEXT, source="test")
RECORDS = ((1000, 1000),)
COUNTS = [len(field.levels) + 1 for field in SCHEMA.fields]
U = [
    np.array([0.02, 0.01, 0.02, 0.15, 0.80]),
    np.array([0.03, 0.01, 0.03, 0.13, 0.80]),
    np.array([0.001, 0.001, 0.008, 0.02, 0.02, 0.05, 0.90]),
    np.array([0.5, 0.5]),
]
M = [
    np.array([0.80, 0.08, 0.04, 0.03, 0.05]),
    np.array([0.70, 0.12, 0.06, 0.04, 0.08]),
    np.array([0.85, 0.03, 0.06, 0.02, 0.01, 0.01, 0.02]),
    np.array([0.98, 0.02]),
]
# Among pairs that share three letters, given names agree far more often than by chance.
U_GIVEN_PART = np.array([0.30, 0.30, 0.25, 0.10, 0.05])


def draw(
    rng: np.random.Generator, count: int, distributions: list[np.ndarray], missing: float = 0.1
) -> Levels:
    columns = [rng.choice(len(p), count, p=p) for p in distributions]
    levels = np.column_stack(columns).astype(np.uint8)
    levels[rng.random(levels.shape) < missing] = NULL_LEVEL
    return levels


def pairs(
    rng: np.random.Generator, count: int, share: float, u: list[np.ndarray]
) -> tuple[Levels, np.ndarray]:
    matches = rng.random(count) < share
    levels = draw(rng, count, u)
    levels[matches] = draw(rng, int(matches.sum()), M)
    return levels, matches
