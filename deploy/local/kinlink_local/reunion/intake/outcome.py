"""What became of a file: the notices that were read, and what could not be, each with its place.

Nothing here holds a value of a notice: what is reported goes to screens and logs.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kinlink_local.reunion.notices import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from kinlink_local.reunion.notices import Notices

FAULT_COLUMNS: Final = ("line", "record_id", "field", "fault")
PROGRESS_EVERY: Final = 2_000

Cells = dict[str, str]


@dataclass(frozen=True)
class Fault:
    """Where something could not be read, and what to do about it."""

    line: int  # 1 is the first line of the file
    record_id: str
    field: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}, notice {self.record_id or '(no id)'}, {self.field}: {self.text}"


@dataclass
class Found:
    """Cells of one notice or of a part of it, and what of it could not be read."""

    cells: Cells = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)  # column, what to do
    dropped: list[str] = field(default_factory=list)  # filled fields without a column

    def fault(self, column: str, text: str) -> None:
        """Report one column."""
        self.faults.append((column, text))

    def join(self, other: Found) -> None:
        """Take in what another part of the notice gave."""
        self.cells |= other.cells
        self.faults += other.faults
        self.dropped += other.dropped


@dataclass
class Outcome:
    """Notices that were read wholly or in part, in order, and what was left out of them."""

    notices: Notices = field(default_factory=lambda: {name: [] for name in COLUMNS})
    faults: list[Fault] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)  # filled fields without a column
    lost: int = 0  # notices of which nothing was kept
    progress: Callable[[int], None] = lambda _read: None
    _ids: Counter[str] = field(default_factory=Counter)

    @property
    def read(self) -> int:
        """Notices kept."""
        return len(self.notices["record_id"])

    def add(self, line: int, cells: Cells, faults: Iterable[tuple[str, str]] = ()) -> None:
        """Keep a notice; one without an id, or with one met before, gets an id of its own.

        Args:
            line: where it begins.
            cells: what was read.
            faults: columns that were not, each with what to do.
        """
        record_id = cells.get("record_id", "")
        if not record_id:
            record_id = f"line-{line}"
            self.fault(line, record_id, "record_id", "is missing; named after its line")
        self._ids[record_id] += 1
        if self._ids[record_id] > 1:
            again = f"{record_id}-{self._ids[record_id]}"
            self._ids[again] += 1
            self.fault(line, again, "record_id", "was met before; given a number, check both")
            record_id = again
        for name, column in self.notices.items():
            column.append(record_id if name == "record_id" else cells.get(name, ""))
        for name, text in faults:
            self.fault(line, record_id, name, text)
        if self.read % PROGRESS_EVERY == 0:
            self.progress(self.read)

    def lose(self, line: int, record_id: str, field_name: str, text: str) -> None:
        """Report a notice of which nothing can be kept."""
        self.lost += 1
        self.fault(line, record_id, field_name, text)

    def fault(self, line: int, record_id: str, field_name: str, text: str) -> None:
        """Report one field of one notice."""
        self.faults.append(Fault(line, record_id, field_name, text))

    def write_faults(self, path: Path) -> None:
        """CSV with a header: one line a fault."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(FAULT_COLUMNS)
            writer.writerows((f.line, f.record_id, f.field, f.text) for f in self.faults)
