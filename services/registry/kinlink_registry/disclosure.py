"""Who a matched pair is, as a subject id: one answer for each pair of records, within the policy.

The linker asks best score first. The two registries tell duplicates apart between themselves: each
pair carries the partner's record tag, sealed for this registry, so the same two records under other
handles are recognised and answered "superseded" for the whole epoch, or until one of them changes.
Asking for every handle gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from kinlink_core.encoding.fixed_parts import wanting
from kinlink_core.encoding.membership import island_blocks, island_seeds
from kinlink_core.encoding.record_tags import open_record_tags
from kinlink_core.wire import DisclosedRows, Refusal, Side

from kinlink_registry import columns, islands, quotas
from kinlink_registry.approvals import Guard
from kinlink_registry.cipher import record_name

if TYPE_CHECKING:
    import numpy.typing as npt
    from kinlink_core.encoding.schema import Schema
    from kinlink_core.wire import DiscloseAsk

    from kinlink_registry.blocking_keys import BlockingKeys
    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.directory import Live
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.islands import Located
    from kinlink_registry.partners import Partner
    from kinlink_registry.policy import Asker, Policy
    from kinlink_registry.records import Refs
    from kinlink_registry.sealing import PairRows
    from kinlink_registry.session import Session
    from kinlink_registry.shelf import Shelf

    U8 = npt.NDArray[np.uint8]


_EVERY_VERSION = bytes(columns.ID_BYTES)


def disclose(
    session: Session,
    cipher: VaultCipher,
    keys: BlockingKeys,
    epoch: Epoch,
    *,
    live: Live,
    partner: Partner,
    policy: Policy,
    asker: Asker,
    asked: DiscloseAsk,
    sides: U8,
) -> DisclosedRows:
    """Decide row by row, and write every decision that binds later ones down.

    `sides` are (n,) those of the own records, told with a subject only.
    """
    located = islands.locate(session, epoch, live, asked.own_handles)
    tags = _partner_tags(
        session, cipher, keys, epoch, live=live, partner=partner, asked=asked, located=located
    )
    refs = located.ref[located.refusal == Refusal.ANSWERED]
    ledger = _Ledger.load(session, epoch, partner, policy, asker=asker, refs=refs)
    own_handles, partner_handles = (
        columns.rows(asked.own_handles),
        columns.rows(asked.partner_handles),
    )
    for row in np.flatnonzero(located.refusal == Refusal.ANSWERED).tolist():
        located.refusal[row] = ledger.decide(
            ref=int(located.ref[row]),
            tag=tags[row],
            handles=own_handles[row] + partner_handles[row],
            weight=float(asked.weights[row]),
        )
    ledger.save(session, epoch, partner, asker)
    subjects = np.zeros((len(own_handles), columns.ID_BYTES), np.uint8)
    named = located.refusal == Refusal.ANSWERED
    subjects[named] = _subjects(session, epoch, located.ref[named])
    return DisclosedRows(subjects, located.refusal, np.where(named, sides, Side.UNSAID))


def sides_of(
    session: Session, shelf: Shelf, schema: Schema, epoch: Epoch, *, live: Live, handles: Bytes
) -> U8:
    """Of which side the record under each own handle is; (n,). Unsaid without sides.

    Told with a subject only: of a pair the linker knows that the sides differ, and has to know
    whose case it is when people look at it.
    """
    sides = np.full(len(handles), Side.UNSAID, np.uint8)
    if schema.sides is None:
        return sides
    located = islands.locate(session, epoch, live, handles)
    rows = np.flatnonzero(located.refusal == Refusal.ANSWERED)
    opened = shelf.fetch(session, epoch, located.ref[rows])
    wants = wanting(opened.fixed)[opened.rows_of(located.ref[rows])]
    sides[rows] = np.where(wants, Side.WANTS, Side.SHOWS)
    return sides


def refuse_others(
    session: Session, epoch: Epoch, partner: Partner, rows: PairRows, partner_tags: Bytes
) -> None:
    """Refuse, in place, pairs of records that were disclosed under other handles.

    They would be refused at disclosure anyway: sealed under these they could not be linked, and
    would be lost to a linkage that asks for a meeting that arrived after the disclosure.
    """
    which = rows.answered()
    found = session.table(
        "SELECT position FROM asked JOIN disclosed USING (ref, partner_tag)"
        " WHERE epoch_id = ? AND partner = ? AND refusal = ?"
        " AND (disclosed.own_handle <> asked.own_handle"
        " OR disclosed.partner_handle <> asked.partner_handle)",
        [epoch.id, partner.name, int(Refusal.ANSWERED)],
        asked=columns.table(
            position=columns.positions(len(which)),
            ref=np.ascontiguousarray(rows.refs[which], np.int32),
            partner_tag=partner_tags[which],
            own_handle=rows.own_handles[which],
            partner_handle=rows.partner_handles[which],
        ),
    )
    rows.refusal[which[columns.numbers(found["position"])]] = Refusal.SUPERSEDED


def _partner_tags(
    session: Session,
    cipher: VaultCipher,
    keys: BlockingKeys,
    epoch: Epoch,
    *,
    live: Live,
    partner: Partner,
    asked: DiscloseAsk,
    located: Located,
) -> list[bytes]:
    """The partner's record tag of each row, empty where it does not open."""
    answered = np.flatnonzero(located.refusal == Refusal.ANSWERED)
    opened, known = keys.of(
        session, cipher, epoch, live, live.tokens.find(located.token[answered].view(np.uint64))
    )
    rows = answered[known]
    blocks = island_blocks(island_seeds(partner.islands, opened[known]))
    handles = partner.ordered(asked.own_handles[rows], asked.partner_handles[rows])
    seeds = partner.draws.pairs(blocks, *handles)
    found, genuine = open_record_tags(
        seeds, asked.partner_tags[rows], of_left=not partner.own_is_left
    )
    tags = [b""] * len(located.ref)
    for row, tag, good in zip(rows.tolist(), columns.rows(found), genuine.tolist(), strict=True):
        if good:
            tags[row] = tag
    return tags


