"""Links the linker published about this registry's people, and verdicts that settle a pair."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kinlink_registry import columns, records, subjects
from kinlink_registry.domain import CONFIRMED, REJECTED, UNSPECIFIED, LocalLink, PublishedLink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.session import Session

LINKS_A_PAGE = 1000
_NO_ID = bytes(columns.ID_BYTES)


@dataclass(frozen=True)
class Published:
    """What a publication did."""

    stored: int
    removed: int
    unknown: int


@dataclass(frozen=True)
class _Known:
    """A link of one of our records; `partner_record` is zero where it is not known."""

    ref: int
    link: PublishedLink
    partner_record: bytes = _NO_ID

    @property
    def lasts(self) -> bool:
        """Whether the record's subject id lasts over epochs because of this link."""
        decided = self.link.verdict in {CONFIRMED, REJECTED} and self.partner_record != _NO_ID
        return bool(self.link.person_id) or decided


def publish(
    session: Session,
    epoch_id: int,
    linkage_id: str,
    missing_registries: Sequence[str],
    links: Sequence[PublishedLink],
) -> Published:
    """Take over links: new ones, changed ones, removed ones, verdicts.

    `epoch_id` is that of their handles, 0 when it was retired here.
    """
    asked = columns.table(
        position=columns.positions(len(links)),
        subject=columns.from_list([link.subject for link in links]),
    )
    # In whatever epoch: a link outlives the one it was found in.
    found = session.table(
        "SELECT position, ref FROM asked JOIN (SELECT DISTINCT ref, subject FROM subject)"
        " USING (subject)",
        asked=asked,
    )
    refs = dict(zip(found["position"].to_pylist(), found["ref"].to_pylist(), strict=True))
    known = [_Known(refs[index], link) for index, link in enumerate(links) if index in refs]
    gone = [link.link_id for link in links if link.removed]
    kept = _completed(session, epoch_id, [each for each in known if not each.link.removed])
    _settle(session, kept)
    replaced = columns.table(link_id=([each.link.link_id for each in kept] + gone))
    before = session.table(
        "SELECT link_id, linkage_id, missing_registries FROM link SEMI JOIN replaced"
        " USING (link_id)",
        replaced=replaced,
    )
    session.run(
        "DELETE FROM link WHERE link_id IN (SELECT link_id FROM replaced)", replaced=replaced
    )
    if kept:
        # A verdict comes without a linkage: the link stays of the one that found it.
        session.run(
            "INSERT INTO link BY NAME SELECT kept.*,"
            " CASE WHEN $1 = '' THEN coalesce(linkage_id, '') ELSE $1 END AS linkage_id,"
            " CASE WHEN $1 = '' THEN coalesce(missing_registries, []) ELSE $2::VARCHAR[] END"
            " AS missing_registries,"
            " $3::TIMESTAMP AS published_at FROM kept LEFT JOIN before USING (link_id)",
            [linkage_id, list(missing_registries), _now()],
            kept=_table(epoch_id, kept),
            before=before,
        )
    lasting = [each for each in kept if each.lasts]
    subjects.settle(session, [e.ref for e in lasting], [e.link.subject for e in lasting])
    return Published(len(kept), len(gone), len(links) - len(known))


def local_links(
    session: Session, cipher: VaultCipher, local_id: str = ""
) -> Iterator[list[LocalLink]]:
    """Links of one person, or of everyone, with this office's ids; a page at a time."""
    where, params = "", []
    if local_id:
        where = "SEMI JOIN (SELECT ref FROM record WHERE local_key = ?::UUID) USING (ref)"
        params = [cipher.local_key(local_id).hex()]
    found = session.table(
        f"SELECT * EXCLUDE (partner_record) FROM link {where} ORDER BY match_weight DESC, link_id",
        params,
    )
    for start in range(0, len(found), LINKS_A_PAGE):
        page = found.slice(start, LINKS_A_PAGE)
        refs = np.unique(columns.numbers(page["ref"])).astype(np.int32)
        people = records.open_people(session, cipher, refs)
        names = dict(zip(people.refs.tolist(), people.local_ids, strict=True))
        yield [_local(row, names[row["ref"]]) for row in _rows(page)]


def _rows(page: Any) -> list[dict[str, Any]]:
    ids = {
        name: [row.tobytes() for row in columns.matrix(page[name])]
        for name in ("subject", "partner_subject", "own_handle", "partner_handle")
    }
    plain = page.drop_columns(list(ids)).to_pylist()
    return [
        row | {name: values[index] for name, values in ids.items()}
        for index, row in enumerate(plain)
    ]


