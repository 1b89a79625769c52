"""What a change of some tokens means: pairs that are to be looked at, and links that fall.

The work follows the islands that changed, not the federation. An island that fits has its new
members paired with all others; one that fits again has all its pairs looked at; one that outgrew
its cap loses its links and is refined, and what is new below it is treated alike, level by level.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from kinlink_linker.board import Board, CrowdsOnBoard, Member, Place
from kinlink_linker.domain import as_bytes, ids_of, no_ids
from kinlink_linker.federation import REGISTRIES_MIN
from kinlink_linker.islands import Crowded, IslandSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kinlink_linker.candidates import Finder, PairIslands
    from kinlink_linker.changes import Entry
    from kinlink_linker.domain import U16, Bools, Ids
    from kinlink_linker.tokens import TokenFile


@dataclass
class Delta:
    """Handles that came under a token, or went."""

    fresh: set[bytes] = field(default_factory=set)
    gone: set[bytes] = field(default_factory=set)

    def add(self, other: Delta) -> None:
        """Both together."""
        self.fresh |= other.fresh
        self.gone |= other.gone


# What changed under which token of the feed.
Work = dict[Place, Delta]


@dataclass
class Seen:
    """What came of some changes."""

    islands: list[tuple[Place, list[Member]]] = field(default_factory=list)
    fresh: set[bytes] = field(default_factory=set)
    fallen: set[str] = field(default_factory=set)
    unfinished: bool = False  # a registry was lost before it said what it holds


def work_of(entries: Iterable[Entry]) -> Work:
    """Put changes together by token."""
    work: Work = defaultdict(Delta)
    for changes in (each.changes for each in entries):
        if changes is None:
            continue
        rows = zip(
            changes.pass_index.tolist(), as_bytes(changes.token), as_bytes(changes.handle),
            changes.added.tolist(), strict=True,
        )  # fmt: skip
        for index, token, handle, added in rows:
            delta = work[Place(0, index, token)]
            (delta.fresh if added else delta.gone).add(handle)
    return work


@dataclass
class Lookout:
    """Looks at changes for one step; `codes` are of all registries whose islands are linked."""

    board: Board
    file: TokenFile
    finder: Finder
    codes: dict[str, int]

    def look(self, work: Work) -> Seen:
        """Say what some changes mean, and note down which tokens are crowded now."""
        seen = Seen()
        if not work:
            return seen
        members = self._members(work)
        level = 0
        while work:
            crowded = [
                place for place, delta in work.items() if self._judge(place, delta, members, seen)
            ]
            level += 1
            work, members = self._below(crowded, members, level, seen)
        return seen

    def islands(self, seen: Seen) -> list[PairIslands]:
        """The proven islands of what was seen, with the pairs that have a new member."""
        proven = self.finder.prove(_island_set(seen.islands), self.codes)
        return [part for each in proven for part in _with_fresh(each, seen.fresh)]

    def _judge(
        self, place: Place, delta: Delta, members: dict[Place, list[Member]], seen: Seen
    ) -> bool:
        """What became of one token; whether it is crowded."""
        held = members.get(place, [])
        seen.fallen |= self.board.on(delta.gone)
        shared = len({each.registry for each in held}) >= REGISTRIES_MIN
        if shared and len(held) > self.finder.run.schema.passes[place.pass_index].cap:
            self.board.crowd(place)
            seen.fallen |= self.board.on(each.handle for each in held)
            return True
        fresh = delta.fresh
        below = self.board.thin(place)
        if below is not None:
            seen.fallen |= below
            fresh = {each.handle for each in held}
        if shared and fresh:
            seen.islands.append((place, held))
            seen.fresh |= fresh
        return False

    def _members(self, work: Work) -> dict[Place, list[Member]]:
        passes, tokens = _columns(list(work))
        held = self.file.under(passes, tokens)
        linked = set(self.codes.values())
        members = defaultdict(list)
        rows = zip(
            held.pass_index.tolist(), as_bytes(held.token), held.registry.tolist(),
            as_bytes(held.handle), strict=True,
        )  # fmt: skip
        for index, token, registry, handle in rows:
            if registry in linked:
                members[Place(0, index, token)].append(Member(registry, handle))
        return members

    def _below(
        self,
        crowded: Sequence[Place],
        members: dict[Place, list[Member]],
        level: int,
        seen: Seen,
    ) -> tuple[Work, dict[Place, list[Member]]]:
        """What changed one level below crowded tokens, and who is there now."""
        passes = self.finder.run.schema.passes
        asked = [each for each in crowded if len(passes[each.pass_index].refine) >= level]
        work: Work = defaultdict(Delta)
        found: dict[Place, list[Member]] = defaultdict(list)
        if not asked:
            return work, found
        now = self._refined(asked, members, level)
        if self.finder.run.federation.missing:
            seen.unfinished = True
            return {}, {}
        for place in asked:
            before, after = self.board.finer(place), now.get(place, {})
            for member, token in after.items():
                found[Place(level, place.pass_index, token)].append(member)
            for member in after.keys() - before.keys():
                work[Place(level, place.pass_index, after[member])].fresh.add(member.handle)
            for member in before.keys() - after.keys():
                work[Place(level, place.pass_index, before[member])].gone.add(member.handle)
            self.board.refine(place, after)
        return work, found

    def _refined(
        self, asked: Sequence[Place], members: dict[Place, list[Member]], level: int
    ) -> dict[Place, dict[Member, bytes]]:
        passes, tokens = _columns(asked)
        holders = np.zeros((len(asked), max(self.codes.values()) + 1), np.int64)
        for row, place in enumerate(asked):
            for member in members[place]:
                holders[row, member.registry] += 1
        gathered = Board()
        finder = replace(self.finder, crowds=CrowdsOnBoard(gathered))
        finder.refine(Crowded(passes, tokens, holders), self.codes, level)
        return {place: gathered.finer(place) for place in asked}


def _columns(places: Sequence[Place]) -> tuple[U16, Ids]:
    return np.array([each.pass_index for each in places], np.uint16), _ids(
        [each.token for each in places]
    )


def _ids(rows: Sequence[bytes]) -> Ids:
    return ids_of(np.frombuffer(b"".join(rows), np.uint8)) if rows else no_ids()


def _island_set(islands: list[tuple[Place, list[Member]]]) -> IslandSet:
    passes, tokens = _columns([place for place, _ in islands])
    rows = [
        (number, member.registry, member.handle)
        for number, (_, held) in enumerate(islands)
        for member in sorted(held)
    ]
    return IslandSet(
        passes,
        tokens,
        np.array([row[0] for row in rows], np.uint32),
        np.array([row[1] for row in rows], np.uint8),
        _ids([row[2] for row in rows]),
    )


def _with_fresh(islands: PairIslands, fresh: set[bytes]) -> list[PairIslands]:
    """The same islands twice: new left members with all others, old ones with new right ones."""
    left = np.array([each in fresh for each in as_bytes(islands.left_handle)], bool)
    right = np.array([each in fresh for each in as_bytes(islands.right_handle)], bool)
    parts = [(left, np.ones(len(right), bool)), (~left, right)]
    return [
        _part(islands, of_left, of_right)
        for of_left, of_right in parts
        if of_left.any() and of_right.any()
    ]


def _part(islands: PairIslands, of_left: Bools, of_right: Bools) -> PairIslands:
    return replace(
        islands,
        left_island=islands.left_island[of_left],
        left_handle=islands.left_handle[of_left],
        right_island=islands.right_island[of_right],
        right_handle=islands.right_handle[of_right],
    )
