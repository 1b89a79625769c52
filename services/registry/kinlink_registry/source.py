"""Reading an office's records through DuckDB: CSV, Parquet, or whatever a query gives.

Everything is read as text. Rows a text file spoils are set aside with their number and reason, the
rest goes on. The connection holds plain values, so it never spills to disk and reaches no network.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from kinlink_registry import textfile
from kinlink_registry.report import RowFault
from kinlink_registry.textfile import unreadable
from kinlink_registry.vault import vault_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROWS_MAX = 20_000_000
LINE_BYTES_MAX = 2_000_000
_PARQUET_MARK = b"PAR1"
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_WHOLE_MAX = 10**15

# Extensions that the office installed (for its own databases) may be used; none is downloaded.
_SOURCE_CONFIG = {"arrow_lossless_conversion": False, "autoload_known_extensions": True}

_REJECTED = {
    "MISSING COLUMNS": "too few columns",
    "TOO MANY COLUMNS": "too many columns",
    "UNQUOTED VALUE": "a quote is not closed where it should be",
    "INVALID ENCODING": "bytes that are not valid in the file's encoding",
    "LINE SIZE OVER MAXIMUM": f"longer than {LINE_BYTES_MAX} bytes",
    "INVALID STATE": "malformed quoting",
}


@dataclass(frozen=True)
class SourceSpec:
    """What to read: a file, or a query."""

    path: str = ""
    query: str = ""
    encoding: str = textfile.ENCODING_DEFAULT


@dataclass(frozen=True)
class Batch:
    """Some rows, as text."""

    rows: tuple[int, ...]  # numbers in the source, from 1, without the header
    columns: dict[str, list[str | None]]


class Source:
    """An open source; `rows_total` counts the readable rows."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        relation: str,
        params: list[str],
        names: Sequence[str],
    ) -> None:
        self._connection = connection
        self._relation = relation
        self._params = params
        self.columns = _unambiguous(names)
        self.faults: list[RowFault] = []
        self.rows_total = 0

    def measure(self) -> None:
        """Read everything once, to count the rows and find the spoiled ones.

        Raises:
            InvalidInputError: the source is damaged, or larger than `ROWS_MAX`.
        """
        with _readable():
            counted = self._connection.execute(
                f"SELECT count(*), count(COLUMNS(*)) FROM {self._relation}", self._params
            ).fetchall()
        self.rows_total = counted[0][0]
        self.faults = self._rejected()
        if self.rows_total > ROWS_MAX:
            raise unreadable(f"More than {ROWS_MAX:,} rows in one source: split it.")
        if self.faults and not self.rows_total and _all_wrongly_encoded(self.faults):
            raise unreadable(
                "No row is valid in this encoding: name the right one with --encoding."
            )

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[Batch]:
        """Read the named columns in order, `rows` at a time."""
        wanted = ", ".join(
            f"{self.columns[name]} AS c{index}" for index, name in enumerate(columns)
        )
        bad = sorted({fault.row for fault in self.faults})
        with _readable():
            reader = self._connection.sql(
                f"SELECT {wanted} FROM {self._relation}", params=self._params
            ).to_arrow_reader(rows)
            number = 1
            for chunk in _filled(reader, rows):
                numbers, number, bad = _numbered(chunk.num_rows, number, bad)
                texts = {
                    name: chunk.column(index).to_pylist() for index, name in enumerate(columns)
                }
                yield Batch(numbers, texts)

    def _rejected(self) -> list[RowFault]:
        if not _has_rejects(self._connection):
            return []
        rows = self._connection.execute(
            "SELECT line, error_type::VARCHAR,"
            " max(len(string_split(rtrim(csv_line, chr(10)), chr(10))))"
            " FROM reject_errors GROUP BY ALL ORDER BY line"
        ).fetchall()
        first = {line: (kind, lines) for line, kind, lines in reversed(rows)}
        return [
            RowFault(line - 1, "", _reason(kind, lines))
            for line, (kind, lines) in sorted(first.items())
        ]


@contextmanager
def open_source(spec: SourceSpec, *, memory_limit: str) -> Iterator[Source]:
    """Open a source and read its shape.

    Raises:
        InvalidInputError: there is nothing readable, with what to do about it.
    """
    with ExitStack() as stack:
        config = vault_config(memory_limit, 1) | _SOURCE_CONFIG
        connection = stack.enter_context(duckdb.connect(config=config))
        if spec.query:
            source = _from_query(connection, spec.query)
        else:
            source = _from_file(connection, Path(spec.path), spec.encoding, stack)
        source.measure()
        yield source


