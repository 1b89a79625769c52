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
from kinlink_core.encoding import membership
from kinlink_core.errors import (
    InvalidInputError,
    KinlinkError,
    PreconditionError,
    QuotaError,
    Reason,
)
from kinlink_core.wire import Refusal

from kinlink_registry import columns
from kinlink_registry.directory import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Collection

    from kinlink_core.wire import IslandRows

    from kinlink_registry.blocking_keys import BlockingKeys
    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.directory import I64, Live
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
    block: Bytes  # (m, 16), IK_AB; means nothing where refused
    refusal: Refusals  # (m,)


@dataclass(frozen=True)
class Located:
    """Own handles of a request; `ref` is -1 where refused."""

    ref: npt.NDArray[np.int32]
    pass_index: npt.NDArray[np.int32]
    token: Bytes
    refusal: Refusals


def locate(session: Session, epoch: Epoch, live: Live, handles: Bytes) -> Located:
    """Find live handles; what was never given out is unknown, what was and is gone is retired."""
    at = live.find(handles)
    at[_untold(session, live, at)] = NOWHERE
    missing = np.flatnonzero(at == NOWHERE)
    refusal = np.full(len(handles), Refusal.ANSWERED, np.uint8)
    if len(missing):
        refusal[missing] = Refusal.UNKNOWN_HANDLE
        retired = session.table(
            "SELECT position FROM asked SEMI JOIN"
            " (SELECT id FROM tombstone WHERE epoch_id = ? AND event = 2) USING (id)",
            [epoch.id],
            asked=columns.table(position=missing, id=handles[missing]),
        )
        refusal[columns.numbers(retired["position"])] = Refusal.RETIRED_HANDLE
    here = np.flatnonzero(at != NOWHERE)
    found = live.handles.take(at[here])
    located = Located(
        ref=np.full(len(handles), NO_REF, np.int32),
        pass_index=np.full(len(handles), NO_PASS, np.int32),
        token=np.zeros((len(handles), columns.ID_BYTES), np.uint8),
        refusal=refusal,
    )
    located.ref[here] = found.ref
    located.pass_index[here] = found.pass_index
    located.token[here] = np.ascontiguousarray(found.token).view(np.uint8)
    return located


def _untold(session: Session, live: Live, at: I64) -> npt.NDArray[np.int64]:
    """Rows of a request that name finer handles which were never given out."""
    rows = np.flatnonzero(at != NOWHERE)
    rows = rows[live.handles.level[at[rows]] > 0]
    if not len(rows):
        return rows
    handles = np.ascontiguousarray(live.handles.handle[at[rows]]).view(np.uint8)
    told = session.table(
        "SELECT position FROM asked SEMI JOIN (SELECT handle FROM handle WHERE revealed)"
        " USING (handle)",
        asked=columns.table(position=rows, handle=handles),
    )
    return np.setdiff1d(rows, columns.numbers(told["position"]))


def prove(
    session: Session,
    cipher: VaultCipher,
    keys: BlockingKeys,
    epoch: Epoch,
    *,
    live: Live,
    partner: Partner,
    pass_index: int,
    cap: int,
    tokens: Bytes,
) -> tuple[npt.NDArray[np.uint32], Bytes]:
    """Own counts and proofs; zero where the token is unknown or no partner fits under the cap."""
    at = live.places(tokens, pass_index)
    held = live.held(at)
    answered = np.zeros(len(tokens), np.uint32)
    proofs = np.zeros((len(tokens), columns.ID_BYTES), np.uint8)
    # What is not answered opens no key: an unknown token and a crowded one take the same time.
    fitting = np.flatnonzero((held > 0) & (held < cap))
    opened, known = keys.of(session, cipher, epoch, live, at[fitting])
    rows = fitting[known]
    seeds = membership.island_seeds(partner.islands, opened[known])
    answered[rows] = held[rows]
    proofs[rows] = membership.prove(seeds, held[rows], today(), of_left=partner.own_is_left)
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
    keys: BlockingKeys,
    epoch: Epoch,
    *,
    live: Live,
    partner: Partner,
    claims: IslandRows,
    pass_index: int,
    cap: int,
) -> Islands:
    """Check that the partner proved each island, and that it is within its cap."""
    at = live.places(claims.token, pass_index)
    held, counted = live.held(at), claims.partner_count.astype(np.int64)
    opened, known = keys.of(session, cipher, epoch, live, at)
    seeds = membership.island_seeds(partner.islands, opened)
    proven = known & membership.verify(
        seeds, counted, claims.proof, today(), of_left=not partner.own_is_left
    )
    refusal = np.full(len(at), Refusal.PROOF_REFUSED, np.uint8)
    refusal[proven] = Refusal.ABOVE_CAP
    refusal[proven & (held + counted <= cap)] = Refusal.ANSWERED
    return Islands(claims.token, membership.island_blocks(seeds), refusal)


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
