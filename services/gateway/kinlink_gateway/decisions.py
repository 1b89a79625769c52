"""The history of verdicts: the linker keeps the last one, an office also asks who said what before.

A history lives as long as its link. When the linker no longer has a link (deleted, withdrawn),
`forget` removes what was written about it here; the audit keeps only that this happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from kinlink_gateway.linker import LinkFilter, RuledOutBy, Verdict
from kinlink_gateway.store import decision_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from kinlink_gateway.linker import Link, Linker
    from kinlink_gateway.roles import Principal
    from kinlink_gateway.store import Store

HISTORY_ROWS_MAX = 50


@dataclass(frozen=True)
class Decision:
    """One verdict that was given on a link."""

    verdict: Verdict
    reason: str
    decided_by: str
    decided_at: datetime
    ruled_out_by: RuledOutBy | None = None


class Decisions:
    """Keeps verdicts in the gateway's database."""

    def __init__(
        self, store: Store, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._clock = clock

    def record(
        self,
        link: Link,
        *,
        verdict: Verdict,
        reason: str,
        by: Principal,
        ruled_out_by: RuledOutBy | None = None,
    ) -> None:
        """Add a verdict to the history of its link."""
        with self._store.write() as connection:
            connection.execute(
                insert(decision_table).values(
                    link_id=link.id,
                    linkage_id=link.linkage_id,
                    verdict=verdict.value,
                    reason=reason,
                    decided_by=by.label,
                    decided_at=self._clock(),
                    ruled_out_by=ruled_out_by.value if ruled_out_by else "",
                )
            )

    def history(self, link_id: str) -> tuple[Decision, ...]:
        """Verdicts on a link, newest first, at most HISTORY_ROWS_MAX."""
        statement = (
            select(decision_table)
            .where(decision_table.c.link_id == link_id)
            .order_by(decision_table.c.id.desc())
            .limit(HISTORY_ROWS_MAX)
        )
        with self._store.read() as connection:
            return tuple(
                Decision(
                    Verdict(row.verdict),
                    row.reason,
                    row.decided_by,
                    row.decided_at,
                    RuledOutBy(row.ruled_out_by) if row.ruled_out_by else None,
                )
                for row in connection.execute(statement)
            )

    def decided_before(self, moment: datetime) -> frozenset[str]:
        """Ids of links whose newest verdict is older than `moment`."""
        newer = select(decision_table.c.link_id).where(decision_table.c.decided_at >= moment)
        statement = (
            select(decision_table.c.link_id)
            .where(decision_table.c.link_id.not_in(newer))
            .distinct()
        )
        with self._store.read() as connection:
            return frozenset(connection.scalars(statement))

    def forget(self, link_ids: Collection[str]) -> None:
        """Remove the history of links that no longer exist."""
        with self._store.write() as connection:
            for link_id in link_ids:
                connection.execute(
                    delete(decision_table).where(decision_table.c.link_id == link_id)
                )
        self._store.scrub()


def forget_removed(
    decisions: Decisions,
    linker: Linker,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> frozenset[str]:
    """Forget the history of links that the linker no longer has; returns their ids.

    Only verdicts from before the linker was asked count, so that one given meanwhile stays. When
    the linker's answer breaks off, nothing is forgotten.
    """
    decided = decisions.decided_before(clock())
    if not decided:
        return decided
    still_there = LinkFilter(verdicts=tuple(Verdict), include_disclosed=True)
    known = {link.id for batch in linker.stream_links(still_there) for link in batch}
    removed = frozenset(decided - known)
    if removed:
        decisions.forget(removed)
    return removed
