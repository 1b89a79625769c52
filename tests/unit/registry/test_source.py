"""Files as offices send them: every way they are broken has a name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_registry import source as sources
from kinlink_registry.report import RowFault
from kinlink_registry.source import SourceSpec, open_source

if TYPE_CHECKING:
    from collections.abc import Callable

Read = tuple[list[tuple[int, ...]], list[tuple[str | None, ...]], list[RowFault]]


def read(spec: SourceSpec, *columns: str, rows: int = 100) -> Read:
    """Row numbers, rows and faults of a source."""
    with open_source(spec, memory_limit="200MB") as source:
        batches = list(source.batches(columns or tuple(source.columns), rows))
        numbers = [batch.rows for batch in batches]
        found = [row for b in batches for row in zip(*b.columns.values(), strict=True)]
        return numbers, found, source.faults


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., SourceSpec]:
    def write(content: str | bytes, encoding: str = "utf-8", name: str = "in.csv") -> SourceSpec:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return SourceSpec(str(path), encoding=encoding)

    return write


def problem(spec: SourceSpec) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read(spec)
    assert caught.value.reason is Reason.FILE_UNREADABLE
    return caught.value.public


def test_a_plain_file_is_read_as_text(csv: Callable[..., SourceSpec]) -> None:
    spec = csv('record_id,name\n007,Ann\n8,"Smith, ""Bob"""\n9,\n')
    assert read(spec) == ([(1, 2, 3)], [("007", "Ann"), ("8", 'Smith, "Bob"'), ("9", None)], [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(
    csv: Callable[..., SourceSpec], delimiter: str
) -> None:
    lines = ["record_id", "name"], ["1", "王伟"]
    spec = csv("\n".join(delimiter.join(line) for line in lines))
    assert read(spec)[1] == [("1", "王伟")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "gbk", "big5", "utf-16", "latin-1"])
def test_other_encodings_are_read_when_they_are_named(
    csv: Callable[..., SourceSpec], encoding: str
) -> None:
    name = "José" if encoding == "latin-1" else "王偉"
    if encoding == "gbk":
        name = "王伟"
    spec = csv(f"record_id,name\r\n1,{name}\r\n", encoding)
    assert read(spec)[1] == [("1", name)]


def test_a_value_may_span_lines(csv: Callable[..., SourceSpec]) -> None:
    spec = csv('record_id,address\n1,"two\nlines"\n2,one\n3\n4,last\n')
    numbers, rows, faults = read(spec)
    assert rows == [("1", "two\nlines"), ("2", "one"), ("4", "last")]
    assert numbers == [(1, 2, 4)]
    assert faults == [RowFault(3, "", "too few columns")]


def test_bad_rows_are_set_aside_with_their_numbers(csv: Callable[..., SourceSpec]) -> None:
    body = b'record_id,name\n1,ann\n2\n3,carl,x\n4,d\xff\n5,eve\n6,"f"f\n7,gina\n'
    numbers, rows, faults = read(csv(body), rows=1)
    assert [row[0] for row in rows] == ["1", "5", "7"]
    assert [n for batch in numbers for n in batch] == [1, 5, 7]
    assert [(fault.row, fault.reason) for fault in faults] == [
        (2, "too few columns"),
        (3, "too many columns"),
        (4, "bytes that are not valid in the file's encoding"),
        (6, "a quote is not closed where it should be"),
    ]


def test_a_quote_that_never_closes_names_what_it_swallowed(csv: Callable[..., SourceSpec]) -> None:
    _, rows, faults = read(csv('record_id,name\n1,ann\n2,"bob\n3,carl\n4,dora\n'))
    assert rows == [("1", "ann")]
    (fault,) = faults
    assert fault.row == 2
    assert "3 lines were lost" in fault.reason


def test_bytes_a_declared_encoding_cannot_read_spoil_their_row_alone(
    csv: Callable[..., SourceSpec],
) -> None:
    body = (
        "record_id,name\n1,王伟\n2,".encode("gb18030") + b"\xff\xff\n" + "3,李\n".encode("gb18030")
    )
    path = csv(body).path
    _, rows, faults = read(SourceSpec(path, encoding="gb18030"))
    assert rows == [("1", "王伟"), ("3", "李")]
    assert [fault.row for fault in faults] == [2]


def test_a_line_without_end_is_set_aside(csv: Callable[..., SourceSpec]) -> None:
    _, rows, faults = read(csv("record_id,name\n1,a\n2," + "x" * 3_000_000 + "\n3,c\n"))
    assert [row[0] for row in rows] == ["1", "3"]
    assert faults == [RowFault(2, "", "longer than 2000000 bytes")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (b"record\x00_id,name\n", "is no text file"),
        ("姓名,record_id\n".encode("gb18030"), "--encoding gb18030"),
        ("record_id\n1\n".encode("utf-16"), "--encoding utf-16"),
        (b"record_id,name,NAME\n1,a,b\n", "more than once: name"),
        ("record_id,name\n1,王伟\n2,李\n".encode("gb18030"), "No row is valid in this encoding"),
    ],
)
def test_a_file_that_is_unusable_as_a_whole_says_why(
    csv: Callable[..., SourceSpec], content: bytes, words: str
) -> None:
    assert words in problem(csv(content))


