"""Heights, blood groups and whose DNA is held, from words."""

from __future__ import annotations

import re
from typing import Final

from kinlink_local.reunion.intake.writing import NUMERAL, close_up, number, plain
from kinlink_local.reunion.notices import LIST_SEPARATOR

CHI_CM: Final = 100 / 3
_N: Final = rf"(?:\d{{2,3}}|[{NUMERAL}]{{2,4}})"
_METRES: Final = re.compile(r"(\d\.\d{1,2})(?:米|M\b)", re.IGNORECASE)
_METRES_AND: Final = re.compile(rf"([12一二两])米(\d{{1,2}}|[{NUMERAL}]{{1,3}})?")
_CENTIMETRES: Final = re.compile(
    rf"({_N})(?:\.\d)?(?:(?:-|~|至|到)({_N}))?(?:厘米|公分|CM)", re.IGNORECASE
)
_BARE: Final = re.compile(r"(?:约|大约)?(\d{2,3})(?:(?:-|~|至|到)(\d{2,3}))?(?:左右|上下)?")
_CHI: Final = re.compile(rf"(\d(?:\.\d)?|[{NUMERAL}])尺([{NUMERAL}\d])?")

_GROUP: Final = r"(AB|[ABO0])(?:型|(?![A-Z]))"
_WHO: Final = re.compile(
    r"(?P<adopted>养父|养母|继父|继母)|(?P<father>父亲|爸爸|父|爸)|(?P<mother>母亲|妈妈|母|妈)"
    r"|(?P<sibling>哥哥|姐姐|弟弟|妹妹|哥|姐|弟|妹|兄)|(?P<child>孩子|本人|失踪人|宝贝|儿子|女儿|自己)"
    rf"|(?P<group>{_GROUP})",
    re.IGNORECASE,
)
_COLUMN: Final = {
    "father": "father_blood_group", "mother": "mother_blood_group", "child": "blood_group",
}  # fmt: skip
_HELD: Final = (
    ("mother", re.compile(r"母|妈|双亲|双方")), ("father", re.compile(r"父|爸|双亲|双方")),
    ("sibling", re.compile(r"[哥姐弟妹兄]")), ("self", re.compile(r"本人|自己")),
)  # fmt: skip
_NOT_TAKEN: Final = re.compile(r"没有?|未|否|无|不")


def read_height(text: str) -> str:
    """Whole centimetres; of a range its middle.

    Raises:
        ValueError: The text says no height.
    """
    text = close_up(plain(text))
    if found := _METRES.search(text):
        return str(round(float(found[1]) * 100))
    if found := _METRES_AND.search(text):
        rest = found[2] or "0"
        tens = number(rest) * (10 if len(rest) == 1 and rest != "0" else 1)
        return str(number(found[1]) * 100 + tens)
    if found := _CENTIMETRES.search(text) or _BARE.fullmatch(text):
        ends = [number(each) for each in found.groups() if each]
        return str(round(sum(ends) / len(ends)))
    if found := _CHI.search(text):
        whole = float(found[1]) if found[1][0].isdigit() else number(found[1])
        return str(round((whole + (number(found[2]) / 10 if found[2] else 0)) * CHI_CM))
    raise ValueError("no height is said")


def read_blood(text: str, who: str = "child") -> tuple[dict[str, str], int]:
    """Groups by column, and how many are of brothers and sisters, which have no column.

    A group is that of whoever was named before it in its clause, one parent or both, else `who`'s.
    """
    cells: dict[str, str] = {}
    without = 0
    for clause in re.split(r"[,;。\n;,]+", plain(text).upper()):
        named: list[str] = []
        after_group = False
        for word in _WHO.finditer(clause):
            kind = str(word.lastgroup)
            if not word["group"]:
                kind = next(name for name in (*_COLUMN, "sibling", "adopted") if word[name])
                named = [kind] if after_group else [*named, kind]
                after_group = False
                continue
            after_group = True
            group = word["group"].removesuffix("型").replace("0", "O")
            for each in named or [who]:
                if each in _COLUMN:
                    cells.setdefault(_COLUMN[each], group)
                without += each == "sibling"
    return cells, without


def read_held(text: str) -> tuple[str, bool]:
    """Whose sample is held, as a list, and whether one is held without saying whose."""
    held: dict[str, None] = {}
    taken = False
    for clause in re.split(r"[,;。\n;,]+", close_up(plain(text))):
        if not clause or _NOT_TAKEN.search(clause):
            continue
        taken = True
        held |= {who: None for who, words in _HELD if words.search(clause)}
    return LIST_SEPARATOR.join(held), taken and not held
