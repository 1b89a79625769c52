"""What is told of a home, as terms of the controlled vocabulary.

A term is found by its own word, by one of those in `memory_words` of `words.toml`, or, where it is
about a relative ("father carpenter"), by the relative and the word in one clause. What is
denied ("there was no river") is not found.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Final

from kinlink_local.reunion import terms
from kinlink_local.reunion.intake.writing import close_up, plain
from kinlink_local.reunion.notices import LIST_SEPARATOR

RELATIVES: Final = {
    "父亲": ("父亲", "爸爸", "爸", "爹"), "母亲": ("母亲", "妈妈", "妈", "娘"),
    "奶奶": ("奶奶", "婆婆"), "爷爷": ("爷爷",), "外婆": ("外婆", "姥姥", "家家"),
    "姑姑": ("姑姑", "姑妈"), "叔叔": ("叔叔",), "哥哥": ("哥哥", "哥"), "姐姐": ("姐姐", "姐"),
    "弟弟": ("弟弟",),
}  # fmt: skip
_CLAUSE: Final = re.compile(r"[,;。!?:;,]+")
_DENIED: Final = re.compile(r"(?:没有|没|无|不是|并非|不|未)[^,;。有]{0,2}$")
# A father by adoption is nobody of the home.
_ADOPTIVE: Final = re.compile(r"养[父母]|继[父母]|后[爸妈]")


@cache
def _words() -> dict[str, tuple[str, ...]]:
    """Term → the words that say it."""
    text = files("kinlink_local").joinpath("data/words.toml").read_text(encoding="utf-8")
    more: dict[str, str] = tomllib.loads(text)["memory_words"]
    return {term: (term, *more.get(term, "").split()) for term in terms.memories()}


def read_memories(*texts: str) -> str:
    """A cell of memories of free texts; empty if no term is met."""
    clauses = [
        clause
        for text in texts
        for clause in _CLAUSE.split(close_up(plain(text)))
        if clause and not _ADOPTIVE.search(clause)
    ]
    found = [
        term
        for term, words in _words().items()
        if any(_is_said(term, words, clause) for clause in clauses)
    ]
    return LIST_SEPARATOR.join(found)


def _is_said(term: str, words: tuple[str, ...], clause: str) -> bool:
    if any(_holds(clause, word) for word in words):
        return True
    head = term[:2]
    if head not in RELATIVES or len(term) <= 2:  # noqa: PLR2004 - a relative and what it does
        return False
    said = any(each in clause for each in RELATIVES[head])
    return said and _holds(clause, term[2:])


def _holds(clause: str, word: str) -> bool:
    at = clause.find(word)
    return at >= 0 and not _DENIED.search(clause[:at])
