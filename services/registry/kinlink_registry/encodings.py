"""What the vault holds of each record for others: sketches, handles, blocking keys, and the feed.

A changed record's old handles are retired, its new ones have nothing in common with them. Feed
events of one transaction are numbered in the order of their random handles, which tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from kinlink_core.wire import FeedEvent, Refusal

from kinlink_registry import columns, evaluations
from kinlink_registry.absence import ABSENT
from kinlink_registry.vault import LAST_SEQUENCE, UNPUBLISHED, take_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import Column, EncodedBatch
    from kinlink_core.encoding.keys import Evaluator
    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.records import People, Refs, Values
    from kinlink_registry.session import Session

_NOT_ENCODED = f"""
  record ANTI JOIN {ABSENT} USING (local_key)
  ANTI JOIN (SELECT ref FROM sketch WHERE epoch_id = $epoch) AS encoded USING (ref)
"""

# So many records are remembered as taken back; whoever lacks more reads everything anew.
UNPUBLISHED_MAX = 100_000

_EVERY_ROW = (
    "SELECT epoch_id, token, ref FROM handle UNION ALL SELECT epoch_id, token, ref FROM waiting"
)


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


def encode(
    epoch: Epoch, schema: Schema, people: People, evaluator: Evaluator | None = None
) -> Encoded:
    """Encode people under one epoch; with a key server, by what it evaluated."""
    batch = epoch.encoder.encode(by_field(schema, people.values), evaluator)
    return Encoded(epoch.id, people.refs, people.versions, batch)


def by_field(schema: Schema, values: Sequence[Values]) -> dict[str, Column]:
    """Values of records as the encoder takes them: one list a field."""
    return {
        field.name: [each[index] for each in values] for index, field in enumerate(schema.fields)
    }


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
    numbers = number(session, events)
    bury_as(session, gone, numbers[0])
    for each, ids, mask, numbered in zip(encoded, handles, fed, numbers[1:], strict=True):
        # Finer handles are told nobody; they are as new as the newest of the others.
        sequence = np.full(len(ids), numbered.max(initial=0), np.uint64)
        sequence[mask] = numbered
        write_sketches(session, cipher, each)
        session.run(
            "INSERT INTO handle SELECT sequence, * EXCLUDE (sequence), level = 0 FROM handles",
            handles=handle_rows(each, ids, sequence=sequence),
        )
        write_token_keys(session, cipher, each)
    evaluations.settle(session)


def number(session: Session, events: Sequence[Bytes]) -> list[npt.NDArray[np.uint64]]:
    """Number the feed events of a transaction, all kinds shuffled among each other."""
    everything = np.concatenate(events)
    first = take_numbers(session, LAST_SEQUENCE, len(everything)) + 1
    numbers = np.empty(len(everything), np.uint64)
    numbers[columns.shuffled(everything)] = np.arange(
        first, first + len(everything), dtype=np.uint64
    )
    return np.split(numbers, np.cumsum([len(each) for each in events])[:-1])


def bury_as(session: Session, gone: Bytes, numbers: npt.NDArray[np.uint64]) -> None:
    """Give tombstones the sequence under which the feed tells them."""
    if not len(gone):
        return
    buried = columns.table(id=gone, sequence=numbers)
    session.run(
        "UPDATE tombstone SET sequence = buried.sequence, ref = 0 FROM buried"
        " WHERE tombstone.id = buried.id AND tombstone.sequence = 0 AND epoch_id <> 0",
        buried=buried,
    )


def write_sketches(session: Session, cipher: VaultCipher, encoded: Encoded) -> None:
    """Seal and write the fixed parts."""
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


def handle_rows(encoded: Encoded, handles: Bytes, **more: npt.NDArray[Any]) -> Any:
    """Rows of handles for the vault, `more` columns in front; without sequence or `revealed`."""
    blocking = encoded.batch.blocking
    # Rows lie in the order of their handles: the file's order must not tell a record's passes.
    order = columns.shuffled(handles)
    return columns.table(
        **{name: values[order] for name, values in more.items()},
        epoch_id=_same(encoded.epoch_id, len(order)),
        pass_index=blocking.pass_index[order],
        level=blocking.level[order],
        handle=handles[order],
        token=blocking.token[order],
        parent=blocking.parent[order],
        ref=encoded.refs[blocking.row[order]],
    )


def write_token_keys(session: Session, cipher: VaultCipher, encoded: Encoded) -> None:
    """Seal and write the blocking keys of tokens that were unknown."""
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
        "INSERT INTO tombstone (sequence, epoch_id, event, id, ref)"
        f" SELECT 0, epoch_id, {FeedEvent.HANDLE_RETIRED:d}, handle, ref"
        " FROM handle SEMI JOIN gone USING (ref) WHERE revealed",
        gone=gone,
    )
    tokens = session.table(
        f"SELECT DISTINCT epoch_id, token FROM ({_EVERY_ROW}) SEMI JOIN gone USING (ref)",
        gone=gone,
    )
    _remember(session, refs)
    # What partners said of their decided records: under its new handles a record asks anew.
    for table in ("handle", "waiting", "sketch", "decided_handle"):
        session.run(f"DELETE FROM {table} WHERE ref IN (SELECT ref FROM gone)", gone=gone)
    # What was rejected was another version of it.
    session.run(
        "UPDATE decided SET stands = false"
        f" WHERE partner_tag <> '{columns.NO_ID}'::UUID AND ref IN (SELECT ref FROM gone)",
        gone=gone,
    )
    # A changed record may be disclosed again, under its new handles.
    session.run(
        f"UPDATE disclosed SET refusal = {Refusal.RETIRED_HANDLE:d}"
        " WHERE ref IN (SELECT ref FROM gone)",
        gone=gone,
    )
    unused = session.table(
        f"SELECT * FROM tokens ANTI JOIN ({_EVERY_ROW}) USING (epoch_id, token)", tokens=tokens
    )
    session.run(
        "DELETE FROM token_key USING unused"
        " WHERE token_key.epoch_id = unused.epoch_id AND token_key.token = unused.token",
        unused=unused,
    )
    evaluations.loosen(session, unused)
    return untold(session)


def _remember(session: Session, refs: Refs) -> None:
    """Number records whose handles go, for whoever follows the vault in memory."""
    first = take_numbers(session, UNPUBLISHED, len(refs)) + 1
    numbers = np.arange(first, first + len(refs), dtype=np.int64)
    session.run(
        "INSERT INTO unpublished SELECT number, ref FROM gone",
        gone=columns.table(number=numbers, ref=np.ascontiguousarray(refs, np.int32)),
    )
    session.run("DELETE FROM unpublished WHERE number <= ?", [first + len(refs) - UNPUBLISHED_MAX])


def bury(session: Session) -> None:
    """Number the tombstones that were written in this transaction."""
    gone = untold(session)
    bury_as(session, gone, number(session, [gone])[0])


def untold(session: Session) -> Bytes:
    """Ids of tombstones to tell now; those without an epoch, or with a round, wait for it."""
    found = session.table(
        "SELECT id FROM tombstone WHERE sequence = 0 AND epoch_id <> 0 AND due = 0"
    )
    return columns.matrix(found["id"])


def forget_subjects(session: Session, refs: Refs) -> None:
    """Retire the disclosed subject ids of records, with every link that stands on them."""
    gone = columns.table(ref=refs)
    session.run(
        "INSERT INTO tombstone (sequence, epoch_id, event, id)"
        f" SELECT 0, epoch_id, {FeedEvent.SUBJECT_RETIRED:d}, subject"
        " FROM subject SEMI JOIN gone USING (ref)",
        gone=gone,
    )
    for table in ("subject", "disclosed", "decided", "link"):
        session.run(f"DELETE FROM {table} WHERE ref IN (SELECT ref FROM gone)", gone=gone)


def erase(session: Session, cipher: VaultCipher, refs: Refs) -> None:
    """Take records out of everything that others see or have seen of them, without a wait."""
    forget_subjects(session, refs)
    session.run(
        "DELETE FROM approval WHERE local_key IN"
        " (SELECT local_key FROM record SEMI JOIN gone USING (ref))",
        gone=columns.table(ref=refs),
    )
    session.run(
        "UPDATE tombstone SET due = 0 WHERE due > 0 AND ref IN (SELECT ref FROM gone)",
        gone=columns.table(ref=refs),
    )
    publish(session, cipher, [], unpublish(session, refs))


def not_encoded(session: Session, epoch_id: int, count: int, after: int = 0) -> Refs:
    """Live records that an epoch has no encoding of: the first `count` after a record, in order."""
    found = session.table(
        f"SELECT ref FROM {_NOT_ENCODED} WHERE ref > $after ORDER BY ref LIMIT $count",
        {"epoch": epoch_id, "after": after, "count": count},
    )
    refs: Refs = columns.numbers(found["ref"])
    return refs


def count_not_encoded(session: Session, epoch_id: int) -> int:
    """How many live records an epoch has no encoding of."""
    count: int = session.value(f"SELECT count(*) FROM {_NOT_ENCODED}", {"epoch": epoch_id})
    return count


def _same(value: int, count: int) -> npt.NDArray[np.int16]:
    return np.full(count, value, np.int16)
