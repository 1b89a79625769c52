"""How benches make figures of what they measured, and plots of figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import growth
import plots
import pytest
from charts import bars, lines
from classical import clk_schema, extrapolate, write_values
from encode import encode
from kinlink_core.encoding.schema import load_schema
from memory import Sampler, descendants, pss_mb
from million import SCHEMA, compare, in_the_middle, of_classical
from support.invented_set import COLUMNS, SEED, write_invented_set

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "bench" / "results").glob("*.json"))
SVG = "{http://www.w3.org/2000/svg}"
HOLD_A_WHILE = "data = bytes(b'1') * 80_000_000; print('here', flush=True); input()"


def test_exponents_of_known_growth_are_recovered_from_the_sizes_wanted() -> None:
    by_records = {
        records: {"seal wall": 3 * (records / 1e5) ** 1.25, "sieve wall": 7.0, "persons cpu": 0.0}
        for records in (100_000, 300_000, 1_000_000)
    }
    # What a small size costs is mostly constant and is not fitted.
    fits = growth.exponents({10_000: {"seal wall": 99.0, "sieve wall": 99.0}, **by_records})
    assert fits["seal wall"] == {"exponent": pytest.approx(1.25), "points": 3}
    assert fits["sieve wall"] == {"exponent": pytest.approx(0.0, abs=1e-9), "points": 3}
    assert "persons cpu" not in fits
    assert growth.exponents(by_records, least=1_000_000) == {}


def test_turns_become_medians_and_ranges() -> None:
    turns = [{"f1": f1, "seconds": {"seal": f1}, "extrapolated": False} for f1 in (0.7, 0.9, 0.5)]
    found = in_the_middle(turns)
    assert found["f1"] == 0.7
    assert found["range"] == {"f1": [0.5, 0.9]}
    assert found["seconds"] == {"seal": 0.5}  # details are those of the last turn


def test_a_peer_of_fewer_records_is_extrapolated_and_compared_without_f1() -> None:
    measured = {
        "records": 100,
        "f1": 0.9,
        "encoding_seconds": 2.0,
        "matching": [
            {"seconds": 1.0, "cpu_seconds": 2.0},
            {"seconds": 3.0, "cpu_seconds": 5.0},
        ],
    }
    assert extrapolate(measured, 1_000) == {
        "encoding_seconds": 20.0,
        "matching_seconds": 300.0,
        "matching_cpu_seconds": 500.0,
    }
    peer = of_classical(measured, 1_000)
    assert peer["extrapolated"]
    kinlink = {"f1": 0.95, "link_seconds": 30.0, "ingest_seconds": 50.0, "link_cpu_seconds": 25.0}
    assert compare(kinlink, peer) == {
        "link_seconds_ratio": pytest.approx(0.1),
        "link_cpu_seconds_ratio": pytest.approx(0.05),
        "with_ingest_ratio": pytest.approx(0.25),
    }
    assert compare(kinlink, of_classical(measured, 100))["f1_gain"] == pytest.approx(0.05)


def test_the_encoding_bench_counts_what_it_encoded(tmp_path: Path) -> None:
    size = write_invented_set(tmp_path, 60)
    files = sorted((tmp_path / f"kyc-{size}-seed{SEED}" / "hash").glob("*.parquet"))
    told = encode(files)
    assert told["records"] == 90
    assert told["blocking_values"] == 90 * len(load_schema(SCHEMA).passes)
    assert 0 < told["distinct_share"] <= 1
    assert min(told["sketch_seconds"], told["encode_seconds"]) > 0


def test_the_classical_peer_reads_the_same_canonical_values(tmp_path: Path) -> None:
    size, schema = write_invented_set(tmp_path, 20), load_schema(SCHEMA)
    folder = tmp_path / f"kyc-{size}-seed{SEED}" / "hash"
    ids = write_values(schema, folder / "alpha.parquet", tmp_path / "alpha.csv")
    header, first, *rest = (tmp_path / "alpha.csv").read_text().splitlines()
    features = [each["identifier"] for each in clk_schema(schema)["features"]]
    assert header.split(",") == ["record_id", *features]
    assert len(rest) + 1 == len(ids)
    assert first.startswith(f"{ids[0].as_py()},")
    assert len(first.split(",")) == len(COLUMNS) + 1


def test_memory_of_all_processes_below_is_seen_and_shared_pages_count_once() -> None:
    command = [sys.executable, "-c", HOLD_A_WHILE]
    with (
        Sampler(every_seconds=0.05) as sampler,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
        assert child.pid in descendants(os.getpid())
        held = pss_mb(child.pid)
        sampler.look()
        child.communicate(b"\n")
    assert 76 < held < 120
    assert sampler.peak_mb >= held - 1
    assert sampler.processes_max >= 1
    assert pss_mb(child.pid) == 0.0


def test_a_line_of_known_points_lies_where_its_axes_say() -> None:
    picture = ET.fromstring(lines("t", {"a": [(1, 1), (10, 100)]}, x="x", y="y"))  # noqa: S314
    (line,) = picture.iter(f"{SVG}polyline")
    (left, bottom), (right, top) = (
        map(float, point.split(",")) for point in line.attrib["points"].split()
    )
    frame = [float(each.attrib["y1"]) for each in picture.iter(f"{SVG}line")]
    assert left < right
    assert (bottom, top) == (max(frame), min(frame))


def test_bars_are_as_long_as_their_figures() -> None:
    picture = ET.fromstring(bars("t", [("Kinlink", 4.0, "4"), ("peer", 1.0, "1")]))  # noqa: S314
    _, ours, theirs = picture.iter(f"{SVG}rect")
    assert float(ours.attrib["width"]) == pytest.approx(4 * float(theirs.attrib["width"]))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_kept_figures_are_well_formed_and_the_plot_in_the_docs_is_drawn_from_them(
    path: Path,
) -> None:
    text = path.read_text(encoding="utf-8")
    result = json.loads(text)
    assert result["bench"] in plots.DRAWN
    assert {"cpus", "python"} <= set(result)
    assert '"/' not in text  # no path of a machine
    assert len(text) < 100_000
    drawn = plots.draw(path)
    ET.fromstring(drawn)  # noqa: S314 - our own
    assert "nan" not in drawn
    shown = ROOT / "docs" / "img" / f"bench-{path.stem}.svg"
    assert shown.read_text(encoding="utf-8") == drawn, "run: python bench/plots.py"


def test_figures_of_each_drawn_bench_are_kept() -> None:
    assert {json.loads(path.read_text("utf-8"))["bench"] for path in RESULTS} == set(plots.DRAWN)
