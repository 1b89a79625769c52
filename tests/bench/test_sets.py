"""What benches link: sets in registries, and environments of their own."""

from __future__ import annotations

import zipfile
from itertools import combinations
from typing import TYPE_CHECKING

import duckdb
import pytest
from duplicates import COLUMNS, make
from own_venv import own_python
from support.invented_set import SEED, write_invented_set

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = 1027  # of the generator's 2,000 the natural persons, at the seed of `SEED`


def ids(path: Path) -> set[str]:
    return {
        row[0] for row in duckdb.connect().execute(f"select record_id from '{path}'").fetchall()
    }


def true_pairs(registries: list[set[str]], truth: Path) -> int:
    """Pairs of one person in two registries, counted one by one."""
    rows = duckdb.connect().execute(f"select record_id, person_id from '{truth}'").fetchall()
    person = dict(rows)
    return sum(
        person[left] == person[right]
        for one, other in combinations(registries, 2)
        for left in one
        for right in other
    )


def test_a_set_is_split_into_as_many_registries_as_wanted(tmp_path: Path) -> None:
    size = write_invented_set(tmp_path, 120)
    three, five = make(tmp_path, size, SEED), make(tmp_path, size, SEED, registries=5)
    parts = [ids(path) for path in five.registries.values()]
    assert len(parts) == 5
    assert all(parts)
    assert sum(map(len, parts)) == five.records == three.records
    assert set.union(*parts) == set.union(*map(ids, three.registries.values()))
    assert five.true_pairs == true_pairs(parts, five.truth) > 0
    written = [path.stat().st_mtime_ns for path in five.registries.values()]
    assert make(tmp_path, size, SEED, registries=5) == five
    assert [path.stat().st_mtime_ns for path in five.registries.values()] == written


def test_only_the_hash_splits_into_another_number_of_registries(tmp_path: Path) -> None:
    size = write_invented_set(tmp_path, 20)
    with pytest.raises(ValueError, match="hash"):
        make(tmp_path, size, SEED, "place", registries=5)


def write_wheel(folder: Path, version: str) -> str:
    """A package that pip installs without an index."""
    path = folder / f"benchpeer-{version}-py3-none-any.whl"
    info = f"benchpeer-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("benchpeer.py", f"VERSION = '{version}'\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: benchpeer\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return str(path)


@pytest.mark.slow
def test_an_environment_is_made_once_and_anew_when_its_requirements_change(tmp_path: Path) -> None:
    first, second = write_wheel(tmp_path, "1.0"), write_wheel(tmp_path, "2.0")
    python = own_python(tmp_path, "peer", (first,))
    (module,) = python.parents[1].glob("lib/python*/site-packages/benchpeer.py")
    assert module.read_text() == "VERSION = '1.0'\n"
    module.write_text("kept = True\n")
    assert own_python(tmp_path, "peer", (first,)) == python
    assert module.read_text() == "kept = True\n"
    own_python(tmp_path, "peer", (second,))
    assert module.read_text() == "VERSION = '2.0'\n"


@pytest.mark.slow
def test_a_generated_set_is_the_same_each_time_and_holds_natural_persons(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "venvs").symlink_to(tmp_path / "once" / "venvs")
    made = [make(tmp_path / turn, 2_000, SEED) for turn in ("once", "again")]
    places = make(tmp_path / "once", 2_000, SEED, "place")
    for each in (*made, places):
        parts = [ids(path) for path in each.registries.values()]
        assert sum(map(len, parts)) == each.records == RECORDS
        assert each.true_pairs == true_pairs(parts, each.truth) > 0
    assert made[0].true_pairs == made[1].true_pairs
    (one, other) = (made[turn].registries["alpha"].read_bytes() for turn in (0, 1))
    assert one == other
    rows = duckdb.connect().execute(f"describe from '{places.registries['beta']}'").fetchall()
    assert [row[0] for row in rows] == ["record_id", *COLUMNS]
