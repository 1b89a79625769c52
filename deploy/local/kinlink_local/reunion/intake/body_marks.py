"""Marks on a body in words, as side, site and kind of the fixed lists.

What would be a guess is left out and reported: an arm without upper or lower, an ear without its
side. A site of the middle (forehead, neck, chest, belly, back, loins, buttocks) of which no side
is said is in the middle.
"""

from __future__ import annotations

import re
from typing import Final

from kinlink_local.reunion import terms
from kinlink_local.reunion.intake.writing import close_up, plain
from kinlink_local.reunion.notices import LIST_SEPARATOR

# Words → site of the fixed list; longer words are looked for first.
SITES: Final = {
    "额": ("额头", "前额", "脑门", "额角", "额"), "眉": ("眉毛", "眉心", "眉间", "眉头", "眉"),
    "眼": ("眼睛", "眼角", "眼皮", "眼睑", "眼眶", "眼下", "眼"),
    "颊": ("脸颊", "面颊", "脸蛋", "腮帮", "腮", "脸", "颊"),
    "耳前": ("耳朵前面", "耳朵前", "耳前"), "耳后": ("耳朵后面", "耳朵后", "耳根后", "耳后"),
    "颈": ("脖子", "脖颈", "颈部", "颈"), "肩": ("肩膀", "肩头", "肩部", "肩"),
    "上臂": ("大臂", "上臂", "臂膀"), "前臂": ("小臂", "前臂", "下臂"),
    "手背": ("手背",), "手心": ("手掌心", "手心", "手掌"),
    "胸": ("胸口", "胸前", "前胸", "胸部", "胸"),
    "腹": ("肚皮", "肚子", "小腹", "腹部", "腹"), "背": ("后背", "脊背", "背部", "背上", "背"),
    "腰": ("腰部", "腰"), "臀": ("屁股", "臀部", "臀"), "大腿": ("大腿",),
    "膝": ("膝盖", "膝头", "膝"),
    "小腿": ("小腿",), "脚背": ("脚背", "脚面"), "脚底": ("脚底板", "脚底", "脚掌", "脚心"),
}  # fmt: skip
KINDS: Final = {
    "烫伤": ("烫伤疤痕", "烫伤的疤", "烫伤疤", "烫伤", "烧伤疤痕", "烧伤", "烫疤", "开水烫"),
    "疤痕": ("疤痕", "伤疤", "刀疤", "伤痕", "疤瘌", "疤"),
    "胎记": ("胎记", "胎印", "红记", "青记", "黑记"),
    "黑痣": ("黑痣", "小痣", "痣"),
}  # fmt: skip
MIDDLE_SITES: Final = frozenset({"额", "颈", "胸", "腹", "背", "腰", "臀", "眉"})
# Named, but not closely enough for a site.
_ELSEWHERE: Final = (
    "胳膊", "手臂", "手指", "手腕", "脚趾", "脚踝", "耳朵", "嘴", "鼻", "下巴", "头顶", "头上",
    "后脑", "腿", "手", "脚", "耳", "头", "身上", "臂",
)  # fmt: skip
_BOTH: Final = ("左", "右")
_SIDES: Final = {
    "左": ("左",), "右": ("右",), "中": ("中",), "两": _BOTH, "双": _BOTH, "左右": _BOTH,
}  # fmt: skip
_CLAUSE: Final = re.compile(r"[,;。!?;,]+")
_NONE: Final = re.compile(r"(?:身上|全身)?(?:没有|无)(?:任何|明显)?(?:的)?(?:特征|印记|标记|记号)")
_NEGATION: Final = re.compile(r"(?:没有?|无)(?:任何|明显)?(?:的)?$")
SIDE_REACH: Final = 3  # characters between a side and its site

NOT_CLOSE: Final = "names a mark without a site or side of the list; write for instance 左手背疤痕"


def _alternatives() -> tuple[re.Pattern[str], dict[str, tuple[str, str]]]:
    """One pattern of all words, and what each is: site, kind or elsewhere."""
    known: dict[str, tuple[str, str]] = dict.fromkeys(_ELSEWHERE, ("elsewhere", ""))
    for what, table in (("site", SITES), ("kind", KINDS)):
        known |= {word: (what, term) for term, words in table.items() for word in words}
    known |= {side: ("side", side) for side in _SIDES}
    return re.compile("|".join(sorted(known, key=len, reverse=True))), known


_WORDS, _KNOWN = _alternatives()


def read_marks(text: str) -> tuple[str, bool]:
    """A cell of marks of free text, and whether a mark was named that could not be placed.

    Empty if the text names none; `none` if it says that there are none.
    """
    found: dict[str, None] = {}
    unplaced = False
    text = close_up(plain(text))
    for clause in _CLAUSE.split(text):
        marks, lost = _of_clause(clause)
        found |= dict.fromkeys(marks)
        unplaced |= lost
    if not found and not unplaced and _NONE.search(text):
        return terms.NONE_KNOWN, False
    return LIST_SEPARATOR.join(sorted(found)), unplaced


def _of_clause(clause: str) -> tuple[list[str], bool]:
    """Marks of a clause: kinds belong to the sites before them, or to those after if none is."""
    sites: list[tuple[str, str]] = []
    kinds: list[str] = []
    found: list[str] = []
    unplaced = False
    side, side_end, after_kind = "", -1, False
    for word in _WORDS.finditer(clause):
        what, term = _KNOWN[word[0]]
        if what == "elsewhere" and _begins_a_site(clause, word.end()):
            side_end = word.end()
            continue
        if what == "side":
            side, side_end = term, word.end()
        elif what == "kind":
            if _NEGATION.search(clause[: word.start()]):
                continue
            kinds.append(term)
            found += [f"{each}/{site}/{term}" for each, site in sites]
            after_kind = True
        else:
            if after_kind and sites:
                sites, kinds = [], []
            after_kind = False
            near = side if word.start() - side_end <= SIDE_REACH else ""
            placed = (
                _placed(term, near, clause[word.start() : word.end()]) if what == "site" else []
            )
            unplaced |= not placed
            sites += placed
            found += [f"{each}/{site}/{kind}" for kind in kinds for each, site in placed]
            side = ""
    # A site without a kind is no mark: clothes, hair, an injury that healed.
    return found, bool(kinds) and (unplaced or not found)


def _begins_a_site(clause: str, at: int) -> bool:
    """Whether a site follows at once: "left hand, back of the hand"."""
    following = _WORDS.match(clause, at)
    return following is not None and _KNOWN[following[0]][0] == "site"


def _placed(site: str, side: str, word: str) -> list[tuple[str, str]]:
    if side:
        return [(each, site) for each in _SIDES[side]]
    if site in MIDDLE_SITES and (site != "眉" or word in {"眉心", "眉间", "眉头"}):
        return [("中", site)]
    return []
