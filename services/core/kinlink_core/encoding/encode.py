"""From canonical values to what a vault keeps: sketches and blocking keys, a batch at a time.

The encoder works on distinct values: each is tokenised, sketched and hashed once a batch. Nothing
it returns may leave the registry as it is; tokens (through the feed) are the only part that ever
does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kinlink_core.encoding import keys
from kinlink_core.encoding.features import blocking_values, sketch_tokens, two_sided
from kinlink_core.encoding.fixed_parts import join_fixed
from kinlink_core.encoding.sketch import (
    SKETCH_BYTES,
    Bytes,
    Sketcher,
    band_positions,
    bands,
    hash_sketch,
)
from kinlink_core.encoding.vectors import VectorSketcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kinlink_core.encoding.schema import Field, Part, Pass, Schema

LSH = "lsh"

Column = list[str | None]


@dataclass(frozen=True)
class BlockingRows:
    """One row for each (record, pass, level, blocking value) of a batch."""

    row: npt.NDArray[np.uint32]  # (n,) index of the record in the batch
    pass_index: npt.NDArray[np.uint16]  # (n,)
    level: npt.NDArray[np.uint8]  # (n,) 0 goes to the feed, above are refinements
    token: Bytes  # (n, 16)
    parent: Bytes  # (n, 16) token of the level above, zero at level 0
    key: Bytes  # (n, 32) BK, never leaves the registry


@dataclass(frozen=True)
class EncodedBatch:
    """What one batch of records becomes."""

    rows: int
    fixed: Bytes  # (rows, fixed_bytes)
    blocking: BlockingRows


@dataclass(frozen=True)
class PassInputs:
    """The distinct blocking inputs of one pass in a batch, and which records have them."""

    pass_id: str
    inputs: list[bytes]
    row: npt.NDArray[np.int64]  # (n,) index of the record in the batch
    input_index: npt.NDArray[np.int64]  # (n,) into `inputs`

    def by_record(self) -> list[bytes]:
        """The inputs in the order of their first records: a part of them serves whole records."""
        first = np.full(len(self.inputs), np.iinfo(np.int64).max)
        np.minimum.at(first, self.input_index, self.row)
        return [self.inputs[index] for index in np.argsort(first, kind="stable").tolist()]


class Encoder:
    """Encodes batches under one schema and one epoch."""

    def __init__(self, schema: Schema, schedule: keys.KeySchedule) -> None:
        self._schema = schema
        self._schedule = schedule
        self._banded = {
            part.field
            for blocking_pass in schema.passes
            for part in (*blocking_pass.parts, *blocking_pass.refine)
            if part.transform == LSH
        }
        self._sketchers = {
            field.name: _sketcher(field, schedule.field_key(field.name)) for field in schema.fields
        }
        self._record_key = schedule.derive(b"record sketch")

    def blocking_inputs(self, columns: Mapping[str, Column]) -> list[PassInputs]:
        """What `encode` asks its evaluator for, pass by pass, without the rest of the work."""
        sided = self._sided(columns)
        factored = {
            field.name: _factor(
                field,
                sided[field.name],
                self._sketchers[field.name] if field.name in self._banded else None,
            )
            for field in self._schema.fields
        }
        return [self._inputs(blocking_pass, factored) for blocking_pass in self._schema.passes]

    def encode(
        self, columns: Mapping[str, Column], evaluator: keys.Evaluator | None = None
    ) -> EncodedBatch:
        """Encode canonical values, one list a field of the schema, all of one length.

        Without an evaluator the schedule must be one of plain mode (`keys.KeyFault`). Time grows
        with the number of distinct values and of blocking rows.
        """
        evaluator = evaluator or keys.PlainEvaluator()
        factored = self._factored(columns)
        rows = len(next(iter(factored.values())).codes)
        return EncodedBatch(
            rows=rows,
            fixed=self._fixed(rows, factored),
            blocking=_concatenate(
                [
                    block
                    for index, blocking_pass in enumerate(self._schema.passes)
                    for block in self._block(index, blocking_pass, factored, evaluator)
                ]
            ),
        )

    def sketch(self, columns: Mapping[str, Column]) -> Bytes:
        """The fixed parts alone, without blocking values; (n, fixed_bytes)."""
        factored = self._factored(columns)
        return self._fixed(len(next(iter(factored.values())).codes), factored)

    def _factored(self, columns: Mapping[str, Column]) -> dict[str, _Factored]:
        return {
            field.name: _factor(field, column, self._sketchers[field.name])
            for field, column in zip(
                self._schema.fields, self._sided(columns).values(), strict=True
            )
        }

    def _sided(self, columns: Mapping[str, Column]) -> dict[str, Column]:
        names = [field.name for field in self._schema.fields]
        return dict(zip(names, two_sided(self._schema, [columns[n] for n in names]), strict=True))

    def _fixed(self, rows: int, factored: Mapping[str, _Factored]) -> Bytes:
        count = len(self._schema.fields)
        present = np.zeros((rows, count), bool)
        sketches, vectors = [], []
        record = self._filler(rows, factored)
        for index, field in enumerate(self._schema.fields):
            column = factored[field.name]
            here = column.codes >= 0
            present[:, index] = here
            sketch = column.sketches[column.codes]
            if field.has_sketch:
                sketches.append(sketch)
            if field.vector is not None:
                vectors.append(sketch)
            record[here, index::count] = sketch[here, index:SKETCH_BYTES:count]
        return join_fixed(present, sketches, record, self._wants(rows, factored), vectors)

    def _wants(self, rows: int, factored: Mapping[str, _Factored]) -> npt.NDArray[np.bool_]:
        sides = self._schema.sides
        if sides is None:
            return np.zeros(rows, bool)
        column = factored[sides.field]
        wanting = [value == sides.wants for value in column.values]
        return np.array([*wanting, False])[column.codes]

    def _filler(self, rows: int, factored: Mapping[str, _Factored]) -> Bytes:
        """Noise in the share of a missing field: missing on both sides is no agreement.

        Drawn from the record's values, so that it does not depend on the batch.
        """
        codes = np.column_stack([column.codes for column in factored.values()])
        filler = np.zeros((rows, SKETCH_BYTES), np.uint8)
        for row in np.flatnonzero((codes < 0).any(axis=1)).tolist():
            values = [
                b"" if code < 0 else column.values[code].encode()
                for column, code in zip(factored.values(), codes[row].tolist(), strict=True)
            ]
            filler[row] = hash_sketch(self._record_key, keys.lp(*values))
        return filler

    def _inputs(self, blocking_pass: Pass, factored: Mapping[str, _Factored]) -> PassInputs:
        inputs: list[bytes] = []
        rows, indices = [], []
        for level, composite in enumerate(self._composites(blocking_pass, factored)):
            distinct, inverse = composite.distinct()
            rows.append(composite.rows)
            indices.append(inverse + len(inputs))
            inputs += [keys.blocking_input(blocking_pass.id, level, parts) for parts in distinct]
        return PassInputs(blocking_pass.id, inputs, np.concatenate(rows), np.concatenate(indices))

    def _block(
        self,
        index: int,
        blocking_pass: Pass,
        factored: Mapping[str, _Factored],
        evaluator: keys.Evaluator,
    ) -> list[BlockingRows]:
        levels: list[BlockingRows] = []
        for level, composite in enumerate(self._composites(blocking_pass, factored)):
            distinct, inverse = composite.distinct()
            inputs = [keys.blocking_input(blocking_pass.id, level, parts) for parts in distinct]
            evaluations = evaluator.evaluate(blocking_pass.id, inputs)
            derived = self._schedule.blocking_keys(inputs, evaluations)
            tokens = [keys.token(key) for key in derived]
            count = len(composite.rows)
            no_parent = np.zeros((count, keys.TOKEN_BYTES), np.uint8)
            levels.append(
                BlockingRows(
                    row=composite.rows.astype(np.uint32),
                    pass_index=np.full(count, index, np.uint16),
                    level=np.full(count, level, np.uint8),
                    token=_matrix(tokens, keys.TOKEN_BYTES)[inverse],
                    parent=levels[-1].token[composite.origin] if levels else no_parent,
                    key=_matrix(derived, keys.KEY_BYTES)[inverse],
                )
            )
        return levels

    def _composites(
        self, blocking_pass: Pass, factored: Mapping[str, _Factored]
    ) -> Iterator[_Composite]:
        """A pass's blocking values level by level; the origin of a row is in the level above."""
        composite = _Composite.of_rows(len(next(iter(factored.values())).codes))
        for number, part in enumerate(blocking_pass.parts):
            composite = composite.extend(self._part(blocking_pass, number, part, factored))
        yield composite
        for number, part in enumerate(blocking_pass.refine, start=len(blocking_pass.parts)):
            finer = self._part(blocking_pass, number, part, factored)
            composite = composite.rebased().extend(finer)
            yield composite

    def _part(
        self, blocking_pass: Pass, number: int, part: Part, factored: Mapping[str, _Factored]
    ) -> _PartValues:
        column = factored[part.field]
        if part.transform != LSH:
            field = self._schema.field(part.field)
            return _PartValues.of(
                [
                    [value.encode() for value in dict.fromkeys(blocking_values(part, field, v))]
                    for v in column.values
                ],
                column.codes,
            )
        bits, tables = int(part.args[0]), int(part.args[1])
        key = self._schedule.field_key(part.field)
        columns = [
            bands(
                column.sketches[: len(column.values)],
                band_positions(key, f"{blocking_pass.id}/{number}/{table}".encode(), bits),
            )
            for table in range(tables)
        ]
        return _PartValues.of(
            [
                [bytes([table]) + columns[table][i].tobytes() for table in range(tables)]
                for i in range(len(column.values))
            ],
            column.codes,
        )


