"""From a source's text to rows that can be stored: ids checked, values normalised, faults named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.encoding.normalize import join_columns, normalize_column
from kinlink_core.errors import InvalidInputError, Reason

from kinlink_registry.report import RowFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Field, Schema

    from kinlink_registry.records import Values
    from kinlink_registry.source import Batch, Source

ID_CHARACTERS_MAX = 256
OTHER_SIDE = "is not of the side that this registry takes (`side` in its settings)"


@dataclass(frozen=True)
class Rows:
    """Good rows of a batch."""

    local_ids: list[str]
    values: list[Values]

    def at(self, positions: Sequence[int]) -> Rows:
        """Some of the rows."""
        return Rows([self.local_ids[i] for i in positions], [self.values[i] for i in positions])


class RowReader:
    """Turns batches of text into good rows and faults."""

    def __init__(
        self,
        schema: Schema,
        source: Source,
        id_column: str,
        *,
        ids_only: bool = False,
        side: str = "",
    ) -> None:
        """Raises `InvalidInputError` naming every column that is missing.

        With a `side` the rows of the other one are faults. `blanked` counts cells that were taken
        for missing, by field and reason.
        """
        self._fields: tuple[Field, ...] = () if ids_only else schema.fields
        self._side = side
        self._side_field = schema.sides.field if schema.sides is not None and side else None
        self._id_column = id_column.strip().lower()
        self._seen: set[bytes] = set()
        self._spelled = _columns_in(source, self._fields, id_column)
        self.columns = sorted({self._id_column, *self._spelled.values()})
        self.blanked: Counter[str] = Counter()

    def read(self, batch: Batch) -> tuple[Rows, list[RowFault]]:
        """Normalise a batch."""
        faults: dict[int, list[RowFault]] = {}
        local_ids = self._local_ids(batch, faults)
        normalised = []
        present = {name: batch.columns[found] for name, found in self._spelled.items()}
        for field in self._fields:
            raw = join_columns(field, present) if present else [None] * len(batch.rows)
            column = normalize_column(field, raw)
            normalised.append(column.values)
            self.blanked.update(f"{field.name} {reason}" for _, reason in column.blanks)
            for index, reason in column.faults:
                fault = RowFault(batch.rows[index], field.name, str(reason))
                faults.setdefault(index, []).append(fault)
            if field.name == self._side_field:
                for index, value in enumerate(column.values):
                    if value != self._side:
                        fault = RowFault(batch.rows[index], field.name, OTHER_SIDE)
                        faults.setdefault(index, []).append(fault)
        good = [index for index in range(len(batch.rows)) if index not in faults]
        values = list(zip(*normalised, strict=True)) if normalised else [()] * len(batch.rows)
        rows = Rows([local_ids[i] for i in good], [values[i] for i in good])
        return rows, [fault for index in sorted(faults) for fault in faults[index]]

    def _local_ids(self, batch: Batch, faults: dict[int, list[RowFault]]) -> list[str]:
        local_ids = [(text or "").strip() for text in batch.columns[self._id_column]]
        for index, local_id in enumerate(local_ids):
            reason = ""
            if not local_id:
                reason = "the id is missing"
            elif len(local_id) > ID_CHARACTERS_MAX:
                reason = f"the id is longer than {ID_CHARACTERS_MAX} characters"
            elif self._is_repeated(local_id):
                reason = "the id stands in an earlier row too"
            if reason:
                faults[index] = [RowFault(batch.rows[index], self._id_column, reason)]
        return local_ids

    def _is_repeated(self, local_id: str) -> bool:
        key = local_id.encode()
        if key in self._seen:
            return True
        self._seen.add(key)
        return False


def _columns_in(source: Source, fields: Sequence[Field], id_column: str) -> dict[str, str]:
    """Schema columns that the source has, as the source spells them; names ignore case."""
    found = {
        name: name.strip().lower()
        for field in fields
        for name in field.columns
        if name.strip().lower() in source.columns
    }
    missing = [] if id_column.strip().lower() in source.columns else [id_column]
    missing += [
        name
        for field in fields
        if not field.optional
        for name in field.columns
        if name not in found
    ]
    if missing:
        raise InvalidInputError(
            Reason.FILE_UNREADABLE,
            f"Columns that are missing: {', '.join(dict.fromkeys(missing))}."
            f" The source has: {', '.join(source.columns)}.",
        )
    return found
