"""Photographs of notices as columns of `reunion.yaml`: one for each class of years between two.

How alike two photographs of one person are falls with the years between them, so each class has
levels of its own, and no age may leave the office. A family's photograph is of early childhood: it
stands in all three columns, and a found person's in the one that its own age chooses.

Before that an embedding may be aged (`Progression`): a family's to the age that is usual of a
class, a found person's to the same. Kinlink ages none by itself; a plug-in is named by an entry
point of the group `kinlink.age_progression`, or as `module:function`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats: TypeAlias = npt.NDArray[np.float64]
# progress(embedding (dimensions,), age_from, age_to) -> embedding (dimensions,); ages in years.
Progression: TypeAlias = Callable[[Floats, float, float], Floats]

PROGRESSION_GROUP: Final = "kinlink.age_progression"
EARLY_CHILDHOOD: Final = 2.0  # age on a family's photograph, where a class is chosen [A]
_HALF: Final = np.dtype("<f2")


@dataclass(frozen=True)
class GapClass:
    """Photographs that are so many years apart."""

    column: str
    gap_max: float  # years
    usual_age: float  # on a found person's photograph of this class [A]


GAP_CLASSES: Final = (
    GapClass("face_near", 3, 3),
    GapClass("face_mid", 10, 9),
    GapClass("face_far", inf, 30),
)
FACE_COLUMNS: Final = tuple(each.column for each in GAP_CLASSES)


class ProgressionError(Exception):
    """An age progression cannot be found, or did not give an embedding back."""


def load_progression(name: str) -> Progression:
    """The plug-in called `name`: an installed entry point, or `module:function`.

    Raises:
        ProgressionError: There is none.
    """
    if ":" in name:
        found = [EntryPoint(name, name, PROGRESSION_GROUP)]
    else:
        found = list(entry_points(group=PROGRESSION_GROUP, name=name))
    if not found:
        known = ", ".join(sorted(entry_points(group=PROGRESSION_GROUP).names)) or "none"
        raise ProgressionError(f"no age progression is called {name}; installed: {known}")
    try:
        loaded: Progression = found[0].load()
    except (ImportError, AttributeError) as error:
        raise ProgressionError(f"the age progression {name} cannot be loaded: {error}") from error
    return loaded


def face_columns(
    cells: Mapping[str, str], *, seeks: bool, progress: Progression | None
) -> dict[str, str]:
    """The cells of `FACE_COLUMNS`, `MODEL BASE64` each, by those of one notice; empty is unknown.

    A found person's photograph of unknown age is in none: it would be judged by the wrong levels.

    Raises:
        ValueError: The age is no number.
        ProgressionError: The plug-in failed.
    """
    found = dict.fromkeys(FACE_COLUMNS, "")
    model, embedding = cells["face_model"], cells["face_embedding"]
    age = float(cells["photo_age"]) if cells["photo_age"] else None
    if age is not None and not 0 <= age < inf:
        raise ValueError("an age is a number of years")
    if not model or not embedding or (age is None and not seeks):
        return found
    for each in GAP_CLASSES:
        if seeks or each is _class_of(age or 0.0):
            aged = _aged(embedding, age, each.usual_age, progress)
            found[each.column] = f"{model} {aged}"
    return found


def _class_of(age: float) -> GapClass:
    return next(each for each in GAP_CLASSES if age - EARLY_CHILDHOOD <= each.gap_max)


def _aged(embedding: str, age: float | None, usual: float, progress: Progression | None) -> str:
    """The embedding at another age and of its own length, which tells its quality.

    What is no embedding stays as it is: the registry that takes it in counts it.
    """
    if progress is None or age is None:
        return embedding
    try:
        read = np.frombuffer(base64.b64decode(embedding, validate=True), _HALF).astype(np.float64)
    except (binascii.Error, ValueError):
        return embedding
    if not np.isfinite(read).all() or not read.any():
        return embedding
    length = np.linalg.norm(read)
    try:
        aged = np.asarray(progress(read, age, usual), np.float64)
    except Exception as error:  # noqa: BLE001 - whatever a plug-in raises may quote its input
        raise ProgressionError(f"the age progression failed: {type(error).__name__}") from None
    if aged.shape != read.shape or not np.isfinite(aged).all() or not aged.any():
        raise ProgressionError(f"the age progression gave no vector of {len(read)} numbers")
    scaled = (aged * (length / np.linalg.norm(aged))).astype(_HALF)
    return base64.b64encode(scaled.tobytes()).decode()
