"""Reading cases: in a federation with two sides, a family's notice with the pairs that it is in.

A case is no row of its own. It is the standing pairs whose record of the wanting side is one
subject, so it comes with its first candidate and goes with its last. Its name is that subject's:
registry and id.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from kinlink_core.errors import NotFoundError, Reason

from kinlink_linker import duck
from kinlink_linker.domain import Case, PairState, Seeker
from kinlink_linker.link_query import (
    CANDIDATES,
    LinkOrder,
    Where,
    among_states,
    decoded,
    encoded,
    page_size,
    token_fault,
)
from kinlink_linker.linkage_table import shown_time
from kinlink_linker.pair_state import STATE

if TYPE_CHECKING:
    from kinlink_linker.link_table import LinkTable, ScoredLink
    from kinlink_linker.store import Store

CANDIDATES_PAGE_MAX: Final = 50

_PAIRS: Final = f"""
SELECT CASE seeker WHEN {Seeker.LEFT:d} THEN registry_l ELSE registry_r END AS registry,
       CASE seeker WHEN {Seeker.LEFT:d} THEN subject_l ELSE subject_r END AS subject,
       registry_l, registry_r, weight, probability, link.created_at, {STATE} AS state
FROM link LEFT JOIN verdict USING (link_id)
WHERE standing AND seeker <> {Seeker.NOBODY:d}
"""
_OPEN: Final = f"state <> '{PairState.RULED_OUT}'"
_CASES: Final = f"""
SELECT registry, subject, count(*) FILTER ({_OPEN}) AS candidates,
       coalesce(max(weight) FILTER ({_OPEN}), 0) AS best_weight,
       coalesce(max(probability) FILTER ({_OPEN}), 0) AS best_probability,
       max(created_at) FILTER ({_OPEN}) AS newest_at,
       count(*) FILTER (state = '{PairState.RETURNED}') AS returned,
       count(*) FILTER (state = '{PairState.CONFIRMED}') AS confirmed,
       count(*) FILTER (state = '{PairState.RULED_OUT}') AS ruled_out
FROM ({_PAIRS}) AS pair
{{where}}
GROUP BY registry, subject
"""
_ORDERS: Final = {
    LinkOrder.WEIGHT_DESC: "best_weight DESC",
    LinkOrder.WEIGHT_ASC: "best_weight",
    LinkOrder.CREATED_DESC: "newest_at DESC",
}
_OF_CASE: Final = f"""(
  (link.seeker = {Seeker.LEFT:d} AND link.registry_l = ? AND link.subject_l = ?)
  OR (link.seeker = {Seeker.RIGHT:d} AND link.registry_r = ? AND link.subject_r = ?))
"""


@dataclass(frozen=True)
class CaseFilter:
    """Which cases are meant: those with a candidate and, unless asked for, without a confirmed."""

    touching: str = ""
    registry: str = ""
    include_confirmed: bool = False


@dataclass(frozen=True)
class CasePage:
    """Some cases, where to go on, and how many there are in all."""

    cases: list[Case]
    next_token: str
    total: int


@dataclass(frozen=True)
class CandidatePage:
    """A case with some of its pairs, best first; `first_rank` is that of the first of them."""

    case: Case
    first_rank: int
    candidates: list[ScoredLink]
    next_token: str
    total: int


class CaseTable:
    """The cases of a store."""

    def __init__(self, store: Store, links: LinkTable) -> None:
        self._store = store
        self._links = links

    def page(self, chosen: CaseFilter, order: LinkOrder, size: int, token: str) -> CasePage:
        """One page of cases; `InvalidInputError` for a token of another list."""
        size = page_size(size)
        listed = json.dumps([asdict(chosen), order])
        first = _position(token, listed)
        sql, parameters = _cases(chosen.touching, chosen.registry)
        confirmed = "" if chosen.include_confirmed else " AND confirmed = 0"
        sql += f" HAVING candidates > 0{confirmed}"
        with self._store.reading() as cursor:
            total = duck.rows(cursor, f"SELECT count(*) FROM ({sql})", parameters)[0][0]
            found = duck.rows(
                cursor,
                f"{sql} ORDER BY {_ORDERS[order]}, registry, subject LIMIT ? OFFSET ?",
                [*parameters, size, first],
            )
        more = first + len(found) < total
        return CasePage(
            [_case(row) for row in found], _token(first + size, listed) if more else "", total
        )

    def get(
        self,
        registry: str,
        subject: bytes,
        *,
        touching: str = "",
        states: tuple[PairState, ...] = (),
        size: int = 0,
        token: str = "",
    ) -> CandidatePage:
        """One case with a page of its pairs in some states, by default all but those ruled out.

        Raises:
            NotFoundError: CASE_NOT_FOUND, no standing pair is this notice's.
            InvalidInputError: a token of another list.
        """
        size = min(page_size(size), CANDIDATES_PAGE_MAX)
        states = states or CANDIDATES
        listed = json.dumps([registry, subject.hex(), touching, sorted(states)])
        first = _position(token, listed)
        sql, parameters = _cases(touching, registry, subject)
        of_case = Where()
        of_case.add("link.standing")
        of_case.add(_OF_CASE, registry, subject, registry, subject)
        if touching:
            of_case.add("? IN (link.registry_l, link.registry_r)", touching)
        among_states(of_case, states)
        with self._store.reading() as cursor:
            found = duck.rows(cursor, sql, parameters)
        if not found:
            raise NotFoundError(Reason.CASE_NOT_FOUND)
        total, candidates = self._links.scored(of_case, size, first)
        more = first + len(candidates) < total
        return CandidatePage(
            _case(found[0]),
            first + 1,
            candidates,
            _token(first + size, listed) if more else "",
            total,
        )

    def count(self) -> tuple[int, int]:
        """Cases with a candidate that are open, and those of which a pair is confirmed."""
        sql, parameters = _cases("", "")
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                "SELECT count(*) FILTER (confirmed = 0), count(*) FILTER (confirmed > 0)"
                f" FROM ({sql} HAVING candidates > 0)",
                parameters,
            )
        return found[0][0], found[0][1]


def _cases(touching: str, registry: str, subject: bytes | None = None) -> tuple[str, list[Any]]:
    """SQL that gathers cases, without an order, and its parameters."""
    found = Where()
    if touching:
        found.add("? IN (registry_l, registry_r)", touching)
    if registry:
        found.add("registry = ?", registry)
    if subject is not None:
        found.add("subject = ?", subject)
    return _CASES.format(where=found.sql), found.parameters


def _case(row: tuple[Any, ...]) -> Case:
    return Case(
        registry=row[0],
        subject=row[1],
        candidates=row[2],
        best_weight=row[3],
        best_probability=row[4],
        newest_at=shown_time(row[5]) if row[5] else None,
        returned=row[6],
        confirmed=row[7],
        ruled_out=row[8],
    )


def _token(position: int, listed: str) -> str:
    return encoded(json.dumps([_digest(listed), position]))


def _position(token: str, listed: str) -> int:
    """How many rows were shown before; a page begins after them."""
    if not token:
        return 0
    try:
        digest, position = json.loads(decoded(token))
        first = int(position)
    except (ValueError, TypeError) as error:
        raise token_fault() from error
    if digest != _digest(listed) or first < 0:
        raise token_fault()
    return first


def _digest(listed: str) -> str:
    return hashlib.sha256(listed.encode()).hexdigest()[:16]