def _local(row: dict[str, Any], local_id: str) -> LocalLink:
    link = PublishedLink(
        link_id=row["link_id"],
        subject=row["subject"],
        partner=row["partner"],
        partner_subject=row["partner_subject"],
        match_weight=row["match_weight"],
        match_probability=row["match_probability"],
        person_id=row["person_id"],
        verdict=row["verdict"],
        removed=False,
        own_handle=row["own_handle"],
        partner_handle=row["partner_handle"],
    )
    return LocalLink(
        local_id,
        link,
        row["linkage_id"],
        tuple(row["missing_registries"]),
        row["published_at"].isoformat(timespec="seconds"),
    )


def _settle(session: Session, links: Sequence[_Known]) -> None:
    """Keep confirmed and rejected pairs from being compared again; "unsure" opens them."""
    judged = [
        each for each in links if each.link.verdict != UNSPECIFIED and each.partner_record != _NO_ID
    ]
    if not judged:
        return
    table = columns.table(
        ref=np.array([each.ref for each in judged], np.int32),
        partner=[each.link.partner for each in judged],
        partner_record=columns.from_list([each.partner_record for each in judged]),
        verdict=np.array([each.link.verdict for each in judged], np.uint8),
    )
    session.run(
        "DELETE FROM decided USING judged WHERE decided.ref = judged.ref"
        " AND decided.partner = judged.partner AND decided.partner_record = judged.partner_record",
        judged=table,
    )
    session.run(
        f"INSERT INTO decided SELECT DISTINCT ref, partner, partner_record FROM judged"
        f" WHERE verdict IN ({CONFIRMED}, {REJECTED})",
        judged=table,
    )


def _completed(session: Session, epoch_id: int, links: Sequence[_Known]) -> list[_Known]:
    """Add what is known of links already: handles they came with, a verdict, the partner's record.

    A verdict on an older link comes without handles, and so does a link that was carried over.
    """
    stored = session.table(
        "SELECT link_id, own_handle, partner_handle, partner_record, verdict FROM link"
        " SEMI JOIN asked USING (link_id)",
        asked=columns.table(link_id=[each.link.link_id for each in links]),
    )
    ids = [
        [row.tobytes() for row in columns.matrix(stored[name])]
        for name in ("own_handle", "partner_handle", "partner_record")
    ]
    before = dict(
        zip(
            stored["link_id"].to_pylist(),
            zip(*ids, stored["verdict"].to_pylist(), strict=True),
            strict=True,
        )
    )
    filled = [_filled(each, before.get(each.link.link_id)) for each in links]
    own, theirs = _handles([each.link for each in filled])
    named = session.table(
        "SELECT position, any_value(partner_record) AS partner_record"
        " FROM asked JOIN disclosed USING (ref, partner, own_handle, partner_handle)"
        " WHERE epoch_id = ? GROUP BY position",
        [epoch_id],
        asked=columns.table(
            position=columns.positions(len(filled)),
            ref=np.array([each.ref for each in filled], np.int32),
            partner=[each.link.partner for each in filled],
            own_handle=own,
            partner_handle=theirs,
        ),
    )
    for position, record in zip(
        named["position"].to_pylist(), columns.matrix(named["partner_record"]), strict=True
    ):
        filled[position] = replace(filled[position], partner_record=record.tobytes())
    return filled


def _filled(known: _Known, before: tuple[bytes, bytes, bytes, int] | None) -> _Known:
    if before is None:
        return known
    own, theirs, record, verdict = before
    link = replace(
        known.link,
        own_handle=known.link.own_handle or own,
        partner_handle=known.link.partner_handle or theirs,
        verdict=known.link.verdict or verdict,
    )
    return _Known(known.ref, link, record)


def _handles(links: Sequence[PublishedLink]) -> tuple[Bytes, Bytes]:
    own = columns.from_list([link.own_handle or _NO_ID for link in links])
    theirs = columns.from_list([link.partner_handle or _NO_ID for link in links])
    return own, theirs


def _table(epoch_id: int, kept: Sequence[_Known]) -> Any:
    links = [each.link for each in kept]
    own, theirs = _handles(links)
    return columns.table(
        link_id=[link.link_id for link in links],
        epoch_id=np.full(len(links), epoch_id, np.int16),
        ref=np.array([each.ref for each in kept], np.int32),
        subject=columns.from_list([link.subject for link in links]),
        partner=[link.partner for link in links],
        partner_subject=columns.from_list([link.partner_subject for link in links]),
        own_handle=own,
        partner_handle=theirs,
        match_weight=np.array([link.match_weight for link in links], np.float64),
        match_probability=np.array([link.match_probability for link in links], np.float64),
        person_id=[link.person_id for link in links],
        verdict=np.array([link.verdict for link in links], np.uint8),
        partner_record=columns.from_list([each.partner_record for each in kept]),
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
