"""Persons: connected components of links, under ids that outlast linkages.

A component keeps the id that most of its members had. Of two components that claim one id the one
with more of its members gets it; ties go to the smaller id and then to the component met first.
Whoever is left without gets a fresh id, so the same partition always has the same ids.
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
) -> Persons:
    """Find the persons of n members and name them.

    Args:
        left: one end of each link, an index of a member.
        right: the other end.
        previous: (n,) who each member was, an index into `previous_ids`, or `NOBODY`.
        previous_ids: ids of all persons that are looked at, also of those without members now.
        make_id: source of fresh ids.
    """
    members = len(previous)
    links = coo_array((np.ones(len(left), bool), (left, right)), shape=(members, members))
    count, labels = connected_components(links, directed=False)
    component: I64 = labels.astype(np.int64)
    moves = _movements(component, previous, len(previous_ids))
    ids: list[str | None] = [None] * count
    home: dict[int, int] = {}
    best_first = np.lexsort((moves.where, _ranks(previous_ids)[moves.who], -moves.count))
    for row in best_first.tolist():
        person, place = int(moves.who[row]), int(moves.where[row])
        if ids[place] is None and person not in home:
            ids[place] = previous_ids[person]
            home[person] = place
    named = [each if each is not None else make_id() for each in ids]
    return Persons(component, named, _history(moves, home, previous_ids, named))


@dataclass(frozen=True)
class _Moves:
    """How many members of which person are now in which component, where any are."""

    who: I64
    where: I64
    count: I64


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
    moves: _Moves, home: dict[int, int], previous_ids: Sequence[str], named: Sequence[str]
) -> list[HistoryEntry]:
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
    ended = sorted(set(range(len(previous_ids))) - set(moves.who.tolist()))
    return entries + [HistoryEntry(Change.ENDED, previous_ids[each], "", 0) for each in ended]