@dataclass(frozen=True)
class _Factored:
    """A column as its distinct values; code -1 is missing and indexes a zero sketch at the end."""

    values: list[str]
    codes: npt.NDArray[np.int64]
    sketches: Bytes  # (values + 1, 256); of vectors (values + 1, 512)


def _sketcher(field: Field, key: bytes) -> Sketcher | VectorSketcher:
    return Sketcher(key) if field.vector is None else VectorSketcher(key, field.vector.dimensions)


def _factor(field: Field, column: Column, sketcher: Sketcher | VectorSketcher | None) -> _Factored:
    """Factor a column; without a sketcher its sketches are left out."""
    index: dict[str, int] = {}
    codes = np.fromiter(
        (-1 if value is None else index.setdefault(value, len(index)) for value in column),
        np.int64,
        len(column),
    )
    values = list(index)
    if sketcher is None:
        return _Factored(values, codes, np.empty((0, SKETCH_BYTES), np.uint8))
    if isinstance(sketcher, VectorSketcher):
        sketches = sketcher.sketch(values)
    elif field.has_sketch:
        sketches = sketcher.sketch([sketch_tokens(field, value) for value in values])
    else:
        sketches = _matrix(
            [hash_sketch(sketcher.key, v.encode()).tobytes() for v in values], SKETCH_BYTES
        )
    nothing = np.zeros((1, sketches.shape[1]), np.uint8)
    return _Factored(values, codes, np.concatenate([sketches, nothing]))


