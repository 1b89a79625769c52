"""Decided pairs in the handles of an epoch: what partners are asked, told, and what follows.

A verdict names two records; the linker names handles. Which handles a partner's record goes under
is asked of the partner (`kinlink_core.encoding.decisions`). Until it has answered for all decided
pairs of one of our records, nothing of that record is sealed towards it; from then on exactly the
decided pairs are refused. A rejection is about the versions of both records that were compared: it
stands until one of them changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from kinlink_core.encoding.decisions import (
    NAME_BYTES,
    QUESTIONS_MAX,
    DecisionChannel,
    Question,
    Reply,
)
from kinlink_core.encoding.keys import KeyFault
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.wire import Refusal

from kinlink_registry import columns
from kinlink_registry.absence import ABSENT
from kinlink_registry.cipher import RECORD_NAME_BYTES
from kinlink_registry.vault import FEED_ID, read_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.islands import Refusals
    from kinlink_registry.partners import Partner
    from kinlink_registry.records import Refs
    from kinlink_registry.sealing import PairRows
    from kinlink_registry.session import Session

Content = TypeVar("Content")

# By what was disclosed in this epoch, and by what the partner said.
_DECIDED = """
WITH known AS (
  SELECT ref, partner_record, partner_handle FROM disclosed
   WHERE epoch_id = $epoch AND partner = $partner
  UNION ALL
  SELECT ref, partner_record, handle FROM decided_handle
   WHERE epoch_id = $epoch AND partner = $partner AND handle IS NOT NULL
)
SELECT DISTINCT position
  FROM asked JOIN known USING (ref, partner_handle)
  SEMI JOIN (SELECT ref, partner_record FROM decided WHERE partner = $partner AND stands)
    USING (ref, partner_record)
"""
_UNANSWERED = """
FROM decided ANTI JOIN (SELECT ref, partner_record FROM decided_handle
                         WHERE epoch_id = $epoch AND partner = $partner)
  USING (ref, partner_record)
