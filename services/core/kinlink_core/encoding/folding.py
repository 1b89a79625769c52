"""One character at a time: what is the same letter for the purpose of comparing people.

`fold` maps text to NFKC, case-folded, without Latin, Greek, Arabic and Hebrew accents, with
Chinese characters simplified, punctuation as single spaces and apostrophes gone. Each character is
folded once and remembered, so a column costs one `str.translate` a value.

Python 3.11 to 3.13 carry Unicode 14.0 to 15.1. Offices with different Pythons must fold alike, and
the three versions agree on every character that 14.0 knows. So characters added later are not
looked up: Chinese ones stand for themselves, others count as punctuation. A golden digest over all
code points guards this, and `probe` puts actual behaviour, not a version number, into the
fingerprint.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from importlib.resources import files
from typing import Final

# Assigned by Unicode 15.0 and 15.1 (Chinese blocks aside): first and last code point.
LATER_RANGES: Final = (
    (0x0CF3, 0x0CF3), (0x0ECE, 0x0ECE), (0x2FFC, 0x2FFF), (0x31EF, 0x31EF),
    (0x10EFD, 0x10EFF), (0x1123F, 0x11241), (0x11B00, 0x11B09), (0x11F00, 0x11F10),
    (0x11F12, 0x11F3A), (0x11F3E, 0x11F59), (0x1342F, 0x1342F), (0x13439, 0x13455),
    (0x1B132, 0x1B132), (0x1B155, 0x1B155), (0x1D2C0, 0x1D2D3), (0x1DF25, 0x1DF2A),
    (0x1E030, 0x1E06D), (0x1E08F, 0x1E08F), (0x1E4D0, 0x1E4F9), (0x1F6DC, 0x1F6DC),
    (0x1F774, 0x1F776), (0x1F77B, 0x1F77F), (0x1F7D9, 0x1F7D9), (0x1FA75, 0x1FA77),
    (0x1FA87, 0x1FA88), (0x1FAAD, 0x1FAAF), (0x1FABB, 0x1FABD), (0x1FABF, 0x1FABF),
    (0x1FACE, 0x1FACF), (0x1FADA, 0x1FADB), (0x1FAE8, 0x1FAE8), (0x1FAF7, 0x1FAF8),
)  # fmt: skip

HAN: Final = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
HAN_CHARACTER: Final = re.compile(f"[{HAN}]")

# Marks that decorate a letter; in Devanagari, Thai or kana, marks are part of the word.
_ACCENTS: Final = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef]"
)
_APOSTROPHES: Final = frozenset("'`´‘’‛ʹʻʼʽʾʿˈ′＇")
_LETTERS: Final = {
    "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t",
    "ı": "i", "ŋ": "ng", "ĸ": "k", "ſ": "s", "ƶ": "z", "ɨ": "i", "ʉ": "u", "ə": "e", "ɓ": "b",
    "ɗ": "d", "ɠ": "g", "ƙ": "k", "ƴ": "y",
}  # fmt: skip
# Variants in use in names beside the standard form that opencc maps to.
_HAN_VARIANTS: Final = {"锺": "钟", "讬": "托", "缐": "线", "镟": "旋", "谘": "咨", "钜": "巨"}
_ROUNDS_MAX: Final = 4
_PROBE_RANGES: Final = ((0x20, 0x3400), (0xA000, 0xA800), (0xF900, 0x10000), (0x1D400, 0x1F200))


@lru_cache(maxsize=1)
def simplified_characters() -> dict[str, str]:
    """Traditional to simplified characters: opencc's table, first choice, followed to its end."""
    source = files("opencc").joinpath("dictionary/TSCharacters.txt").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in source.splitlines() if "\t" in line)
    table = {key: values.split(" ")[0] for key, values in rows}
    table |= _HAN_VARIANTS
    return {key: _end_of_chain(table, key) for key in table}


def _end_of_chain(table: dict[str, str], start: str) -> str:
    seen, at = {start}, start
    while (following := table.get(at, at)) not in seen:
        seen.add(following)
        at = following
    return at


class _Folding(dict[int, str]):
    """A translation table that learns each character when it first meets it."""

    def __missing__(self, code_point: int) -> str:
        folded = self[code_point] = fold_character(chr(code_point))
        return folded


_FOLDING: Final = _Folding()


def fold(text: str) -> str:
    """The folded words of `text`, single spaces between them; idempotent."""
    folded = text.translate(_FOLDING)
    if not folded.isascii():
        folded = unicodedata.normalize("NFC", folded)
    return " ".join(folded.split())


def fold_character(character: str) -> str:
    """What one character becomes: letters and digits (possibly several), nothing, or a space."""
    if is_later(ord(character)):
        return " "
    text = character
    for _ in range(_ROUNDS_MAX):
        again = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
        if again == text:
            break
        text = again
    return "".join(map(_kept, text))


def is_later(code_point: int) -> bool:
    """Whether a character that is not Chinese came with a Unicode version after 14.0."""
    return any(first <= code_point <= last for first, last in LATER_RANGES)


def _kept(character: str) -> str:
    if HAN_CHARACTER.match(character):
        return simplified_characters().get(character, character)
    if character in _APOSTROPHES or _ACCENTS.match(character):
        return ""
    if character in _LETTERS:
        return _LETTERS[character]
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category[0] in "LMN" or category == "Co":
        return character
    return "" if category == "Cf" else " "


def fold_marker(text: str) -> str:
    """`text` for looking it up in a list of words: NFKC, case-folded, trimmed, punctuation kept."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return text.casefold().strip()


_TO_UPPER: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz ", "ABCDEFGHIJKLMNOPQRSTUVWXYZ ", " ")


def canonical_code(text: str) -> str:
    """Folded letters and digits without spaces, ASCII letters in upper case; idempotent."""
    return fold(text).translate(_TO_UPPER)


@lru_cache(maxsize=1)
def probe() -> str:
    """Hex SHA-256 of what `fold` does to a fixed set of characters and of the simplified table."""
    return hashlib.sha256(folded_characters() + simplified_table()).hexdigest()


def folded_characters() -> bytes:
    """What `fold` does to a fixed set of characters, one a line."""
    lines = (
        f"{_FOLDING[code_point]}\n"
        for first, last in _PROBE_RANGES
        for code_point in range(first, last)
    )
    return "".join(lines).encode("utf-8", "surrogatepass")


def simplified_table() -> bytes:
    """Every character that is simplified, with what it becomes."""
    return "".join(
        f"{key}{value}\n" for key, value in sorted(simplified_characters().items())
    ).encode()
