"""What a rehearsal is given, checked as a whole before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
from kinlink_core.encoding.normalize import join_columns, normalize_column
from kinlink_core.encoding.schema import Schema, SchemaError, load_schema
from kinlink_core.errors import KinlinkError
from kinlink_core.runtime.identity import check_name

from kinlink_local.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD_ID: Final = "record_id"
TRUTH_COLUMNS: Final = ("record_id", "person_id")
REGISTRY_COLUMN: Final = "registry"
REGISTRIES_MIN: Final = 2
SUFFIXES: Final = (".csv", ".tsv", ".txt", ".parquet", ".pq")
PARQUET_SUFFIXES: Final = (".parquet", ".pq")


@dataclass(frozen=True)
class RehearsalPlan:
    """A rehearsal that can start."""

    schema: Schema
    schema_path: Path
    files: dict[str, Path]
    truth: Path | None
    threshold: float
    out: Path
    key_server: bool


def plan_rehearsal(
    *,
    schema: Path,
    registries: Sequence[str],
    truth: Path | None,
    threshold: float,
    out: Path,
    key_server: bool = False,
) -> RehearsalPlan:
    """Check the options of `kinlink rehearse`.

    Args:
        schema: schema file.
        registries: `NAME=FILE`, one a registry.
        truth: file of `record_id,person_id`, or None.
        threshold: link threshold as a probability.
        out: folder for the results; made if it is not there.
        key_server: start one; else the federation is in plain mode.

    Raises:
        BadInputError: With every fault that was found.
    """
    faults: list[str] = []
    read = _read_schema(schema, faults)
    files = _read_registries(registries, faults)
    for name, path in files.items():
        _check_file(f"registry {name}", path, (RECORD_ID,), faults)
    if truth is not None:
        _check_file("truth", truth, TRUTH_COLUMNS, faults)
    if not 0.0 <= threshold <= 1.0:
        faults.append(f"threshold: {threshold} is no probability; give one from 0 to 1")
    if out.exists() and not out.is_dir():
        faults.append(f"out: {out} is a file; name a folder")
    if faults or read is None:
        raise BadInputError(faults)
    return RehearsalPlan(read, schema, files, truth, threshold, out, key_server)


def sides_of(plan: RehearsalPlan) -> dict[str, str]:
    """By registry the side of a two-sided schema that all its records are of, where that is so."""
    if plan.schema.sides is None:
        return {}
    field = plan.schema.field(plan.schema.sides.field)
    columns = ", ".join(f'"{name}"' for name in field.columns)
    found = {}
    for name, path in plan.files.items():
        with duckdb.connect() as connection:
            told = connection.execute(f"select distinct {columns} from {scan_sql(path)}").fetchall()
        by_column = dict(zip(field.columns, zip(*told, strict=True), strict=True))
        codes = set(normalize_column(field, join_columns(field, by_column)).values)
        if len(codes) == 1 and None not in codes:
            found[name] = str(codes.pop())
    return found


def scan_sql(path: Path) -> str:
    """The FROM clause that reads a registry's or truth's file with all values as text."""
    quoted = str(path).replace("'", "''")
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return f"read_parquet('{quoted}')"
    return f"read_csv('{quoted}', header = true, all_varchar = true)"


def _read_schema(path: Path, faults: list[str]) -> Schema | None:
    try:
        return load_schema(path)
    except SchemaError as error:
        faults.extend(f"schema: {path}: {fault}" for fault in error.faults)
    except OSError as error:
        faults.append(f"schema: {path} cannot be read: {error.strerror}")
    return None


def _read_registries(registries: Sequence[str], faults: list[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for given in registries:
        name, separator, file = given.partition("=")
        if not separator or not file:
            faults.append(f"registry: {given!r} is not NAME=FILE")
            continue
        try:
            check_name("registry", name)
        except KinlinkError as error:
            faults.append(f"registry: {name!r} is no name. {error.public}")
        if name in files:
            faults.append(f"registry: {name} is named twice; one file makes one registry")
        files.setdefault(name, Path(file))
    if len(registries) < REGISTRIES_MIN:
        faults.append(f"registry: a rehearsal links at least {REGISTRIES_MIN} registries")
    return files


def _check_file(what: str, path: Path, columns: tuple[str, ...], faults: list[str]) -> None:
    if not path.exists():
        faults.append(f"{what}: {path} does not exist")
    elif not path.is_file():
        faults.append(f"{what}: {path} is not a file")
    elif path.suffix.lower() not in SUFFIXES:
        faults.append(f"{what}: {path} is neither CSV nor Parquet; it ends in none of {SUFFIXES}")
    elif path.stat().st_size == 0:
        faults.append(f"{what}: {path} is empty")
    else:
        _check_columns(what, path, columns, faults)


def _check_columns(what: str, path: Path, columns: tuple[str, ...], faults: list[str]) -> None:
    connection = duckdb.connect()
    try:
        rows = connection.execute(f"describe select * from {scan_sql(path)}").fetchall()
        found = {row[0] for row in rows}
        missing = [column for column in columns if column not in found]
        faults.extend(f"{what}: {path} has no column {column}" for column in missing)
        if RECORD_ID in found:
            _check_ids(connection, what, path, faults, unique=columns == (RECORD_ID,))
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        faults.append(f"{what}: {path} cannot be read: {reason}")
    finally:
        connection.close()


def _check_ids(
    connection: duckdb.DuckDBPyConnection,
    what: str,
    path: Path,
    faults: list[str],
    *,
    unique: bool,
) -> None:
    total, named, distinct = connection.execute(
        f"select count(*), count({RECORD_ID}), count(distinct {RECORD_ID}) from {scan_sql(path)}"
    ).fetchall()[0]
    if total == 0:
        faults.append(f"{what}: {path} has no rows")
    if named < total:
        faults.append(f"{what}: {path} has {total - named} rows without {RECORD_ID}")
    if unique and distinct < named:
        faults.append(f"{what}: {path} repeats {named - distinct} values of {RECORD_ID}")
