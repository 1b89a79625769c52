"""Blocking keys of live tokens, opened with the records and kept in memory.

Every request about pairs names the tokens of its islands, so that it stands for itself. Opened one
request at a time, each would read through the keys of the whole vault, and its time would tell
which tokens were named before. A linkage that begins before all are open has its own opened first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.keys import KEY_BYTES

from kinlink_registry import columns
from kinlink_registry.directory import NOWHERE
from kinlink_registry.encodings import token_place
from kinlink_registry.epoch_memory import EpochMemory

if TYPE_CHECKING:
    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.directory import I64, Live, Tokens
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.session import Session


# A read goes through the keys of all tokens, whichever are wanted; requests wait for one.
OPENED_AT_ONCE = 1 << 17


class _Opened:
    """Keys of one state of the tokens, as far as they are open."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.key = np.zeros((len(tokens.held), KEY_BYTES), np.uint8)
        self.open = np.zeros(len(tokens.held), bool)

    def followed_by(self, tokens: Tokens) -> _Opened:
        """The same keys at the places of another state."""
        after = _Opened(tokens)
        before = np.flatnonzero(self.open & (self.tokens.held > 0))
        at = tokens.find(self.tokens.token[before])
        stays = (at != NOWHERE) & (tokens.held[at] > 0)
        after.key[at[stays]] = self.key[before[stays]]
        after.open[at[stays]] = True
        return after


class BlockingKeys(EpochMemory[_Opened]):
    """Opens blocking keys; may be used from any thread."""

    def open(self, session: Session, cipher: VaultCipher, epoch: Epoch, live: Live) -> None:
        """Open the keys of all live tokens."""
        places = np.flatnonzero(live.tokens.held > 0)
        for start in range(0, len(places), OPENED_AT_ONCE):
            with self._lock:
                self._opened(session, cipher, epoch, live, places[start : start + OPENED_AT_ONCE])

    def of(
        self, session: Session, cipher: VaultCipher, epoch: Epoch, live: Live, at: I64
    ) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        """BK of tokens by their places among the live ones, (n, 32), and which of them there are.

        `NOWHERE` has none.
        """
        found = np.zeros((len(at), KEY_BYTES), np.uint8)
        here = at != NOWHERE
        here[here] = live.tokens.held[at[here]] > 0
        with self._lock:
            opened = self._opened(session, cipher, epoch, live, np.unique(at[here]))
            here[here] = opened.open[at[here]]
            found[here] = opened.key[at[here]]
        return found, here

    def _opened(
        self, session: Session, cipher: VaultCipher, epoch: Epoch, live: Live, places: I64
    ) -> _Opened:
        """The keys, with those at some places open."""
        kept = self._following(epoch, live)
        missing = places[~kept.open[places]]
        if len(missing):
            rows, keys = _open(session, cipher, epoch, live.tokens.ids(missing))
            kept.key[missing[rows]] = keys
            kept.open[missing[rows]] = True
        return kept

    def _following(self, epoch: Epoch, live: Live) -> _Opened:
        kept = self._kept.get(epoch.mark)
        if kept is None:
            kept = _Opened(live.tokens)
        elif kept.tokens is not live.tokens:
            kept = kept.followed_by(live.tokens)
        self._kept[epoch.mark] = kept
        return kept


def _open(session: Session, cipher: VaultCipher, epoch: Epoch, tokens: Bytes) -> tuple[I64, Bytes]:
    """Keys out of the vault, and which of the tokens they are of."""
    asked = columns.table(position=columns.positions(len(tokens)), token=tokens)
    found = session.table(
        "SELECT position, sealed FROM asked JOIN token_key USING (token) WHERE epoch_id = ?",
        [epoch.id],
        asked=asked,
    )
    rows = columns.numbers(found["position"])
    places = map(token_place, columns.rows(tokens[rows]))
    opened = cipher.open_all(zip(places, found["sealed"].to_pylist(), strict=True))
    return rows, columns.from_list(opened, KEY_BYTES)
