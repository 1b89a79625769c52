"""Faces at score level: unit vectors whose cosine falls with the years between two photographs.

A second photograph of a person is the first one's direction plus noise, brought to unit length
(the projected, or angular, normal distribution). Of strangers, directions are uniform.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion import assumptions as assumed

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
INFANT: Final = len(assumed.FACE_SEPARATION)
COSINE_STEPS: Final = 4_000
RADII: Final = 1_500


def gap_class(earlier: Ints, later: Ints) -> Ints:
    """Class of two photographs by the ages in years on them: by the gap, or the infant's."""
    gap = np.abs(later - earlier)
    found = np.searchsorted(np.array(assumed.FACE_GAP_YEARS), gap, side="left")
    return np.where(np.minimum(earlier, later) < 1, INFANT, found)


def separations() -> Floats:
    """Mean cosine of one person's photographs in strangers' standard deviations, by class."""
    return np.array([*assumed.FACE_SEPARATION, assumed.FACE_SEPARATION_INFANT])


def pull(separation: Floats) -> Floats:
    """Length of the first photograph's part, beside noise of length about one."""
    cosine = separation / np.sqrt(assumed.FACE_DIMENSION)
    found: Floats = cosine / np.sqrt(1 - cosine**2)
    return found


def draw_strangers(rng: np.random.Generator, size: int) -> Floats:
    """Uniform directions (size, dimension)."""
    return _unit(rng.normal(size=(size, assumed.FACE_DIMENSION)))


def draw_again(rng: np.random.Generator, faces: Floats, separation: Floats) -> Floats:
    """Another photograph of each face, or of a sibling: (n, dimension)."""
    noise = rng.normal(size=faces.shape) / np.sqrt(assumed.FACE_DIMENSION)
    return _unit(pull(separation)[:, None] * faces + noise)


def _unit(vectors: Floats) -> Floats:
    found: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


@cache
def log_lift() -> Floats32:
    """Log density ratio, one person against strangers, by class and cosine (classes, steps + 1).

    With x ~ N(k e, I/D) the direction's density, relative to the uniform one, is the integral over
    radii r of r^(D-1) exp(-D (r^2 - 2 r k t + k^2) / 2), where t is its cosine with e.
    """
    size = assumed.FACE_DIMENSION
    radius = np.linspace(1e-3, 3.0, RADII)
    cosine = np.linspace(-1, 1, COSINE_STEPS + 1)[:, None]
    base = (size - 1) * np.log(radius) - size / 2 * radius**2
    found = [
        _log_sum(base + size * radius * k * cosine - size / 2 * k**2) - _log_sum(base)
        for k in pull(separations()).tolist()
    ]
    return np.array(found, np.float32)


def _log_sum(values: Floats) -> Floats:
    top = values.max(axis=-1, keepdims=True)
    found: Floats = np.log(np.exp(values - top).sum(axis=-1)) + top[..., 0]
    return found


def write_faces(faces: Floats) -> list[str]:
    """Base64 of little-endian half-precision numbers."""
    return [base64.b64encode(row.tobytes()).decode() for row in faces.astype("<f2")]


def read_faces(cells: Sequence[str]) -> Floats32:
    """Unit vectors (n, dimension); zeros where there is none."""
    nothing = bytes(2 * assumed.FACE_DIMENSION)
    raw = b"".join(base64.b64decode(cell) if cell else nothing for cell in cells)
    faces = np.frombuffer(raw, "<f2").astype(np.float32).reshape(-1, assumed.FACE_DIMENSION)
    found: Floats32 = faces / np.maximum(np.linalg.norm(faces, axis=1, keepdims=True), 1e-6)
    return found
