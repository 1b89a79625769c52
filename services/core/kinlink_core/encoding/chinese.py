"""Chinese personal names: readings, compound surnames, and pinyin written in Latin letters.

Readings are toneless and by character, from pypinyin's character table, with the readings that
surnames take (单 is shan, not dan) in a name's first place. Phrase tables are not used: a name is
no phrase, and one character must not change how another is read. ü is written v.

Not guaranteed: a given-name character with several readings takes its most common one, so a
romanised name may differ from the reading of its characters.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import lru_cache
from typing import Final

from kinlink_core.encoding.folding import HAN_CHARACTER

# Where the surname is read otherwise than the character's most common reading.
SURNAME_READINGS: Final = {
    "单": "shan", "曾": "zeng", "解": "xie", "仇": "qiu", "区": "ou", "查": "zha", "盖": "ge",
    "朴": "piao", "翟": "zhai", "缪": "miao", "乐": "yue", "员": "yun", "繁": "po", "秘": "bi",
    "折": "she", "召": "shao", "覃": "qin", "牟": "mu", "隗": "wei", "郇": "xun", "种": "chong",
    "重": "chong", "黑": "he", "长": "chang", "佴": "nai", "卜": "bu", "祭": "zhai", "能": "nai",
}  # fmt: skip

COMPOUND_SURNAMES: Final = {
    "欧阳": "ou yang", "司马": "si ma", "上官": "shang guan", "诸葛": "zhu ge", "司徒": "si tu",
    "东方": "dong fang", "皇甫": "huang fu", "尉迟": "yu chi", "公孙": "gong sun",
    "慕容": "mu rong", "微生": "wei sheng", "羊舌": "yang she", "叶赫": "ye he",
    "令狐": "ling hu", "长孙": "zhang sun", "宇文": "yu wen", "司空": "si kong", "万俟": "mo qi",
    "单于": "chan yu", "澹台": "tan tai", "淳于": "chun yu", "濮阳": "pu yang", "钟离": "zhong li",
    "轩辕": "xuan yuan", "呼延": "hu yan", "赫连": "he lian", "夏侯": "xia hou", "申屠": "shen tu",
    "仲孙": "zhong sun", "闾丘": "lv qiu", "南宫": "nan gong", "西门": "xi men", "独孤": "du gu",
    "百里": "bai li", "端木": "duan mu", "东郭": "dong guo", "闻人": "wen ren", "拓跋": "tuo ba",
    "太史": "tai shi", "鲜于": "xian yu", "宗政": "zong zheng", "乐正": "yue zheng",
    "第五": "di wu",
    "梁丘": "liang qiu", "左丘": "zuo qiu", "公羊": "gong yang", "谷梁": "gu liang",
    "公冶": "gong ye", "巫马": "wu ma", "漆雕": "qi diao", "宰父": "zai fu", "司寇": "si kou",
    "颛孙": "zhuan sun", "完颜": "wan yan", "耶律": "ye lv", "亓官": "qi guan", "纳兰": "na lan",
}  # fmt: skip
COMPOUND_CHARACTERS: Final = 2

_SYLLABLES_NOT_WRITTEN: Final = frozenset({"m", "n", "ng", "hm", "hng", "fiao", "wong", "o", "ei"})
_OTHER_SPELLINGS: Final = {"lyu": "lv", "nyu": "nv", "lue": "lve", "nue": "nve"}
_SYLLABLE_LETTERS_MAX: Final = 6
_WORD_LETTERS_MAX: Final = 40
_UMLAUT_U: Final = str.maketrans(dict.fromkeys("üÜǖǕǘǗǚǙǜǛ", "v"))
_SYLLABLE_BREAKS: Final = str.maketrans(dict.fromkeys("'’‘`", " "))


@lru_cache(maxsize=1)
def _readings() -> dict[str, str]:
    """Chinese character to its most common toneless reading."""
    from pypinyin.pinyin_dict import pinyin_dict

    plain = {text: _toneless(text) for text in set(pinyin_dict.values())}
    found = ((chr(code_point), plain[text]) for code_point, text in pinyin_dict.items())
    return {character: reading for character, reading in found if reading}


def _toneless(readings: str) -> str:
    first = unicodedata.normalize("NFC", readings.partition(",")[0]).translate(_UMLAUT_U)
    letters = unicodedata.normalize("NFD", first)
    return "".join(letter for letter in letters if letter.isascii() and letter.isalpha())


@lru_cache(maxsize=1)
def _spellings() -> dict[str, str]:
    """What a syllable may look like in Latin letters, to the syllable."""
    known = set(_readings().values())
    return {each: each for each in known - _SYLLABLES_NOT_WRITTEN} | _OTHER_SPELLINGS


def spell_out(text: str) -> str:
    """`text` with every ü as v and every apostrophe as a space, before folding removes both.

    Else lü would become lu, and Xi'an, two syllables, would become Xian.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_UMLAUT_U)
    return text.translate(_SYLLABLE_BREAKS)