WHERE partner = $partner AND stands
"""


@dataclass(frozen=True)
class _Decided:
    """One of our records in a decided pair."""

    ref: int
    name: bytes
    version: int
    partner_record: bytes
    stands: bool  # for the version that our record has now

    def question(self) -> Question:
        """Ask the partner about it."""
        return Question(self.partner_record[:NAME_BYTES], self.name, self.version)


def refuse(
    session: Session,
    epoch: Epoch,
    partner: Partner,
    *,
    refs: Refs,
    partner_handles: Bytes,
    refusal: Refusals,
) -> None:
    """Refuse, in place, pairs that carry a verdict that stands, or of which that is not known."""
    named = {"epoch": epoch.id, "partner": partner.name}
    if not _any_decided(session, partner):
        return
    asked = columns.table(
        position=columns.positions(len(refs)),
        ref=np.ascontiguousarray(refs, np.int32),
        partner_handle=partner_handles,
    )
    unknown = f"SELECT position FROM asked SEMI JOIN (SELECT ref {_UNANSWERED}) USING (ref)"
    for sql, code in ((_DECIDED, Refusal.DECIDED), (unknown, Refusal.WITHHELD)):
        found = columns.numbers(session.table(sql, named, asked=asked)["position"])
        refusal[found[refusal[found] == Refusal.ANSWERED]] = code


def refuse_by_name(session: Session, partner: Partner, rows: PairRows, partner_tags: Bytes) -> None:
    """Refuse, in place, answered pairs that carry a verdict, by the partner's record tags.

    A pair that was rejected is open again once one of its records is another version.
    """
    if not _any_decided(session, partner):
        return
    which = rows.answered()
    names = np.zeros((len(which), columns.ID_BYTES), np.uint8)
    names[:, :RECORD_NAME_BYTES] = partner_tags[which, :RECORD_NAME_BYTES]
    found = session.table(
        "SELECT DISTINCT position FROM asked JOIN decided USING (ref, partner_record)"
        " WHERE partner = ? AND stands"
        " AND decided.partner_tag IN (asked.partner_tag, ?::UUID)",
        [partner.name, columns.NO_ID],
        asked=columns.table(
            position=columns.positions(len(which)),
            ref=np.ascontiguousarray(rows.refs[which], np.int32),
            partner_record=names,
            partner_tag=np.ascontiguousarray(partner_tags[which]),
        ),
    )
    rows.refusal[which[columns.numbers(found["position"])]] = Refusal.DECIDED


def _any_decided(session: Session, partner: Partner) -> bool:
    sql = "SELECT 1 FROM decided WHERE partner = ? AND stands LIMIT 1"
    return bool(session.rows(sql, [partner.name]))


@dataclass(frozen=True)
class Talk:
    """What this registry, `own`, says to a partner and hears from it in one transaction."""

    session: Session
    cipher: VaultCipher
    epoch: Epoch
    partner: Partner
    own: str

    def unanswered(self) -> int:
        """Decided pairs that the partner has not answered for."""
        count: int = self.session.rows(f"SELECT count(*) {_UNANSWERED}", self._named())[0][0]
        return count

    def ask(self) -> bytes:
        """Seal the next questions for the partner; empty when there is none."""
        # At random: pairs that a partner does not answer must not keep others from being asked.
        chosen = self.session.table(
            f"SELECT ref, partner_record, stands {_UNANSWERED}"
            f" ORDER BY random() LIMIT {QUESTIONS_MAX}",
            self._named(),
        )
        if not len(chosen):
            return b""
        questions = [each.question() for each in _with_names(self.session, self.cipher, chosen)]
        return self._channel().seal_questions(_era(self.session), questions)

    def answer(self, sealed: bytes) -> bytes:
        """Answer the partner's questions: of pairs that are decided here too, and of gone records.

        Of a pair that was rejected before our record changed there is no handle to refuse.

        Raises:
            InvalidInputError: the questions were not sealed by this partner for this epoch.
        """
        channel = self._channel()
        era, questions = _opened(lambda: channel.open_questions(sealed))
        pairs = {(each.name, each.partner_record[:NAME_BYTES]): each for each in self._decided()}
        found = {asked: pairs.get((asked.theirs, asked.own)) for asked in questions}
        known = {asked: each for asked, each in found.items() if each is not None}
        refs = sorted({each.ref for each in known.values() if each.stands})
        handles = _handles(self.session, self.epoch, refs)
        replies = [
            Reply(asked, gone=False, handles=handles[each.ref] if each.stands else ())
            for asked, each in known.items()
        ]
        others = [asked for asked in questions if asked not in known]
        if others:
            live = _live_names(self.session, self.cipher)
            replies += [
                Reply(asked, gone=True, handles=()) for asked in others if asked.theirs not in live
            ]
        return channel.seal_replies(era, replies)

    def take(self, sealed: bytes) -> None:
        """Believe the partner's answer where it fits our records as they are now.

        Raises:
            InvalidInputError: the answer was not sealed by this partner for this epoch and vault.
        """
        channel = self._channel()
        replies = _opened(lambda: channel.open_replies(sealed, _era(self.session)))
        pairs = {each.question(): each for each in self._decided()}
        fitting = [(pairs[reply.question], reply) for reply in replies if reply.question in pairs]
        _forget(self.session, self.partner.name, [pair for pair, reply in fitting if reply.gone])
        _believe(
            self.session,
            self.epoch,
            self.partner.name,
            {pair: reply.handles for pair, reply in fitting if not reply.gone},
        )

    def _decided(self) -> list[_Decided]:
        chosen = self.session.table(
            "SELECT ref, partner_record, stands FROM decided WHERE partner = ?",
            [self.partner.name],
        )
        return _with_names(self.session, self.cipher, chosen)

    def _channel(self) -> DecisionChannel:
        return DecisionChannel(
            self.partner.pair_key, self.epoch.schedule, own=self.own, partner=self.partner.name
        )

    def _named(self) -> dict[str, object]:
        return {"epoch": self.epoch.id, "partner": self.partner.name}


def _forget(session: Session, partner: str, pairs: Sequence[_Decided]) -> None:
    """Drop verdicts about records that the partner no longer has."""
    if not pairs:
        return
    gone = _pairs(pairs)
    for table in ("decided", "decided_handle"):
        session.run(
            f"DELETE FROM {table} USING gone WHERE {table}.partner = ?"
            f" AND {table}.ref = gone.ref AND {table}.partner_record = gone.partner_record",
            [partner],
            gone=gone,
        )


def _believe(
    session: Session, epoch: Epoch, partner: str, answered: dict[_Decided, tuple[bytes, ...]]
) -> None:
    """Write down the handles; what was known before stays, because a handle is never given anew."""
    if not answered:
        return
    session.run(
        "INSERT INTO decided_handle SELECT ?, ?, ref, partner_record, NULL FROM answered",
        [epoch.id, partner],
        answered=_pairs(list(answered)),
    )
    rows = [(pair, handle) for pair, handles in answered.items() for handle in handles]
    if rows:
        handles = columns.table(
            ref=np.array([pair.ref for pair, _ in rows], np.int32),
            partner_record=columns.from_list([pair.partner_record for pair, _ in rows]),
            handle=columns.from_list([handle for _, handle in rows]),
        )
        session.run(
            "INSERT INTO decided_handle SELECT ?, ?, ref, partner_record, handle FROM handles",
            [epoch.id, partner],
            handles=handles,
        )


def _with_names(session: Session, cipher: VaultCipher, chosen: Any) -> list[_Decided]:
    found = session.table(
        "SELECT ref, version, local_key, partner_record, stands"
        " FROM chosen JOIN record USING (ref)",
        chosen=chosen,
    )
    return [
        _Decided(ref, name, version, record.tobytes(), stands)
        for ref, version, name, record, stands in zip(
            found["ref"].to_pylist(),
            found["version"].to_pylist(),
            _names(cipher, found),
            columns.matrix(found["partner_record"]),
            found["stands"].to_pylist(),
            strict=True,
        )
    ]


def _live_names(session: Session, cipher: VaultCipher) -> set[bytes]:
    found = session.table(f"SELECT local_key FROM record ANTI JOIN {ABSENT} USING (local_key)")
    return set(_names(cipher, found))


def _names(cipher: VaultCipher, found: Any) -> list[bytes]:
    names = cipher.record_names(columns.matrix(found["local_key"]))
    return columns.rows(names[:, :NAME_BYTES])


def _handles(session: Session, epoch: Epoch, refs: list[int]) -> dict[int, tuple[bytes, ...]]:
    """All handles of records in an epoch, also those that may be asked for later only."""
    found = session.table(
        "SELECT ref, handle FROM (SELECT epoch_id, ref, handle FROM handle"
        " UNION ALL SELECT epoch_id, ref, handle FROM waiting)"
        " SEMI JOIN wanted USING (ref) WHERE epoch_id = ?",
        [epoch.id],
        wanted=columns.table(ref=np.array(refs, np.int32)),
    )
    handles: dict[int, list[bytes]] = {ref: [] for ref in refs}
    for ref, handle in zip(found["ref"].to_pylist(), columns.matrix(found["handle"]), strict=True):
        handles[ref].append(handle.tobytes())
    return {ref: tuple(sorted(each)) for ref, each in handles.items()}


def _pairs(pairs: Sequence[_Decided]) -> Any:
    return columns.table(
        ref=np.array([each.ref for each in pairs], np.int32),
        partner_record=columns.from_list([each.partner_record for each in pairs]),
    )


def _era(session: Session) -> bytes:
    """Changes when the vault went back to an older state."""
    return bytes.fromhex(read_meta(session, FEED_ID) or "")


def _opened(read: Callable[[], Content]) -> Content:
    try:
        return read()
    except KeyFault as error:
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED,
            "The message about decided pairs was not sealed by this partner for this epoch.",
            detail=str(error),
        ) from error
