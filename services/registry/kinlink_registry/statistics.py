"""What an office can tell about its records before there is a federation: rounded counts alone.

Reads a file as `ingest` would, keeps distinct canonical values in memory, and counts for each
candidate pass how many records would share a blocking value. It needs no home, vault or key, and
nothing is written but the counts of `kinlink_core.planning.statistics_file`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log2
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.features import blocking_values, sketch_tokens
from kinlink_core.encoding.sketch import Sketcher, band_positions, bands
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.planning.candidates import LSH, candidates, parts_of, text_of
from kinlink_core.planning.statistics_file import (
    BINS,
    COUNT_FLOOR,
    PASS_BITS_MIN,
    RECORDS_MIN,
    SIZES,
    FieldStatistics,
    PassStatistics,
    Statistics,
    rounded,
)

from kinlink_registry.rows import RowReader
from kinlink_registry.source import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from kinlink_core.encoding.schema import Field, Part, Schema

    from kinlink_registry.source import SourceSpec

    I64 = npt.NDArray[np.int64]

BATCH_ROWS: Final = 20_000
SKETCHED_AT_ONCE: Final = 20_000
SHARE_DIGITS: Final = 3
BITS_STEPS: Final = 10  # of a bit
# Bands are counted and thrown away, so the key protects nothing; fixed, a file can be made twice.
_BAND_KEY: Final = b"kinlink statistics"
_MISSING: Final = -1


@dataclass(frozen=True)
class Step:
    """How far the work is."""

    doing: str
    done: int
    total: int
    statistics: Statistics | None = None
    rejected: int = 0


def measure(
    schema: Schema, spec: SourceSpec, *, id_column: str, memory_limit: str
) -> Iterator[Step]:
    """Measure a source under the fields of a schema; the last step holds the statistics.

    Memory holds each field's distinct values and 4 bytes a record and field; time grows with
    records times candidates.

    Raises:
        InvalidInputError: the source is unusable, or has fewer than `RECORDS_MIN` good rows.
    """
    columns = [_Column(field) for field in schema.fields]
    records = rejected = 0
    with open_source(spec, memory_limit=memory_limit) as source:
        reader = RowReader(schema, source, id_column)
        rejected = len({fault.row for fault in source.faults})
        for batch in source.batches(reader.columns, BATCH_ROWS):
            rows, faults = reader.read(batch)
            rejected += len({fault.row for fault in faults})
            records += len(rows.local_ids)
            for column, values in zip(columns, zip(*rows.values, strict=True), strict=False):
                column.add(values)
            yield Step("reading", records + rejected, source.rows_total)
    if records < RECORDS_MIN:
        raise InvalidInputError(
            Reason.FILE_UNREADABLE,
            f"The source has {records} good rows; counts of fewer than {RECORDS_MIN} would tell"
            " about single people.",
        )
    keyed: dict[Part, _Keys] = {}
    for number, column in enumerate(columns):
        yield Step("transforming", number, len(columns))
        for part in parts_of(column.field):
            keyed[part] = column.keys(part)
    wanted = candidates(schema)
    passes = {}
    for number, parts in enumerate(wanted):
        yield Step("counting", number, len(wanted))
        found = _pass(parts, keyed)
        if found is not None:
            passes[text_of(parts)] = found
    yield Step(
        "counting",
        len(wanted),
        len(wanted),
        Statistics(
            schema.fingerprint(),
            rounded(records),
            {column.field.name: column.statistics() for column in columns},
            passes,
        ),
        rejected,
    )


@dataclass(frozen=True)
class _Keys:
    """A 64-bit number for each blocking value of each record under one part."""

    key: I64  # (records, values a record)
    present: npt.NDArray[np.bool_]  # (records,)


class _Column:
    """One field of all records, as codes of its distinct canonical values."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._index: dict[str, int] = {}
        self._codes: list[npt.NDArray[np.int32]] = []

    def add(self, values: Sequence[str | None]) -> None:
        index = self._index
        codes = (_MISSING if v is None else index.setdefault(v, len(index)) for v in values)
        self._codes.append(np.fromiter(codes, np.int32, len(values)))

    def statistics(self) -> FieldStatistics:
        codes = np.concatenate(self._codes)
        counts = np.bincount(codes[codes >= 0])
        return FieldStatistics(
            round(float((codes >= 0).mean()), SHARE_DIGITS), collision_bits(counts)
        )

    def keys(self, part: Part) -> _Keys:
        values = list(self._index)
        found = self._bands(values, part) if part.transform == LSH else _hashes(self, values, part)
        # The last row is for records without a value.
        width = found.key.shape[1]
        key = np.concatenate([found.key, np.zeros((1, width), np.int64)])
        present = np.append(found.present, False)
        codes = np.concatenate(self._codes)
        return _Keys(key[codes], present[codes])

    def _bands(self, values: list[str], part: Part) -> _Keys:
        sketcher = Sketcher(_BAND_KEY)
        positions = band_positions(_BAND_KEY, str(part).encode(), int(part.args[0]))
        found = np.zeros((len(values), 1), np.int64)
        for start in range(0, len(values), SKETCHED_AT_ONCE):
            chunk = values[start : start + SKETCHED_AT_ONCE]
            sketches = sketcher.sketch([sketch_tokens(self.field, value) for value in chunk])
            for number, band in enumerate(bands(sketches, positions)):
                found[start + number, 0] = hash((str(part), band.tobytes()))
        return _Keys(found, np.ones(len(values), bool))


def _hashes(column: _Column, values: list[str], part: Part) -> _Keys:
    text = str(part)
    made = [blocking_values(part, column.field, value) for value in values]
    width = max(map(len, made), default=1) or 1
    key = np.zeros((len(values), width), np.int64)
    for number, each in enumerate(made):
        if each:
            key[number] = [hash((text, value)) for value in each]
    return _Keys(key, np.fromiter(map(bool, made), bool, len(made)))


def _pass(parts: Sequence[Part], keyed: dict[Part, _Keys]) -> PassStatistics | None:
    """The statistics of a candidate; None where it is too coarse, or nobody has a value."""
    present = np.logical_and.reduce([keyed[part].present for part in parts])
    if int(present.sum()) < COUNT_FLOOR:
        return None
    composite = np.zeros((int(present.sum()), 1), np.int64)
    for part in parts:
        composite = composite + keyed[part].key[present]  # wraps, as a hash may
    counts = group_sizes(composite.reshape(-1))
    bits = collision_bits(counts)
    if bits is not None and bits < PASS_BITS_MIN:
        return None
    bins = np.bincount(np.searchsorted(SIZES, counts), weights=counts, minlength=BINS)
    return PassStatistics(
        rounded(int(counts.sum())), bits, tuple(rounded(int(each)) for each in bins)
    )


def group_sizes(keys: I64) -> I64:
    """How often each distinct key stands there; (distinct,)."""
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return np.diff(np.append(starts, len(ordered)))


def collision_bits(counts: I64) -> float | None:
    """Collision entropy: -log2 of the chance that two rows drawn without replacement are equal.

    Rounded down to tenths of a bit; None where fewer than `COUNT_FLOOR` rows have company.
    """
    counts = counts.astype(np.int64)
    if int(counts[counts > 1].sum()) < COUNT_FLOOR:
        return None
    total = int(counts.sum())
    chance = int((counts * (counts - 1)).sum()) / (total * (total - 1))
    return max(0.0, floor(-log2(chance) * BITS_STEPS) / BITS_STEPS)
