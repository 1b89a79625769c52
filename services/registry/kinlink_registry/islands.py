"""Handles and tokens that the linker names: whose they are, how many share them, who proved what.

Nothing here tells the linker more than it may know: an unknown token and one that is too crowded
answer alike, and proofs are compared in constant time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.keys import membership_proof, verify_membership
from kinlink_core.errors import (
    InvalidInputError,
    KinlinkError,
    PreconditionError,
    QuotaError,
    Reason,
)
from kinlink_core.wire import Refusal

from kinlink_registry import columns
from kinlink_registry.encodings import token_place

if TYPE_CHECKING:
    from collections.abc import Collection

    from kinlink_core.wire import IslandRows

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.partners import Partner
    from kinlink_registry.session import Session

_DAY_SECONDS = 86_400
NO_REF = -1
NO_PASS = -1

Refusals = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Islands:
    """Claims after they were checked."""

    token: Bytes  # (m, 16)
    blocking_keys: list[bytes | None]  # None where refused
    refusal: Refusals  # (m,)


@dataclass(frozen=True)
class Located:
    """Own handles of a request; `ref` is -1 where refused."""

    ref: npt.NDArray[np.int32]
    pass_index: npt.NDArray[np.int32]
    token: Bytes
    refusal: Refusals


def locate(session: Session, epoch: Epoch, handles: Bytes) -> Located:
    """Find live handles; what was never given out is unknown, what was and is gone is retired."""
    count = len(handles)
    asked = columns.table(position=columns.positions(count), id=handles)
    found = session.table(
        "SELECT position, ref, pass_index, token FROM asked JOIN handle ON handle.handle = asked.id"
        " WHERE epoch_id = ? AND revealed",
        [epoch.id],
        asked=asked,
    )
    retired = session.table(
        "SELECT position FROM asked SEMI JOIN"
        " (SELECT id FROM tombstone WHERE epoch_id = ? AND event = 2) USING (id)",
        [epoch.id],
        asked=asked,
    )
    at = columns.numbers(found["position"])
    located = Located(
        ref=np.full(count, NO_REF, np.int32),
        pass_index=np.full(count, NO_PASS, np.int32),
        token=np.zeros((count, columns.ID_BYTES), np.uint8),
        refusal=np.full(count, Refusal.UNKNOWN_HANDLE, np.uint8),
    )
    located.refusal[columns.numbers(retired["position"])] = Refusal.RETIRED_HANDLE
    located.ref[at] = columns.numbers(found["ref"])
    located.pass_index[at] = columns.numbers(found["pass_index"])
    located.token[at] = columns.matrix(found["token"])
    located.refusal[at] = Refusal.ANSWERED
    return located


def blocking_keys(
    session: Session, cipher: VaultCipher, epoch: Epoch, tokens: Bytes
) -> list[bytes | None]:
    """BK of each token, None where this registry does not hold it."""
    asked = columns.table(position=columns.positions(len(tokens)), token=tokens)
    found = session.table(
        "SELECT position, sealed FROM asked JOIN token_key USING (token) WHERE epoch_id = ?",
        [epoch.id],
        asked=asked,
    )
    keys: list[bytes | None] = [None] * len(tokens)
    for position, sealed in zip(
        found["position"].to_pylist(), found["sealed"].to_pylist(), strict=True
    ):
        keys[position] = cipher.open(token_place(tokens[position].tobytes()), sealed)
    return keys


def counts(session: Session, epoch: Epoch, pass_index: int, tokens: Bytes) -> npt.NDArray[np.int64]:
    """Live records under each token of a pass."""
    asked = columns.table(position=columns.positions(len(tokens)), token=tokens)
    found = session.table(
        "SELECT position, count(DISTINCT ref) AS held FROM asked JOIN handle USING (token)"
        " WHERE epoch_id = ? AND pass_index = ? GROUP BY position",
        [epoch.id, pass_index],
        asked=asked,
    )
    held = np.zeros(len(tokens), np.int64)
    held[columns.numbers(found["position"])] = columns.numbers(found["held"])
    return held


def prove(
    session: Session,
    cipher: VaultCipher,
    epoch: Epoch,
    *,
    own: str,
    pass_index: int,
    cap: int,
    tokens: Bytes,
) -> tuple[npt.NDArray[np.uint32], Bytes]:
    """Own counts and proofs; zero where the token is unknown or no partner fits under the cap."""
    held = counts(session, epoch, pass_index, tokens)
    answered = np.zeros(len(tokens), np.uint32)
    proofs = np.zeros((len(tokens), columns.ID_BYTES), np.uint8)
    # What is not answered opens no key: an unknown token and a crowded one take the same time.
    fitting = np.flatnonzero((held > 0) & (held < cap))
    keys = blocking_keys(session, cipher, epoch, tokens[fitting])
    for index, key in zip(fitting.tolist(), keys, strict=True):
        if key is not None:
            answered[index] = held[index]
            proof = membership_proof(key, own, int(held[index]), today())
            proofs[index] = np.frombuffer(proof, np.uint8)
    return answered, proofs


def today() -> int:
    """Days since 1970, by which membership proofs are dated."""
    return int(time.time() // _DAY_SECONDS)


def refine(
    session: Session, epoch: Epoch, *, pass_index: int, level: int, tokens: Bytes
) -> tuple[npt.NDArray[np.uint32], Bytes, Bytes]:
    """Finer (parent index, handle, token) rows below tokens, in the order of random handles."""
    asked = columns.table(position=columns.positions(len(tokens)), parent=tokens)
    found = session.table(
        "SELECT position, handle, token FROM asked JOIN handle USING (parent)"
        " WHERE epoch_id = ? AND pass_index = ? AND level = ?",
        [epoch.id, pass_index, level],
        asked=asked,
    )
    handles = columns.matrix(found["handle"])
    order = columns.shuffled(handles)
    parents = columns.numbers(found["position"]).astype(np.uint32)
    return parents[order], handles[order], columns.matrix(found["token"])[order]


def reveal(session: Session, handles: Bytes) -> None:
    """Remember which finer handles were given out: only they may be asked for, and are buried."""
    given = columns.table(handle=handles)
    session.run(
        "UPDATE handle SET revealed = true FROM given"
        " WHERE handle.handle = given.handle AND NOT handle.revealed",
        given=given,
    )


def check_claims(
    session: Session,
    cipher: VaultCipher,
    epoch: Epoch,
    partner: Partner,
    claims: IslandRows,
    *,
    pass_index: int,
    cap: int,
) -> Islands:
    """Check that the partner proved each island, and that it is within its cap."""
    held = counts(session, epoch, pass_index, claims.token)
    keys = blocking_keys(session, cipher, epoch, claims.token)
    proven = np.zeros(len(claims.token), bool)
    counted = claims.partner_count.tolist()
    for index, key in enumerate(keys):
        if key is not None and held[index]:
            proof = claims.proof[index].tobytes()
            proven[index] = verify_membership(key, partner.name, counted[index], today(), proof)
    refusal = np.full(len(proven), Refusal.PROOF_REFUSED, np.uint8)
    refusal[proven] = Refusal.ABOVE_CAP
    refusal[proven & (held + claims.partner_count <= cap)] = Refusal.ANSWERED
    kept = [key if ok else None for key, ok in zip(keys, refusal == 0, strict=True)]
    return Islands(claims.token, kept, refusal)


def place_in_islands(
    located: Located, islands: Islands, island_index: npt.NDArray[np.uint32], pass_index: int
) -> Refusals:
    """Refusals of rows: of the handle, else of its island, which must be the one it belongs to."""
    if len(island_index) and (not len(islands.token) or island_index.max() >= len(islands.token)):
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED, "island_index points outside of the islands."
        )
    refusal = located.refusal.copy()
    live = refusal == Refusal.ANSWERED
    member = (located.token == islands.token[island_index]).all(axis=1)
    member &= located.pass_index == pass_index
    refusal[live & ~member] = Refusal.PROOF_REFUSED
    refusal[live & member] = islands.refusal[island_index[live & member]]
    return refusal


_TOTAL_REFUSALS: tuple[tuple[Collection[Refusal], type[KinlinkError], Reason], ...] = (
    ((Refusal.UNKNOWN_HANDLE, Refusal.RETIRED_HANDLE), PreconditionError, Reason.HANDLES_UNKNOWN),
    ((Refusal.PROOF_REFUSED,), PreconditionError, Reason.PROOF_REFUSED),
    ((Refusal.OVER_QUOTA,), QuotaError, Reason.QUOTA_EXCEEDED),
)


def refuse_if_all(refusal: Refusals) -> None:
    """Fail a request of which every row was refused for one kind of reason."""
    reasons = set(np.unique(refusal).tolist())
    if not reasons:
        return
    for kinds, error, reason in _TOTAL_REFUSALS:
        if reasons <= set(kinds):
            raise error(reason)
