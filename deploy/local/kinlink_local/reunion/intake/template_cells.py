"""The fields of an eight-part notice, as cells of the table of notices, with what was not read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kinlink_local.reunion.intake import body_marks, kin
from kinlink_local.reunion.intake.checks import check
from kinlink_local.reunion.intake.measures import read_blood, read_height, read_held
from kinlink_local.reunion.intake.memory_words import read_memories
from kinlink_local.reunion.intake.outcome import Found
from kinlink_local.reunion.intake.place_names import place_code
from kinlink_local.reunion.intake.template import NOTICE_CHARACTERS_MAX, RawNotice, read_template
from kinlink_local.reunion.intake.template_dates import date_cells
from kinlink_local.reunion.intake.writing import close_up
from kinlink_local.reunion.notices import FOUND, SEEKING_CHILD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinlink_local.reunion.intake.outcome import Cells, Outcome

# Words of a category, looked for in this order.
CATEGORIES: Final = {
    "abducted": ("被拐", "拐卖", "拐走", "拐骗", "被抢", "被抱走", "被偷", "被盗"),
    "given_up": ("送养", "抱养", "送人", "收养"),
    "abandoned": ("遗弃", "弃养", "抛弃"),
    "runaway": ("离家出走", "出走", "离家"),
    "lost": ("走失", "走丢", "迷失", "迷路", "失散", "丢失", "失踪"),
    "other": ("其他", "其它"),
}  # fmt: skip
# Parts that tell of home.
STORIES: Final = (
    "circumstances", "family", "accent", "habits", "geography", "routes", "other", "other_data",
)  # fmt: skip
WITHOUT_COLUMN: Final = ("home", "reported", "contact", "accent")
ID_CHARACTERS_MAX: Final = 64
HAS_SIGNS: Final = "has signs that stand for a name; write the name, or nothing"
NO_DIVISION: Final = "names no division that is known; write province, city and county"
NO_SUCH_CATEGORY: Final = "is none of 被拐, 走失, 送养, 遗弃, 离家出走, 其他; write one of these"
WHOSE: Final = "does not say whose sample is held; write 父亲, 母亲, 兄弟姐妹 or 本人"


def import_template(lines: Iterable[str], outcome: Outcome) -> None:
    """Read a file of notices into the outcome."""
    for raw in read_template(lines):
        record_id = re.sub(r"\s", "", raw.fields.get("id", ""))[:ID_CHARACTERS_MAX]
        if not any(raw.text(name) for name in raw.fields if name not in {"id", "contact"}):
            outcome.lose(raw.line, record_id, "notice", "has nothing in any field of the template")
            continue
        found = _cells(raw)
        outcome.dropped.update(name for name in WITHOUT_COLUMN if raw.text(name))
        outcome.dropped.update(found.dropped)
        outcome.add(raw.line, {**found.cells, "record_id": record_id}, found.faults)


def _cells(raw: RawNotice) -> Found:
    found = _head(raw)
    kind = found.cells["kind"]
    for part in (_names(raw, kind), date_cells(raw), _places(raw, kind), _body(raw, kind)):
        found.join(part)
    found.cells["memories"] = read_memories(*(raw.text(name) for name in STORIES))
    found.faults += check(found.cells)
    if raw.undecoded:
        found.fault("notice", "has bytes that are no text; try --encoding gb18030")
    if raw.characters > NOTICE_CHARACTERS_MAX:
        found.fault("notice", f"is over {NOTICE_CHARACTERS_MAX} characters; the rest was left out")
    return found


def _head(raw: RawNotice) -> Found:
    """Kind, category and sex."""
    found = Found()
    category = close_up(raw.text("category"))
    if "寻家" in category:
        found.cells |= {"kind": FOUND, "found_as": "self_seeking"}
    else:
        found.cells["kind"] = SEEKING_CHILD
    rest = re.sub(r"家寻宝贝|宝贝寻家|寻家|寻亲|\W", "", category)
    named = (value for value, words in CATEGORIES.items() if any(word in rest for word in words))
    found.cells["category"] = next(named, "")
    if rest and not found.cells["category"]:
        found.fault("category", NO_SUCH_CATEGORY)
    if sex := raw.text("sex"):
        found.cells["sex"] = "F" if "女" in sex else "M" if "男" in sex else sex
    return found


def _names(raw: RawNotice, kind: str) -> Found:
    found = Found()
    name, nickname = kin.read_name(raw.text("name"))
    family = kin.read_family(raw.text("family"))
    told = (raw.text(part) for part in ("family", "other", "other_data", "circumstances", "habits"))
    # A found person's present surname is that of others.
    own = kin.split_full_name(name)[0] if kind == SEEKING_CHILD else ""
    found.cells = {
        "registered_name": name,
        "nickname": re.split(r"[、,;/(]", raw.text("nickname"))[0].strip()
        or nickname
        or kin.read_nickname(*told),
        "family_surname": family.surname or own,
        "father_name": family.father,
        "mother_name": family.mother,
        "sibling_names": kin.sibling_cell(family.siblings),
        "sibling_count": family.sibling_count,
    }
    if raw.text("name") and not name:
        found.fault("registered_name", HAS_SIGNS)
    return found


def _places(raw: RawNotice, kind: str) -> Found:
    """Where lost, and of somebody found where they live."""
    found = Found()
    lost, province = raw.text("place"), raw.text("province")
    found.cells["lost_place"] = place_code(lost, province)
    if (lost or province) and not found.cells["lost_place"]:
        found.fault("lost_place", NO_DIVISION)
    if lives := raw.text("lives"):
        if kind == SEEKING_CHILD:
            found.dropped.append("lives")
        else:
            found.cells["found_place"] = place_code(lives)
            if not found.cells["found_place"]:
                found.fault("found_place", NO_DIVISION)
    return found


def _body(raw: RawNotice, kind: str) -> Found:
    """Height, marks, blood groups, and DNA held."""
    found = Found()
    if height := raw.text("height"):
        try:
            found.cells["height_cm"] = read_height(height)
        except ValueError:
            found.fault("height_cm", "is no height; write centimetres, for instance 95厘米")
    found.cells["marks"], unplaced = body_marks.read_marks(raw.text("features"))
    if unplaced:
        found.fault("marks", body_marks.NOT_CLOSE)
    groups, siblings = read_blood(raw.text("blood"))
    found.cells |= groups
    found.dropped += ["blood of siblings"] * siblings
    if raw.text("blood") and not groups and not siblings:
        found.fault("blood_group", "names no blood group; write for instance 父亲A型, 母亲O型")
    if kind != SEEKING_CHILD and (parents := _parents(found.cells)):
        found.dropped += ["blood of parents"] * parents
    found.cells["dna_held"], unsaid = read_held(raw.text("dna"))
    if unsaid and kind == FOUND:
        found.cells["dna_held"] = "self"
    elif unsaid:
        found.fault("dna_held", WHOSE)
    return found


def _parents(cells: Cells) -> int:
    """Empty the parents' groups, which a found person's notice has no columns for."""
    return sum(bool(cells.pop(f"{who}_blood_group", "")) for who in ("mother", "father"))
