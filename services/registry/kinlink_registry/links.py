"""Links the linker published about this registry's people, and verdicts that settle a pair."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from kinlink_core.wire import Refusal

from kinlink_registry import columns, records, subjects
from kinlink_registry.domain import (
    CONFIRMED,
    REJECTED,
    UNSPECIFIED,
    UNSURE,
    LocalLink,
    PublishedLink,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.session import Session

LINKS_A_PAGE = 1000
_NOBODY = columns.NO_ID


@dataclass(frozen=True)
class Published:
    """What a publication did."""

    stored: int
    removed: int
    unknown: int


# What was known of a link stays where the new statement is silent: a verdict on an older link comes
# without handles, and so does a link that was carried over. A verdict comes without a linkage: the
# link stays of the one that found it.
_COMPLETED = """
  WITH known AS (
    -- In whatever epoch: a link outlives the one it was found in.
    SELECT links.*, ref FROM links
      JOIN (SELECT DISTINCT ref, subject FROM subject SEMI JOIN links USING (subject))
     USING (subject) WHERE removed = 0),
  filled AS (
    SELECT known.* REPLACE (
        coalesce(nullif(known.own_handle, $nobody::UUID), before.own_handle, $nobody::UUID)
          AS own_handle,
        coalesce(nullif(known.partner_handle, $nobody::UUID), before.partner_handle, $nobody::UUID)
          AS partner_handle,
        coalesce(nullif(known.verdict, 0), before.verdict, 0)::UTINYINT AS verdict),
      before.partner_record AS record_before, before.partner_tag AS tag_before,
      before.version AS version_before,
      CASE WHEN $linkage = '' THEN coalesce(before.linkage_id, '') ELSE $linkage END AS linkage_id,
      CASE WHEN $linkage = '' THEN coalesce(before.missing_registries, [])
           ELSE $missing::VARCHAR[] END AS missing_registries
      FROM known LEFT JOIN link before USING (link_id)),
  named AS (
    SELECT position, any_value(partner_record) AS partner_record,
           any_value(partner_tag) AS partner_tag,
           -- Of a record that changed since it was disclosed, no longer the version it has now.
           any_value(CASE WHEN refusal = $answered THEN version END) AS version
      FROM filled JOIN disclosed USING (ref, partner, own_handle, partner_handle)
      JOIN record USING (ref)
     WHERE epoch_id = $epoch GROUP BY position)
  SELECT link_id, $epoch::SMALLINT AS epoch_id, ref, subject, partner, partner_subject,
         own_handle, partner_handle, match_weight, match_probability, person_id, verdict,
         linkage_id, missing_registries, $now::TIMESTAMP AS published_at,
         coalesce(named.partner_record, record_before, $nobody::UUID) AS partner_record,
         coalesce(named.partner_tag, tag_before, $nobody::UUID) AS partner_tag,
         coalesce(named.version, version_before, 0) AS version
    FROM filled LEFT JOIN named USING (position)
"""
# A record's subject id lasts over epochs because of such a link.
_LASTING = f"""
  SELECT ref, subject FROM kept WHERE person_id <> ''
     OR (verdict IN ({CONFIRMED}, {REJECTED}) AND partner_record <> ?::UUID)
"""


def publish(
    session: Session, epoch_id: int, linkage_id: str, missing_registries: Sequence[str], links: Any
) -> Published:
    """Take over links: new ones, changed ones, removed ones, verdicts.

    Args:
        session: a writing session.
        epoch_id: of the links' handles, 0 when it was retired here.
        linkage_id: that found them; empty for verdicts.
        missing_registries: that it missed.
        links: an Arrow table, see `link_messages.read_links`.
    """
    kept = session.table(
        _COMPLETED,
        {
            "epoch": epoch_id, "linkage": linkage_id, "missing": list(missing_registries),
            "now": _now(), "nobody": _NOBODY, "answered": int(Refusal.ANSWERED),
        },
        links=links,
    )  # fmt: skip
    gone = session.table("SELECT link_id FROM links WHERE removed = 1", links=links)
    _settle(session, kept)
    session.run(
        "DELETE FROM link WHERE link_id IN (SELECT link_id FROM kept UNION ALL FROM gone)",
        kept=kept,
        gone=gone,
    )
    session.run("INSERT INTO link BY NAME FROM kept", kept=kept)
    subjects.settle(session, session.table(_LASTING, [_NOBODY], kept=kept))
    known = session.table("SELECT 1 FROM links SEMI JOIN subject USING (subject)", links=links)
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
        f"SELECT * EXCLUDE (partner_record, partner_tag, version) FROM link {where}"
        " ORDER BY match_weight DESC, link_id",
        params,
    )
    # Best first, a page is of people from all over the vault: each is looked up once, before.
    names = records.local_ids(session, cipher, np.unique(columns.numbers(found["ref"])))
    for start in range(0, len(found), LINKS_A_PAGE):
        yield list(_local(found.slice(start, LINKS_A_PAGE), names))


def _local(page: Any, local_ids: Mapping[int, str]) -> Iterator[LocalLink]:
    ids = {
        name: columns.rows(columns.matrix(page[name]))
        for name in ("subject", "partner_subject", "own_handle", "partner_handle")
    }
    row = {name: page[name].to_pylist() for name in page.column_names if name not in ids} | ids
    for at, ref in enumerate(row["ref"]):
        link = PublishedLink(
            link_id=row["link_id"][at],
            subject=row["subject"][at],
            partner=row["partner"][at],
            partner_subject=row["partner_subject"][at],
            match_weight=row["match_weight"][at],
            match_probability=row["match_probability"][at],
            person_id=row["person_id"][at],
            verdict=row["verdict"][at],
            removed=False,
            own_handle=row["own_handle"][at],
            partner_handle=row["partner_handle"][at],
        )
        yield LocalLink(
            local_ids[ref],
            link,
            row["linkage_id"][at],
            tuple(row["missing_registries"][at]),
            row["published_at"][at].isoformat(timespec="seconds"),
        )


def _settle(session: Session, kept: Any) -> None:
    """Keep confirmed and rejected pairs from being compared again; "unsure" opens them.

    A rejection is about the versions of both records that were compared: when one of them changed,
    the pair may be compared anew. A confirmation holds for all versions. That an open pair was
    decided once is kept: its subject ids last, so that what was said of it can be found again.
    """
    judged = session.table(
        "SELECT ref, partner, partner_record, verdict, partner_tag, version FROM kept"
        f" WHERE verdict <> {UNSPECIFIED} AND partner_record <> ?::UUID",
        [_NOBODY],
        kept=kept,
    )
    if not len(judged):
        return
    same = (
        "decided.ref = judged.ref AND decided.partner = judged.partner"
        " AND decided.partner_record = judged.partner_record"
    )
    session.run(
        f"DELETE FROM decided USING judged WHERE {same} AND verdict IN ({CONFIRMED}, {REJECTED})",
        judged=judged,
    )
    session.run(
        f"UPDATE decided SET stands = false FROM judged WHERE {same} AND verdict = {UNSURE}",
        judged=judged,
    )
    session.run(
        "INSERT INTO decided SELECT DISTINCT ref, partner, partner_record,"
        f" CASE WHEN verdict = {CONFIRMED} THEN ?::UUID ELSE partner_tag END,"
        f" verdict = {CONFIRMED} OR judged.version IN (0, record.version)"
        f" FROM judged JOIN record USING (ref) WHERE verdict IN ({CONFIRMED}, {REJECTED})",
        [_NOBODY],
        judged=judged,
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