def _from_query(connection: duckdb.DuckDBPyConnection, query: str) -> Source:
    with _readable():
        statements = connection.extract_statements(query)
        kinds = [statement.type for statement in statements]
        attach, select = duckdb.StatementType.ATTACH, duckdb.StatementType.SELECT
        if not kinds or kinds[-1] != select or any(kind != attach for kind in kinds[:-1]):
            raise unreadable("A query is one SELECT, after any ATTACH statements.")
        for statement in statements[:-1]:
            connection.execute(statement).fetchall()
        selected = statements[-1].query.strip().rstrip(";")
        return _described(connection, f"({selected})", [])


def _from_file(
    connection: duckdb.DuckDBPyConnection, path: Path, encoding: str, stack: ExitStack
) -> Source:
    if not path.is_file():
        raise unreadable(f"There is no file {path}.")
    if any(character in str(path) for character in "*?["):
        raise unreadable(f"The path {path} holds one of * ? [, which DuckDB takes for a pattern.")
    with _readable():
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET_MARK)) == _PARQUET_MARK
        if is_parquet or path.suffix == ".parquet":
            return _described(connection, "read_parquet(?)", [str(path)])
        text = stack.enter_context(textfile.opened(path, encoding))
    types = ", ".join(f"'h{index}': 'VARCHAR'" for index in range(len(text.header)))
    relation = (
        "read_csv(?, delim = ?, header = true, auto_detect = false, all_varchar = true,"
        " strict_mode = true,"
        f" quote = '\"', escape = '\"', nullstr = '', store_rejects = true, rejects_limit = 0,"
        f" max_line_size = {LINE_BYTES_MAX}, columns = {{{types}}})"
    )
    source = Source(connection, relation, [text.path, text.delimiter], text.header)
    source.columns = {name: f"h{index}" for index, name in enumerate(source.columns)}
    return source


def _described(connection: duckdb.DuckDBPyConnection, relation: str, params: list[str]) -> Source:
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}", params).fetchall()
    source = Source(connection, relation, params, [row[0] for row in described])
    source.columns = {
        name: _as_text(row[0], row[1]) for name, row in zip(source.columns, described, strict=True)
    }
    return source


def _as_text(name: str, kind: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    text = f"CAST({column} AS VARCHAR)"
    if kind not in _FLOATS:
        return text
    # A column of whole numbers with gaps often arrives as floating point: 2600.0 means 2600.
    return (
        f"CASE WHEN {column} = floor({column}) AND abs({column}) < {_WHOLE_MAX}"
        f" THEN CAST(CAST({column} AS BIGINT) AS VARCHAR) ELSE {text} END"
    )


def _unambiguous(names: Sequence[str]) -> dict[str, str]:
    lowered = [name.strip().lower() for name in names]
    twice = sorted({name for name in lowered if lowered.count(name) > 1})
    if twice:
        raise unreadable(f"Columns named more than once: {', '.join(twice)}.")
    return {name: name for name in lowered}


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise unreadable(
            "Reading this source needs more memory than vault.memory_limit."
        ) from error
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
        # These name parts of the query, never values of a row.
        raise unreadable(f"DuckDB refuses the query: {str(error).splitlines()[0]}") from error
    except (duckdb.Error, OSError) as error:
        # DuckDB's text may quote values of the file, so only its kind is passed on.
        raise unreadable(
            f"The source cannot be read ({type(error).__name__}): damaged, cut off, or wrong SQL."
        ) from error


def _has_rejects(connection: duckdb.DuckDBPyConnection) -> bool:
    found = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'"
    ).fetchall()
    return bool(found[0][0])


def _reason(kind: str, lines: int) -> str:
    text = _REJECTED.get(kind, kind.lower())
    return text if lines <= 1 else f"{text}; {lines} lines were lost with it"


def _all_wrongly_encoded(faults: list[RowFault]) -> bool:
    return any(fault.reason.startswith(_REJECTED["INVALID ENCODING"]) for fault in faults)


def _filled(reader: Any, rows: int) -> Iterator[Any]:
    """Join DuckDB's chunks to batches of at least `rows`: one transaction each."""
    import pyarrow as pa

    waiting: list[Any] = []
    for chunk in reader:
        waiting.append(chunk)
        if sum(each.num_rows for each in waiting) >= rows:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _numbered(count: int, number: int, bad: list[int]) -> tuple[tuple[int, ...], int, list[int]]:
    numbers: list[int] = []
    skip = 0
    while len(numbers) < count:
        if skip < len(bad) and bad[skip] == number:
            skip += 1
        else:
            numbers.append(number)
        number += 1
    return tuple(numbers), number, bad[skip:]
