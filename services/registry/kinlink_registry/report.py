"""The report of an ingest: which rows were not taken and why, never what stood in them."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.runtime.files import SECRET_FILE_MODE, make_directory

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

HEADER = ("row", "field", "reason")


@dataclass(frozen=True)
class RowFault:
    """Why one row was not taken."""

    row: int  # from 1, without the header
    field: str  # empty where it is the row as a whole
    reason: str


class Report:
    """A CSV file of row faults; it is made when the first fault arrives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._rows: set[int] = set()

    @property
    def rejected(self) -> int:
        """Rows with at least one fault."""
        return len(self._rows)

    @property
    def written(self) -> str:
        """Path of the report, empty where there was nothing to report."""
        return str(self.path) if self._descriptor is not None else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def add(self, faults: Iterable[RowFault]) -> None:
        """Write faults down at once, so that an interruption keeps them."""
        lines = []
        for fault in faults:
            self._rows.add(fault.row)
            lines.append((str(fault.row), fault.field, fault.reason))
        if not lines:
            return
        if self._descriptor is None:
            make_directory(self.path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._descriptor = os.open(self.path, flags, SECRET_FILE_MODE)
            lines.insert(0, HEADER)
        with os.fdopen(os.dup(self._descriptor), "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(lines)
