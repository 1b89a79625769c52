"""Where two registries may hold the same person: islands that fit and are proven by both sides.

The linker joins opaque tokens. Islands above their cap are refined at the registries; what stays
above is dropped and counted. For what is left each registry proves to its partner that it holds
records there, so that a linker cannot invent presence or size. No sealed field is seen here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kinlink_linker.arrays import runs, slices_of
from kinlink_linker.federation import Ask, in_turn
from kinlink_linker.islands import TokenRows, joined, split_rows
from kinlink_linker.peer import Islands, Proofs, Refined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kinlink_core.runtime.cards import Card

    from kinlink_linker.domain import I64, U16, U32, Bools, Ids
    from kinlink_linker.duck import DuckLimits
    from kinlink_linker.islands import Crowded, IslandSet, Splitter
    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.run import Run
    from kinlink_linker.tokens import TokenFile

TOKENS_PROVED_A_REQUEST = 16_384
TOKENS_REFINED_A_REQUEST = 4_096


@dataclass(frozen=True)
class PairIslands:
    """The proven islands of one pass between two registries, with both sides' members.

    `left` is the smaller name. Members are sorted by island.
    """

    left: str
    right: str
    pass_index: int
    token: Ids  # (k, 2)
    left_proofs: Proofs
    right_proofs: Proofs
    left_island: I64  # (a,) index into the islands
    left_handle: Ids
    right_island: I64  # (b,)
    right_handle: Ids

    @property
    def shown_to_left(self) -> Islands:
        """The islands with the right side's proofs."""
        return Islands(self.token, self.right_proofs.counts, self.right_proofs.proofs)

    @property
    def shown_to_right(self) -> Islands:
        """The islands with the left side's proofs."""
        return Islands(self.token, self.left_proofs.counts, self.left_proofs.proofs)


class Crowds(Protocol):
    """Who is told which tokens were above their cap, and what they were refined to."""

    def crowded(self, level: int, pass_index: U16, token: Ids) -> None:
        """Tokens of a level that are above their cap."""

    def refined(self, level: int, pass_index: int, parent: Ids, rows: TokenRows) -> None:
        """What one registry holds at a level under parent tokens, row by row."""


@dataclass(frozen=True)
class Finder:
    """Finds the proven islands of one linkage."""

    run: Run
    file: TokenFile
    limits: DuckLimits
    split: Splitter
    crowds: Crowds | None = None

    def find(self) -> list[PairIslands]:
        """Join tokens, refine, prove. Refined tokens are few and are joined here.

        Returns:
            One entry for each pair of registries and pass that share a proven island.
        """
        codes = {name: self.file.code(name) for name in self.run.federation.present}
        islands = self._fitting(codes)
        for index, count in enumerate(
            np.bincount(islands.pass_index, minlength=len(self.run.schema.passes))
        ):
            self.run.tally.add("islands", index, int(count))
        self.run.federation.check("candidates")
        return self.prove(islands, codes)

    def _fitting(self, codes: dict[str, int]) -> IslandSet:
        caps = [each.cap for each in self.run.schema.passes]
        split = self.split(self.file, list(codes.values()), caps)
        for index, count in enumerate(split.tokens_by_pass):
            self.run.tally.add("tokens", index, int(count))
        found = [split.islands]
        level = 1
        while split.crowded.count:
            if self.crowds:
                self.crowds.crowded(level - 1, split.crowded.pass_index, split.crowded.token)
            asked = self._refinable(split.crowded, level)
            if not asked.count:
                break
            finer = self.refine(asked, codes, level)
            present = [codes[name] for name in self.run.federation.present]
            split = split_rows(finer, self.limits, present, caps)
            found.append(split.islands)
            level += 1
        return joined(found)

    def _refinable(self, crowded: Crowded, level: int) -> Crowded:
        """The crowded tokens whose pass has this refinement level; the others are dropped."""
        depth = np.array([len(each.refine) for each in self.run.schema.passes])
        can = depth[crowded.pass_index] >= level
        for index in range(len(self.run.schema.passes)):
            of_pass = crowded.pass_index == index
            self.run.tally.add("refined", index, int((of_pass & can).sum()))
            self.run.tally.add("dropped_over_cap", index, int((of_pass & ~can).sum()))
        return crowded.only(can)

    def refine(self, crowded: Crowded, codes: dict[str, int], level: int) -> TokenRows:
        """What the registries hold at a level under crowded tokens of the level above."""
        rows: list[TokenRows] = []
        asks = list(self._refinements(crowded, codes, level))
        self.run.progress.expect(len(asks))
        for (code, pass_index, asked), answer in self.run.federation.ask(asks):
            count = len(answer.parent)
            found = TokenRows(
                np.full(count, code, np.uint8),
                np.full(count, pass_index, np.uint16),
                answer.handle,
                answer.token,
            )
            rows.append(found)
            if self.crowds:
                self.crowds.refined(level, pass_index, asked.token[answer.parent], found)
            self.run.progress.advance()
        return TokenRows.concatenate(rows)

    def _refinements(
        self, crowded: Crowded, codes: dict[str, int], level: int
    ) -> Iterator[Ask[tuple[int, int, Crowded], Refined]]:
        for name, code in codes.items():
            for index in np.unique(crowded.pass_index):
                held = (crowded.pass_index == index) & (crowded.holders[:, code] > 0)
                where = np.flatnonzero(held)
                for part in slices_of(len(where), TOKENS_REFINED_A_REQUEST):
                    asked = crowded.only(where[part])
                    call = partial(_refine_at, self.run.epoch, int(index), level, asked.token)
                    yield Ask(name, (code, int(index), asked), call)

    def prove(self, islands: IslandSet, codes: dict[str, int]) -> list[PairIslands]:
        """Let every two registries prove what they hold in the islands they share."""
        meetings = list(self._meetings(islands, codes))
        cards = {name: each.card for name, each in self.run.federation.descriptions.items()}
        asks = in_turn(ask for each in meetings for ask in each.asks(self.run.epoch, cards))
        self.run.progress.expect(len(asks))
        for (meeting, side, part), answer in self.run.federation.ask(asks):
            meeting.take(side, part, answer)
            self.run.progress.advance()
        present = set(self.run.federation.present)
        members = _Members(islands)
        proven = []
        for meeting in meetings:
            if meeting.left not in present or meeting.right not in present:
                continue
            kept = self._kept(meeting)
            if kept.any():
                proven.append(meeting.proven(kept, members, codes))
        return proven

    def _meetings(self, islands: IslandSet, codes: dict[str, int]) -> Iterator[_Meeting]:
        holders = islands.holders(max(codes.values()) + 1)
        for left, right in self.run.federation.pairs():
            shared = (holders[:, codes[left]] > 0) & (holders[:, codes[right]] > 0)
            for index in range(len(self.run.schema.passes)):
                where = np.flatnonzero(shared & (islands.pass_index == index))
                if len(where):
                    yield _Meeting(left, right, index, where, islands.token[where])

    def _kept(self, meeting: _Meeting) -> Bools:
        """Islands that both sides proved and that fit; the rest is counted by reason."""
        counts_l, counts_r = meeting.counts["left"], meeting.counts["right"]
        answered = (counts_l > 0) & (counts_r > 0)
        cap = self.run.schema.passes[meeting.pass_index].cap
        fits = counts_l.astype(np.int64) + counts_r <= cap
        self.run.tally.add("dropped_proof", meeting.pass_index, int((~answered).sum()))
        self.run.tally.add("dropped_over_cap", meeting.pass_index, int((answered & ~fits).sum()))
        kept: Bools = answered & fits
        return kept


