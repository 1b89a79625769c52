from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from kinlink_gateway.exports import COLUMNS, ExportFormat, export
from kinlink_gateway.linker import Link, Verdict
from unit.gateway.fake_linker import make_link


def some_links(count: int = 5) -> list[Link]:
    return [
        make_link(n, linkage="lk-partial", pair=("henan", "sichuan"), weight=3.0 - n)
        for n in range(count)
    ]


def whole(links: list[Link], file_format: ExportFormat, batch: int = 2) -> bytes:
    batches = [tuple(links[first : first + batch]) for first in range(0, len(links), batch)]
    return b"".join(export(batches, file_format))


def test_a_csv_has_a_header_and_a_row_a_link() -> None:
    links = some_links()
    rows = list(csv.DictReader(io.StringIO(whole(links, ExportFormat.CSV).decode())))
    assert [row["id"] for row in rows] == [link.id for link in links]
    assert tuple(rows[0]) == COLUMNS
    assert float(rows[4]["match_weight"]) == links[4].match_weight
    assert (rows[0]["linked"], rows[4]["linked"]) == ("true", "false")
    assert rows[0]["missing_registries"] == "henan"
    assert rows[0]["verdict"] == ""


@pytest.mark.parametrize("reason", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_reason_cannot_become_a_formula_in_a_spreadsheet(reason: str) -> None:
    link = replace(some_links(1)[0], verdict=Verdict.REJECTED, verdict_reason=reason)
    row = next(csv.DictReader(io.StringIO(whole([link], ExportFormat.CSV).decode())))
    assert row["verdict_reason"] == "'" + reason


def test_a_json_export_is_one_array() -> None:
    links = some_links()
    rows = json.loads(whole(links, ExportFormat.JSON))
    assert [row["id"] for row in rows] == [link.id for link in links]
    assert rows[0]["missing_registries"] == ["henan"]
    assert rows[0]["created_at"] == links[0].created_at.isoformat()  # type: ignore[union-attr]


def test_a_parquet_export_keeps_types() -> None:
    links = some_links()
    table = pq.ParquetFile(io.BytesIO(whole(links, ExportFormat.PARQUET))).read()
    assert table.column_names == list(COLUMNS)
    rows = table.to_pylist()
    assert rows[0]["created_at"] == links[0].created_at
    assert rows[0]["missing_registries"] == ["henan"]
    assert rows[4]["linked"] is False


@pytest.mark.parametrize("file_format", list(ExportFormat))
def test_no_link_makes_an_empty_file_of_the_format(file_format: ExportFormat) -> None:
    content = whole([], file_format)
    if file_format is ExportFormat.CSV:
        assert content.decode().strip() == ",".join(COLUMNS)
    elif file_format is ExportFormat.JSON:
        assert json.loads(content) == []
    else:
        assert pq.ParquetFile(io.BytesIO(content)).read().num_rows == 0


def test_a_large_parquet_file_leaves_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinlink_gateway.exports.PARQUET_ROWS_PER_GROUP", 100)
    batches = [(some_links(1)[0],) * 50] * 4
    pieces = [piece for piece in export(batches, ExportFormat.PARQUET) if piece]
    assert len(pieces) == 3
    assert pq.ParquetFile(io.BytesIO(b"".join(pieces))).num_row_groups == 2
