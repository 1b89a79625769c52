"""A small set as `bench/duplicates.py` keeps it in its cache, without the generator behind it."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

SEED: Final = 8
REGISTRIES: Final = ("alpha", "beta", "gamma")
SYLLABLES: Final = (
    "ba",
    "du",
    "fe",
    "go",
    "hi",
    "ka",
    "lo",
    "mi",
    "nu",
    "pe",
    "ra",
    "so",
    "te",
    "wu",
)
COLUMNS: Final = (
    "given_name",
    "family_name",
    "birth_date",
    "residential_address_line1",
    "residential_city",
    "residential_postal_code",
)

Row = tuple[str, ...]


def write_invented_set(cache: Path, persons: int) -> int:
    """Write a set in three registries; half of the persons stand in two, a letter apart.

    Returns:
        The size that `make` finds it under, with `SEED`.
    """
    rng, size = random.Random(SEED), 2 * persons
    registries: dict[str, list[Row]] = {name: [] for name in REGISTRIES}
    truth: list[Row] = []
    for person in range(persons):
        values = _person(rng)
        homes = rng.sample(REGISTRIES, 2 if person % 2 else 1)
        for copy, home in enumerate(homes):
            record_id = f"R{person:05d}-{copy}"
            registries[home].append((record_id, *(_altered(values, person) if copy else values)))
            truth.append((record_id, f"P{person:05d}"))
    folder = cache / f"kyc-{size}-seed{SEED}"
    for name, rows in registries.items():
        _write(folder / "hash" / f"{name}.parquet", ("record_id", *COLUMNS), rows)
    _write(folder / "truth.parquet", ("record_id", "person_id"), truth)
    facts = {"records": len(truth), "true_pairs": {"hash": persons // 2}}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return size


def _person(rng: random.Random) -> Row:
    def word() -> str:
        return "".join(rng.choices(SYLLABLES, k=3))

    born = f"{rng.randint(1930, 2010)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    street = f"{rng.randint(1, 99)} {word()} street"
    return word(), word(), born, street, word(), str(rng.randint(100, 199))


def _altered(values: Row, number: int) -> Row:
    """A letter less in the given name, the address or the city, in turn."""
    which = (0, 3, 4)[number // 2 % 3]
    return (*values[:which], values[which][:-1], *values[which + 1 :])


def _write(path: Path, columns: tuple[str, ...], rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [pa.array(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(dict(zip(columns, values, strict=True))), path)