class _Meeting:
    """Islands of one pass that two registries share, while their proofs arrive."""

    def __init__(self, left: str, right: str, pass_index: int, where: I64, token: Ids) -> None:
        self.left = left
        self.right = right
        self.pass_index = pass_index
        self._where = where
        self._token = token
        self.counts: dict[str, U32] = defaultdict(lambda: np.zeros(len(where), np.uint32))
        self._proofs: dict[str, Ids] = defaultdict(lambda: np.zeros((len(where), 2), np.uint64))

    def asks(
        self, epoch: str, cards: Mapping[str, Card]
    ) -> Iterator[Ask[tuple[_Meeting, str, slice], Proofs]]:
        for side, own, partner in (
            ("left", self.left, self.right),
            ("right", self.right, self.left),
        ):
            for part in slices_of(len(self._where), TOKENS_PROVED_A_REQUEST):
                call = partial(_prove_at, epoch, cards[partner], self.pass_index, self._token[part])
                yield Ask(own, (self, side, part), call)

    def take(self, side: str, part: slice, answer: Proofs) -> None:
        self.counts[side][part] = answer.counts
        self._proofs[side][part] = answer.proofs

    def proven(self, kept: Bools, members: _Members, codes: dict[str, int]) -> PairIslands:
        where = self._where[kept]
        left_island, left_handle = members.of(codes[self.left], where)
        right_island, right_handle = members.of(codes[self.right], where)
        return PairIslands(
            self.left,
            self.right,
            self.pass_index,
            self._token[kept],
            Proofs(self.counts["left"][kept], self._proofs["left"][kept]),
            Proofs(self.counts["right"][kept], self._proofs["right"][kept]),
            left_island,
            left_handle,
            right_island,
            right_handle,
        )


class _Members:
    """Members of islands, looked up by registry."""

    def __init__(self, islands: IslandSet) -> None:
        self._islands = islands
        self._rows: dict[int, I64] = {}

    def of(self, code: int, where: I64) -> tuple[I64, Ids]:
        """The members a registry has in some islands.

        Returns:
            For each member the position of its island in `where`, and its handle; sorted by island.
        """
        if code not in self._rows:
            self._rows[code] = np.flatnonzero(self._islands.registry == np.uint8(code))
        rows = self._rows[code]
        island = self._islands.island[rows]
        starts = np.searchsorted(island, where, side="left")
        lengths = np.searchsorted(island, where, side="right") - starts
        chosen = rows[runs(starts, lengths)]
        return np.repeat(np.arange(len(where)), lengths), self._islands.handle[chosen]


def _refine_at(epoch: str, pass_index: int, level: int, tokens: Ids, peer: RegistryPeer) -> Refined:
    return peer.refine(epoch, pass_index, level, tokens)


def _prove_at(
    epoch: str, partner: Card, pass_index: int, tokens: Ids, peer: RegistryPeer
) -> Proofs:
    return peer.prove(epoch, partner, pass_index, tokens)
