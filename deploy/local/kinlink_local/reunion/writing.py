"""How names get onto paper: in characters, in traditional ones, or in pinyin."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kinlink_local.names import traditional
from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion.sounds import (
    NO_SECOND,
    given_vocabulary,
    nickname_forms,
    pinyin,
    stem_vocabulary,
    surname_vocabulary,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Pen:
    """Writes a whole side: each notice keeps to one script."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        script = rng.random(size)
        latin = script < assumed.PINYIN_SHARE
        old = ~latin & (script < assumed.PINYIN_SHARE + assumed.TRADITIONAL_SHARE)
        self._script: list[Callable[[str], str]] = [
            pinyin if one else traditional if other else str
            for one, other in zip(latin.tolist(), old.tolist(), strict=True)
        ]

    def _cells(self, texts: list[str], known: Bools) -> list[str]:
        return [
            script(text) if given else ""
            for script, text, given in zip(self._script, texts, known.tolist(), strict=True)
        ]

    def surnames(self, surname: Ints, known: Bools) -> list[str]:
        """Cells of surnames."""
        written = surname_vocabulary().written
        return self._cells([written[each] for each in surname.tolist()], known)

    def given(self, given: Ints, known: Bools) -> list[str]:
        """Cells of given names (n, 2)."""
        return self._cells(spell_given(given), known)

    def full(self, surname: Ints, given: Ints) -> list[str]:
        """Cells of whole names."""
        written = surname_vocabulary().written
        texts = [
            written[family] + name
            for family, name in zip(surname.tolist(), spell_given(given), strict=True)
        ]
        return self._cells(texts, np.ones(len(texts), bool))

    def nicknames(self, sex: Ints, stem: Ints, form: Ints, known: Bools) -> list[str]:
        """Cells of nicknames; the stem is an index of the table of that sex."""
        girls, boys = (stem_vocabulary(each).written for each in ("F", "M"))
        forms = nickname_forms()[0]
        texts = [
            forms[look].replace("*", (boys if is_boy else girls)[number])
            for is_boy, number, look in zip(sex.tolist(), stem.tolist(), form.tolist(), strict=True)
        ]
        return self._cells(texts, known)


def spell_given(given: Ints) -> list[str]:
    """Characters of given names (n, 2)."""
    written = given_vocabulary().written
    return [
        written[first] + ("" if second == NO_SECOND else written[second])
        for first, second in given.tolist()
    ]


def respell_given(rng: np.random.Generator, given: Ints) -> Ints:
    """The same sounds in other characters (n, 2)."""
    table = given_vocabulary()
    again = partial(table.respell, rng)
    first = again(table.sound_of[given[:, 0]])
    second = again(table.sound_of[np.maximum(given[:, 1], 0)])
    return np.stack([first, np.where(given[:, 1] == NO_SECOND, NO_SECOND, second)], axis=1)
