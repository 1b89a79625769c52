"""What standing search has to know between two changes, in memory only.

Stored links hold subject ids, never handles. Which link stands on which two handles is known here
for as long as the process lives, so that a link falls with its handles; and which tokens are above
their cap, so that it is seen when one no longer is. After a restart a full run fills it anew.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from kinlink_linker.domain import as_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinlink_linker.domain import U16, Ids
    from kinlink_linker.islands import TokenRows
    from kinlink_linker.links import FoundLinks


class Place(NamedTuple):
    """A token of a pass, at a level of refinement; 0 is the feed's."""

    level: int
    pass_index: int
    token: bytes


class Member(NamedTuple):
    """A handle under a token."""

    registry: int  # code
    handle: bytes


class _Based(NamedTuple):
    """What a link stands on."""

    handles: tuple[bytes, bytes]
    registries: tuple[str, str]


class Board:
    """Links by their handles, and crowded tokens; used by one thread at a time."""

    def __init__(self) -> None:
        self._links: dict[str, _Based] = {}
        self._by_handle: dict[bytes, set[str]] = defaultdict(set)
        self._crowded: set[Place] = set()
        # Of a crowded token: its members one level finer, each with its finer token.
        self._finer: dict[Place, dict[Member, bytes]] = {}

    @property
    def count(self) -> int:
        """How many links are known."""
        return len(self._links)

    def put(self, found: FoundLinks) -> None:
        """Links that were found; one that was known moves to its new handles."""
        handles = zip(as_bytes(found.left_handle), as_bytes(found.right_handle), strict=True)
        for link, both in zip(found.ids(), handles, strict=True):
            self.remove([link])
            self._links[link] = _Based(both, (found.left, found.right))
            for handle in both:
                self._by_handle[handle].add(link)

    def remove(self, links: Iterable[str]) -> None:
        """Links that no longer stand."""
        for link in links:
            based = self._links.pop(link, None)
            if based is None:
                continue
            for handle in based.handles:
                self._by_handle[handle].discard(link)
                if not self._by_handle[handle]:
                    del self._by_handle[handle]

    def on(self, handles: Iterable[bytes]) -> set[str]:
        """The links that stand on any of some handles."""
        return {link for handle in handles for link in self._by_handle.get(handle, ())}

    def registries(self, link: str) -> tuple[str, str]:
        """Between whom a known link is."""
        return self._links[link].registries

    def crowd(self, place: Place) -> None:
        """A token is above its cap."""
        self._crowded.add(place)

    def thin(self, place: Place) -> set[str] | None:
        """A token is not above its cap: the links below it, if it was; None if it was not."""
        if place not in self._crowded:
            return None
        self._crowded.discard(place)
        finer = self._finer.pop(place, {})
        below = self.on(member.handle for member in finer)
        for token in set(finer.values()):
            below |= self.thin(Place(place.level + 1, place.pass_index, token)) or set()
        return below

    def finer(self, place: Place) -> dict[Member, bytes]:
        """What was last known below a crowded token."""
        return self._finer.get(place, {})

    def add_finer(self, place: Place, member: Member, token: bytes) -> None:
        """One more member below a crowded token."""
        self._finer.setdefault(place, {})[member] = token

    def refine(self, place: Place, members: dict[Member, bytes]) -> None:
        """What is below a crowded token now."""
        self._finer[place] = members


class CrowdsOnBoard:
    """`candidates.Crowds`: notes down what a full run finds crowded."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def crowded(self, level: int, pass_index: U16, token: Ids) -> None:
        """Tokens of a level that are above their cap."""
        for index, octets in zip(pass_index.tolist(), as_bytes(token), strict=True):
            self._board.crowd(Place(level, index, octets))

    def refined(self, level: int, pass_index: int, parent: Ids, rows: TokenRows) -> None:
        """What one registry holds at a level under parent tokens, row by row."""
        columns = zip(
            as_bytes(parent), rows.registry.tolist(), as_bytes(rows.handle), as_bytes(rows.token),
            strict=True,
        )  # fmt: skip
        for above, registry, handle, token in columns:
            self._board.add_finer(
                Place(level - 1, pass_index, above), Member(registry, handle), token
            )
