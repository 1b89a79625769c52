"""Chinese dates in words, taken apart: what each date of a text says of year, month and day.

What the words are is here; which days they stand for is `written_dates`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from kinlink_local.reunion.intake.writing import NUMERAL, close_up, number, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

# Years of two digits are those of this century of a hundred years.
SHORT_YEAR_FIRST: Final = 1930
DECADE: Final = 10
SHORT_CENTURY: Final = 19  # of 七几年
FESTIVALS: Final = {
    "春节": (True, 1, 1), "大年初一": (True, 1, 1), "元宵节": (True, 1, 15),
    "元宵": (True, 1, 15),
    "端午节": (True, 5, 5), "端午": (True, 5, 5), "七夕": (True, 7, 7), "中元节": (True, 7, 15),
    "中秋节": (True, 8, 15), "中秋": (True, 8, 15), "重阳节": (True, 9, 9),
    "重阳": (True, 9, 9),
    "腊八": (True, 12, 8), "小年": (True, 12, 0), "元旦": (False, 1, 1), "五一": (False, 5, 1),
    "劳动节": (False, 5, 1), "六一": (False, 6, 1), "儿童节": (False, 6, 1),
    "国庆节": (False, 10, 1), "国庆": (False, 10, 1), "清明节": (False, 4, 0),
    "清明": (False, 4, 0),
}  # fmt: skip
# Months that only the lunar calendar names so; 正 and 元 stand for the first.
MONTH_NAMES: Final = {"正": 1, "元": 1, "冬": 11, "冬子": 11, "腊": 12}
LUNAR_MONTHS: Final = frozenset({"正", "冬", "冬子", "腊"})

_NUM: Final = f"[{NUMERAL}]"
_DIGIT: Final = "[〇零一二三四五六七八九]"
_ONE: Final = "[一二三四五六七八九]"
_WORDS: Final = re.compile(
    rf"""
    (?P<solar>阳历|公历|新历|国历|西历|阳)
  | (?P<lunar>阴历|农历|旧历|老历|夏历|古历|阴|农)
  | (?P<iso>(?<!\d)(?P<iso_y>(?:18|19|20)\d\d)[-./](?P<iso_m>\d{{1,2}}|X+)
      (?:[-./](?P<iso_d>\d{{1,2}}|X+))?(?!\d)日?)
  | (?P<compact>(?<!\d)(?P<c_y>(?:19|20)\d\d)(?P<c_m>0[1-9]|1[0-2])(?P<c_d>[0-2]\d|3[01])(?!\d))
  | (?P<decade>(?P<dec>(?:19|20)?\d0|{_ONE}十|{_NUM}{{4}})年代(?P<dec_part>[初末中]期?)?
      |(?:19|20)\dX年?)
  | (?P<year>(?:(?:18|19|20)\d\d|(?<!\d)\d\d|{_DIGIT}{{4}}|{_DIGIT}{{2}})年
      |(?<!\d)(?:18|19|20)\d\d(?!\d)|X+年)
  | (?P<festival>{"|".join(sorted(FESTIVALS, key=len, reverse=True))}|除夕|大年三十)
  | (?P<month>(?P<leap>闰)?(?:(?P<name>正|元|冬子|冬|腊)|(?P<m>\d{{1,2}}|{_NUM}{{1,3}})|X+)月份?)
  | (?P<third>上旬|中旬|下旬)
  | (?P<part>年[初底末中尾]|[上下]半年|月[初中底末]|[初末底](?!{_ONE}|十))
  | (?P<season>[初早晚深暮仲末]?(?P<s>[春夏秋冬])[天季]?节?)
  | (?P<day>(?:初(?P<chu>{_ONE}|十)|(?P<d>\d{{1,2}}|{_NUM}{{1,3}})(?=[^\d{NUMERAL}]|$)|X+)[日号]?)
  | (?P<about>大约|大概|约|左右|前后|可能|估计|大致|上下|好像|应该是)
  | (?P<range>~|至|到|或者?|—+|-+)
    """,
    re.VERBOSE,
)
# Times of day and the like: digits that say nothing of a day.
_ASIDE: Final = re.compile(
    r"(?:凌晨|清晨|早上|早晨|上午|中午|下午|傍晚|晚上|晚|夜里|夜)?"
    r"\d{1,2}(?:[点时](?:\d{1,2}分|多|半|左右)?|:\d\d)"
    r"|属[鼠牛虎兔龙蛇马羊猴鸡狗猪]|(?:星期|周|礼拜)[一二三四五六日天]|身份证上?"
    r"|[（(]?(?:虚岁|周岁|实岁|\d+岁)[)）]?"
)
_BRACKET: Final = re.compile(r"[()\[\]【】,;。、,;]")
_TWO_MONTHS: Final = re.compile(
    r"(?<![十一二三四五六七八九])([一二三四五六七八九])([一二三四五六七八九])月"
)
_TWO_DAYS: Final = re.compile(r"初([一二三四五六七八九])([一二三四五六七八九十])(?!月)")
_SHARED_UNIT: Final = re.compile(r"(?<!\d)(\d{1,4})(?:~|至|到|-|—|或|、|,)(\d{1,4})(年|月|日|号)")
_SOME: Final = re.compile(r"(?:19|20)?([1-9一二三四五六七八九])几年")
_ZERO: Final = re.compile(r"(?<=[〇零一二三四五六七八九])0(?=[〇零一二三四五六七八九0]|年)")
# Words that turn a date into "not that date".
_NEGATION: Final = re.compile(
    r"之前|以前|之后|以后|不到|更早|更晚|至今|到今|到现在|前的|后的|早于|晚于|不是|出生后"
    r"|[前后][一二三几\d]|实际|真实|[大小][一二两三\d]岁|[报改][大小]"
)


@dataclass(frozen=True)
class Said:
    """One date as it was said; 0 is not said.

    Attributes:
        years: first and last year.
        lunar: which calendar a word names, None if none does.
        forces_lunar: a month or day was named as only the lunar calendar does.
        part: a third, a season, or another part of the month or year.
    """

    years: tuple[int, int] = (0, 0)
    month: int = 0
    day: int = 0
    part: str = ""
    lunar: bool | None = None
    forces_lunar: bool = False
    about: bool = False
    festival: bool = False
    joined: bool = field(default=False, compare=False)  # to the one before, as its end

    @property
    def is_empty(self) -> bool:
        """Whether it says neither year, month nor day."""
        return not (self.years[0] or self.month or self.day or self.part)


def take_apart(text: str) -> list[Said]:
    """The dates of a text, in order.

    Raises:
        ValueError: It says what no date can, or that the date is not the one named.
    """
    text = close_up(plain(text)).replace("～", "~").replace("－", "-").replace("―", "—")
    text = _ASIDE.sub(",", text)
    if _NEGATION.search(text):
        raise ValueError("this is no date but a bound")
    text = _TWO_MONTHS.sub(r"\1月~\2月", text)
    text = _TWO_DAYS.sub(r"初\1~初\2", text)
    text = _SOME.sub(lambda found: f"{SHORT_CENTURY}{number(found[1])}X年", text)
    text = _ZERO.sub("〇", text)
    text = _SHARED_UNIT.sub(r"\1\3~\2\3", text)
    found = list(_dates(text))
    if len(found) > 1 and found[-1].is_empty:  # a calendar or "about" in brackets after its date
        after, before = found.pop(), found.pop()
        lunar = after.lunar if before.lunar is None else before.lunar
        found.append(replace(before, lunar=lunar, about=before.about or after.about))
    if not found or found[0].is_empty:
        raise ValueError("there is no date in it")
    return found


def _dates(text: str) -> Iterator[Said]:
    now, last = Said(), None
    at = 0
    while at < len(text):
        word = _WORDS.match(text, at)
        if word is None:
            if _BRACKET.match(text, at) and not now.is_empty:
                yield now
                now, last = Said(), now
            at += 1
            continue
        at = word.end()
        kind = str(word.lastgroup) if word.lastgroup in _KINDS else _kind(word)
        if kind == "range":
            if not now.is_empty:
                yield now
                last = now
                now = Said(joined=True, lunar=now.lunar)
            continue
        if (
            kind in {"solar", "lunar"}
            and not now.joined
            and (now.lunar is not None or now.years[0])
        ):
            # A second calendar, or one that is said after its date, or after its year.
            if now.lunar is None and (not now.month or not _said_again(text, at)):
                now = replace(now, lunar=kind == "lunar")
                continue
            yield now
            last, now = now, Said()
        if _begins_again(now, kind):
            yield now
            last, now = now, Said()
        now = _with(now, kind, word, last)
    if not now.is_empty or now.lunar is not None or now.about:
        yield now


_KINDS: Final = (
    "solar", "lunar", "iso", "compact", "decade", "year", "festival", "month", "third", "part",
    "season", "day", "about", "range",
)  # fmt: skip


_WITH_YEAR: Final = frozenset({"iso", "compact", "decade", "year"})


def _kind(word: re.Match[str]) -> str:
    return next(name for name in _KINDS if word[name] is not None)


def _said_again(text: str, at: int) -> bool:
    """Whether a date follows, so that a calendar's name belongs to what comes."""
    following = _WORDS.match(text, at)
    return following is not None and _kind(following) in {
        "year",
        "iso",
        "compact",
        "month",
        "festival",
    }


