"""Every registry's token rows, by Kinlink's own encoder, and what the registries keep.

All registries share the epoch secret, so one encoder serves all of them and each distinct value is
encoded once. Tokens are cut pass by pass, in two processes where it pays. Rows are shuffled: the
number of a row stands for its random handle.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import LSH, Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import Column
    from kinlink_core.encoding.schema import Schema

    from redteam.places import I64

FEDERATION: Final = "redteam"
EPOCH: Final = "e1"
PROCESSES: Final = 2
# Below this many records a second process costs more than it saves.
RECORDS_A_POOL_MIN: Final = 20_000

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Rows:
    """n token rows as the linker holds them: feed rows, and finer ones that it may ask for.

    A row's number is its handle. `token` numbers the distinct tokens of all passes and levels;
    `parent` is the token of the level above, -1 in the feed (level 0).
    """

    registry: npt.NDArray[np.uint8]
    pass_index: npt.NDArray[np.uint16]
    level: npt.NDArray[np.uint8]
    token: I64
    parent: I64

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.token)

    @property
    def tokens(self) -> int:
        """How many distinct tokens there are."""
        return int(self.token.max(initial=-1)) + 1


@dataclass(frozen=True)
class Secrets:
    """What the linker does not have: truth about rows, keys, sketches.

    Attacks read it to check their guesses, or where the attacker is a registry that has it.
    """

    record: I64  # (rows,) record of each row
    handle: Bytes  # (rows, 16) the random handle itself
    token_bytes: Bytes  # (tokens, 16)
    blocking_key: Bytes  # (tokens, 32) BK
    fixed: Bytes | None  # (records, fixed_bytes), None where only tokens were made
    value: I64 | None  # (tokens,) digest of the blocking value, None where nobody asked for it
    schedule: keys.KeySchedule
    pair_keys: dict[tuple[int, int], bytes]  # K_AB by codes, the smaller first


@dataclass(frozen=True)
class Encoded:
    """Token rows, and the secrets behind them."""

    rows: Rows
    secrets: Secrets


def encode(
    schema: Schema,
    names: Sequence[str],
    registry: I64,
    values: dict[str, Column],
    *,
    passes: Sequence[str] | None = None,
    sketches: bool = True,
    valued: bool = False,
    evaluator: keys.Evaluator | None = None,
) -> Encoded:
    """Encode all records of all registries under a fresh epoch secret.

    Args:
        schema: as shipped to the registries.
        names: of the registries, sorted.
        registry: (records,) code of each record's registry.
        values: canonical values of every field.
        passes: ids of the passes to make tokens for; all of them by default.
        sketches: whether to make what sieves and seals need.
        valued: whether to keep a digest of each token's blocking value.
        evaluator: the key server's part; none by default. Linker-side attacks see no difference.
    """
    mode = keys.MODE_PLAIN if evaluator is None else keys.MODE_KEY_SERVER
    context = keys.Context(mode, FEDERATION, EPOCH, schema.fingerprint())
    schedule = keys.KeySchedule(context, keys.EpochSecret.generate(EPOCH))
    chosen = [each.id for each in schema.passes if passes is None or each.id in passes]
    jobs = [_Job(schema, schedule, values, pass_id, evaluator, valued) for pass_id in chosen]
    pooled = len(registry) >= RECORDS_A_POOL_MIN and evaluator is None
    fixed = None
    if pooled:
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            blocks = list(pool.map(_Job.run, jobs))
            fixed = pool.submit(_fixed, schema, schedule, values).result() if sketches else None
    else:
        blocks = [job.run() for job in jobs]
        fixed = _fixed(schema, schedule, values) if sketches else None
    return _joined(schedule, names, registry, blocks, fixed)


@dataclass(frozen=True)
class _Block:
    """Rows of one pass."""

    record: I64
    pass_index: int
    level: npt.NDArray[np.uint8]
    token: npt.NDArray[np.int64]  # among the pass's own
    parent: npt.NDArray[np.int64]
    token_bytes: Bytes
    blocking_key: Bytes
    value: I64 | None


@dataclass(frozen=True)
class _Job:
    """One pass to encode: small enough to send to another process."""

    schema: Schema
    schedule: keys.KeySchedule
    values: dict[str, Column]
    pass_id: str
    evaluator: keys.Evaluator | None
    valued: bool

    def __getstate__(self) -> tuple[object, ...]:
        used = {field.name for field in narrowed(self.schema, self.pass_id).fields}
        values = {name: column for name, column in self.values.items() if name in used}
        return self.schema, self.schedule, values, self.pass_id, self.evaluator, self.valued

    def __setstate__(self, state: tuple[object, ...]) -> None:
        for name, part in zip(self.__dataclass_fields__, state, strict=True):
            object.__setattr__(self, name, part)

    def run(self) -> _Block:
        index = self.schema.pass_index(self.pass_id)
        encoder = Encoder(narrowed(self.schema, self.pass_id), self.schedule)
        blocking = encoder.encode(self.values, self.evaluator).blocking
        words = np.ascontiguousarray(blocking.token).view("V16").reshape(-1)
        distinct, first, token = np.unique(words, return_index=True, return_inverse=True)
        parents = np.ascontiguousarray(blocking.parent).view("V16").reshape(-1)
        parent = np.searchsorted(distinct, parents)
        value = None
        if self.valued:
            (found,) = encoder.blocking_inputs(self.values)
            if not np.array_equal(found.row, blocking.row):
                raise AssertionError("the encoder lists its inputs in another order than its rows")
            value = digests(found.inputs)[found.input_index][first]
        return _Block(
            blocking.row.astype(np.int64),
            index,
            blocking.level,
            token.reshape(-1),
            np.where(blocking.level > 0, parent, -1),
            blocking.token[first],
            blocking.key[first],
            value,
        )


def digests(inputs: list[bytes]) -> I64:
    """A 64-bit digest of each blocking value; the same in every population."""
    joined = b"".join([hashlib.blake2b(each, digest_size=8).digest() for each in inputs])
    return np.frombuffer(joined, np.int64)


def narrowed(schema: Schema, pass_id: str) -> Schema:
    """The schema of one pass alone: the same tokens (a test says so), without other sketches."""
    chosen = schema.passes[schema.pass_index(pass_id)]
    parts = (*chosen.parts, *chosen.refine)
    cut = {part.field for part in parts if part.transform == LSH}
    fields = tuple(
        field if field.name in cut else replace(field, comparison="category")
        for field in schema.fields
        if field.name in {part.field for part in parts}
    )
    return replace(schema, fields=fields, passes=(chosen,))


def _fixed(schema: Schema, schedule: keys.KeySchedule, values: dict[str, Column]) -> Bytes:
    narrowed = replace(schema, passes=schema.passes[:1])
    evaluator = None if schedule.context.mode == keys.MODE_PLAIN else _Zeros()
    return Encoder(narrowed, schedule).encode(values, evaluator).fixed


class _Zeros:
    """An evaluator for tokens that nobody looks at."""

    def evaluate(self, pass_id: str, inputs: list[bytes]) -> list[bytes]:  # noqa: ARG002
        return [bytes(keys.EVALUATION_BYTES)] * len(inputs)


def _joined(
    schedule: keys.KeySchedule,
    names: Sequence[str],
    registry: I64,
    blocks: list[_Block],
    fixed: Bytes | None,
) -> Encoded:
    offsets = np.cumsum([0, *(len(block.token_bytes) for block in blocks)])[:-1]
    rows = sum(len(block.record) for block in blocks)
    order = np.random.default_rng().permutation(rows)
    record = np.concatenate([block.record for block in blocks])[order]
    parent = [
        np.where(block.parent >= 0, block.parent + offset, -1)
        for block, offset in zip(blocks, offsets, strict=True)
    ]
    token = [block.token + offset for block, offset in zip(blocks, offsets, strict=True)]
    passes = [np.full(len(block.record), block.pass_index, np.uint16) for block in blocks]
    return Encoded(
        Rows(
            registry=registry[record].astype(np.uint8),
            pass_index=np.concatenate(passes)[order],
            level=np.concatenate([block.level for block in blocks])[order],
            token=np.concatenate(token)[order],
            parent=np.concatenate(parent)[order],
        ),
        Secrets(
            record=record,
            handle=np.frombuffer(os.urandom(16 * rows), np.uint8).reshape(rows, 16),
            token_bytes=np.concatenate([block.token_bytes for block in blocks]),
            blocking_key=np.concatenate([block.blocking_key for block in blocks]),
            fixed=fixed,
            value=_values(blocks),
            schedule=schedule,
            pair_keys=_pair_keys(schedule, names),
        ),
    )


def _values(blocks: list[_Block]) -> I64 | None:
    values = [block.value for block in blocks if block.value is not None]
    return np.concatenate(values) if values else None


def _pair_keys(schedule: keys.KeySchedule, names: Sequence[str]) -> dict[tuple[int, int], bytes]:
    own = [keys.AgreementKey.generate() for _ in names]
    return {
        (i, j): own[i].registry_pair_key(
            own[j].public, context=schedule.context, own=names[i], partner=names[j]
        )
        for i in range(len(names))
        for j in range(i + 1, len(names))
    }
