"""Reading links: one, a page, all of a filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kinlink_core.errors import NotFoundError, Reason

from kinlink_linker import duck
from kinlink_linker.domain import Link, PairState, RuledOutBy, Seeker, Verdict
from kinlink_linker.link_query import (
    PAGE_SIZE_MAX,
    LinkFilter,
    LinkOrder,
    Position,
    Where,
    order_by,
    page_size,
    where,
)
from kinlink_linker.linkage_table import shown_time
from kinlink_linker.pair_state import STATE, changed_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kinlink_linker.store import Store

_FROM: Final = """
FROM link
LEFT JOIN verdict ON verdict.link_id = link.link_id
LEFT JOIN member ON member.registry = link.registry_l AND member.subject = link.subject_l
LEFT JOIN linkage ON linkage.id = link.linkage_id
"""
_COLUMNS: Final = f"""
link.link_id, link.linkage_id, link.registry_l, link.subject_l, link.registry_r, link.subject_r,
link.weight, link.probability, link.linked, link.pass_id, link.created_at,
CASE WHEN link.linked THEN coalesce(member.person_id, '') ELSE '' END,
verdict.verdict, coalesce(verdict.reason, ''), coalesce(verdict.decided_by, ''),
coalesce(linkage.missing, []), link.levels, link.model, link.seeker, {STATE},
coalesce(verdict.ruled_out_by, ''), verdict.noted_at, verdict.levels
"""


@dataclass(frozen=True)
class LinkPage:
    """Some links, where to go on, and how many there are in all."""

    links: list[Link]
    next_token: str
    total: int


@dataclass(frozen=True)
class ScoredLink:
    """A link with what it was scored from."""

    link: Link
    levels: bytes
    model: str


class LinkTable:
    """The links of a store."""

    def __init__(self, store: Store, registries: Iterable[str], fields: Iterable[str]) -> None:
        """Links of a store.

        Args:
            store: the store.
            registries: links of others are marked revoked.
            fields: names of the schema's fields, in the order of levels.
        """
        self._store = store
        self._registries = frozenset(registries)
        self._fields = tuple(fields)

    def page(self, chosen: LinkFilter, order: LinkOrder, size: int, token: str) -> LinkPage:
        """One page of links; `InvalidInputError` for a token of another list."""
        size = page_size(size)
        rows_after = where(chosen)
        if token:
            Position.from_token(token, chosen, order).after(order, rows_after)
        everything = where(chosen)
        with self._store.reading() as cursor:
            total = duck.rows(
                cursor, f"SELECT count(*) {_FROM} {everything.sql}", everything.parameters
            )
            found = duck.rows(
                cursor,
                f"SELECT {_COLUMNS} {_FROM} {rows_after.sql} {order_by(order)} LIMIT ?",
                [*rows_after.parameters, size + 1],
            )
        links = [self._link(row) for row in found[:size]]
        more = len(found) > size
        return LinkPage(
            links, _position(links[-1], order).token(chosen, order) if more else "", total[0][0]
        )

    def stream(self, chosen: LinkFilter) -> Iterator[list[Link]]:
        """All links of a filter, best first, from one snapshot."""
        found = where(chosen)
        with self._store.reading() as cursor:
            cursor.execute(
                f"SELECT {_COLUMNS} {_FROM} {found.sql} {order_by(LinkOrder.WEIGHT_DESC)}",
                found.parameters,
            )
            while batch := cursor.fetchmany(PAGE_SIZE_MAX):
                yield [self._link(row) for row in batch]

    def get(self, link_id: str) -> ScoredLink:
        """One link as it stands, or as it last stood; `NotFoundError` if there is none."""
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                f"SELECT {_COLUMNS} {_FROM} WHERE link.link_id = ? "
                "ORDER BY link.standing DESC, link.created_at DESC LIMIT 1",
                [link_id],
            )
        if not found:
            raise NotFoundError(Reason.LINK_NOT_FOUND)
        return ScoredLink(self._link(found[0]), found[0][16], found[0][17])

    def scored(self, chosen: Where, size: int, first: int) -> tuple[int, list[ScoredLink]]:
        """How many links fulfil some conditions, and `size` of them after the `first` best."""
        with self._store.reading() as cursor:
            total = duck.rows(cursor, f"SELECT count(*) {_FROM} {chosen.sql}", chosen.parameters)
            found = duck.rows(
                cursor,
                f"SELECT {_COLUMNS} {_FROM} {chosen.sql} {order_by(LinkOrder.WEIGHT_DESC)}"
                " LIMIT ? OFFSET ?",
                [*chosen.parameters, size, first],
            )
        return total[0][0], [ScoredLink(self._link(row), row[16], row[17]) for row in found]

    def _link(self, row: tuple[Any, ...]) -> Link:
        revoked = sorted({row[2], row[4]} - self._registries)
        returned = row[19] == PairState.RETURNED
        changed = changed_fields(self._fields, row[22], row[16]) if returned else ()
        return _link(row, tuple(revoked), changed)

    def bands(self, high: float) -> dict[str, int]:
        """Standing pairs by band: only disclosed, linked, linked at or above `high`."""
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                "SELECT count(*) FILTER (NOT linked), "
                "count(*) FILTER (linked AND probability < ?), "
                "count(*) FILTER (linked AND probability >= ?) FROM link WHERE standing",
                [high, high],
            )
        return dict(zip(("disclosed", "linked", "linked_99"), found[0], strict=True))

    def states(self) -> dict[PairState, int]:
        """Standing pairs by state."""
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                f"SELECT {STATE}, count(*) FROM link LEFT JOIN verdict USING (link_id)"
                " WHERE standing GROUP BY 1",
            )
        return {state: dict(found).get(state.value, 0) for state in PairState}


def _link(row: tuple[Any, ...], revoked: tuple[str, ...], changed: tuple[str, ...]) -> Link:
    return Link(
        id=row[0],
        linkage_id=row[1],
        registry_l=row[2],
        subject_l=row[3],
        registry_r=row[4],
        subject_r=row[5],
        weight=row[6],
        probability=row[7],
        linked=row[8],
        pass_id=row[9],
        created_at=shown_time(row[10]),
        person_id=row[11],
        verdict=Verdict(row[12]) if row[12] else None,
        verdict_reason=row[13],
        verdict_by=row[14],
        missing=tuple(row[15]),
        revoked=revoked,
        seeker=Seeker(row[18]),
        state=PairState(row[19]),
        ruled_out_by=RuledOutBy(row[20]) if row[20] else None,
        verdict_at=shown_time(row[21]) if row[21] else None,
        changed_fields=changed,
    )


def _position(link: Link, order: LinkOrder) -> Position:
    if order is LinkOrder.CREATED_DESC:
        return Position(link.created_at, link.id)
    return Position(link.weight, link.id)