def _begins_again(now: Said, kind: str) -> bool:
    if kind in _WITH_YEAR:
        return bool(now.years[0])
    if kind in {"month", "festival"}:
        return bool(now.month)
    return False


def _with(now: Said, kind: str, word: re.Match[str], last: Said | None) -> Said:
    """The date with one more word."""
    if kind == "about":
        return replace(now, about=True)
    if kind in {"solar", "lunar"}:
        return replace(now, lunar=kind == "lunar")
    if kind in {"third", "part", "season"}:
        part = word["s"] or word[kind]
        if kind == "part" and part in {"初", "末", "底"}:
            part = ("月" if now.month else "年") + part
        return replace(_from(now, last, kind), part=part)
    return _NUMBERS.get(kind, _year)(_from(now, last, kind), word)


def _from(now: Said, last: Said | None, kind: str) -> Said:
    """The end of a range has the year, and a bare day the month, of its beginning."""
    if not now.joined or last is None or now.years[0] or now.month or kind in _WITH_YEAR:
        return now
    now = replace(now, years=last.years)
    return (
        replace(now, month=last.month, forces_lunar=last.forces_lunar)
        if kind in {"day", "third"}
        else now
    )


def _year(now: Said, word: re.Match[str]) -> Said:
    kind = _kind(word)
    if kind == "compact":
        year = int(word["c_y"])
        return replace(now, years=(year, year), month=int(word["c_m"]), day=int(word["c_d"]))
    if kind == "iso":
        year = int(word["iso_y"])
        month = 0 if "X" in word["iso_m"] else int(word["iso_m"])
        day = int(word["iso_d"]) if word["iso_d"] and "X" not in word["iso_d"] else 0
        return _sound(replace(now, years=(year, year), month=month, day=day if month else 0))
    if kind == "decade":
        return replace(now, years=_decade(word))
    digits = word["year"].removesuffix("年")
    if "X" in digits:
        return now
    year = short_year(number(digits), len(digits))
    return replace(now, years=(year, year))


