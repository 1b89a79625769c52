"""Notices of missing children and of found people, as one flat table.

Both sides have the same columns, so that they compare field by field; what a column means on each
side stands in `docs/reference/notices.md`. An empty cell is unknown. Lists have `;` between.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SEEKING_CHILD: Final = "seeking_child"
FOUND: Final = "found"
TIP: Final = "tip"
KINDS: Final = (SEEKING_CHILD, FOUND, TIP)

COLUMNS: Final = (
    "record_id", "kind", "found_as", "category", "entry_date", "sex",
    "birth_date", "birth_calendar", "age_at_loss",
    "lost_date", "lost_calendar", "first_seen_date",
    "lost_place", "found_place",
    "registered_name", "nickname", "family_surname", "father_name", "mother_name", "sibling_names",
    "sibling_count", "marks", "memories",
    "blood_group", "mother_blood_group", "father_blood_group",
    "height_cm", "photo_age", "face_model", "face_embedding", "dna_held",
)  # fmt: skip
LIST_COLUMNS: Final = ("sibling_names", "marks", "memories", "dna_held")
LIST_SEPARATOR: Final = ";"

# Column → one cell a notice.
Notices = dict[str, list[str]]


def are_comparable(kind: str, other: str) -> bool:
    """Whether two kinds may be scored: a family's notice and one of somebody found, or a tip."""
    return (kind == SEEKING_CHILD) != (other == SEEKING_CHILD)


def size(notices: Notices) -> int:
    """How many notices."""
    return len(notices["record_id"])


def take(notices: Notices, rows: list[int]) -> Notices:
    """The notices at `rows`, in that order."""
    return {name: [cells[row] for row in rows] for name, cells in notices.items()}


def join(parts: Iterable[Notices]) -> Notices:
    """The notices of several tables, in order."""
    tables = list(parts)
    return {name: [cell for table in tables for cell in table[name]] for name in COLUMNS}


def write_csv(path: Path, notices: Notices) -> None:
    """One line a notice, with a header, UTF-8."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(zip(*(notices[name] for name in COLUMNS), strict=True))


def read_csv(path: Path) -> Notices:
    """What `write_csv` wrote.

    Raises:
        ValueError: A column is missing or unknown, or a kind is none of `KINDS`.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        lines = list(reader)
    if set(header) != set(COLUMNS):
        raise ValueError(f"columns of {path.name}: {sorted(set(header) ^ set(COLUMNS))} do not fit")
    columns = zip(*lines, strict=True) if lines else ((),) * len(header)
    notices = {name: list(cells) for name, cells in zip(header, columns, strict=True)}
    if not set(notices["kind"]) <= set(KINDS):
        raise ValueError(f"kinds of {path.name} are not all of {', '.join(KINDS)}")
    return {name: notices[name] for name in COLUMNS}


def read_table(path: Path) -> Notices:
    """Notices of a file: JSON lines where its name ends in .jsonl, else CSV.

    Raises:
        ValueError: As `read_csv` and `read_jsonl`.
    """
    return read_jsonl(path) if path.suffix == ".jsonl" else read_csv(path)


def write_jsonl(path: Path, notices: Notices) -> None:
    """One JSON object a notice: no key for what is unknown, lists as lists."""
    with path.open("w", encoding="utf-8") as file:
        for cells in zip(*(notices[name] for name in COLUMNS), strict=True):
            known = {
                name: cell.split(LIST_SEPARATOR) if name in LIST_COLUMNS else cell
                for name, cell in zip(COLUMNS, cells, strict=True)
                if cell
            }
            file.write(json.dumps(known, ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> Notices:
    """What `write_jsonl` wrote.

    Raises:
        ValueError: A key is no column.
    """
    notices: Notices = {name: [] for name in COLUMNS}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        known = json.loads(line)
        if not known.keys() <= notices.keys():
            raise ValueError(f"line {number} of {path.name} has a key that is no column")
        for name, cells in notices.items():
            value = known.get(name, "")
            cells.append(LIST_SEPARATOR.join(value) if isinstance(value, list) else value)
    return notices
