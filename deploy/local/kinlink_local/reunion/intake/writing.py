"""What handwriting, typewriters and web forms do to Chinese text, undone; and its numerals."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Final

from kinlink_core.encoding.folding import simplified_characters

DIGITS: Final = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {
    "〇": 0, "两": 2,
}  # fmt: skip
NUMERAL: Final = "零〇一二三四五六七八九十廿卅两"
_TENS: Final = {"十": 1, "廿": 2, "卅": 3}
# Circles written for zero, and signs written for a letter X, which stands for "not known".
_SIGNS: Final = {"○": "〇", "Ｏ": "〇", "×": "X", "✕": "X", "╳": "X", "x": "X", "＊": "X", "*": "X"}
# Nobody knows, or nobody said.
_NOT_KNOWN: Final = re.compile(
    r"(?:|无|没有|暂无|不详|不祥|未详|不明|未知|未填|待查|保密|不清楚?|不知道?|不记得了?|记不清楚?了?|忘记?了?|/|-+|\?+)"
)


@cache
def _table() -> dict[int, str]:
    simplified = {ord(key): value for key, value in simplified_characters().items()}
    return simplified | {ord(key): value for key, value in _SIGNS.items() if key != "x"}


def plain(text: str) -> str:
    """The text in half width (NFKC) and simplified characters; other signs stay as they are."""
    return unicodedata.normalize("NFKC", text.translate(_table())).translate(_table())


def close_up(text: str) -> str:
    """`plain` text without spaces, and with X for every sign of the unknown."""
    return re.sub(r"\s+", "", text).replace("x", "X").replace("某", "X")


def is_not_known(text: str) -> bool:
    """Whether the text says nothing, or says that nobody knows."""
    return _NOT_KNOWN.fullmatch(text.rstrip(" 。.,;、").lstrip()) is not None


def number(text: str) -> int:
    """A number in digits or numerals: `17`, `十七`, `廿三`, `一九八八`, `两`.

    Raises:
        ValueError: It is none.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    if text and all(sign in DIGITS for sign in text):
        return int("".join(str(DIGITS[sign]) for sign in text))
    found = re.fullmatch(r"([一二两三四五六七八九]?)([十廿卅])([一二三四五六七八九]?)", text)
    if not found:
        raise ValueError("this is no number")
    tens = DIGITS[found[1]] if found[1] else _TENS[found[2]]
    return tens * 10 + (DIGITS[found[3]] if found[3] else 0)
