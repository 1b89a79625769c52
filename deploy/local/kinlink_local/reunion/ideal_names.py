"""What the names on two notices say about whether they are of one person, under known errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion.children import SEXES
from kinlink_local.reunion.evidence import LEAST, NAME_COLUMNS, UNKNOWN
from kinlink_local.reunion.sounds import (
    given_share,
    nickname_forms,
    stem_vocabulary,
    surname_vocabulary,
)

if TYPE_CHECKING:
    from kinlink_local.reunion.evidence import FamilySide, FoundSide

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


class Names:
    """What names and nicknames say, by sound, on both sides as numbers."""

    def __init__(self, a: FamilySide, b: FoundSide) -> None:
        self._sex = a.sex
        numbers: dict[str, int] = {"": UNKNOWN}
        self._pairs = []
        shares = {
            "family_surname": dict(
                zip(surname_vocabulary().sounds, surname_vocabulary().sound_share, strict=True)
            )
        }
        for name in NAME_COLUMNS:
            share = shares.get(name)
            of = np.array([
                1.0 if not each else share[each] if share else given_share(each)
                for each in b.names[name]
            ])  # fmt: skip
            self._pairs.append((_count(a.names[name], numbers), _count(b.names[name], numbers), of))
        told = [_count([name[i] if i < len(name) else "" for name in a.sibling_names], numbers)
                for i in range(assumed.FAMILY_SIBLING_NAMES_MAX)]  # fmt: skip
        self._told = np.stack(told)
        self._sibling = _count(b.names["sibling_names"], numbers)
        self._sibling_share = np.array([
            given_share(each) if each else 1.0 for each in b.names["sibling_names"]
        ])  # fmt: skip
        self._a_stem = _count([stem for stem, _ in a.nickname], numbers)
        self._b_stem = _count([stem for stem, _ in b.nickname], numbers)
        self._a_form = np.array([form for _, form in a.nickname])
        self._b_form = np.array([form for _, form in b.nickname])
        self._stem_share = np.stack([_stem_shares(sex, b) for sex in SEXES])

    def nickname_given_sex(self) -> Floats:
        """Log P(stem | sex) of the found side (2, found)."""
        known = self._b_form != UNKNOWN
        return np.where(known, np.log(np.maximum(self._stem_share, LEAST)), 0.0)

    def lift(self, rows: Ints) -> Floats32:
        """Log lifts of all names (rows, found)."""
        right = assumed.NAME_RIGHT
        total = np.zeros((len(rows), len(self._b_form)), np.float32)
        for told, recalled, share in self._pairs:
            hit = np.log(right / share + 1 - right).astype(np.float32)
            lift = np.where(told[rows][:, None] == recalled, hit, np.float32(np.log(1 - right)))
            total += lift * np.outer(told[rows] != UNKNOWN, recalled != UNKNOWN)
        told = self._told[:, rows]
        count = (told != UNKNOWN).sum(axis=0)
        hits = (told[:, :, None] == self._sibling).sum(axis=0) / np.maximum(count, 1)[:, None]
        lift = np.log(1 - right + right * hits / self._sibling_share)
        total += (lift * np.outer(count > 0, self._sibling != UNKNOWN)).astype(np.float32)
        return total + self._nickname(rows)

    def _nickname(self, rows: Ints) -> Floats32:
        exact, stem = assumed.NICKNAME_EXACT, assumed.NICKNAME_STEM
        form_share = np.append(nickname_forms()[1], 1.0)[self._b_form]
        share = np.maximum(self._stem_share, LEAST)[self._sex[rows]]
        same_stem = self._a_stem[rows][:, None] == self._b_stem
        same_form = self._a_form[rows][:, None] == self._b_form
        hit = stem + exact * same_form / form_share
        lift = np.log(1 - exact - stem + same_stem * hit / share)
        known = np.outer(self._a_form[rows] != UNKNOWN, self._b_form != UNKNOWN)
        return np.where(known, lift, 0.0).astype(np.float32)


def _stem_shares(sex: str, b: FoundSide) -> Floats:
    table = stem_vocabulary(sex)
    shares = dict(zip(table.sounds, table.sound_share.tolist(), strict=True))
    return np.array([shares.get(stem, 0.0) if stem else 1.0 for stem, _ in b.nickname])


def _count(heard: list[str], numbers: dict[str, int]) -> Ints:
    return np.array([numbers.setdefault(each, len(numbers)) for each in heard])
