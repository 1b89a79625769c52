"""The file by which an office tells how its records would fall into islands, and nothing else.

What it holds, all of it rounded: the number of records; of each field the share that is present
and its collision entropy; of each candidate pass how many rows have a blocking value, the collision
entropy, and how many rows stand in groups of which size. Counts are multiples of `COUNT_STEP`, and
counts below `COUNT_FLOOR` are written as 0. No value, token, key or id is in it.

What is not promised: the figures are rounded, not noised, so there is no differential privacy.
Someone who knows nearly all records of an office learns something about the rest from the figures
near a rounding step, as from any table; so a file is made once, not after each change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.planning.candidates import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kinlink_core.encoding.schema import Part, Schema

FORMAT: Final = "kinlink-statistics/1"
FILE_BYTES_MAX: Final = 16 << 20
COUNT_STEP: Final = 10
COUNT_FLOOR: Final = 20
RECORDS_MIN: Final = 100
# A pass coarser than this puts more records together than any cap allows, in any office worth
# linking; leaving it out keeps the file short.
PASS_BITS_MIN: Final = 8.0
# Groups of 1, 2, ..., of 9 to 12, ..., and of more than the last: the largest size of each bin.
SIZES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 4096)
BINS: Final = len(SIZES) + 1
NOTE: Final = (
    "Rounded counts of one office's records: no value, no token, no id."
    " Counts below the floor stand as 0."
)


@dataclass(frozen=True)
class FieldStatistics:
    """How much one field tells; `entropy_bits` is None where too few values are equal to say."""

    present: float  # share of records, 0 to 1
    entropy_bits: float | None


@dataclass(frozen=True)
class PassStatistics:
    """How the rows of one candidate pass fall into groups of equal blocking values.

    A row is a record under one of its blocking values. Of a pass with LSH tables one table is
    counted; the others are alike.
    """

    rows: int
    entropy_bits: float | None
    sizes: tuple[int, ...]  # (BINS,) rows in groups of each size


@dataclass(frozen=True)
class Statistics:
    """What one office tells."""

    fingerprint: str  # of the schema without passes
    records: int
    fields: Mapping[str, FieldStatistics]
    passes: Mapping[str, PassStatistics]  # by `text_of` its parts

    def of(self, parts: tuple[Part, ...]) -> PassStatistics | None:
        """The statistics of a candidate, None where the office could not tell any."""
        return self.passes.get(text_of(parts))

    def to_json(self) -> str:
        """The file's text: a line a field and a line a candidate, to be read by a person."""
        head = {
            "format": FORMAT,
            "note": NOTE,
            "fields_fingerprint": self.fingerprint,
            "records": self.records,
            "count_step": COUNT_STEP,
            "count_floor": COUNT_FLOOR,
            "largest_size_of_each_bin": [*SIZES, "more"],
        }
        fields = {name: [each.present, each.entropy_bits] for name, each in self.fields.items()}
        passes = {
            name: [each.rows, each.entropy_bits, list(each.sizes)]
            for name, each in self.passes.items()
        }
        lines = [f"{_json(key)}: {_json(value)}" for key, value in head.items()]
        lines.append(_block("fields: present, entropy bits", fields))
        lines.append(_block("passes: rows, entropy bits, rows by size of group", passes))
        return "{\n" + ",\n".join(lines) + "\n}\n"


def rounded(count: int) -> int:
    """A count as it may leave: a multiple of `COUNT_STEP`, 0 where it is below `COUNT_FLOOR`."""
    return 0 if count < COUNT_FLOOR else round(count / COUNT_STEP) * COUNT_STEP


def read_statistics(path: Path, schema: Schema) -> Statistics:
    """Read an office's file.

    Raises:
        InvalidInputError: it cannot be read, is no such file, or is of other fields.
    """
    try:
        with path.open("rb") as file:
            body = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _refused(path, f"it cannot be read ({error.strerror})") from error
    if len(body) > FILE_BYTES_MAX:
        raise _refused(path, f"it is larger than {FILE_BYTES_MAX >> 20} MiB")
    try:
        found = _read(json.loads(body))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _refused(
            path, "it is no statistics file; make it by kinlink-registry statistics"
        ) from error
    if found.fingerprint != schema.fingerprint():
        raise _refused(
            path,
            "it was made with other fields or another Kinlink; give every office the same schema"
            " file and let it measure again",
        )
    return found


def _read(raw: dict[str, Any]) -> Statistics:
    if raw["format"] != FORMAT or raw["largest_size_of_each_bin"][:-1] != list(SIZES):
        raise ValueError("format")
    fields = {
        str(name): FieldStatistics(_within(present, 0, 1), _bits(bits))
        for name, (present, bits) in raw["fields: present, entropy bits"].items()
    }
    passes = {
        str(name): PassStatistics(_count(rows), _bits(bits), _sizes(sizes))
        for name, (rows, bits, sizes) in raw[
            "passes: rows, entropy bits, rows by size of group"
        ].items()
    }
    records = _count(raw["records"])
    if records < RECORDS_MIN:
        raise ValueError("records")
    return Statistics(str(raw["fields_fingerprint"]), records, fields, passes)


def _sizes(raw: list[int]) -> tuple[int, ...]:
    if len(raw) != BINS:
        raise ValueError("sizes")
    return tuple(map(_count, raw))


def _count(raw: int) -> int:
    return int(_within(raw, 0, 10**12))


def _bits(raw: float | None) -> float | None:
    return None if raw is None else _within(raw, 0, 64)


def _within(raw: float, low: float, high: float) -> float:
    found = float(raw)
    if not low <= found <= high:
        raise ValueError("out of range")
    return found


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _block(name: str, entries: Mapping[str, object]) -> str:
    lines = ",\n".join(f" {_json(key)}: {_json(value)}" for key, value in entries.items())
    return f"{_json(name)}: {{\n{lines}\n}}"


def _refused(path: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(
        Reason.FILE_UNREADABLE, f"The statistics {path} cannot be used: {reason}."
    )
