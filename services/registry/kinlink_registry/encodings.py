"""What the vault holds of each record for others: sketches, handles, blocking keys, and the feed.

A changed record's old handles are retired, its new ones have nothing in common with them. Feed
events of one transaction are numbered in the order of their random handles, which tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.wire import FeedEvent, Refusal

from kinlink_registry import columns
from kinlink_registry.vault import LAST_SEQUENCE, take_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import EncodedBatch
    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.records import People, Refs
    from kinlink_registry.session import Session


@dataclass(frozen=True)
class Encoded:
    """People as one epoch encodes them."""

    epoch_id: int
    refs: Refs
    versions: Refs
    batch: EncodedBatch


def sketch_place(epoch_id: int, ref: int, version: int) -> bytes:
    """Associated data of a record's sealed fixed part."""
    return b"sketch %d %d %d" % (epoch_id, ref, version)


def token_place(token: bytes) -> bytes:
    """Associated data of a sealed blocking key."""
    return b"token " + token


def encode(epoch: Epoch, schema: Schema, people: People) -> Encoded:
    """Encode people under one epoch."""
    by_field = {
        field.name: [values[index] for values in people.values]
        for index, field in enumerate(schema.fields)
    }
    return Encoded(epoch.id, people.refs, people.versions, epoch.encoder.encode(by_field))


def publish(
    session: Session, cipher: VaultCipher, encoded: Sequence[Encoded], retired: Bytes | None = None
) -> None:
    """Write encodings, with fresh handles, and number all feed events of this transaction.

    `retired` are the handles that `unpublish` gave back in the same transaction.
    """
    gone = np.empty((0, columns.ID_BYTES), np.uint8) if retired is None else retired
    handles = [columns.random_ids(len(each.batch.blocking.row)) for each in encoded]
    fed = [each.batch.blocking.level == 0 for each in encoded]
    events = [gone, *(ids[mask] for ids, mask in zip(handles, fed, strict=True))]
    numbers = _numbered(session, events)
    _bury(session, gone, numbers[0])
    for each, ids, mask, numbered in zip(encoded, handles, fed, numbers[1:], strict=True):
        sequence = np.zeros(len(ids), np.uint64)
        sequence[mask] = numbered
        _write_sketches(session, cipher, each)
        _write_handles(session, each, ids, sequence)
        _write_token_keys(session, cipher, each)


def _numbered(session: Session, events: Sequence[Bytes]) -> list[npt.NDArray[np.uint64]]:
    everything = np.concatenate(events)
    first = take_numbers(session, LAST_SEQUENCE, len(everything)) + 1
    numbers = np.empty(len(everything), np.uint64)
    numbers[columns.shuffled(everything)] = np.arange(
        first, first + len(everything), dtype=np.uint64
    )
    return np.split(numbers, np.cumsum([len(each) for each in events])[:-1])


def _bury(session: Session, gone: Bytes, numbers: npt.NDArray[np.uint64]) -> None:
    if not len(gone):
        return
    buried = columns.table(id=gone, sequence=numbers)
    session.run(
        "UPDATE tombstone SET sequence = buried.sequence FROM buried"
        " WHERE tombstone.id = buried.id AND tombstone.sequence = 0",
        buried=buried,
    )


def _write_sketches(session: Session, cipher: VaultCipher, encoded: Encoded) -> None:
    refs, versions = encoded.refs.tolist(), encoded.versions.tolist()
    fixed = np.ascontiguousarray(encoded.batch.fixed)
    sealed = cipher.seal_all(
        (sketch_place(encoded.epoch_id, ref, version), row.tobytes())
        for ref, version, row in zip(refs, versions, fixed, strict=True)
    )
    table = columns.table(
        epoch_id=_same(encoded.epoch_id, len(refs)),
        ref=encoded.refs,
        version=encoded.versions,
        sealed=sealed,
    )
    session.run("INSERT INTO sketch SELECT * FROM sketches", sketches=table)


def _write_handles(
    session: Session, encoded: Encoded, handles: Bytes, sequence: npt.NDArray[np.uint64]
) -> None:
    blocking = encoded.batch.blocking
    # Rows lie in the order of their handles: the file's order must not tell a record's passes.
    order = columns.shuffled(handles)
    table = columns.table(
        sequence=sequence[order],
        epoch_id=_same(encoded.epoch_id, len(order)),
        pass_index=blocking.pass_index[order],
        level=blocking.level[order],
        handle=handles[order],
        token=blocking.token[order],
        parent=blocking.parent[order],
        ref=encoded.refs[blocking.row[order]],
        revealed=(blocking.level[order] == 0).astype(np.uint8),
    )
    session.run("INSERT INTO handle SELECT * FROM handles", handles=table)


