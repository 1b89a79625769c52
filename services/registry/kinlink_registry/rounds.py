"""When arrivals and changes leave: spread over a day, in rounds of many records.

What enters the feed together belongs together: a linker that sees the handles of one new record
arrive at once joins its passes. So every (record, pass) draws a random moment of its own within the
spread, waits for it, and leaves with whatever else is due by then; a round of few records waits for
more, but not for ever. A load of many records is its own crowd and leaves at once. Deletions and
withdrawn consent never wait.

Not guaranteed: the retired handles of a changed record are refused from the moment of the change. A
linker that keeps asking for all handles sees which ones end together; the audit shows such asking.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.errors import InvalidInputError, NotFoundError, Reason

from kinlink_registry import columns, encodings, evaluations, records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.encodings import Encoded
    from kinlink_registry.node import Node
    from kinlink_registry.policy import Rounds
    from kinlink_registry.session import Session

REASON_CHARACTERS_MAX = 200


def publish(
    session: Session,
    cipher: VaultCipher,
    encoded: Sequence[Encoded],
    retired: Bytes,
    *,
    rounds: Rounds,
    now: int,
) -> None:
    """Write encodings whose handles wait for their rounds, as the tombstones of `retired` do."""
    for each in encoded:
        blocking = each.batch.blocking
        passes = int(blocking.pass_index.max(initial=0)) + 1
        due = rounds.moments(now, (len(each.refs), passes))[blocking.row, blocking.pass_index]
        encodings.write_sketches(session, cipher, each)
        handles = columns.random_ids(len(due))
        session.run(
            "INSERT INTO waiting SELECT * FROM handles",
            handles=encodings.handle_rows(each, handles, due=due),
        )
        encodings.write_token_keys(session, cipher, each)
    session.run(
        "UPDATE tombstone SET due = drawn.due FROM drawn WHERE tombstone.id = drawn.id",
        drawn=columns.table(id=retired, due=rounds.moments(now, (len(retired),))),
    )
    evaluations.settle(session)


def write(
    session: Session,
    cipher: VaultCipher,
    encoded: Sequence[Encoded],
    retired: Bytes,
    *,
    rounds: Rounds,
    loaded: int,
) -> None:
    """Write encodings, now or for their rounds; a registry's first load leaves at once.

    Args:
        session: a writing session.
        cipher: of its vault.
        encoded: new and changed people in every epoch.
        retired: the handles of theirs that `encodings.unpublish` gave back.
        rounds: the registry's rule.
        loaded: records that this load has brought so far, these among them.
    """
    held = bool(session.rows("SELECT 1 FROM handle LIMIT 1"))
    if held and rounds.hold(loaded):
        publish(session, cipher, encoded, retired, rounds=rounds, now=int(time.time()))
    else:
        encodings.publish(session, cipher, encoded, retired)


def leave_at_once(node: Node, local_id: str, pass_id: str, reason: str) -> int:
    """An officer's decision for an urgent case, audited; returns how many handles left.

    Raises:
        InvalidInputError: no pass has this id, or no reason is given.
        NotFoundError: no record has this local id.
    """
    index = next((n for n, each in enumerate(node.schema.passes) if each.id == pass_id), None)
    if index is None:
        passes = ", ".join(each.id for each in node.schema.passes)
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED, f"No pass of the schema has this id; it has {passes}."
        )
    if not 0 < len(reason.strip()) <= REASON_CHARACTERS_MAX:
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED,
            f"Give a reason of at most {REASON_CHARACTERS_MAX} characters, for the audit.",
        )
    with node.vault.writing() as session:
        found = records.known(session, node.vault.cipher, [local_id]).refs
        if not len(found):
            raise NotFoundError(Reason.RECORD_NOT_FOUND)
        handles = hasten(session, int(found[0]), index)
    node.audit.write(
        "left-at-once", "operator/local", pass_id=pass_id, reason=reason.strip(), handles=handles
    )
    return handles


def let_leave(node: Node) -> None:
    """Release a round of a registry if one is due, and tell the audit."""
    now = int(time.time())
    with node.vault.reading() as session:
        if not session.rows(
            "SELECT 1 FROM waiting WHERE due <= $now UNION ALL"
            " SELECT 1 FROM tombstone WHERE due BETWEEN 1 AND $now LIMIT 1",
            {"now": now},
        ):
            return
    with node.vault.writing() as session:
        records = release(session, node.rounds, now)
    if records:
        node.audit.write("round-left", "system", records=records)


def release(session: Session, rounds: Rounds, now: int) -> int:
    """Let a round leave if one is due and large enough; how many records are in it."""
    counted = "SELECT count(DISTINCT ref), coalesce(min(due), ?) FROM {} WHERE due > 0 AND due <= ?"
    ((records, first),) = session.rows(counted.format("waiting"), [now, now])
    ((buried, first_buried),) = session.rows(counted.format("tombstone"), [now, now])
    found = max(int(records), int(buried))
    overdue = now - min(first, first_buried) >= rounds.wait_seconds
    if not found or (found < rounds.records_min and not overdue):
        return 0
    session.run("UPDATE tombstone SET due = 0 WHERE due > 0 AND due <= ?", [now])
    _leave(session, now)
    return found


def waiting(session: Session) -> int:
    """How many records still wait for a round of theirs."""
    return int(session.value("SELECT count(DISTINCT ref) FROM waiting"))


def hasten(session: Session, ref: int, pass_index: int) -> int:
    """Let one record leave at once in one pass, for an urgent case; how many handles left."""
    session.run("UPDATE waiting SET due = 1 WHERE ref = ? AND pass_index = ?", [ref, pass_index])
    rows = int(session.value("SELECT count(*) FROM waiting WHERE due = 1 AND level = 0"))
    _leave(session, 1)
    return rows


def _leave(session: Session, now: int) -> None:
    gone = encodings.untold(session)
    leaving = session.table("SELECT handle FROM waiting WHERE due <= ? AND level = 0", [now])
    handles = columns.matrix(leaving["handle"])
    gone_numbers, numbers = encodings.number(session, [gone, handles])
    encodings.bury_as(session, gone, gone_numbers)
    session.run(
        "INSERT INTO handle SELECT coalesce(sequence, ?), epoch_id, pass_index, level, handle,"
        " token, parent, ref, level = 0 FROM waiting LEFT JOIN numbered USING (handle)"
        " WHERE due <= ? ORDER BY handle",
        [int(numbers.max(initial=0)), now],
        numbered=columns.table(handle=handles, sequence=numbers.astype(np.uint64)),
    )
    session.run("DELETE FROM waiting WHERE due <= ?", [now])
