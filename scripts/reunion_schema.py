"""Write the data tables of `reunion.yaml` again, from what the synthetic notices are drawn from.

    python scripts/reunion_schema.py

Three tables stand in the schema between a line `# NAME, written by ...` and `# end`: where the
lost of a province are found, which prefectures are neighbours, and which blood groups a child of
such parents has. All else in the file is written by hand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.schema import packaged_schema
from kinlink_local.reunion import blood
from kinlink_local.reunion.columns import BLOOD_LETTERS, BLOOD_UNKNOWN
from kinlink_local.reunion.divisions import divisions, flow

if TYPE_CHECKING:
    from collections.abc import Iterable

# Provinces in the order of how many go there, the own one first, cut after so many: tiers that make
# levels. The first ones hold about as many children each.
FLOW_TIERS: Final = (1, 2, 3, 5, 8, 12, 17, 25)
NEIGHBOURS_MAX: Final = 16
# Lifts of blood groups that part the levels, the best first; what is below the last is impossible
# but for errors of writing.
LIFTS: Final = (1.7, 1.15, 0.7, 0.1)


def tables() -> dict[str, list[str]]:
    """Lines of each table by its name."""
    return {"flow": flow_table(), "neighbours": neighbour_table(), "blood": blood_table()}


def flow_table() -> list[str]:
    """Province of loss to provinces where found, a list a tier; over both sexes."""
    codes = divisions().provinces
    moved = (flow("F") + flow("M")) / 2
    lines = ["table:"]
    for code, share in zip(codes, moved, strict=True):
        order = [codes[number] for number in np.argsort(-share, kind="stable")]
        ends = zip((0, *FLOW_TIERS), FLOW_TIERS, strict=False)
        lists = [_list(order[first:last], quoted=True) for first, last in ends]
        lines.append(f'  "{code}": [{", ".join(lists)}]')
    return lines


def neighbour_table() -> list[str]:
    """Prefecture to those beside it."""
    where = divisions()
    lines = ["neighbours:"]
    for code, near in zip(where.prefectures, where.neighbours, strict=True):
        if len(near):
            codes = [where.prefectures[number] for number in near[:NEIGHBOURS_MAX]]
            lines.append(f'  "{code}": {_list(codes, quoted=True)}')
    return lines


def blood_table() -> list[str]:
    """Mother's, father's and child's group to found people's groups, a list a level."""
    lift = blood.lift()
    letters = [BLOOD_LETTERS[group] for group in (*blood.GROUPS, "")]
    lines = ["table:"]
    for known in np.ndindex(lift.shape[:3]):
        code = "".join(letters[group] for group in known)
        if code == BLOOD_UNKNOWN:
            continue
        level = [sum(lift[(*known, group)] <= least for least in LIFTS) for group in range(4)]
        lists = [
            _list(group for group, of in zip(blood.GROUPS, level, strict=True) if of == number)
            for number in range(len(LIFTS))
        ]
        lines.append(f"  {code}: [{', '.join(lists)}]")
    return lines


def rewritten(text: str) -> str:
    """The schema with its tables made anew."""
    for name, lines in tables().items():
        body = "".join(f"    {line}\n" for line in lines)
        pattern = rf"(    # {name}, written by [^\n]*\n).*?(    # end\n)"
        text, found = re.subn(pattern, rf"\g<1>{body}\g<2>", text, count=1, flags=re.DOTALL)
        if not found:
            raise ValueError(f"the schema has no place for the table {name}")
    return text


def _list(values: Iterable[str], *, quoted: bool = False) -> str:
    mark = '"' if quoted else ""
    return "[" + ", ".join(f"{mark}{value}{mark}" for value in values) + "]"


def main() -> None:
    """Write the packaged schema."""
    path = packaged_schema("reunion")
    path.write_text(rewritten(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
