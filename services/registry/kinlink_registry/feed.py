"""The change feed: live tokens and tombstones in order of sequence.

A retired handle leaves the feed altogether but for its tombstone, so the feed holds no token of
anyone who is gone. Sequences only grow, with gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.wire import TokenRows

from kinlink_registry import columns
from kinlink_registry.vault import FEED_ID, LAST_SEQUENCE, read_meta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_registry.session import Session

# Sequences a page spans: rows of a page fit a frame with room to spare.
PAGE_SEQUENCES = 1 << 14

_EVENTS = """
  SELECT sequence, 1::UTINYINT AS event, pass_index, handle, token FROM handle
   WHERE epoch_id = $epoch AND level = 0 AND sequence > $after AND sequence <= $upto
  UNION ALL
  SELECT sequence, event, 0::USMALLINT, id, '00000000-0000-0000-0000-000000000000'::UUID
    FROM tombstone
   WHERE epoch_id = $epoch AND sequence > $after AND sequence <= $upto
"""


@dataclass(frozen=True)
class FeedPosition:
    """Where a feed ends."""

    feed_id: str
    last_sequence: int


def position(session: Session) -> FeedPosition:
    """The feed's id and newest sequence."""
    return FeedPosition(
        read_meta(session, FEED_ID) or "", int(read_meta(session, LAST_SEQUENCE) or 0)
    )


def count(session: Session, epoch_id: int, after: int, upto: int) -> int:
    """Events of an epoch after one sequence, up to another."""
    params = {"epoch": epoch_id, "after": after, "upto": upto}
    rows: int = session.rows(f"SELECT count(*) FROM ({_EVENTS})", params)[0][0]
    return rows


def pages(session: Session, epoch_id: int, after: int, upto: int) -> Iterator[TokenRows]:
    """Events of an epoch, in order; read it in one session, so that it is of one state."""
    for start in range(after, upto, PAGE_SEQUENCES):
        params = {"epoch": epoch_id, "after": start, "upto": min(start + PAGE_SEQUENCES, upto)}
        found = session.table(f"{_EVENTS} ORDER BY sequence", params)
        if len(found):
            yield TokenRows(
                sequence=columns.numbers(found["sequence"]),
                event=columns.numbers(found["event"]),
                pass_index=columns.numbers(found["pass_index"]),
                handle=columns.matrix(found["handle"]),
                token=columns.matrix(found["token"]),
            )
