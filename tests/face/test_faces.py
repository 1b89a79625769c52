"""Photographs through dlib: six faces of one picture, found, cut out, made vectors, told apart.

The picture ships with the package insightface; none of its code is run.
"""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from click.testing import CliRunner
from kinlink_local.cli import main
from kinlink_local.reunion.faces import read_faces
from kinlink_local.reunion.notices import COLUMNS, Notices, read_csv, write_csv

pytestmark = [pytest.mark.face, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
MARGIN: Final = 0.6  # of a face's width, around what is cut out
# Cosines: of two people, and of one picture altered.
STRANGERS_MAX: Final = 0.93
SAME_MIN: Final = 0.95


@pytest.fixture(scope="module")
def picture() -> Path:
    found = distribution("insightface").locate_file("insightface/data/images/t1.jpg")
    return Path(str(found))


@pytest.fixture(scope="module")
def cut_out(picture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each face of the picture as a photograph of its own, from left to right."""
    import dlib

    folder = tmp_path_factory.mktemp("photographs")
    image = dlib.load_rgb_image(str(picture))
    faces = sorted(dlib.get_frontal_face_detector()(image, 0), key=lambda face: face.left())
    for number, face in enumerate(faces):
        edge = int(face.width() * MARGIN)
        left, top = max(0, face.left() - edge), max(0, face.top() - edge)
        part = image[top : face.bottom() + edge, left : face.right() + edge]
        dlib.save_image(np.ascontiguousarray(part), str(folder / f"P{number}.png"))
    return folder


def table(*record_ids: str) -> Notices:
    return {
        name: [*record_ids]
        if name == "record_id"
        else ["found" * (name == "kind")] * len(record_ids)
        for name in COLUMNS
    }


def run(folder: Path, notices: Notices, out: Path) -> tuple[Notices, str]:
    write_csv(out, notices)
    done = CliRunner().invoke(
        main, ["faces", str(folder), "--notices", str(out), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    return read_csv(out), done.stderr


def test_six_faces_of_six_become_vectors_that_differ(cut_out: Path, tmp_path: Path) -> None:
    names = sorted(path.stem for path in cut_out.iterdir())
    assert len(names) == 6
    notices, _ = run(cut_out, table(*names, "without"), tmp_path / "a.csv")
    assert notices["face_model"] == ["dlib-resnet-v1"] * 6 + [""]
    faces = read_faces(notices["face_embedding"][:6])
    assert np.allclose(np.linalg.norm(faces, axis=1), 1, atol=2e-3)
    cosines = (faces @ faces.T)[np.triu_indices(6, 1)]
    # dlib's vectors point much the same way for everybody: docs/reference/notices.md says how much.
    assert cosines.min() > 0.75
    assert cosines.max() < STRANGERS_MAX


def test_a_face_again_smaller_and_mirrored_is_nearer_than_any_other(
    cut_out: Path, tmp_path: Path
) -> None:
    import dlib

    again = tmp_path / "again"
    again.mkdir()
    names = sorted(path.stem for path in cut_out.iterdir())
    for name in names:
        image = dlib.load_rgb_image(str(cut_out / f"{name}.png"))
        rows, columns = (int(size * 0.9) for size in image.shape[:2])
        smaller = dlib.resize_image(np.ascontiguousarray(image[:, ::-1]), rows, columns)
        dlib.save_image(smaller, str(again / f"{name}.png"))
    first, _ = run(cut_out, table(*names), tmp_path / "a.csv")
    second, faults = run(again, table(*names), tmp_path / "b.csv")
    both = [
        n for n, cell in enumerate(second["face_embedding"]) if cell and first["face_embedding"][n]
    ]
    assert len(both) >= 4, faults
    one, other = (read_faces([t["face_embedding"][n] for n in both]) for t in (first, second))
    likeness = one @ other.T
    assert np.diag(likeness).min() > SAME_MIN
    assert (likeness.argmax(axis=1) == np.arange(len(both))).all()


def test_a_picture_of_several_and_one_of_none_are_reported_and_left_empty(
    picture: Path, tmp_path: Path
) -> None:
    import dlib

    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "several.jpg").write_bytes(picture.read_bytes())
    dlib.save_image(np.zeros((200, 200, 3), np.uint8), str(folder / "none.png"))
    (folder / "broken.jpg").write_bytes(picture.read_bytes()[:3000])
    notices, told = run(folder, table("several", "none", "broken"), tmp_path / "a.csv")
    assert notices["face_embedding"] == ["", "", ""]
    assert "several.jpg: has 6 faces" in told
    assert "none.png: has 0 faces" in told
    assert "broken.jpg" in told
