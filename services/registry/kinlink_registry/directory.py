"""Live handles and tokens of an epoch, in memory: whose a handle is, how many share a token.

A linkage names every handle and token of an island some four times, and a lookup in the vault reads
whole columns for each request. Here it is a binary search, which takes the same time for a token
that nobody has and for one that is crowded.

It follows the vault. Additions are found by the sequences of the feed, which only grow; records
whose handles went are numbered in `unpublished` (`encodings.unpublish`). Memory: about 60 bytes a
handle. After a change all of it is copied once, some 50 ms for a million handles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kinlink_registry import columns
from kinlink_registry.epoch_memory import EpochMemory
from kinlink_registry.vault import LAST_SEQUENCE, UNPUBLISHED

if TYPE_CHECKING:
    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session

I64 = npt.NDArray[np.int64]
# (n, 2), ids. Those that are searched lie in memory column by column (`searched`).
Words = npt.NDArray[np.uint64]

NOWHERE = -1

_ROWS = "SELECT handle, token, pass_index, level, ref FROM handle WHERE epoch_id = ?"


@dataclass(frozen=True)
class Edition:
    """Which state of the vault: two counters that only grow."""

    last_sequence: int
    unpublished: int

    @classmethod
    def of(cls, session: Session) -> Edition:
        """The edition that a session sees."""
        found = dict(
            session.rows(
                "SELECT name, value FROM meta WHERE name IN (?, ?)", [LAST_SEQUENCE, UNPUBLISHED]
            )
        )
        return cls(int(found.get(LAST_SEQUENCE, 0)), int(found.get(UNPUBLISHED, 0)))


@dataclass(frozen=True)
class Handles:
    """Handles in the order of their first words; arrays of one length."""

    handle: Words
    token: Words
    pass_index: npt.NDArray[np.uint16]
    level: npt.NDArray[np.uint8]
    ref: Refs

    @classmethod
    def of(cls, found: Any) -> Handles:
        """Rows of the vault."""
        unordered = cls(
            words(columns.matrix(found["handle"])),
            words(columns.matrix(found["token"])),
            columns.numbers(found["pass_index"]),
            columns.numbers(found["level"]),
            columns.numbers(found["ref"]),
        )
        return unordered.take(np.argsort(unordered.handle[:, 0], kind="stable"))

    def take(self, rows: npt.NDArray[Any]) -> Handles:
        """Some rows, which must keep the order."""
        return Handles(
            searched(self.handle[rows]),
            self.token[rows],
            self.pass_index[rows],
            self.level[rows],
            self.ref[rows],
        )

    def merged(self, other: Handles) -> Handles:
        """The rows of both."""
        at = np.searchsorted(self.handle[:, 0], other.handle[:, 0])
        return Handles(
            with_rows(self.handle, at, other.handle),
            with_rows(self.token, at, other.token),
            np.insert(self.pass_index, at, other.pass_index),
            np.insert(self.level, at, other.level),
            np.insert(self.ref, at, other.ref),
        )


@dataclass(frozen=True)
class Tokens:
    """Tokens in the order of their first words."""

    token: Words
    pass_index: npt.NDArray[np.uint16]
    held: I64  # records under each

    @classmethod
    def of(cls, handles: Handles) -> Tokens:
        """The tokens of handles; a record has one handle under a token."""
        order, first = grouped(handles.token)
        held = np.diff(np.append(first, len(order)))
        chosen = order[first]
        return cls(searched(handles.token[chosen]), handles.pass_index[chosen], held)

    def find(self, tokens: Words) -> I64:
        """Where each stands, `NOWHERE` if it does not."""
        return find(self.token, tokens)

    def ids(self, places: I64) -> Bytes:
        """Tokens at some places, (n, 16)."""
        return np.ascontiguousarray(self.token[places]).view(np.uint8)

    def changed(self, gone: Handles, added: Handles) -> Tokens:
        """After some handles went and others came; tokens that nobody holds any more may stay."""
        held = self.held.copy()
        np.subtract.at(held, self.find(gone.token), 1)
        at = self.find(added.token)
        np.add.at(held, at[at != NOWHERE], 1)
        new = Tokens.of(added.take(at == NOWHERE))
        places = np.searchsorted(self.token[:, 0], new.token[:, 0])
        return Tokens(
            with_rows(self.token, places, new.token),
            np.insert(self.pass_index, places, new.pass_index),
            np.insert(held, places, new.held),
        )


@dataclass(frozen=True)
class Live:
    """One epoch in one edition."""

    edition: Edition
    handles: Handles
    tokens: Tokens

    def places(self, tokens: Bytes, pass_index: int) -> I64:
        """Place of each of (n, 16) tokens of a pass, `NOWHERE` if nobody has it."""
        at = self.tokens.find(words(tokens))
        here = at != NOWHERE
        here[here] = self.tokens.pass_index[at[here]] == pass_index
        return np.where(here, at, NOWHERE)

    def held(self, places: I64) -> I64:
        """Live records under the tokens at some places."""
        return np.where(places == NOWHERE, 0, np.append(self.tokens.held, 0)[places])

    def find(self, handles: Bytes) -> I64:
        """Row of each of (n, 16) handles, `NOWHERE` if it is not live."""
        return find(self.handles.handle, words(handles))


class Directory(EpochMemory[Live]):
    """Keeps the epochs' handles; may be used from any thread."""

    def live(self, session: Session, epoch: Epoch) -> Live:
        """An epoch as the session sees it."""
        edition = Edition.of(session)
        with self._lock:
            known = self._kept.get(epoch.mark)
            if known is None:
                found = _all(session, epoch, edition)
            elif known.edition == edition:
                return known
            else:
                found = _followed(session, epoch, edition, known)
            if known is None or _is_newer(edition, known.edition):
                self._kept[epoch.mark] = found
            return found


