"""What a name sounds like, and how often a sound is met.

A child recalls sounds, not characters. So names are compared by toneless syllables with the sounds
merged that dialects confuse, and characters are only ways to write them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import numpy as np
from kinlink_core.encoding.chinese import merge_sounds, syllables
from numpy.typing import NDArray

from kinlink_local import names
from kinlink_local.reunion import assumptions as assumed
from kinlink_local.tables import words

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NO_SECOND: Final = -1


@lru_cache(maxsize=1 << 16)
def sound(text: str) -> str:
    """Merged syllables of characters, or of pinyin with spaces, with spaces between."""
    if text.isascii():
        return " ".join(merge_sounds(part) for part in text.split())
    return " ".join(merge_sounds(part) for sign in text for part in syllables(sign))


@lru_cache(maxsize=1 << 16)
def pinyin(text: str) -> str:
    """Toneless syllables with spaces between."""
    return " ".join(part for sign in text for part in syllables(sign))


@dataclass(frozen=True)
class Vocabulary:
    """Characters, or compound surnames, with their shares, and the sounds they share."""

    written: tuple[str, ...]
    share: Floats
    sounds: tuple[str, ...]
    sound_of: Ints  # (written,)
    sound_share: Floats

    def draw(self, rng: np.random.Generator, size: int) -> Ints:
        """Indices of `written`."""
        return rng.choice(len(self.written), size, p=self.share)

    def respell(self, rng: np.random.Generator, heard: Ints) -> Ints:
        """For each sound one of its written forms, by their shares."""
        order = np.argsort(self.sound_of, kind="stable")
        ends = np.cumsum(self.share[order])
        last = np.cumsum(np.bincount(self.sound_of, minlength=len(self.sounds)))
        top = ends[last[heard] - 1]
        point = top - rng.random(len(heard)) * self.sound_share[heard]
        place = np.searchsorted(ends, point, side="right")
        first = last[heard] - np.bincount(self.sound_of)[heard]
        found: Ints = order[np.clip(place, first, last[heard] - 1)]
        return found


def _vocabulary(shares: dict[str, float]) -> Vocabulary:
    written = tuple(shares)
    share = np.array([*shares.values()])
    share /= share.sum()
    heard = [sound(each) for each in written]
    sounds = tuple(sorted(set(heard)))
    number = {each: index for index, each in enumerate(sounds)}
    sound_of = np.array([number[each] for each in heard])
    sound_share = np.bincount(sound_of, weights=share).astype(float)
    return Vocabulary(written, share, sounds, sound_of, sound_share)


@cache
def surname_vocabulary() -> Vocabulary:
    """Surnames by their share of the population."""
    return _vocabulary(_shares(names.surnames()))


@cache
def given_vocabulary() -> Vocabulary:
    """Characters of given names of either sex."""
    girls, boys = (_shares(names.given_characters(sex)) for sex in ("F", "M"))
    return _vocabulary({
        sign: girls.get(sign, 0.0) + boys.get(sign, 0.0) for sign in dict.fromkeys([*girls, *boys])
    })  # fmt: skip


@cache
def stem_vocabulary(sex: str) -> Vocabulary:
    """Stems of nicknames: characters of given names, and those of customary nicknames, half each.

    Left out is what sounds like one of the forms, so that a nickname can be taken apart again.
    """
    given = _shares(names.given_characters("M" if sex == "M" else "F"))
    customary = [word[0] for word in words("childhood_names")]
    shares = {sign: share / 2 for sign, share in given.items()}
    for sign in customary:
        shares[sign] = shares.get(sign, 0.0) + 0.5 / len(customary)
    forms = {sound(sign) for form in assumed.NICKNAME_FORMS for sign in form if sign != "*"}
    return _vocabulary({sign: share for sign, share in shares.items() if sound(sign) not in forms})


def _shares(table: names.Table) -> dict[str, float]:
    weights = np.diff(np.array(table.cumulated), prepend=0.0)
    return dict(zip(table.values, (weights / weights.sum()).tolist(), strict=True))


@cache
def nickname_forms() -> tuple[tuple[str, ...], Floats]:
    """Forms, and their shares."""
    shares = np.array([*assumed.NICKNAME_FORMS.values()])
    return tuple(assumed.NICKNAME_FORMS), shares / shares.sum()


@lru_cache(maxsize=1 << 14)
def take_apart(nickname: str) -> tuple[str, int]:
    """Sound of the stem, and the form.

    Raises:
        ValueError: It has no known form.
    """
    first, _, second = sound(nickname).partition(" ")
    for number, form in enumerate(assumed.NICKNAME_FORMS):
        if form == "**" and first == second:
            return first, number
        if form[0] == "*" and form != "**" and second == sound(form[1]):
            return first, number
        if form[1] == "*" and form != "**" and first == sound(form[0]):
            return second, number
    raise ValueError("this nickname has no known form")


@lru_cache(maxsize=1 << 16)
def given_share(heard: str) -> float:
    """P(a given name sounds like this), of either sex."""
    table = given_vocabulary()
    shares = dict(zip(table.sounds, table.sound_share.tolist(), strict=True))
    found = 1.0
    parts = heard.split(" ")
    for part in parts:
        found *= shares.get(part, 0.0)
    long = names.TWO_CHARACTER_GIVEN_SHARE
    return found * (long if len(parts) > 1 else 1 - long)
