"""What the same notices give to simpler linkers: an exact join, and fixed weights.

Neither knows a frequency, an error rate or a calendar. Both see the cells as they are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kinlink_local.reunion.notices import Notices

Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

# Boosts of UNICEF Primero's search for tracing requests: name 10, sex 10, date of birth or age 5,
# family names 5 [P, its code]. Its relation, religion, language and nationality have no column;
# province stands for language (3).
NAME: Final = 10
SEX: Final = 10
BIRTH: Final = 5
FAMILY: Final = 5
PROVINCE: Final = 3
AGE_YEARS: Final = 1


class ExactJoin:
    """Pairs of the same sex and date of birth first; among them those of the same place of loss."""

    def __init__(self, family: Notices, found: Notices) -> None:
        self._sex = _Equal(family["sex"], found["sex"])
        self._birth = _Equal(family["birth_date"], found["birth_date"])
        self._place = _Equal(_cut(family["lost_place"], 4), _cut(found["lost_place"], 4))

    def scores(self, rows: Ints) -> Floats32:
        """2 or 1 for pairs of the join, else 0 (rows, found)."""
        joined = self._sex.of(rows) & self._birth.of(rows)
        found: Floats32 = np.where(joined, 1 + self._place.of(rows), 0).astype(np.float32)
        return found


class FixedWeights:
    """Sums of boosts for cells that agree, as Primero matches tracing requests with cases."""

    def __init__(self, family: Notices, found: Notices) -> None:
        self._agreements = [
            (NAME, _Equal(family["registered_name"], found["registered_name"])),
            (NAME, _Equal(family["nickname"], found["nickname"])),
            (SEX, _Equal(family["sex"], found["sex"])),
            (BIRTH, _Equal(family["birth_date"], found["birth_date"])),
            (PROVINCE, _Equal(_cut(family["lost_place"], 2), _cut(found["lost_place"], 2))),
            *(
                (FAMILY, _Equal(family[name], found[name]))
                for name in ("family_surname", "father_name", "mother_name")
            ),
        ]
        self._years = tuple(
            np.array([int(cell[:4]) for cell in side["birth_date"]]) for side in (family, found)
        )

    def scores(self, rows: Ints) -> Floats32:
        """Sums of boosts (rows, found)."""
        of, found = self._years
        near = np.abs(of[rows][:, None] - found) <= AGE_YEARS
        total: Floats32 = (BIRTH * near).astype(np.float32)
        for boost, agreement in self._agreements:
            total += np.float32(boost) * agreement.of(rows)
        return total


class _Equal:
    """Whether two cells are known and the same."""

    def __init__(self, family: list[str], found: list[str]) -> None:
        numbers: dict[str, int] = {"": -1}
        self._a, self._b = (
            np.array([numbers.setdefault(cell, len(numbers)) for cell in cells])
            for cells in (family, found)
        )

    def of(self, rows: Ints) -> Bools:
        """(rows, found)."""
        told = self._a[rows][:, None]
        equal: Bools = (told == self._b) & (told >= 0)
        return equal


def _cut(codes: list[str], digits: int) -> list[str]:
    """Codes of at least so many digits, cut to them."""
    return [code[:digits] if len(code) >= digits else "" for code in codes]
