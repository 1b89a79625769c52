"""Disclosures that wait for an officer: asked for by the linker, approved or denied pair by pair.

An approval is for one of our people and one record of one partner, under the names both registries
have for them, so it outlasts epochs, new versions and new handles. What is approved is answered
when the linker asks again.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kinlink_registry import columns, encodings, records
from kinlink_registry.domain import APPROVAL, Approval, ApprovalState, Consent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.node import Node
    from kinlink_registry.policy import Asker
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session

APPROVAL_ID_BYTES = 4
# More that wait are not noted, so that a lying linker cannot fill the vault; nothing is disclosed.
WAITING_MAX = 10_000


@dataclass
class Guard:
    """Who of a request's people needs approval, and which pairs have it."""

    needing: frozenset[int]  # records
    states: dict[tuple[int, bytes], int]  # by own record and name of the partner's
    noted: dict[tuple[int, bytes], float] = field(default_factory=dict)  # with the weight

    @classmethod
    def load(cls, session: Session, partner: str, refs: Refs) -> Guard:
        """What is known of records before they are disclosed to a partner."""
        asked = columns.table(ref=np.unique(refs).astype(np.int32))
        needing = session.table(
            "SELECT ref FROM asked JOIN record USING (ref) JOIN protected USING (local_key)"
            f" WHERE kind = {APPROVAL}",
            asked=asked,
        )
        known = session.table(
            "SELECT ref, partner_record, state FROM asked JOIN record USING (ref)"
            " JOIN approval USING (local_key) WHERE partner = ?",
            [partner],
            asked=asked,
        )
        names = [row.tobytes() for row in columns.matrix(known["partner_record"])]
        return cls(
            frozenset(needing["ref"].to_pylist()),
            {
                (ref, name): state
                for ref, name, state in zip(
                    known["ref"].to_pylist(), names, known["state"].to_pylist(), strict=True
                )
            },
        )

    def withholds(self, ref: int, partner_record: bytes, weight: float) -> bool:
        """Whether a pair waits for approval or was denied it; what is new is noted for `save`."""
        if ref not in self.needing:
            return False
        pair = (ref, partner_record)
        if pair not in self.states:
            self.noted[pair] = max(weight, self.noted.get(pair, weight))
        return self.states.get(pair) != ApprovalState.APPROVED

    def save(self, session: Session, partner: str, asker: Asker) -> None:
        """Queue what was noted."""
        room = max(WAITING_MAX - waiting(session), 0)
        pairs = list(self.noted.items())[:room]
        if not pairs:
            return
        fresh = columns.table(
            id=[secrets.token_hex(APPROVAL_ID_BYTES) for _ in pairs],
            ref=np.array([ref for (ref, _), _ in pairs], np.int32),
            partner_record=columns.from_list([name for (_, name), _ in pairs]),
            match_weight=np.array([weight for _, weight in pairs], np.float64),
        )
        session.run(
            "INSERT INTO approval SELECT id, local_key, ?, partner_record, ?, match_weight,"
            " ?, ?, ?, ?, NULL FROM fresh JOIN record USING (ref)",
            [
                partner,
                ApprovalState.WAITING.value,
                asker.purpose,
                asker.linker,
                asker.linkage_id,
                _now(),
            ],
            fresh=fresh,
        )


def waiting(session: Session) -> int:
    """How many disclosures wait for an officer."""
    count: int = session.value(
        f"SELECT count(*) FROM approval WHERE state = {ApprovalState.WAITING:d}"
    )
    return count


def listed(session: Session, cipher: VaultCipher, *, decided: bool) -> Iterator[Approval]:
    """Disclosures that wait, best first; with `decided` also those that do not any more."""
    rows = session.rows(
        "SELECT id, ref, partner, state, match_weight, purpose, linker, linkage_id, asked_at,"
        " decided_at FROM approval LEFT JOIN record USING (local_key)"
        f" WHERE ? OR state = {ApprovalState.WAITING:d} ORDER BY state, match_weight DESC, id",
        [decided],
    )
    refs = np.array(sorted({row[1] for row in rows if row[1] is not None}), np.int32)
    people = records.open_people(session, cipher, refs)
    names = dict(zip(people.refs.tolist(), people.local_ids, strict=True))
    for name, ref, partner, state, weight, purpose, linker, linkage_id, asked, done in rows:
        yield Approval(
            id=name,
            local_id=names.get(ref, ""),
            partner=partner,
            state=ApprovalState(state),
            match_weight=weight,
            purpose=purpose,
            linker=linker,
            linkage_id=linkage_id,
            asked_at=asked.isoformat(timespec="seconds"),
            decided_at=done.isoformat(timespec="seconds") if done else "",
        )


def decide(node: Node, ids: Sequence[str], *, approved: bool) -> Consent:
    """Approve or deny disclosures.

    One that was approved may still be denied: the person's subject id is then withdrawn, with every
    link that stands on it.
    """
    state = ApprovalState.APPROVED if approved else ApprovalState.DENIED
    wanted = list(dict.fromkeys(ids))
    with node.vault.writing() as session:
        known = session.rows(
            "SELECT id, state, ref FROM approval SEMI JOIN wanted USING (id)"
            " LEFT JOIN record USING (local_key)",
            wanted=columns.table(id=wanted),
        )
        changed = [each for each in known if each[1] != state]
        session.run(
            "UPDATE approval SET state = ?, decided_at = ? WHERE id IN (SELECT id FROM changed)",
            [state.value, _now()],
            changed=columns.table(id=[name for name, _, _ in changed]),
        )
        taken_back = [
            ref for _, before, ref in changed
            if before == ApprovalState.APPROVED and ref is not None
        ]  # fmt: skip
        if taken_back:
            encodings.forget_subjects(session, np.array(sorted(set(taken_back)), np.int32))
            encodings.bury(session)
    done = Consent(len(changed), len(wanted) - len(known))
    node.audit.write(
        "approve" if approved else "deny",
        "operator/local",
        approvals=[name for name, _, _ in changed],
        unknown=done.unknown,
    )
    return done


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
