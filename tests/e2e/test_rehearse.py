"""`kinlink rehearse` on small files: its three outputs, and what it says of bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

COMMAND = (sys.executable, "-m", "kinlink_local.cli", "rehearse")
FIXTURES = Path(__file__).parents[1] / "fixtures" / "rehearsal"
SECONDS_MAX = 240
LINKS_COLUMNS = [
    ("registry_l", "VARCHAR"),
    ("record_id_l", "VARCHAR"),
    ("registry_r", "VARCHAR"),
    ("record_id_r", "VARCHAR"),
    ("match_weight", "DOUBLE"),
    ("match_probability", "DOUBLE"),
]
STAGES = {
    *("found", "secret", "start", "ingest", "connect", "collect", "candidates", "sieve"),
    *("chance", "seal", "score", "disclose", "persons", "publish", "results", "total"),
}


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options], capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The report that was printed, and the folder it was written to."""
    out = tmp_path_factory.mktemp("rehearsal") / "deep" / "out"
    done = run(
        *("--schema", str(FIXTURES / "schema.yaml")),
        *("--registry", f"north={FIXTURES / 'north.csv'}"),
        *("--registry", f"south={FIXTURES / 'south.parquet'}"),
        *("--truth", str(FIXTURES / "truth.csv"), "--out", str(out), "--json"),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), out


def test_the_report_that_is_printed_is_the_one_that_is_written(
    rehearsed: tuple[dict[str, Any], Path],
) -> None:
    report, out = rehearsed
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == report


def test_the_report_says_what_was_done_how_long_it_took_and_what_left(
    rehearsed: tuple[dict[str, Any], Path],
) -> None:
    report, _ = rehearsed
    assert report["records"] == 400
    assert report["records_by_registry"] == {"north": 200, "south": 200}
    assert report["candidate_pairs"] >= report["links"] > 0
    assert set(report["seconds"]) == STAGES
    assert report["seconds"]["total"] > max(
        seconds for stage, seconds in report["seconds"].items() if stage != "total"
    )
    assert set(report["peak_rss_mb"]) == {"north", "south", "linker", "rehearse"}
    assert all(20 < peak < 4_000 for peak in report["peak_rss_mb"].values())
    assert set(report["bytes_left"]) == {"north", "south"}
    assert all(left > 1_000 for left in report["bytes_left"].values())
    assert report["mode"] == "plain"
    assert report["evaluations"] == {"north": 0, "south": 0}


def test_the_quality_is_what_counting_the_written_links_gives(
    rehearsed: tuple[dict[str, Any], Path],
) -> None:
    report, out = rehearsed
    person = dict(duckdb.sql(f"from read_csv('{FIXTURES}/truth.csv', all_varchar=true)").fetchall())
    links = duckdb.sql(f"from '{out}/links.parquet'").fetchall()
    hits = sum(person[left] == person[right] for _, left, _, right, *_ in links)
    quality = report["quality"]
    assert report["links"] == len(links) == quality["at_threshold"]["pairs"]
    assert quality["true_pairs"] == 100
    assert quality["at_threshold"]["precision"] == pytest.approx(hits / len(links))
    assert quality["at_threshold"]["recall"] == pytest.approx(hits / 100)
    assert quality["best"]["f1"] >= quality["at_threshold"]["f1"] > 0.9
    assert set(quality["best"]) >= {"precision", "recall", "f1", "threshold"}
    blocking = report["blocking"]
    assert quality["at_threshold"]["recall"] <= blocking["pair_completeness"] <= 1
    assert set(blocking["dropped"]) == {"over_cap", "proof", "sieved_out", "repeated", "refused"}


