"""Who belongs to the family, from free text: names of parents, brothers and sisters, nicknames.

A name is taken where the text marks it as one: after a relation, beginning with a surname, or after
"called". Names of adoptive parents are nobody's of the family, and are left.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final

from kinlink_core.encoding.chinese import COMPOUND_SURNAMES
from kinlink_core.encoding.folding import HAN

from kinlink_local import names
from kinlink_local.reunion.intake.writing import NUMERAL, close_up, number, plain
from kinlink_local.reunion.notices import LIST_SEPARATOR

SIBLINGS_NAMED_MAX: Final = 3
FATHER: Final = "生父|父亲|爸爸|爹爹|父|爸|爹"
MOTHER: Final = "生母|母亲|妈妈|母|妈|娘"
_RANK: Final = "[大二三四五六七八小堂表]?"
SIBLING: Final = f"{_RANK}(?:哥哥|姐姐|弟弟|妹妹|哥|姐|弟|妹|兄)"
_HAN: Final = f"[{HAN}]"
_END: Final = r"(?=[,;。.、()\s:\d和与及]|今年|现|父|母|爸|妈|哥哥|姐姐|弟弟|妹妹|出生|生于|$)"
_CALLED: Final = r"(?:的?(?:姓名|名字|大名)?(?:叫做?|名叫|名为|是|为|:)|:)"
_ADOPTED: Final = re.compile(r"[养继后干岳祖伯叔姑舅姨公师]$")
_ELDERS: Final = re.compile(r"[堂表]")
_NICKNAME: Final = re.compile(
    rf"(?:小名|乳名|昵称|奶名|别名|家里叫|家人叫他|家人叫她)(?:叫做?|是|为|:)*[“\"'《]?({_HAN}{{1,4}}?)(?=[”\"'》,;。.、()\s/]|$)"
)
_COUNT: Final = re.compile(
    rf"(\d{{1,2}}|[{NUMERAL}]{{1,2}})(?:个|位|名)(?:亲)?(?:哥哥|姐姐|弟弟|妹妹|兄弟|姐妹|哥|姐|弟|妹)"
)
_COUNT_AFTER: Final = re.compile(
    rf"(?:哥哥|姐姐|弟弟|妹妹|哥|姐|弟|妹)(\d{{1,2}}|[{NUMERAL}]{{1,2}})(?:个|位|名|人)"
)
_TOGETHER: Final = re.compile(
    rf"(?:兄弟姐妹|姐弟|兄妹|兄弟|姐妹|姊妹)(?:共|一共)?(\d{{1,2}}|[{NUMERAL}]{{1,2}})(?:个|人)"
)
_ONLY: Final = re.compile(r"独生子女?|独生女|独子|独女|没有兄弟姐妹|无兄弟姐妹")
# What follows "father" without being his name.
_NO_NAME: Final = re.compile(
    r"(?:已|早|因|在|去|姓|和|与|务农|农民|工人|做|干|从|常|很|都|是|有|没|生前|双亡|不详|健在|离异)"
)


@dataclass(frozen=True)
class Family:
    """What is said of a family; empty is not said. Given names are without the surname."""

    surname: str = ""
    father: str = ""
    mother: str = ""
    siblings: tuple[str, ...] = ()
    sibling_count: str = ""


@cache
def _surnames() -> frozenset[str]:
    return frozenset(names.surnames().values) | frozenset(COMPOUND_SURNAMES)


def split_full_name(name: str) -> tuple[str, str]:
    """Surname and given name; no surname if the name begins with none that is known."""
    for size in (2, 1):
        if len(name) > size and name[:size] in _surnames():
            return name[:size], name[size:]
    return "", name


def read_nickname(*texts: str) -> str:
    """The first nickname that a text marks as one; empty if none does."""
    for text in texts:
        if found := _NICKNAME.search(plain(text)):
            return found[1]
    return ""


def read_name(text: str) -> tuple[str, str]:
    """Registered name and nickname of a name's field: `欧阳寅 (小名嘉嘉)`, `王伟/豆豆`."""
    text = plain(text).strip()
    nickname = read_nickname(text)
    head = re.split(r"[(/,、;]|小名|乳名|昵称", text, maxsplit=1)
    rest = re.sub(r"[()\s]", "", head[1]) if len(head) > 1 and not nickname else ""
    name = head[0].strip()
    name = re.sub(r"\s+", "", name) if not name.isascii() else " ".join(name.split())
    if re.search(r"[X*?□]|某", name):
        name = ""
    is_name = re.fullmatch(f"{_HAN}{{1,4}}", rest) and not re.search(r"名|[男女]|不详|孩", rest)
    return name, nickname or (rest if is_name else "")


def read_family(text: str) -> Family:
    """Names and numbers of a text about the family."""
    text = re.sub(rf"((?:{FATHER}|{MOTHER}|{SIBLING}):?)\s+", r"\1", plain(text))
    text = close_up(re.sub(r"\s+", ",", text.strip()))
    father = _named(text, FATHER)
    mother = _named(text, MOTHER)
    siblings = _siblings(text)
    family, given = split_full_name(father[0]) if father else ("", "")
    return Family(
        surname=family,
        father=given,
        mother=split_full_name(mother[0])[1] if mother else "",
        siblings=tuple(_given(each, family) for each in siblings if each)[:SIBLINGS_NAMED_MAX],
        sibling_count=_sibling_count(text, len(siblings), knows_parent=bool(father or mother)),
    )


def sibling_cell(siblings: tuple[str, ...]) -> str:
    """The cell of siblings' names."""
    return LIST_SEPARATOR.join(siblings)


def _given(name: str, family: str) -> str:
    return (
        name[len(family) :]
        if family and len(name) > len(family) and name.startswith(family)
        else split_full_name(name)[1]
    )


def _named(text: str, relation: str) -> list[str]:
    """Whole names after a relation, in order."""
    pattern = rf"(?:{relation})(?:({_CALLED})?)[“\"']?({_HAN}{{2,4}}?)[”\"']?{_END}"
    found = []
    for each in re.finditer(pattern, text):
        if _ADOPTED.search(text[: each.start()]) or _NO_NAME.match(each[2]):
            continue
        if split_full_name(each[2])[0] and len(each[2]) <= _name_size(each[2]):
            found.append(each[2])
    return found


def _name_size(name: str) -> int:
    """Characters of a name at most: the surname's and two."""
    return len(split_full_name(name)[0]) + 2


def _siblings(text: str) -> list[str]:
    """One entry for each brother or sister listed: the name, or nothing where none is said."""
    pattern = (
        rf"({SIBLING})(?:({_CALLED})[“\"']?({_HAN}{{1,4}}?)|[“\"']?({_HAN}{{2,4}}?))?[”\"']?{_END}"
    )
    found = []
    for each in re.finditer(pattern, text):
        before = text[: each.start()]
        if _ELDERS.match(each[1]) or re.search(rf"[个位名养堂表\d{NUMERAL}]$", before):
            continue
        name = each[3] or each[4] or ""
        if _NO_NAME.match(name) or (each[4] and not split_full_name(name)[0]):
            name = ""
        found.append(name)
    return found


def _sibling_count(text: str, listed: int, *, knows_parent: bool) -> str:
    if _ONLY.search(text):
        return "0"
    with suppress(ValueError):  # 廿两: signs of numbers that are none
        if together := _TOGETHER.search(text):
            return str(max(0, number(together[1]) - 1))
        if counts := _COUNT.findall(text) + _COUNT_AFTER.findall(text):
            return str(sum(number(each) for each in counts))
    # A list of the family names all of it; a story need not.
    return str(listed) if listed and knows_parent else ""