def _write_token_keys(session: Session, cipher: VaultCipher, encoded: Encoded) -> None:
    blocking = encoded.batch.blocking
    tokens, first = unique_ids(blocking.token)
    asked = columns.table(token=tokens, position=columns.positions(len(tokens)))
    unknown = session.table(
        "SELECT position FROM asked ANTI JOIN (SELECT token FROM token_key WHERE epoch_id = ?)"
        " USING (token)",
        [encoded.epoch_id],
        asked=asked,
    )
    chosen = columns.numbers(unknown["position"])
    keys = blocking.key[first[chosen]]
    sealed = cipher.seal_all(
        (token_place(token.tobytes()), key.tobytes())
        for token, key in zip(tokens[chosen], keys, strict=True)
    )
    table = columns.table(
        epoch_id=_same(encoded.epoch_id, len(chosen)), token=tokens[chosen], sealed=sealed
    )
    session.run("INSERT INTO token_key SELECT * FROM fresh", fresh=table)


def unique_ids(ids: Bytes) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Distinct rows of (n, 16) bytes, and where each stands first."""
    if not len(ids):
        return ids.reshape(0, columns.ID_BYTES), np.empty(0, np.int64)
    words = np.ascontiguousarray(ids).view(f"V{columns.ID_BYTES}").reshape(-1)
    _, first = np.unique(words, return_index=True)
    return ids[first], first


def unpublish(session: Session, refs: Refs) -> Bytes:
    """Forget all encodings of records; returns the handles that the linker must forget.

    Their tombstones are written, and get their numbers from `publish`.
    """
    gone = columns.table(ref=refs)
    session.run(
        f"INSERT INTO tombstone SELECT 0, epoch_id, {FeedEvent.HANDLE_RETIRED:d}, handle"
        " FROM handle SEMI JOIN gone USING (ref) WHERE revealed",
        gone=gone,
    )
    tokens = session.table(
        "SELECT DISTINCT epoch_id, token FROM handle SEMI JOIN gone USING (ref)", gone=gone
    )
    for table in ("handle", "sketch"):
        session.run(f"DELETE FROM {table} WHERE ref IN (SELECT ref FROM gone)", gone=gone)
    # A changed record may be disclosed again, under its new handles.
    session.run(
        f"UPDATE disclosed SET refusal = {Refusal.RETIRED_HANDLE:d}"
        " WHERE ref IN (SELECT ref FROM gone)",
        gone=gone,
    )
    session.run(
        "DELETE FROM token_key USING"
        " (SELECT * FROM tokens ANTI JOIN handle USING (epoch_id, token)) AS unused"
        " WHERE token_key.epoch_id = unused.epoch_id AND token_key.token = unused.token",
        tokens=tokens,
    )
    return columns.matrix(session.table("SELECT id FROM tombstone WHERE sequence = 0")["id"])


def forget_subjects(session: Session, refs: Refs) -> None:
    """Retire the disclosed subject ids of records, with every link that stands on them."""
    gone = columns.table(ref=refs)
    session.run(
        f"INSERT INTO tombstone SELECT 0, epoch_id, {FeedEvent.SUBJECT_RETIRED:d}, subject"
        " FROM subject SEMI JOIN gone USING (ref)",
        gone=gone,
    )
    for table in ("subject", "disclosed", "decided", "link"):
        session.run(f"DELETE FROM {table} WHERE ref IN (SELECT ref FROM gone)", gone=gone)


def erase(session: Session, cipher: VaultCipher, refs: Refs) -> None:
    """Take records out of everything that others see or have seen of them."""
    forget_subjects(session, refs)
    publish(session, cipher, [], unpublish(session, refs))


def not_encoded(session: Session, epoch_id: int, count: int) -> Refs:
    """Live records that an epoch has no encoding of, at most `count`."""
    found = session.table(
        "SELECT ref FROM record ANTI JOIN withdrawn USING (local_key)"
        " ANTI JOIN (SELECT ref FROM sketch WHERE epoch_id = ?) USING (ref) LIMIT ?",
        [epoch_id, count],
    )
    refs: Refs = columns.numbers(found["ref"])
    return refs


def _same(value: int, count: int) -> npt.NDArray[np.int16]:
    return np.full(count, value, np.int16)