@dataclass(frozen=True)
class _PartValues:
    """Blocking values of one part: for each record a run of ids into `values`."""

    values: list[bytes]
    starts: npt.NDArray[np.int64]  # (records,)
    counts: npt.NDArray[np.int64]  # (records,)
    ids: npt.NDArray[np.int64]

    @classmethod
    def of(cls, by_value: Sequence[Sequence[bytes]], codes: npt.NDArray[np.int64]) -> _PartValues:
        index: dict[bytes, int] = {}
        ids = np.fromiter(
            (index.setdefault(value, len(index)) for values in by_value for value in values),
            np.int64,
        )
        counts = np.fromiter((len(values) for values in by_value), np.int64, len(by_value))
        counts = np.append(counts, 0)
        starts = np.concatenate(([0], np.cumsum(counts)))[:-1]
        return cls(list(index), starts[codes], counts[codes], ids)


@dataclass(frozen=True)
class _Composite:
    """Blocking values under construction: a row for each (record, combination of part values)."""

    rows: npt.NDArray[np.int64]  # (n,) record of the row
    origin: npt.NDArray[np.int64]  # (n,) row of the composite this one refines
    ids: npt.NDArray[np.int64]  # (n, parts)
    values: tuple[list[bytes], ...]

    @classmethod
    def of_rows(cls, count: int) -> _Composite:
        everyone = np.arange(count)
        return cls(everyone, everyone, np.empty((count, 0), np.int64), ())

    def extend(self, part: _PartValues) -> _Composite:
        counts = part.counts[self.rows]
        source = np.repeat(np.arange(len(self.rows)), counts)
        within = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = part.ids[part.starts[self.rows[source]] + within]
        return _Composite(
            self.rows[source],
            self.origin[source],
            np.column_stack([self.ids[source], chosen]),
            (*self.values, part.values),
        )

    def rebased(self) -> _Composite:
        """Call this composite's rows the origin of what extends it."""
        return _Composite(self.rows, np.arange(len(self.rows)), self.ids, self.values)

    def distinct(self) -> tuple[list[tuple[bytes, ...]], npt.NDArray[np.int64]]:
        """Distinct combinations as bytes, and each row's index among them."""
        unique, inverse = np.unique(self.ids, axis=0, return_inverse=True)
        combinations = [
            tuple(values[i] for values, i in zip(self.values, row, strict=True))
            for row in unique.tolist()
        ]
        return combinations, inverse.reshape(-1)


def _matrix(items: list[bytes], width: int) -> Bytes:
    return np.frombuffer(b"".join(items), np.uint8).reshape(len(items), width)


def _concatenate(blocks: list[BlockingRows]) -> BlockingRows:
    return BlockingRows(
        row=np.concatenate([block.row for block in blocks]),
        pass_index=np.concatenate([block.pass_index for block in blocks]),
        level=np.concatenate([block.level for block in blocks]),
        token=np.concatenate([block.token for block in blocks]),
        parent=np.concatenate([block.parent for block in blocks]),
        key=np.concatenate([block.key for block in blocks]),
    )
