"""Links the linker published about this registry's people, and verdicts that settle a pair."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kinlink_registry import columns, records
from kinlink_registry.domain import CONFIRMED, REJECTED, UNSPECIFIED, LocalLink, PublishedLink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.session import Session

LINKS_A_PAGE = 1000
_NO_HANDLE = bytes(columns.ID_BYTES)


@dataclass(frozen=True)
class Published:
    """What a publication did."""

    stored: int
    removed: int
    unknown: int


def publish(
    session: Session,
    epoch_id: int,
    linkage_id: str,
    missing_registries: Sequence[str],
    links: Sequence[PublishedLink],
) -> Published:
    """Take over links: new ones, changed ones, removed ones, verdicts."""
    subjects = columns.from_list([link.subject for link in links])
    asked = columns.table(position=columns.positions(len(links)), subject=subjects)
    found = session.table(
        "SELECT position, ref FROM asked JOIN subject USING (subject) WHERE epoch_id = ?",
        [epoch_id],
        asked=asked,
    )
    refs = dict(zip(found["position"].to_pylist(), found["ref"].to_pylist(), strict=True))
    known = [(refs[index], link) for index, link in enumerate(links) if index in refs]
    gone = [link.link_id for link in links if link.removed]
    kept = [(ref, link) for ref, link in known if not link.removed]
    _settle(session, epoch_id, known)
    kept = _with_known_handles(session, kept)
    replaced = columns.table(link_id=([link.link_id for _, link in kept] + gone))
    session.run(
        "DELETE FROM link WHERE link_id IN (SELECT link_id FROM replaced)", replaced=replaced
    )
    if kept:
        session.run(
            "INSERT INTO link SELECT *, ?, ?::VARCHAR[], ?::TIMESTAMP FROM kept",
            [linkage_id, list(missing_registries), _now()],
            kept=_table(epoch_id, kept),
        )
    return Published(len(kept), len(gone), len(links) - len(known))


def local_links(
    session: Session, cipher: VaultCipher, local_id: str = ""
) -> Iterator[list[LocalLink]]:
    """Links of one person, or of everyone, with this office's ids; a page at a time."""
    where, params = "", []
    if local_id:
        where = "SEMI JOIN (SELECT ref FROM record WHERE local_key = ?::UUID) USING (ref)"
        params = [cipher.local_key(local_id).hex()]
    found = session.table(f"SELECT * FROM link {where} ORDER BY match_weight DESC, link_id", params)
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


def _settle(session: Session, epoch_id: int, links: Sequence[tuple[int, PublishedLink]]) -> None:
    """Keep confirmed and rejected pairs from being compared again; "unsure" opens them."""
    judged = [
        (ref, link) for ref, link in links if link.verdict != UNSPECIFIED and not link.removed
    ]
    if not judged:
        return
    judged_records = _partner_records(session, epoch_id, judged)
    session.run(
        "DELETE FROM decided USING judged WHERE decided.ref = judged.ref"
        " AND decided.partner = judged.partner AND decided.partner_record = judged.partner_record",
        judged=judged_records,
    )
    session.run(
        f"INSERT INTO decided SELECT DISTINCT ref, partner, partner_record FROM judged"
        f" WHERE verdict IN ({CONFIRMED}, {REJECTED})",
        judged=judged_records,
    )


def _partner_records(
    session: Session, epoch_id: int, judged: Sequence[tuple[int, PublishedLink]]
) -> Any:
    """(ref, partner, partner_record, verdict) of judged links, found by their handles."""
    own, theirs = _handles([link for _, link in judged])
    asked = columns.table(
        ref=np.array([ref for ref, _ in judged], np.int32),
        partner=[link.partner for _, link in judged],
        link_id=[link.link_id for _, link in judged],
        own_handle=own,
        partner_handle=theirs,
        verdict=np.array([link.verdict for _, link in judged], np.uint8),
    )
    # A verdict on an older link carries no handles: those it was stored with are used.
    return session.table(
        "SELECT DISTINCT a.ref, a.partner, d.partner_record, a.verdict FROM asked a"
        " LEFT JOIN link l USING (link_id)"
        " JOIN disclosed d ON d.epoch_id = ? AND d.ref = a.ref AND d.partner = a.partner"
        " AND ((d.own_handle = a.own_handle AND d.partner_handle = a.partner_handle)"
        "   OR (d.own_handle = l.own_handle AND d.partner_handle = l.partner_handle))",
        [epoch_id],
        asked=asked,
    )


def _with_known_handles(
    session: Session, links: Sequence[tuple[int, PublishedLink]]
) -> list[tuple[int, PublishedLink]]:
    """Give links that came without handles those they were stored with, and an earlier verdict."""
    stored = session.table(
        "SELECT link.link_id, own_handle, partner_handle, verdict FROM link"
        " SEMI JOIN asked USING (link_id)",
        asked=columns.table(link_id=[link.link_id for _, link in links]),
    )
    known = dict(
        zip(
            stored["link_id"].to_pylist(),
            zip(
                (row.tobytes() for row in columns.matrix(stored["own_handle"])),
                (row.tobytes() for row in columns.matrix(stored["partner_handle"])),
                stored["verdict"].to_pylist(),
                strict=True,
            ),
            strict=True,
        )
    )
    return [(ref, _filled(link, known.get(link.link_id))) for ref, link in links]


def _filled(link: PublishedLink, known: tuple[bytes, bytes, int] | None) -> PublishedLink:
    if known is None:
        return link
    own, theirs, verdict = known
    return replace(
        link,
        own_handle=link.own_handle or own,
        partner_handle=link.partner_handle or theirs,
        verdict=link.verdict or verdict,
    )


def _handles(links: Sequence[PublishedLink]) -> tuple[Bytes, Bytes]:
    own = columns.from_list([link.own_handle or _NO_HANDLE for link in links])
    theirs = columns.from_list([link.partner_handle or _NO_HANDLE for link in links])
    return own, theirs


def _table(epoch_id: int, kept: Sequence[tuple[int, PublishedLink]]) -> Any:
    links = [link for _, link in kept]
    own, theirs = _handles(links)
    return columns.table(
        link_id=[link.link_id for link in links],
        epoch_id=np.full(len(links), epoch_id, np.int16),
        ref=np.array([ref for ref, _ in kept], np.int32),
        subject=columns.from_list([link.subject for link in links]),
        partner=[link.partner for link in links],
        partner_subject=columns.from_list([link.partner_subject for link in links]),
        own_handle=own,
        partner_handle=theirs,
        match_weight=np.array([link.match_weight for link in links], np.float64),
        match_probability=np.array([link.match_probability for link in links], np.float64),
        person_id=[link.person_id for link in links],
        verdict=np.array([link.verdict for link in links], np.uint8),
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
