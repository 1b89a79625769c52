"""Links as files: CSV, JSON and Parquet, written while they stream so that no size needs memory."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinlink_gateway.linker import Link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COLUMNS = tuple(Link.__dataclass_fields__)
PARQUET_ROWS_PER_GROUP = 50_000
# Spreadsheets run a cell that begins like this as a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_PERSONS_WORDS = frozenset({"verdict_reason", "verdict_by"})

PARQUET_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("linkage_id", pa.string()),
        ("registry_l", pa.string()),
        ("subject_l", pa.string()),
        ("registry_r", pa.string()),
        ("subject_r", pa.string()),
        ("match_weight", pa.float64()),
        ("match_probability", pa.float64()),
        ("linked", pa.bool_()),
        ("person_id", pa.string()),
        ("blocking_pass", pa.string()),
        ("verdict", pa.string()),
        ("verdict_reason", pa.string()),
        ("verdict_by", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("missing_registries", pa.list_(pa.string())),
        ("revoked_registries", pa.list_(pa.string())),
        ("seeker", pa.string()),
        ("state", pa.string()),
        ("ruled_out_by", pa.string()),
        ("verdict_at", pa.timestamp("us", tz="UTC")),
        ("changed_fields", pa.list_(pa.string())),
    ]
)


class ExportFormat(StrEnum):
    """A file format of an export."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """The content type of a file."""
        return {
            ExportFormat.CSV: "text/csv; charset=utf-8",
            ExportFormat.JSON: "application/json",
            ExportFormat.PARQUET: "application/vnd.apache.parquet",
        }[self]


def export(batches: Iterable[tuple[Link, ...]], file_format: ExportFormat) -> Iterator[bytes]:
    """The bytes of a file with one row a link, piece by piece."""
    writers = {
        ExportFormat.CSV: _csv,
        ExportFormat.JSON: _json,
        ExportFormat.PARQUET: _parquet,
    }
    yield from writers[file_format](batches)


def _csv(batches: Iterable[tuple[Link, ...]]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for batch in batches:
        for link in batch:
            row = _row(link)
            writer.writerow([_cell(name, row[name]) for name in COLUMNS])
        yield _taken(text)
    yield _taken(text)


def _cell(name: str, value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ";".join(value)
    if name in _PERSONS_WORDS and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return value


def _taken(text: io.StringIO) -> bytes:
    piece = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return piece


def _json(batches: Iterable[tuple[Link, ...]]) -> Iterator[bytes]:
    separator = "["
    for batch in batches:
        for link in batch:
            yield (separator + json.dumps(_row(link), ensure_ascii=False)).encode()
            separator = ",\n"
    yield b"]\n" if separator != "[" else b"[]\n"


def _parquet(batches: Iterable[tuple[Link, ...]]) -> Iterator[bytes]:
    sink = _Sink()
    waiting: list[Link] = []
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), PARQUET_SCHEMA) as writer:
        for batch in batches:
            waiting.extend(batch)
            if len(waiting) >= PARQUET_ROWS_PER_GROUP:
                writer.write_table(_table(waiting))
                waiting.clear()
                yield sink.take()
        if waiting:
            writer.write_table(_table(waiting))
    yield sink.take()


def _table(links: list[Link]) -> pa.Table:
    columns = {name: [getattr(link, name) for link in links] for name in COLUMNS}
    return pa.table(columns, schema=PARQUET_SCHEMA)


class _Sink(io.RawIOBase):
    """Collects what the Parquet writer wrote since it was last emptied."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _row(link: Link) -> dict[str, Any]:
    return {name: _plain(getattr(link, name)) for name in COLUMNS}


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value