@lru_cache(maxsize=1 << 16)
def split_pinyin(word: str) -> tuple[str, ...]:
    """The syllables of a Latin word, fewest first and then longest first; the word if it has none.

    `xiaoming` gives (xiao, ming), `xian` (xian,), `john` (john,).
    """
    if len(word) > _WORD_LETTERS_MAX:
        return (word,)
    spellings = _spellings()
    best: list[tuple[str, ...] | None] = [None] * len(word) + [()]
    for start in range(len(word) - 1, -1, -1):
        for length in range(min(_SYLLABLE_LETTERS_MAX, len(word) - start), 0, -1):
            syllable = spellings.get(word[start : start + length])
            rest = best[start + length]
            if syllable is None or rest is None:
                continue
            found = best[start]
            if found is None or 1 + len(rest) < len(found):
                best[start] = (syllable, *rest)
    return best[0] or (word,)


def split_name(name: str) -> tuple[str, str]:
    """Family and given name of a canonical name; no given name if there is only one part."""
    if not HAN_CHARACTER.match(name):
        family, _, given = name.partition(" ")
        return family, given
    size = COMPOUND_CHARACTERS if _is_compound(name) else 1
    return name[:size], name[size:]


def _is_compound(name: str) -> bool:
    return len(name) > COMPOUND_CHARACTERS and name[:COMPOUND_CHARACTERS] in COMPOUND_SURNAMES


def syllables(name: str) -> tuple[str, ...]:
    """The toneless syllables of a canonical name, surnames in their own readings.

    Latin words stay whole (canonical names have their pinyin split already); a character without a
    known reading stands for itself.
    """
    if name.isascii():
        return tuple(name.split(" "))
    family: tuple[str, ...] = ()
    if _is_compound(name):
        family = tuple(COMPOUND_SURNAMES[name[:COMPOUND_CHARACTERS]].split(" "))
    elif len(name) > 1 and name[0] in SURNAME_READINGS:
        family = (SURNAME_READINGS[name[0]],)
    given = name[len(family) :]
    readings = _readings()
    try:
        return family + tuple([readings[character] for character in given])
    except KeyError:
        return family + tuple(_mixed_syllables(given))


def _mixed_syllables(text: str) -> list[str]:
    """As `syllables`, for text that also holds words in letters."""
    readings = _readings()
    found: list[str] = []
    word = ""
    for character in text:
        is_han = HAN_CHARACTER.match(character) is not None
        if word and (is_han or character == " "):
            found.append(word)
            word = ""
        if is_han:
            found.append(readings.get(character, character))
        elif character != " ":
            word += character
    return [*found, word] if word else found


_INITIALS: Final = (("zh", "z"), ("ch", "c"), ("sh", "s"), ("n", "l"))
_HU_FINALS: Final = {
    "hu": "fu", "hua": "fa", "huai": "fai", "huan": "fan", "huang": "fang", "hui": "fei",
    "hun": "fen", "huo": "fo",
}  # fmt: skip
_NASAL_FINALS: Final = ("ang", "eng", "ing")


@lru_cache(maxsize=1 << 14)
def merge_sounds(syllable: str) -> str:
    """A syllable with the sounds merged that dialects and tired clerks confuse.

    zh/z, ch/c, sh/s; n/l; hu-/f- (hui and fei); an/ang, en/eng, in/ing; ü/u.
    """
    merged = _HU_FINALS.get(syllable, syllable)
    for initial, plain in _INITIALS:
        if merged.startswith(initial):
            merged = plain + merged[len(initial) :]
            break
    if merged.endswith(_NASAL_FINALS):
        merged = merged[:-1]
    return merged.replace("v", "u")


@lru_cache(maxsize=1)
def probe() -> str:
    """Hex SHA-256 of every reading, surname and spelling in use."""
    digest = hashlib.sha256()
    for table in (_readings(), SURNAME_READINGS, COMPOUND_SURNAMES, _spellings()):
        for key, value in sorted(table.items()):
            digest.update(f"{key}={value}\n".encode())
    return digest.hexdigest()
