"""The eight-part notice as text, parted into notices and each into its fields.

A field is a label of the template, or one of its synonyms, and what stands after it up to the next
label. Widths, spaces, numbering and the kind of colon do not matter. A notice ends where a label
that opens one comes again, or at a line of dashes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from kinlink_local.reunion.intake.writing import is_not_known, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NOTICE_CHARACTERS_MAX: Final = 60_000

# Field → labels. Those of the head first, then the eight parts.
LABELS: Final = {
    "category": ("寻亲类别", "寻亲类型", "类别", "失踪类型", "失踪原因"),
    "id": ("寻亲编号", "宝贝编号", "登记编号", "编号"),
    "name": ("失踪人姓名", "失踪者姓名", "寻亲者姓名", "宝贝姓名", "姓名"),
    "nickname": ("小名", "乳名", "昵称", "别名"),
    "sex": ("性别",),
    "birth": ("出生日期", "出生年月日", "出生年月", "出生时间", "生日", "身份证日期"),
    "age": ("失踪时年龄", "走失时年龄", "失踪年龄", "年龄"),
    "height": ("失踪时身高", "走失时身高", "失踪身高", "身高"),
    "lost": ("失踪日期", "失踪时间", "走失日期", "走失时间", "被拐时间", "丢失时间", "离家时间"),
    "province": (
        "失踪人所在省", "失踪者所在省", "失踪省份", "所在省份", "所在省", "失踪人所在地",
        "失踪者所在地",
    ),
    "place": ("失踪地点", "走失地点", "丢失地点", "被拐地点", "失踪地"),
    "home": ("失踪人户籍所在地", "户籍所在地", "户籍地", "籍贯", "原籍"),
    "lives": ("现居住地", "现所在地", "现住址", "收养地", "养家所在地"),
    "seen": (
        "到养父母家时间", "抱养时间", "抱养日期", "被收养日期", "收养日期", "收养时间", "解救日期",
    ),
    "features": (
        "失踪者特征描述", "失踪人特征描述", "寻亲者特征描述", "特征描述",
        "体貌特征", "特征",
    ),
    "reported": ("是否报案", "报案情况", "报警情况"),
    "dna": (
        "是否采集DNA", "是否采集血样", "是否采血", "采血情况", "DNA采集情况", "DNA情况", "采血",
    ),
    "entered": ("登记日期", "登记时间", "发布日期", "发布时间", "录入时间", "注册时间"),
    "other_data": ("其他资料", "其它资料"),
    "circumstances": ("失踪经过", "走失经过", "被拐经过", "失散经过"),
    "family": ("家庭成员", "家庭成员情况", "家庭情况", "家人情况"),
    "accent": ("口音", "方言"),
    "blood": ("失踪人血型", "血型"),
    "habits": (
        "饮食、生活习惯", "饮食生活习惯", "生活习惯", "饮食习惯", "共同经历资料", "共同经历",
    ),
    "geography": (
        "家庭居住地的地理环境", "居住地地理环境", "家庭地理环境", "居住环境", "地理环境",
    ),
    "routes": ("通常出行路线", "出行路线", "常走路线"),
    "other": ("其它", "其他", "备注", "补充资料"),
    "contact": (
        "联系人", "联系电话", "联系方式", "电话", "跟进志愿者", "志愿者", "QQ", "邮箱", "照片",
        "图片", "链接",
    ),
}  # fmt: skip
# Any of these a second time begins another notice.
OPENERS: Final = ("category", "id", "name")
_RULE: Final = re.compile(r"\s*[-=_*~#—]{3,}\s*$")
_NUMBERING: Final = (
    r"(?:[(（]?[\d一二三四五六七八]{1,2}[)）、.:．]?\s*|第[一二三四五六七八]部分\s*)?"
)
REPLACED: Final = "\ufffd"


@dataclass
class RawNotice:
    """One notice as labelled texts, with its place; labels as they stand in `LABELS`."""

    line: int
    fields: dict[str, str] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)  # what a label has in brackets after it
    undecoded: bool = False
    characters: int = 0

    def text(self, name: str) -> str:
        """A field's text; empty if it is not there or says that nobody knows."""
        text = self.fields.get(name, "").strip()
        return "" if is_not_known(text) else text


@cache
def _label() -> re.Pattern[str]:
    """A label at the beginning of a line or after a space, with a colon or alone on its line."""
    names = sorted((label for labels in LABELS.values() for label in labels), key=len, reverse=True)
    any_label = "|".join(r"[ \t]*".join(map(re.escape, label)) for label in names)
    return re.compile(
        rf"(?:(?<=^)|(?<=[\s;,。|:]))[【\[]?{_NUMBERING}[【\[]?(?P<label>{any_label})[】\]]?\s*"
        r"(?:\((?P<hint>[^()]{1,20})\)\s*)?(?:(?P<colon>[::】\]]+)|(?=\s*$))",
        re.MULTILINE | re.IGNORECASE,
    )


@cache
def _field_of() -> dict[str, str]:
    return {label.upper(): name for name, labels in LABELS.items() for label in labels}


def read_template(lines: Iterable[str]) -> Iterator[RawNotice]:
    """The notices of a file's lines, one after another; text before the first label is skipped."""
    notice: RawNotice | None = None
    last = ""
    for number, line in enumerate(lines, start=1):
        text = plain(line.rstrip("\r\n"))
        if _RULE.match(text):
            if notice:
                yield notice
            notice, last = None, ""
            continue
        at = 0
        for found in _label().finditer(text):
            if not found["colon"] and text[: found.start()].strip():
                continue  # a value that is also a label: 其他
            name = _field_of()[re.sub(r"\s", "", found["label"]).upper()]
            if notice and last:
                _append(notice, last, text[at : found.start()])
            if notice and name in OPENERS and name in notice.fields:
                yield notice
                notice = None
            notice = notice or RawNotice(number)
            # A label twice is one field; a nickname inside the family's part is part of it.
            notice.fields.setdefault(name, "")
            notice.hints.setdefault(name, found["hint"] or "")
            at, last = found.end(), name
        if notice:
            _append(notice, last, text[at:])
            notice.undecoded |= REPLACED in line
    if notice:
        yield notice


def _append(notice: RawNotice, name: str, text: str) -> None:
    """Add to a field, as far as a notice may be long."""
    text = text.strip(" \t;|").removeprefix("】")
    if not text or notice.characters > NOTICE_CHARACTERS_MAX:
        return
    notice.characters += len(text)
    before = notice.fields[name]
    notice.fields[name] = f"{before}\n{text}" if before else text
