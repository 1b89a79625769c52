"""Face vectors for notices from photographs, at the office; a photograph is read once and not kept.

The detector is dlib's histogram of gradients (King 2009), the vector that of its residual network
(128 numbers, trained for a distance of 0.6), laid out by its five-point predictor. Its 68-point
predictor is never loaded: its training data may not be used for this. What a camera wrote beside
the picture (EXIF) is not read, so a picture has to stand upright.

Not guaranteed: that the vector is good. These models err more for children and for the very young.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion.faces import write_faces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kinlink_local.reunion.notices import Notices

    Reader = Callable[[Path], "Floats"]

Floats = NDArray[np.float64]
FACE_MODEL: Final = "dlib-resnet-v1"
SUFFIXES: Final = (".jpg", ".jpeg", ".png")
IMAGE_BYTES_MAX: Final = 30_000_000
IMAGE_PIXELS_MAX: Final = 50_000_000
# What the detector finds at all is 80 pixels wide; its score is a distance from its threshold.
FACE_PIXELS_MIN: Final = 80
SCORE_MIN: Final = 0.2
PROGRESS_EVERY: Final = 100
# Letters that a record id has and a file name cannot.
SLASH: Final = "_"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class PhotographError(Exception):
    """A photograph gives no vector; the message says why, and holds nothing of it."""


def fill_faces(
    notices: Notices, folder: Path, progress: Callable[[int], None], reader: Reader | None = None
) -> list[tuple[str, str]]:
    """Fill `face_model` and `face_embedding` from the folder's photographs, in place.

    Args:
        notices: whole table; what has no photograph stays as it is.
        folder: files named after record ids, with `_` for `/`; others are reported.
        progress: called with the photographs read so far, now and then.
        reader: gives a photograph's vector; dlib's by default.

    Returns:
        File names, each with why it gave nothing, in order.
    """
    rows = defaultdict(list)
    for row, record_id in enumerate(notices["record_id"]):
        rows[record_id.replace("/", SLASH)].append(row)
    read = reader or dlib_reader()
    faults: list[tuple[str, str]] = []
    filled: set[int] = set()
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    for count, path in enumerate(paths, start=1):
        try:
            row = _row(rows.get(path.stem, []), filled)
            cell = write_faces(_unit(read(path))[None])[0]
        except PhotographError as error:
            faults.append((path.name, str(error)))
            continue
        notices["face_model"][row], notices["face_embedding"][row] = FACE_MODEL, cell
        filled.add(row)
        if count % PROGRESS_EVERY == 0:
            progress(count)
    return faults


def _row(rows: list[int], filled: set[int]) -> int:
    if len(rows) != 1:
        raise PhotographError("is named after no notice, or after several; rename it")
    if rows[0] in filled:
        raise PhotographError("is the second of its notice; keep the better one")
    return rows[0]


def _unit(vector: Floats) -> Floats:
    unit: Floats = vector / np.linalg.norm(vector)
    return unit


def dlib_reader() -> Reader:
    """A reader of photographs with exactly one face that is large and clear enough.

    Raises:
        ValueError: The extra `face` is not installed.
    """
    try:
        import dlib
        import face_recognition_models as models
    except ImportError as error:
        raise ValueError("faces need the extra `face`: pip install 'kinlink[face]'") from error
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(models.pose_predictor_five_point_model_location())
    network = dlib.face_recognition_model_v1(models.face_recognition_model_location())

    def read(path: Path) -> Floats:
        check_image(path)
        try:
            image = dlib.load_rgb_image(str(path))
        except RuntimeError as error:
            raise PhotographError("is no JPEG or PNG that can be read") from error
        rectangle = _only_face(*detector.run(image, 0, 0.0)[:2])
        vector = network.compute_face_descriptor(image, predictor(image, rectangle))
        return np.array(vector, np.float64)

    return read


def _only_face(rectangles: Any, scores: list[float]) -> Any:
    if len(rectangles) != 1:
        raise PhotographError(f"has {len(rectangles)} faces; cut out the one that is meant")
    if min(rectangles[0].width(), rectangles[0].height()) < FACE_PIXELS_MIN:
        raise PhotographError(f"has a face smaller than {FACE_PIXELS_MIN} pixels; scan it larger")
    if scores[0] < SCORE_MIN:
        raise PhotographError("has a face that is hardly one; take a clearer photograph")
    return rectangles[0]


def check_image(path: Path) -> None:
    """Refuse what is no JPEG or PNG, and what would unpack to more than is bounded.

    Raises:
        PhotographError: It does.
    """
    if path.stat().st_size > IMAGE_BYTES_MAX:
        raise PhotographError(f"is larger than {IMAGE_BYTES_MAX // 1_000_000} MB; make it smaller")
    width, height = _size(path.read_bytes())
    if not 0 < width * height <= IMAGE_PIXELS_MAX:
        raise PhotographError("is no JPEG or PNG, or one of more than 50 million pixels")


def _size(data: bytes) -> tuple[int, int]:
    """Width and height as the file's head says; zeros if it is neither PNG nor JPEG."""
    if data.startswith(_PNG):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    at = len(_JPEG) if data.startswith(_JPEG) else len(data)
    while at + 9 < len(data) and data[at] == 0xFF:  # noqa: PLR2004 - begins a JPEG segment
        if data[at + 1] in _JPEG_FRAMES:
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0
