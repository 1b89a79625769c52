"""Photographs become vectors of their notices; what gives none is reported and left empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_local.reunion.face_vectors import (
    FACE_MODEL,
    IMAGE_PIXELS_MAX,
    Floats,
    PhotographError,
    check_image,
    fill_faces,
)
from kinlink_local.reunion.faces import read_faces
from kinlink_local.reunion.intake.checks import check
from kinlink_local.reunion.notices import COLUMNS, Notices

if TYPE_CHECKING:
    from pathlib import Path

VECTOR = np.random.default_rng(3).normal(size=128) * 1.4


def table(*record_ids: str) -> Notices:
    return {
        name: [*record_ids] if name == "record_id" else [""] * len(record_ids) for name in COLUMNS
    }


def read(path: Path) -> Floats:
    """The reader's seam: a file that says how many faces it has."""
    if path.read_text("utf-8") != "1":
        raise PhotographError("has several faces")
    return VECTOR


def folder_of(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_text(text, "utf-8")
    return tmp_path


def test_a_photograph_fills_the_notice_it_is_named_after(tmp_path: Path) -> None:
    notices = table("a", "office.example.org/b", "c")
    folder = folder_of(tmp_path, a__jpg="1", c__PNG="2", notes__txt="1")
    (tmp_path / "office.example.org_b.jpeg").write_text("1", "utf-8")
    faults = fill_faces(notices, folder, lambda _: None, read)
    assert faults == [("c.PNG", "has several faces")]
    assert notices["face_model"] == [FACE_MODEL, FACE_MODEL, ""]
    assert notices["photo_age"] == ["", "", ""]
    faces = read_faces(notices["face_embedding"][:2])
    assert np.allclose(faces, VECTOR / np.linalg.norm(VECTOR), atol=1e-3)
    cells = {name: column[0] for name, column in notices.items()}
    assert [name for name, _ in check({**cells, "kind": "found"})] == []


def test_a_file_of_no_notice_and_a_second_of_one_are_reported(tmp_path: Path) -> None:
    notices = table("a", "b", "b")
    faults = fill_faces(
        notices,
        folder_of(tmp_path, a__jpg="1", a__png="1", b__jpg="1", x__jpg="1"),
        lambda _: None,
        read,
    )
    assert [name for name, _ in faults] == ["a.png", "b.jpg", "x.jpg"]
    assert notices["face_embedding"][1:] == ["", ""]


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")


def jpeg(width: int, height: int) -> bytes:
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return b"\xff\xd8\xff\xe0\0\x04ab\xff\xc2\0\x11\x08" + size + b"\x03" * 12


@pytest.mark.parametrize("form", [png, jpeg])
def test_an_image_is_measured_before_it_is_unpacked(tmp_path: Path, form: object) -> None:
    assert callable(form)
    path = tmp_path / "a.jpg"
    path.write_bytes(form(800, 600))
    check_image(path)
    path.write_bytes(form(60_000, IMAGE_PIXELS_MAX // 60_000 + 1))
    with pytest.raises(PhotographError, match="50 million"):
        check_image(path)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\0" * 3, b"\x89PNG"]
)
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(PhotographError, match="no JPEG or PNG"):
        check_image(path)