def test_what_was_expected_stands_beside_the_truth(rehearsed: tuple[dict[str, Any], Path]) -> None:
    report, out = rehearsed
    linked, estimates = report["expected"]["linked"], report["estimates"]
    assert linked["links"] == pytest.approx(report["links"], abs=5)
    assert estimates["precision"]["expected"] == linked["precision"]
    assert estimates["precision"]["true"] == report["quality"]["at_threshold"]["precision"]
    # A hundred matches are too few to say what the passes missed.
    assert estimates["recall"]["low"] is estimates["blocking_loss"]["low"] is None
    loss = estimates["blocking_loss"]
    assert loss["true_before_sieve"] <= loss["true_below_floor"] <= 1
    disclosed = duckdb.sql(f"select count(*) from '{out}/pairs.parquet'").fetchall()[0][0]
    assert sum(band["pairs"] for band in estimates["calibration"]) == disclosed
    assert set(estimates["registries"]) == {"north", "south"}
    for figures in estimates["registries"].values():
        assert figures["recall"]["true"] == report["quality"]["at_threshold"]["recall"]


def test_links_stand_once_with_the_smaller_registry_on_the_left(
    rehearsed: tuple[dict[str, Any], Path],
) -> None:
    _, out = rehearsed
    for name in ("links", "pairs"):
        path = out / f"{name}.parquet"
        described = duckdb.sql(f"describe from '{path}'").fetchall()
        assert [(row[0], row[1]) for row in described] == LINKS_COLUMNS
        rows = duckdb.sql(f"from '{path}'").fetchall()
        assert all(row[0] < row[2] for row in rows)
        assert len({row[:4] for row in rows}) == len(rows)
    linked = set(duckdb.sql(f"from '{out}/links.parquet'").fetchall())
    disclosed = set(duckdb.sql(f"from '{out}/pairs.parquet'").fetchall())
    assert linked == {row for row in disclosed if row[5] >= 0.5}


def test_with_a_key_server_a_rehearsal_finds_as_much_and_says_what_was_evaluated(
    rehearsed: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    plain, _ = rehearsed
    done = run(
        *("--schema", str(FIXTURES / "schema.yaml")),
        *("--registry", f"north={FIXTURES / 'north.csv'}"),
        *("--registry", f"south={FIXTURES / 'south.parquet'}"),
        *("--truth", str(FIXTURES / "truth.csv"), "--out", str(tmp_path), "--key-server"),
    )
    assert done.returncode == 0, done.stderr
    assert "Plain mode" not in done.stdout
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["mode"] == "key-server"
    # At most one value a pass and record, and those of the canaries.
    assert all(400 < count <= 3 * 210 for count in report["evaluations"].values())
    assert all(seconds > 0 for seconds in report["evaluation_seconds"].values())
    assert report["blocking"]["pair_completeness"] == plain["blocking"]["pair_completeness"]
    found, expected = report["quality"]["best"], plain["quality"]["best"]
    # A federation draws its own random numbers each time, and two pairs of 100 are two points.
    assert found["f1"] == pytest.approx(expected["f1"], abs=0.05)


def test_all_faults_of_the_input_are_told_at_once_with_status_2(tmp_path: Path) -> None:
    done = run(
        *("--schema", str(tmp_path / "missing.yaml")),
        *("--registry", f"north={tmp_path / 'missing.csv'}"),
        *("--registry", f"North={FIXTURES / 'truth.csv'}"),
        *("--truth", str(FIXTURES / "north.csv"), "--threshold", "7"),
        *("--out", str(tmp_path / "out")),
    )
    assert done.returncode == 2
    for expected in ("missing.yaml", "missing.csv", "'North'", "person_id", "7.0"):
        assert expected in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_without_the_schemas_columns_fails_with_the_registrys_own_words(
    tmp_path: Path,
) -> None:
    (tmp_path / "bare.csv").write_text("record_id,name\n1,someone\n", encoding="utf-8")
    done = run(
        *("--schema", str(FIXTURES / "schema.yaml")),
        *("--registry", f"north={FIXTURES / 'north.csv'}"),
        *("--registry", f"bare={tmp_path / 'bare.csv'}"),
        *("--out", str(tmp_path / "out")),
    )
    assert done.returncode == 1
    assert "Columns that are missing: born, town" in done.stderr
    assert "bare.csv" in done.stderr