@dataclass
class _Ledger:
    """What was decided before, and what this request adds."""

    answered: dict[bytes, int]  # own and partner handle to refusal
    winners: set[tuple[int, bytes]]  # own record and partner tag
    # Own record and name of the partner's, to the tag of the version it is about; zeros: of all.
    decided: dict[tuple[int, bytes], bytes]
    weight_min: float
    left: int
    guard: Guard
    added: list[tuple[int, bytes, bytes, int]]
    named: int = 0

    @classmethod
    def load(
        cls,
        session: Session,
        epoch: Epoch,
        partner: Partner,
        policy: Policy,
        *,
        asker: Asker,
        refs: Refs,
    ) -> _Ledger:
        asked = columns.table(ref=np.unique(refs))
        before = session.table(
            "SELECT ref, partner_tag, own_handle, partner_handle, refusal FROM disclosed"
            " SEMI JOIN asked USING (ref) WHERE epoch_id = ? AND partner = ?",
            [epoch.id, partner.name],
            asked=asked,
        )
        records, refusals = before["ref"].to_pylist(), before["refusal"].to_pylist()
        tags = columns.rows(columns.matrix(before["partner_tag"]))
        handles = np.concatenate(
            [columns.matrix(before["own_handle"]), columns.matrix(before["partner_handle"])], axis=1
        )
        decided = session.table(
            "SELECT ref, partner_record, partner_tag FROM decided SEMI JOIN asked USING (ref)"
            " WHERE partner = ? AND stands",
            [partner.name],
            asked=asked,
        )
        decided_names = columns.rows(columns.matrix(decided["partner_record"]))
        pairs = zip(decided["ref"].to_pylist(), decided_names, strict=True)
        return cls(
            answered=dict(zip(columns.rows(handles), refusals, strict=True)),
            winners={
                (ref, tag)
                for ref, tag, refusal in zip(records, tags, refusals, strict=True)
                if refusal == Refusal.ANSWERED
            },
            decided=dict(
                zip(pairs, columns.rows(columns.matrix(decided["partner_tag"])), strict=True)
            ),
            weight_min=policy.disclosure_weight_min,
            left=quotas.disclosures_left(session, policy, asker.linker),
            guard=Guard.load(session, partner.name, refs),
            added=[],
        )

    def decide(self, *, ref: int, tag: bytes, handles: bytes, weight: float) -> Refusal:
        """One row; what binds later rows is remembered."""
        pair = (ref, tag)
        if not tag:
            return Refusal.PROOF_REFUSED
        if self.decided.get((ref, record_name(tag))) in {tag, _EVERY_VERSION}:
            return Refusal.DECIDED
        if handles in self.answered:
            return Refusal(self.answered[handles])
        refusal = self._judged(pair, weight)
        if refusal in {Refusal.ANSWERED, Refusal.SUPERSEDED}:
            self.answered[handles] = refusal
            self.added.append((ref, tag, handles, refusal))
        return refusal

    def _judged(self, pair: tuple[int, bytes], weight: float) -> Refusal:
        """A row that was never answered; only what can change later is not remembered.

        Too low a weight and want of an approval are the same answer, and neither costs budget; a
        spent budget hides the second behind the answer that everyone gets.
        """
        if weight < self.weight_min:
            return Refusal.WITHHELD
        if pair in self.winners:
            return Refusal.SUPERSEDED
        if self.left <= 0:
            return Refusal.OVER_QUOTA
        ref, tag = pair
        if self.guard.withholds(ref, record_name(tag), weight):
            return Refusal.WITHHELD
        self.left -= 1
        self.named += 1
        self.winners.add(pair)
        return Refusal.ANSWERED

    def save(self, session: Session, epoch: Epoch, partner: Partner, asker: Asker) -> None:
        """Write down what this request added."""
        self.guard.save(session, partner.name, asker)
        if not self.added:
            return
        handles = [each[2] for each in self.added]
        half = columns.ID_BYTES
        table = columns.table(
            ref=np.array([each[0] for each in self.added], np.int32),
            partner_record=columns.from_list([record_name(each[1]) for each in self.added]),
            partner_tag=columns.from_list([each[1] for each in self.added]),
            own_handle=columns.from_list([pair[:half] for pair in handles]),
            partner_handle=columns.from_list([pair[half:] for pair in handles]),
            refusal=np.array([each[3] for each in self.added], np.uint8),
        )
        session.run(
            "INSERT INTO disclosed"
            " SELECT ?, ?, ref, partner_record, partner_tag, own_handle, partner_handle, refusal"
            " FROM added",
            [epoch.id, partner.name],
            added=table,
        )
        quotas.book_disclosures(session, epoch, partner.name, asker.linker, self.named)


def _subjects(session: Session, epoch: Epoch, refs: Any) -> Bytes:
    """Subject ids of records, made at random the first time one is disclosed in an epoch."""
    distinct = np.unique(refs).astype(np.int32)
    fresh = columns.table(ref=distinct, subject=columns.random_ids(len(distinct)))
    session.run(
        "INSERT INTO subject SELECT ?, ref, subject FROM fresh"
        " ANTI JOIN (SELECT ref FROM subject WHERE epoch_id = ?) USING (ref)",
        [epoch.id, epoch.id],
        fresh=fresh,
    )
    found = session.table(
        "SELECT position, subject FROM asked JOIN subject USING (ref) WHERE epoch_id = ?"
        " ORDER BY position",
        [epoch.id],
        asked=columns.table(
            position=columns.positions(len(refs)), ref=np.ascontiguousarray(refs, np.int32)
        ),
    )
    return columns.matrix(found["subject"])