def _decade(word: re.Match[str]) -> tuple[int, int]:
    if word["dec"] is None:
        first = int(word["decade"][:3]) * DECADE
        return first, first + DECADE - 1
    first = short_year(number(word["dec"]), len(str(number(word["dec"]))))
    # The beginning, the middle and the end of a decade overlap.
    low, high = {"初": (0, 4), "中": (3, 7), "末": (6, 9)}.get((word["dec_part"] or " ")[0], (0, 9))
    return first + low, first + high


def short_year(year: int, digits: int) -> int:
    """A year of two digits in full."""
    if digits > 2:  # noqa: PLR2004 - two digits
        return year
    century = SHORT_YEAR_FIRST // 100 * 100
    return year + century + (0 if year + century >= SHORT_YEAR_FIRST else 100)


def _month(now: Said, word: re.Match[str]) -> Said:
    lunar = bool(word["leap"]) or word["name"] in LUNAR_MONTHS
    month = MONTH_NAMES.get(word["name"] or "", 0) or (number(word["m"]) if word["m"] else 0)
    return _sound(replace(now, month=month, forces_lunar=now.forces_lunar or lunar))


def _day(now: Said, word: re.Match[str]) -> Said:
    if now.day or not now.month:
        return now
    lunar = word["chu"] is not None or (word["d"] or "").startswith("廿")
    day = number(word["chu"] or word["d"]) if word["chu"] or word["d"] else 0
    return _sound(replace(now, day=day, forces_lunar=now.forces_lunar or lunar))


def _festival(now: Said, word: re.Match[str]) -> Said:
    name = word["festival"]
    if name not in FESTIVALS:  # the eve of the new year: before it, or at the end of the year
        return replace(now, part="除夕")
    lunar, month, day = FESTIVALS[name]
    return replace(now, month=month, day=day, lunar=lunar, festival=True)


_NUMBERS: Final = {"festival": _festival, "day": _day, "month": _month}


def _sound(said: Said) -> Said:
    if said.month > 12 or said.day > 31:  # noqa: PLR2004 - of any calendar
        raise ValueError("there is no such month or day")
    return said
