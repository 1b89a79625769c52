"""What partners proved of islands lately, and the keys that this took, in memory.

Every request about pairs repeats the claims that prove its islands, so that it stands for itself.
A claim that was found good is good again on the same day; what the island's draws are made of is
kept beside it. The linker, which makes the claims, learns from the time of an answer only which of
them it made before.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding import keys

from kinlink_registry import columns
from kinlink_registry.encodings import token_place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinlink_core.wire import IslandRows

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.directory import I64
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.partners import Partner
    from kinlink_registry.session import Session

_DAY_SECONDS: Final = 86_400
# About 200 bytes each. Where there are more, all are forgotten and checked again.
KEYS_MAX: Final = 2_000_000
CLAIMS_MAX: Final = 2_000_000

_UNPROVEN: Final = bytes(keys.ISLAND_BYTES)


def today() -> int:
    """Days since 1970, by which membership proofs are dated."""
    return int(time.time() // _DAY_SECONDS)


class Claims:
    """Opens blocking keys and checks claims; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[tuple[str, bytes], bytes] = {}  # mark of the epoch and token
        self._proven: dict[tuple[str, str, int], dict[bytes, bytes]] = {}
        self._count = 0

    def blocking_keys(
        self, session: Session, cipher: VaultCipher, epoch: Epoch, tokens: Bytes
    ) -> list[bytes | None]:
        """BK of each token, None where this registry does not hold it."""
        names = columns.rows(tokens)
        with self._lock:
            known = [self._opened.get((epoch.mark, name)) for name in names]
        missing = [row for row, key in enumerate(known) if key is None]
        if missing:
            found = _open(session, cipher, epoch, tokens[missing])
            opened = {(epoch.mark, names[missing[row]]): key for row, key in found.items()}
            for row, key in found.items():
                known[missing[row]] = key
            with self._lock:
                if len(self._opened) + len(opened) > KEYS_MAX:
                    self._opened.clear()
                self._opened.update(opened)
        return known

    def islands(
        self,
        session: Session,
        cipher: VaultCipher,
        epoch: Epoch,
        *,
        partner: Partner,
        claims: IslandRows,
        held: I64,
    ) -> Bytes:
        """IK_AB of each claimed island, (m, 16); zero where the partner did not prove it.

        `held` are the own records under its token; where there are none nothing is proven.
        """
        day = today()
        stated = columns.rows(
            np.concatenate(
                [
                    claims.token,
                    claims.partner_count.astype("<u4").view(np.uint8).reshape(-1, 4),
                    claims.proof,
                ],
                axis=1,
            )
        )
        with self._lock:
            known = self._proven.get((epoch.mark, partner.name, day), {})
            blocks = [known.get(claim) for claim in stated]
        new = np.array([row for row, block in enumerate(blocks) if block is None], np.int64)
        new = new[held[new] > 0]
        counts = claims.partner_count[new].tolist()
        opened = self.blocking_keys(session, cipher, epoch, claims.token[new])
        fresh = {}
        for row, key, count in zip(new.tolist(), opened, counts, strict=True):
            proof = claims.proof[row].tobytes()
            if key is not None and keys.verify_membership(key, partner.name, count, day, proof):
                blocks[row] = fresh[stated[row]] = keys.island_block(partner.pair_key, key)
        self._keep((epoch.mark, partner.name, day), fresh)
        found = columns.from_list([block or _UNPROVEN for block in blocks], keys.ISLAND_BYTES)
        return np.where((held > 0)[:, None], found, np.uint8(0))

    def keep_only(self, epochs: Iterable[Epoch]) -> None:
        """Forget all other epochs: they were retired."""
        marks = {epoch.mark for epoch in epochs}
        with self._lock:
            self._opened = {at: key for at, key in self._opened.items() if at[0] in marks}
            self._proven = {of: known for of, known in self._proven.items() if of[0] in marks}
            self._count = sum(map(len, self._proven.values()))

    def clear(self) -> None:
        """Forget all; after another vault took this one's place."""
        with self._lock:
            self._opened.clear()
            self._proven.clear()
            self._count = 0

    def _keep(self, whose: tuple[str, str, int], fresh: dict[bytes, bytes]) -> None:
        with self._lock:
            past = any(day != whose[2] for _, _, day in self._proven)
            if past or self._count + len(fresh) > CLAIMS_MAX:
                self._proven.clear()
                self._count = 0
            self._proven.setdefault(whose, {}).update(fresh)
            self._count += len(fresh)


def _open(session: Session, cipher: VaultCipher, epoch: Epoch, tokens: Bytes) -> dict[int, bytes]:
    """Blocking keys by the positions of their tokens."""
    asked = columns.table(position=columns.positions(len(tokens)), token=tokens)
    found = session.table(
        "SELECT position, sealed FROM asked JOIN token_key USING (token) WHERE epoch_id = ?",
        [epoch.id],
        asked=asked,
    )
    positions = columns.numbers(found["position"]).tolist()
    names = columns.rows(tokens)
    places = (token_place(names[position]) for position in positions)
    opened = cipher.open_all(zip(places, found["sealed"].to_pylist(), strict=True))
    return dict(zip(positions, opened, strict=True))
