"""What an office tells before there is a federation: rounded counts, and nothing of a person."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kinlink_core.encoding.schema import Part, Schema, load_fields
from kinlink_core.planning.candidates import candidates, text_of
from kinlink_core.planning.statistics_file import (
    COUNT_FLOOR,
    COUNT_STEP,
    SIZES,
    Statistics,
    read_statistics,
    rounded,
)
from kinlink_registry.cli import main
from kinlink_registry.source import SourceSpec
from kinlink_registry.statistics import collision_bits, group_sizes, measure

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = """\
name: clinic
fields:
  - {name: family, kind: name}
  - {name: born, kind: date}
  - {name: town, kind: code}
  - {name: street, kind: text, optional: true}
"""
FAMILIES = ("solore", "mareko", "lutabe", "densamo", "ralemo")
TOWNS = ("A1", "B2")


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "clinic.yaml"
    path.write_text(SCHEMA, "utf-8")
    return path


def write(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("record_id", "family", "born", "town"))
        writer.writerows((f"r{number}", *row) for number, row in enumerate(rows))
    return path


def people(count: int) -> list[tuple[str, str, str]]:
    """Families of a fifth each, one town to a half, and a day of birth of one's own."""
    return [
        (
            FAMILIES[n % 5],
            f"{1900 + n // 300}-{1 + n // 25 % 12:02d}-{1 + n % 25:02d}",
            TOWNS[n % 2],
        )
        for n in range(count)
    ]


def measured(schema: Path, source: Path) -> Statistics:
    fields = load_fields(schema)
    steps = measure(fields, SourceSpec(path=str(source)), id_column="record_id", memory_limit="1GB")
    last = list(steps)[-1].statistics
    assert last is not None
    return last


def told(
    schema: Schema, found: Statistics, *parts: Part
) -> tuple[int, float | None, tuple[int, ...]]:
    assert parts in candidates(schema)
    each = found.of(parts)
    assert each is not None
    return each.rows, each.entropy_bits, each.sizes


def test_fields_and_passes_are_counted_as_by_hand(schema: Path, tmp_path: Path) -> None:
    rows = people(1_000)
    found = measured(schema, write(tmp_path / "office.csv", [*rows, *rows[:100]]))
    fields = load_fields(schema)
    assert found.records == 1_100
    assert found.fields["street"].present == 0
    assert found.fields["family"].present == 1
    assert found.fields["family"].entropy_bits == pytest.approx(np.log2(5), abs=0.11)
    assert found.fields["town"].entropy_bits == 1.0
    count, bits, sizes = told(fields, found, Part("born", "exact"))
    # 100 days are there twice, 900 once; 100 pairs of 1,100 · 1,099 / 2.
    assert (count, sizes[:3]) == (1_100, (900, 200, 0))
    assert bits == pytest.approx(np.log2(1_100 * 1_099 / 200), abs=0.1)


def test_a_pass_that_nobody_has_or_that_tells_nothing_is_left_out(
    schema: Path, tmp_path: Path
) -> None:
    found = measured(schema, write(tmp_path / "office.csv", people(400)))
    assert found.of((Part("street", "exact"),)) is None
    assert found.of((Part("town", "exact"),)) is None  # one bit


def test_no_value_and_no_small_count_is_in_the_file(schema: Path, tmp_path: Path) -> None:
    rows = [*people(500), *[("uniquename", "1850-01-01", "Z9")] * 3]
    source, out = write(tmp_path / "office.csv", rows), tmp_path / "told.json"
    done = CliRunner().invoke(main, ["statistics", str(schema), str(source), "--out", str(out)])
    assert done.exit_code == 0, done.output
    text = out.read_text("utf-8")
    values = {word for row in rows for word in row}
    assert not [value for value in values if value in text or value in done.output]
    raw = json.loads(text)
    passes = raw["passes: rows, entropy bits, rows by size of group"]
    counts = {n for rows, _, sizes in passes.values() for n in (rows, *sizes)}
    assert counts
    assert all(n == 0 or (n >= COUNT_FLOOR and n % COUNT_STEP == 0) for n in counts)
    assert read_statistics(out, load_fields(schema)).records == 500


def test_counting_twice_gives_the_same_file(schema: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "office.csv", people(300))
    assert measured(schema, source).to_json() == measured(schema, source).to_json()


def test_a_file_of_other_fields_is_refused_with_what_to_do(schema: Path, tmp_path: Path) -> None:
    out = tmp_path / "told.json"
    out.write_text(measured(schema, write(tmp_path / "office.csv", people(300))).to_json())
    other = tmp_path / "other.yaml"
    other.write_text(SCHEMA.replace("kind: date", "kind: text"), "utf-8")
    with pytest.raises(Exception, match="give every office the same schema"):
        read_statistics(out, load_fields(other))
    out.write_text('{"format": "kinlink-statistics/1"}')
    with pytest.raises(Exception, match="kinlink-registry statistics"):
        read_statistics(out, load_fields(schema))


@pytest.mark.parametrize(
    ("rows", "schema_text", "reason"),
    [(20, SCHEMA, "fewer than 100"), (200, SCHEMA.replace("name: town", "name: county"), "county")],
)
def test_a_source_that_cannot_be_told_of_is_refused(
    tmp_path: Path, rows: int, schema_text: str, reason: str
) -> None:
    schema, out = tmp_path / "clinic.yaml", tmp_path / "told.json"
    schema.write_text(schema_text, "utf-8")
    source = write(tmp_path / "office.csv", people(rows))
    done = CliRunner().invoke(main, ["statistics", str(schema), str(source), "--out", str(out)])
    assert done.exit_code == 2
    assert reason in done.output
    assert not out.exists()


@given(st.lists(st.integers(0, 9), min_size=2, max_size=200))
def test_groups_and_their_entropy_are_those_of_counting_pairs(keys: list[int]) -> None:
    counts = group_sizes(np.array(keys, np.int64))
    assert sorted(counts.tolist()) == sorted(keys.count(key) for key in set(keys))
    bits = collision_bits(counts)
    if sum(n for n in counts if n > 1) < COUNT_FLOOR:
        assert bits is None
        return
    pairs = sum(a == b for at, a in enumerate(keys) for b in keys[at + 1 :])
    exact = -np.log2(pairs / (len(keys) * (len(keys) - 1) / 2))
    assert bits is not None
    assert exact - 0.1 - 1e-9 <= bits <= max(exact, 0) + 1e-9


@given(st.integers(0, 10_000))
def test_counts_are_rounded_to_steps_and_small_ones_vanish(count: int) -> None:
    found = rounded(count)
    assert found % COUNT_STEP == 0
    assert (found == 0) == (count < COUNT_FLOOR)
    assert found == 0 or abs(found - count) <= COUNT_STEP / 2


def test_the_candidates_of_a_schema_are_distinct_and_take_a_field_once(schema: Path) -> None:
    found = candidates(load_fields(schema))
    assert len({text_of(parts) for parts in found}) == len(found)
    assert all(len({part.field for part in parts}) == len(parts) <= 3 for parts in found)
    assert list(SIZES) == sorted(set(SIZES))
