"""Persons: connected components of links, under ids that outlast linkages.

A component keeps the id that most of its members had; of equals the one that more of its members
had before, then the smaller id. Of two components that claim one id the one with more of its
members gets it, then the one met first. A component that is left without takes up the id of a
person that ended, if its members were that person before: what undoes a split or a merge, or brings
back a link, brings back the id. Whoever is then left without gets a fresh one, so the same
partition always has the same ids.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinlink_linker.domain import I64

NOBODY = -1


class Change(StrEnum):
    """What happened to a person id."""

    MERGED = "merged"  # its members now belong to another, and it is no more
    SPLIT = "split"  # some of its members now belong to another
    ENDED = "ended"  # none of its members is linked any more
    RESTORED = "restored"  # it had ended, and some of its members are linked again


@dataclass(frozen=True)
class HistoryEntry:
    """One change of a person id; `members` moved from `person_id` to `other_id`."""

    change: Change
    person_id: str
    other_id: str
    members: int


@dataclass(frozen=True)
class Persons:
    """The persons of n members."""

    component: I64  # (n,) which person, an index into `ids`
    ids: list[str]
    history: list[HistoryEntry]


def fresh_id() -> str:
    """A new person id, 32 hex digits."""
    return uuid.uuid4().hex


def assign(
    left: I64,
    right: I64,
    previous: I64,
    previous_ids: Sequence[str],
    make_id: Callable[[], str] = fresh_id,
    *,
    former: I64 | None = None,
) -> Persons:
    """Find the persons of n members and name them.

    Args:
        left: one end of each link, an index of a member.
        right: the other end.
        previous: (n,) who each member was, an index into `previous_ids`, or `NOBODY`.
        previous_ids: ids of all persons that are looked at, also of those without members now.
        make_id: source of fresh ids.
        former: (n,) who each member was before that, likewise.
    """
    members = len(previous)
    links = coo_array((np.ones(len(left), bool), (left, right)), shape=(members, members))
    count, labels = connected_components(links, directed=False)
    component: I64 = labels.astype(np.int64)
    moves = _movements(component, previous, len(previous_ids))
    none = np.full(members, NOBODY, np.int64)
    before = _movements(component, none if former is None else former, len(previous_ids))
    ids: list[str | None] = [None] * count
    home: dict[int, int] = {}
    ranks = _ranks(previous_ids)
    ties = before.counts_of(moves)
    best_first = np.lexsort((moves.where, ranks[moves.who], -ties, -moves.count))
    _name(moves, best_first, previous_ids, ids, home)
    ended = ~np.isin(before.who, moves.who)
    best_first = np.lexsort((before.where, ranks[before.who], -before.count))
    _name(before, best_first[ended[best_first]], previous_ids, ids, home)
    named = [each if each is not None else make_id() for each in ids]
    return Persons(component, named, _history(moves, home, previous_ids, named, component))


def _name(
    moves: _Moves, order: I64, known: Sequence[str], ids: list[str | None], home: dict[int, int]
) -> None:
    """Give ids to components that have none, each id once; in place."""
    for row in order.tolist():
        person, place = int(moves.who[row]), int(moves.where[row])
        if ids[place] is None and person not in home:
            ids[place] = known[person]
            home[person] = place


@dataclass(frozen=True)
class _Moves:
    """How many members of which person are now in which component, where any are."""

    who: I64
    where: I64
    count: I64

    def counts_of(self, others: _Moves) -> I64:
        """The count of each of other movements here, 0 where there is none."""
        mine = dict(zip(self._pairs(), self.count.tolist(), strict=True))
        return np.array([mine.get(pair, 0) for pair in others._pairs()], np.int64)

    def _pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.who.tolist(), self.where.tolist(), strict=True))


def _movements(component: I64, previous: I64, persons: int) -> _Moves:
    known = previous != NOBODY
    width = max(persons, 1)
    keys, moved = np.unique(component[known] * width + previous[known], return_counts=True)
    return _Moves(keys % width, keys // width, moved)


def _ranks(ids: Sequence[str]) -> I64:
    ranks = np.empty(len(ids), np.int64)
    ranks[np.argsort(np.array(ids, dtype=np.str_), kind="stable")] = np.arange(len(ids))
    return ranks


def _history(
    moves: _Moves,
    home: dict[int, int],
    previous_ids: Sequence[str],
    named: Sequence[str],
    component: I64,
) -> list[HistoryEntry]:
    """What became of every person; `moves` are of members that were somebody until now."""
    rows = zip(moves.who.tolist(), moves.where.tolist(), moves.count.tolist(), strict=True)
    entries = [
        HistoryEntry(
            Change.SPLIT if person in home else Change.MERGED,
            previous_ids[person],
            named[place],
            count,
        )
        for person, place, count in rows
        if home.get(person) != place
    ]
    alive = set(moves.who.tolist())
    sizes = np.bincount(component, minlength=len(named))
    for person in range(len(previous_ids)):
        if person in alive:
            continue
        if person in home:
            back = int(sizes[home[person]])
            entries.append(HistoryEntry(Change.RESTORED, previous_ids[person], "", back))
        else:
            entries.append(HistoryEntry(Change.ENDED, previous_ids[person], "", 0))
    return entries
