"""Tables of notices as others write them: CSV and JSON lines, with columns missing or more.

Unlike `notices.read_csv`, which reads what Kinlink wrote and refuses all else, this keeps every
good cell, and says of each other one what to do.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, Final

from kinlink_local.reunion.intake.checks import check
from kinlink_local.reunion.notices import COLUMNS, KINDS, LIST_COLUMNS, LIST_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kinlink_local.reunion.intake.outcome import Cells, Outcome

LINE_CHARACTERS_MAX: Final = 1_000_000
KIND_FAULT: Final = f"is none of {', '.join(KINDS)}; without it a notice belongs to no side"


def import_csv(lines: Iterable[str], outcome: Outcome) -> None:
    """Read CSV with a header."""
    reader = csv.reader(_bounded(lines))
    header = [name.strip().removeprefix("\ufeff").lower() for name in next(reader, [])]
    if "kind" not in header or "record_id" not in header:
        outcome.lose(1, "", "file", "has no header with the columns record_id and kind")
        return
    line = reader.line_num + 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            outcome.lose(line, "", "notice", "is no CSV; check its quotes")
            line = reader.line_num + 1
            continue
        if row is None:
            return
        if row and len(row) != len(header):
            number = dict(zip(header, row, strict=False)).get("record_id", "")
            text = f"has {len(row)} cells, the header {len(header)}; quote cells with commas"
            outcome.lose(line, number, "notice", text)
        elif row:
            _keep(line, dict(zip(header, map(str.strip, row), strict=True)), outcome)
        line = reader.line_num + 1


def import_jsonl(lines: Iterable[str], outcome: Outcome) -> None:
    """Read JSON lines: an object a notice."""
    for number, line in enumerate(_bounded(lines), start=1):
        if not line.strip():
            continue
        try:
            known = json.loads(line.removeprefix("\ufeff"))
        except (ValueError, RecursionError):
            known = None
        if not isinstance(known, dict):
            outcome.lose(number, "", "notice", "is no JSON object; write one notice a line")
            continue
        _keep(number, {name: _cell(value) for name, value in known.items()}, outcome)


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    """Lines cut where no notice is that long."""
    for line in lines:
        yield line[:LINE_CHARACTERS_MAX]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return LIST_SEPARATOR.join(map(_cell, value))
    return "" if value is None or isinstance(value, dict) else str(value).strip()


def _keep(line: int, known: Cells, outcome: Outcome) -> None:
    cells = {name: cell for name, cell in known.items() if name in COLUMNS}
    faults = check(cells)
    if not cells.get("kind"):
        outcome.lose(line, cells.get("record_id", ""), "kind", KIND_FAULT)
        return
    outcome.dropped.update(n for n, cell in known.items() if cell and n not in COLUMNS)
    for name in set(LIST_COLUMNS) & cells.keys():
        cells[name] = LIST_SEPARATOR.join(filter(None, cells[name].split(LIST_SEPARATOR)))
    outcome.add(line, cells, faults)
