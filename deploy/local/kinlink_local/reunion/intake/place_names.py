"""Places in words to codes of GB/T 2260, edition 2013, whatever edition the words are from.

A text is read as an address: divisions that follow one another, each within the one before. The
longest name wins. Where a name may mean several divisions, what they have in common is kept: their
prefecture, their province, or nothing. A county that moved within its province is found under its
old prefecture; Chongqing is found in Sichuan, Hainan in Guangdong.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Final

from kinlink_local.reunion.intake.writing import close_up, plain
from kinlink_local.tables import rows

PROVINCE, PREFECTURE, COUNTY = 2, 4, 6
# What may stand between two names of one address.
GAP_MAX: Final = 2
# Parted from the province they were in: Chongqing in 1997, Hainan in 1988.
FORMER: Final = {"50": "51", "46": "44"}
_SUFFIX: Final = re.compile(
    r"(?<=..)((?:[^族]{1,5}族)*(?:自治州|自治县|自治旗|自治区|特别行政区)"
    r"|省|市|地区|州|盟|县|区|旗|特区|林区|矿区)$"
)
_AUTONOMOUS: Final = re.compile(r"自治([州县旗])$")
SHORTEST: Final = 2  # characters of a name without its suffix
# A short name before one of these is that of a street, a village, a river or a house, not where it
# is; but the station of a town is in the town.
_NO_DIVISION: Final = re.compile(
    r"[路街巷村镇乡桥厂河江山湖寺庙庄屯寨店场]|大道|小学|中学|大学|医院|公园|广场|饭店|宾馆"
    r"|书店|商店|商场|市场|影院|剧院"
)
_DISTRICT: Final = "区"
MUNICIPALITIES: Final = ("11", "12", "31", "50")

Candidates = frozenset[str]


@cache
def codes() -> dict[str, str]:
    """Codes of two, four and six digits → names in the edition of 2013."""
    return {row["code"]: row["names"].split(" ")[0] for row in rows("division_names.csv")}


@dataclass(frozen=True)
class _Names:
    """Names → codes: whole ones, and those without their suffix, of districts apart."""

    whole: dict[str, Candidates]
    short: dict[str, Candidates]
    districts: dict[str, Candidates]
    longest: int


@cache
def _names() -> _Names:
    whole: dict[str, set[str]] = defaultdict(set)
    short: dict[str, set[str]] = defaultdict(set)
    districts: dict[str, set[str]] = defaultdict(set)
    for row in rows("division_names.csv"):
        for name in plain(row["names"]).split(" "):
            whole[name].add(row["code"])
            stem = _SUFFIX.sub("", name)
            if stem != name:
                (districts if _is_district(name) else short)[stem].add(row["code"])
            if autonomous := _AUTONOMOUS.search(name):
                stem = stem.removesuffix("族") if len(stem) > SHORTEST else stem
                whole[stem + autonomous[1]].add(row["code"])
    frozen = [
        {name: frozenset(found) for name, found in table.items()}
        for table in (whole, short, districts)
    ]
    return _Names(frozen[0], frozen[1], frozen[2], max(map(len, whole)))


def _is_district(name: str) -> bool:
    return name.endswith(_DISTRICT) and not name.endswith(("地区", "自治区", "行政区"))


def place_code(text: str, within: str = "") -> str:
    """The code of the place that a text begins with; empty if it names no division.

    Args:
        text: free text; what follows the address is not read.
        within: text of a field that names the province, read first; it gives way where `text`
            names a province itself.
    """
    text = close_up(plain(text))
    outer = _address(close_up(plain(within)), frozenset()) if within else frozenset()
    found = _address(text, outer)
    if not found and (not outer or _begins_with_province(text)):
        found = _address(text, frozenset())
    return _common(found or outer)


def place_text(code: str) -> str:
    """Names of a place from its province down, as `place_code` reads them."""
    code = code.removesuffix("00").removesuffix("00") if code not in codes() else code
    levels = [code[:size] for size in (PROVINCE, PREFECTURE, COUNTY) if size <= len(code)]
    return "".join(codes()[each] for each in levels if each in codes())


def _address(text: str, scope: Candidates) -> Candidates:
    """What the first run of names in a text means, within a scope (all, if empty)."""
    at, last = 0, -1
    while at < len(text):
        size, whole, found = _name_at(text, at, scope)
        if not size:
            at += 1
            continue
        if last >= 0 and at - last > GAP_MAX:
            break
        narrowed = _narrow(scope, found, is_whole=whole)
        if narrowed:
            scope = narrowed
            last = at + size
        at += size
    return scope if last >= 0 else frozenset()


def _name_at(text: str, at: int, scope: Candidates) -> tuple[int, bool, Candidates]:
    """The longest name at a place in the text: its length, whether it is whole, its codes."""
    names = _names()
    for size in range(min(names.longest, len(text) - at), 1, -1):
        word = text[at : at + size]
        if word in names.whole:
            return size, True, names.whole[word]
        if not _NO_DIVISION.match(text, at + size) and (found := _unsuffixed(word, scope)):
            return size, False, found
    return 0, False, frozenset()


def _unsuffixed(word: str, scope: Candidates) -> Candidates:
    """What a name without its suffix means; nothing if it is none.

    A province is meant before a prefecture of its name ("Jilin"). A district is meant in its own
    town only: many are called like streets, and like towns elsewhere ("Xi'an").
    """
    names = _names()
    found = names.short.get(word, frozenset())
    if not scope:
        return frozenset(code for code in found if len(code) == PROVINCE) or found
    if all(len(outer) >= PREFECTURE or outer in MUNICIPALITIES for outer in scope):
        found |= names.districts.get(word, frozenset())
    return found


def _begins_with_province(text: str) -> bool:
    """Whether the first name in a text is that of a province."""
    for at in range(len(text)):
        size, _, found = _name_at(text, at, frozenset())
        if size:
            return any(len(code) == PROVINCE for code in found)
    return False


def _narrow(scope: Candidates, found: Candidates, *, is_whole: bool) -> Candidates:
    """The codes of a name that lie within the scope; empty if none does."""
    if not scope:
        return found
    inside = frozenset(code for code in found for outer in scope if code.startswith(outer))
    if inside:
        return inside
    near = {code[:PROVINCE] for code in scope}
    moved = frozenset(
        code
        for code in found
        if (is_whole or len(code) == PROVINCE)
        and (code[:PROVINCE] in near or FORMER.get(code[:PROVINCE]) in near)
        and not any(outer.startswith(code) for outer in scope)
    )
    return moved if len(moved) == 1 else frozenset()


def _common(found: Candidates) -> str:
    """The smallest division that surely holds the place."""
    if not found:
        return ""
    for size in (COUNTY, PREFECTURE, PROVINCE):
        heads = {code[:size] for code in found}
        if len(heads) == 1:
            (head,) = heads
            if head in codes() or len(head) == PROVINCE:
                return head
    return ""