def _is_newer(one: Edition, other: Edition) -> bool:
    return one.last_sequence >= other.last_sequence and one.unpublished >= other.unpublished


def _all(session: Session, epoch: Epoch, edition: Edition) -> Live:
    handles = Handles.of(session.table(_ROWS, [epoch.id]))
    return Live(edition, handles, Tokens.of(handles))


def _followed(session: Session, epoch: Epoch, edition: Edition, known: Live) -> Live:
    """What is known with the changes since; all of it anew if they are not written down."""
    gone = session.table(
        "SELECT ref FROM unpublished WHERE number > ?", [known.edition.unpublished]
    )
    more = edition.unpublished - known.edition.unpublished
    if not _is_newer(edition, known.edition) or len(gone) != more:
        return _all(session, epoch, edition)
    stays = ~np.isin(known.handles.ref, columns.numbers(gone["ref"]))
    added = Handles.of(
        session.table(f"{_ROWS} AND sequence > ?", [epoch.id, known.edition.last_sequence])
    )
    tokens = known.tokens.changed(known.handles.take(~stays), added)
    return Live(edition, known.handles.take(stays).merged(added), tokens)


def words(ids: Bytes) -> Words:
    """(n, 16) ids as (n, 2) words."""
    return np.ascontiguousarray(ids).view(np.uint64)


def searched(ids: Words) -> Words:
    """The same ids, laid out for `find`: their first words lie side by side.

    NumPy searches contiguous arrays only, and copies others first, for each request all of them.
    """
    return np.asfortranarray(ids)


def with_rows(ids: Words, at: I64, more: Words) -> Words:
    """Ids with others inserted before some places; column by column, which is ten times faster."""
    columnwise = zip(ids.T, more.T, strict=True)
    return np.stack([np.insert(column, at, fresh) for column, fresh in columnwise]).T


def grouped(ids: Words) -> tuple[I64, I64]:
    """An order of ids in which equal ones stand together, and where in it each group begins."""
    order = np.lexsort((ids[:, 1], ids[:, 0]))
    return order, np.flatnonzero(begins(ids[order]))


def begins(ids: Words) -> npt.NDArray[np.bool_]:
    """Where ids of which equal ones stand together become others; (n,)."""
    found = np.ones(len(ids), bool)
    found[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    return found


def find(among: Words, asked: Words) -> I64:
    """Where each id stands among those ordered by their first word; `NOWHERE` if it does not."""
    found = np.full(len(asked), NOWHERE, np.int64)
    # In their order they are found three times faster: neighbours are looked for one after another.
    order = np.argsort(asked[:, 0])
    at = np.empty(len(asked), np.int64)
    at[order] = np.searchsorted(among[:, 0], asked[order, 0])
    open_ = np.arange(len(asked))
    while len(open_):
        open_ = open_[at[open_] < len(among)]
        here = among[at[open_]]
        open_, here = (each[here[:, 0] == asked[open_, 0]] for each in (open_, here))
        same = here[:, 1] == asked[open_, 1]
        found[open_[same]] = at[open_[same]]
        open_ = open_[~same]
        at[open_] += 1
    return found
