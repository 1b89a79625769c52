"""Which column a photograph stands in, and what ages the face before."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.keys import MODE_PLAIN, Context, EpochSecret, KeySchedule
from kinlink_core.encoding.normalize import join_columns, normalize_column
from kinlink_core.encoding.schema import load_schema, packaged_schema
from kinlink_core.encoding.sketch import hamming_fraction
from kinlink_local.cli import main
from kinlink_local.reunion.columns import schema_columns
from kinlink_local.reunion.face_columns import (
    FACE_COLUMNS,
    load_progression,
)
from kinlink_local.reunion.notices import COLUMNS, Notices, write_csv

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 128
# What a plug-in of the tests takes for growing up: the same shift of every face, a year's worth.
GROWTH = np.random.default_rng(7).normal(size=SIZE) / np.sqrt(SIZE) / 10


def grow(embedding: np.ndarray, age_from: float, age_to: float) -> np.ndarray:
    """The plug-in of these tests."""
    grown: np.ndarray = embedding + GROWTH * (age_to - age_from)
    return grown


def forget(embedding: np.ndarray, age_from: float, age_to: float) -> np.ndarray:
    """A plug-in that gives no embedding back."""
    del age_from, age_to
    return embedding[:3]


def quote(embedding: np.ndarray, age_from: float, age_to: float) -> np.ndarray:
    """A plug-in that says aloud what it was given."""
    raise ValueError(f"cannot age {embedding.tolist()} from {age_from} to {age_to}")


def written(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode()


def notice(kind: str, embedding: str, age: str, model: str = "synthetic-128") -> Notices:
    known = {
        "record_id": "1",
        "kind": kind,
        "face_model": model if embedding else "",
        "face_embedding": embedding,
        "photo_age": age,
    }
    return {name: [known.get(name, "")] for name in COLUMNS}


def told(notices: Notices, progress: object = None) -> dict[str, str]:
    columns = schema_columns(notices, progress)  # type: ignore[arg-type]
    return {name: columns[name][0] for name in FACE_COLUMNS if columns[name][0]}


def face(seed: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=SIZE)
    return drawn / np.linalg.norm(drawn)


def test_a_familys_photograph_stands_in_every_column() -> None:
    cell = written(face())
    for age in ("0", "4", "16", ""):
        found = told(notice("seeking_child", cell, age))
        assert found == dict.fromkeys(FACE_COLUMNS, f"synthetic-128 {cell}")


@pytest.mark.parametrize(
    ("age", "column"),
    [("0", "near"), ("5", "near"), ("6", "mid"), ("12", "mid"), ("13", "far"), ("60", "far")],
)
@pytest.mark.parametrize("kind", ["found", "tip"])
def test_a_found_persons_photograph_stands_in_the_column_of_its_age(
    kind: str, age: str, column: str
) -> None:
    cell = written(face())
    assert told(notice(kind, cell, age)) == {f"face_{column}": f"synthetic-128 {cell}"}


def test_no_face_and_a_found_persons_photograph_of_unknown_age_are_unknown() -> None:
    assert told(notice("found", written(face()), "")) == {}
    assert told(notice("found", "", "30")) == {}
    assert told(notice("seeking_child", "", "")) == {}
    assert told(notice("found", written(face()), "30", model="")) == {}


def distance(family: Notices, found: Notices, progress: object = None) -> float:
    """Hamming fraction of the two sides' sketches in the column of the found person's age."""
    schema = load_schema(packaged_schema("reunion"))
    rows = [schema_columns(each, progress) for each in (family, found)]  # type: ignore[arg-type]
    raw = {name: [row[name][0] or None for row in rows] for name in rows[0]}
    columns = {
        field.name: normalize_column(field, join_columns(field, raw)).values
        for field in schema.fields
    }
    context = Context(MODE_PLAIN, "test", "e1", schema.fingerprint())
    encoder = Encoder(schema, KeySchedule(context, EpochSecret("e1", bytes(32))))
    parts = split_fixed(schema, encoder.sketch(columns))
    index = [field.name for field in schema.fields].index("face_far")
    assert parts.present[:, index].all()
    left, right = parts.vectors[:, FACE_COLUMNS.index("face_far")]
    return float(hamming_fraction(left[None], right[None])[0])


def test_a_plug_in_changes_the_score_of_a_child_that_grew() -> None:
    grown = grow(face(), 2, 34)
    family = notice("seeking_child", written(face()), "2")
    found = notice("found", written(grown / np.linalg.norm(grown)), "34")
    plain, aged = distance(family, found), distance(family, found, grow)
    assert plain > 0.38
    assert aged < 0.1
    strangers = notice("found", written(face(2)), "34")
    assert distance(family, strangers, lambda vector, *_ages: vector) == pytest.approx(
        distance(family, strangers), abs=0.01
    )


def test_a_plug_in_is_named_by_its_place_and_its_vectors_keep_their_length() -> None:
    progress = load_progression("unit.local.reunion.test_face_columns:grow")
    cell = written(30 * face())
    found = told(notice("seeking_child", cell, "2"), progress)
    assert len(set(found.values())) == len(FACE_COLUMNS)
    for each in found.values():
        read = np.frombuffer(base64.b64decode(each.partition(" ")[2]), "<f2").astype(float)
        assert np.linalg.norm(read) == pytest.approx(30, rel=0.01)


def test_an_installed_plug_in_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "aging-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: aging\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[kinlink.age_progression]\nlinear = unit.local.reunion.test_face_columns:grow\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    progress = load_progression("linear")
    assert (progress(face(), 1.0, 2.0) == grow(face(), 1.0, 2.0)).all()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody", "no age progression is called nobody"),
        ("no_such_module:grow", "cannot be loaded"),
        ("unit.local.reunion.test_face_columns:nothing", "cannot be loaded"),
        ("unit.local.reunion.test_face_columns:forget", "gave no vector of 128 numbers"),
        ("unit.local.reunion.test_face_columns:quote", "the age progression failed: ValueError"),
    ],
)
def test_a_plug_in_that_fails_ends_the_command_and_no_value_is_said(
    name: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "in.csv"
    write_csv(path, notice("seeking_child", written(face()), "2"))
    words = ["columns", str(path), "--out", str(tmp_path / "out.csv"), "--age-progression", name]
    done = CliRunner().invoke(main, words)
    assert done.exit_code != 0
    assert reason in done.output
    assert f"{face()[0]:.3f}" not in done.output


@pytest.mark.parametrize(
    "cell", ["not base64", "AAA=", written(np.zeros(SIZE)), written(np.full(SIZE, np.nan))]
)
def test_what_is_no_embedding_passes_by_the_plug_in(cell: str) -> None:
    assert told(notice("found", cell, "30"), grow) == {"face_far": f"synthetic-128 {cell}"}


@pytest.mark.parametrize("age", ["nan", "inf", "-3", "five"])
def test_an_age_that_is_none_is_a_fault_of_its_notice(age: str) -> None:
    with pytest.raises(ValueError, match="notice 1 has a date, number"):
        told(notice("found", written(face()), age))