def test_a_header_alone_has_no_rows(csv: Callable[..., SourceSpec]) -> None:
    assert read(csv("record_id,name\n"))[1:] == ([], [])


def test_an_unknown_encoding_is_named(csv: Callable[..., SourceSpec]) -> None:
    spec = csv("record_id\n1\n")
    assert "no encoding 'klingon'" in problem(SourceSpec(spec.path, encoding="klingon"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "There is no file" in problem(SourceSpec(str(tmp_path / "nothing.csv")))
    assert "pattern" in problem(SourceSpec(str(_touched(tmp_path / "a[1].csv"))))


def _touched(path: Path) -> Path:
    path.write_text("record_id\n1\n")
    return path


def parquet(path: Path, select: str) -> SourceSpec:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)").fetchall()
    return SourceSpec(str(path))


def test_parquet_columns_become_text(tmp_path: Path) -> None:
    spec = parquet(
        tmp_path / "in.parquet",
        "SELECT 7 AS record_id, 'x' AS \"Na me\", DATE '1988-10-17' AS dob,"
        " 2600.0::DOUBLE AS postcode, NULL::DOUBLE AS nothing, 1.5::DOUBLE AS height",
    )
    assert read(spec)[1] == [("7", "x", "1988-10-17", "2600", None, "1.5")]
    assert read(spec, "na me", "record_id")[1] == [("x", "7")]


@pytest.mark.parametrize("damage", ["cut", "empty", "head"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, damage: str) -> None:
    spec = parquet(tmp_path / "in.parquet", "SELECT i AS record_id FROM range(5000) t(i)")
    path = Path(spec.path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "head": whole[:4]}[damage])
    assert "damaged, cut off" in problem(spec)


def test_a_query_gives_rows(tmp_path: Path) -> None:
    database = tmp_path / "office.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE people AS SELECT 1 AS id, 'ann' AS name").fetchall()
    spec = SourceSpec(
        query=f"ATTACH '{database}' AS office (READ_ONLY); SELECT * FROM office.people;"
    )
    assert read(spec)[1] == [("1", "ann")]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELEKT 1", "DuckDB refuses the query"),
        ("SELECT nobody FROM range(3)", "DuckDB refuses the query"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("COPY (SELECT 1) TO '/tmp/x'", "one SELECT"),
        ("CREATE TABLE x AS SELECT 1; SELECT * FROM x", "one SELECT"),
        ("", "There is no file"),
    ],
)
def test_a_query_that_is_none_is_refused(query: str, words: str) -> None:
    assert words in problem(SourceSpec(query=query))


def test_an_error_of_a_query_shows_no_value() -> None:
    text = problem(SourceSpec(query="SELECT CAST('secretname' AS INTEGER) AS record_id"))
    assert "secretname" not in text


def test_a_source_above_the_ceiling_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ROWS_MAX", 5)
    assert "More than 5 rows" in problem(
        SourceSpec(query="SELECT i AS record_id FROM range(6) t(i)")
    )


def test_batches_keep_the_order_of_the_file(csv: Callable[..., SourceSpec]) -> None:
    spec = csv("record_id\n" + "".join(f"{number}\n" for number in range(50_000)))
    numbers, rows, _ = read(spec, rows=20_000)
    assert [int(row[0] or 0) for row in rows] == list(range(50_000))
    assert [n for batch in numbers for n in batch] == list(range(1, 50_001))
    assert len(numbers) >= 2
