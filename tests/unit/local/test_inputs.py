"""The options of `kinlink rehearse`: all faults at once, each with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest
from kinlink_core.encoding.schema import packaged_schema
from kinlink_local.errors import EXIT_BAD_INPUT, BadInputError
from kinlink_local.inputs import RehearsalPlan, plan_rehearsal

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = packaged_schema("person")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("record_id,name\n1,x\n2,y\n", encoding="utf-8")
    duckdb.execute(
        f"copy (select 1 as record_id, 'x' as name) to '{tmp_path}/b.parquet' (format parquet)"
    )
    (tmp_path / "truth.csv").write_text("record_id,person_id\n1,P\n", encoding="utf-8")
    return tmp_path


def plan(
    folder: Path,
    *registries: str,
    schema: Path = SCHEMA,
    truth: str | None = None,
    threshold: float = 0.5,
    out: str = "out",
) -> RehearsalPlan:
    return plan_rehearsal(
        schema=schema,
        registries=registries,
        truth=folder / truth if truth else None,
        threshold=threshold,
        out=folder / out,
    )


def faults(folder: Path, *registries: str, **options: object) -> str:
    with pytest.raises(BadInputError) as caught:
        plan(folder, *registries, **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == EXIT_BAD_INPUT
    return "\n".join(caught.value.faults)


def test_csv_and_parquet_files_are_accepted(good: Path) -> None:
    made = plan(good, f"a={good}/a.csv", f"b={good}/b.parquet", truth="truth.csv")
    assert list(made.files) == ["a", "b"]
    assert made.threshold == 0.5


def test_all_faults_are_reported_at_once(good: Path) -> None:
    (good / "empty.csv").touch()
    (good / "noid.csv").write_text("id,name\n1,x\n", encoding="utf-8")
    told = faults(
        good,
        f"a={good}/a.csv",
        f"a={good}/b.parquet",
        f"UPPER={good}/missing.csv",
        f"c={good}/empty.csv",
        f"d={good}/noid.csv",
        f"e={good}",
        "nothing",
        truth="a.csv",
        threshold=1.5,
        out="a.csv",
    )
    assert "a is named twice" in told
    assert "'UPPER' is no name" in told
    assert "missing.csv does not exist" in told
    assert "empty.csv is empty" in told
    assert "noid.csv has no column record_id" in told
    assert "is not a file" in told
    assert "'nothing' is not NAME=FILE" in told
    assert "truth: " in told
    assert "has no column person_id" in told
    assert "1.5 is no probability" in told
    assert "name a folder" in told


def test_one_registry_has_nobody_to_link_with(good: Path) -> None:
    assert "at least 2 registries" in faults(good, f"a={good}/a.csv")


def test_repeated_and_missing_record_ids_are_counted(good: Path) -> None:
    (good / "twice.csv").write_text("record_id,name\n1,x\n1,y\n,z\n", encoding="utf-8")
    told = faults(good, f"a={good}/a.csv", f"b={good}/twice.csv")
    assert "1 rows without record_id" in told
    assert "repeats 1 values of record_id" in told


def test_a_file_with_a_header_only_has_no_rows(good: Path) -> None:
    (good / "header.csv").write_text("record_id,name\n", encoding="utf-8")
    assert "has no rows" in faults(good, f"a={good}/a.csv", f"b={good}/header.csv")


def test_a_file_that_is_no_parquet_is_named_with_the_reason(good: Path) -> None:
    (good / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    told = faults(good, f"a={good}/a.csv", f"b={good}/broken.parquet")
    assert "broken.parquet cannot be read" in told


def test_every_fault_of_the_schema_is_reported_with_its_line(good: Path) -> None:
    schema = good / "schema.yaml"
    schema.write_text("name: broken\nfields: []\npasses: 3\n", encoding="utf-8")
    told = faults(good, f"a={good}/a.csv", f"b={good}/b.parquet", schema=schema)
    assert told.count("schema: ") >= 2
    assert "line 2" in told
