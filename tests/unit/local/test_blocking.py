"""Pair completeness against counting by hand, with caps and refinement."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING

import duckdb
from kinlink_core.encoding.schema import Schema, parse_schema
from kinlink_local.blocking import pair_completeness
from kinlink_local.quality import count_true_pairs
from kinlink_local.truth import load_truth

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = """
name: small
fields:
  - {name: surname, kind: name, entropy_bits: 10}
  - {name: town, kind: name, entropy_bits: 8}
  - {name: code, kind: code, entropy_bits: 20}
passes:
  - {id: code, parts: {code: exact}, cap: 4}
  - id: names
    parts: {surname: exact, town: exact}
    cap: CAP
    refine: {code: prefix(1)}
"""


def schema(cap: int) -> Schema:
    return parse_schema(SCHEMA.replace("CAP", str(cap)), source="test")


def write(folder: Path, rows: dict[str, list[tuple[str, str, str, str, str]]]) -> dict[str, Path]:
    truth = ["record_id,person_id"]
    paths = {}
    for registry, records in rows.items():
        lines = ["record_id,surname,town,code"]
        for record, person, *values in records:
            lines.append(",".join([record, *values]))
            truth.append(f"{record},{person}")
        paths[registry] = folder / f"{registry}.csv"
        paths[registry].write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "truth.csv").write_text("\n".join(truth) + "\n", encoding="utf-8")
    return paths


def candidates(folder: Path, paths: dict[str, Path], cap: int) -> tuple[int, int]:
    """True pairs that are candidates, and true pairs."""
    with duckdb.connect() as connection:
        load_truth(connection, paths, folder / "truth.csv")
        found = pair_completeness(connection, schema(cap), paths)
        return found, count_true_pairs(connection)


def test_a_pair_that_shares_no_blocking_value_is_no_candidate(tmp_path: Path) -> None:
    paths = write(
        tmp_path,
        {
            "a": [("a1", "P", "smith", "york", "X1"), ("a2", "Q", "jones", "bath", "X2")],
            "b": [("b1", "P", "smith", "york", "Y1"), ("b2", "Q", "johns", "bath", "Y2")],
        },
    )
    assert candidates(tmp_path, paths, cap=4) == (1, 2)


def test_an_island_above_its_cap_is_refined_and_then_counted_again(tmp_path: Path) -> None:
    crowd = {
        "a": [(f"a{i}", f"P{i}", "smith", "york", f"{i}A") for i in range(3)],
        "b": [(f"b{i}", f"P{i}", "smith", "york", f"{i}B") for i in range(3)],
    }
    paths = write(tmp_path, crowd)
    # Six records under one value are above the cap; the first character of the code parts them.
    assert candidates(tmp_path, paths, cap=2) == (3, 3)


def test_an_island_that_stays_above_its_cap_is_dropped(tmp_path: Path) -> None:
    crowd = {
        "a": [(f"a{i}", f"P{i}", "smith", "york", f"1A{i}") for i in range(3)],
        "b": [(f"b{i}", f"P{i}", "smith", "york", f"1B{i}") for i in range(3)],
    }
    paths = write(tmp_path, crowd)
    assert candidates(tmp_path, paths, cap=5) == (0, 3)
    assert candidates(tmp_path, paths, cap=6) == (3, 3)


def test_a_pair_found_by_two_passes_counts_once_in_every_registry_pair(tmp_path: Path) -> None:
    paths = write(
        tmp_path,
        {r: [(f"{r}1", "P", "smith", "york", "X1")] for r in "abc"},
    )
    assert candidates(tmp_path, paths, cap=12) == (3, 3)


def test_counting_agrees_with_brute_force(tmp_path: Path) -> None:
    import random

    rng = random.Random(5)
    rows = {
        registry: [
            (
                f"{registry}{i}",
                f"P{rng.randrange(40)}",
                rng.choice(("smith", "jones", "lee")),
                rng.choice(("york", "bath", "hull")),
                f"{rng.randrange(3)}{rng.randrange(30)}",
            )
            for i in range(40)
        ]
        for registry in "abc"
    }
    paths = write(tmp_path, rows)
    cap = 12
    everyone = [(registry, *row) for registry, records in rows.items() for row in records]

    def islands(
        records: list[tuple[str, ...]], key: object, most: int
    ) -> tuple[list[list[tuple[str, ...]]], list[list[tuple[str, ...]]]]:
        groups: dict[object, list[tuple[str, ...]]] = defaultdict(list)
        for record in records:
            groups[key(record)].append(record)  # type: ignore[operator]
        shared = [group for group in groups.values() if len({r[0] for r in group}) > 1]
        return [g for g in shared if len(g) <= most], [g for g in shared if len(g) > most]

    good, _ = islands(everyone, lambda r: r[5], 4)
    names, crowded = islands(everyone, lambda r: (r[3], r[4]), cap)
    good += names
    for group in crowded:
        finer, _ = islands(group, lambda r: r[5][0], cap)
        good += finer
    expected = {
        frozenset((one[1], two[1]))
        for group in good
        for one, two in itertools.combinations(group, 2)
        if one[0] != two[0] and one[2] == two[2]
    }
    found, total = candidates(tmp_path, paths, cap)
    assert found == len(expected)
    assert 0 < found < total
