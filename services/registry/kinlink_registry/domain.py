"""What the officer asks for and gets, as plain values; it loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from kinlink_registry.textfile import ENCODING_DEFAULT, ID_COLUMN_DEFAULT

UNSPECIFIED, CONFIRMED, REJECTED, UNSURE = range(4)
VERDICTS = ("", "confirmed", "rejected", "unsure")
# Kinds of protection, as the vault numbers them.
UNPROTECTED, HIDDEN, APPROVAL = range(3)
PROTECTIONS = ("none", "hidden", "approval")


@dataclass(frozen=True)
class IngestRequest:
    """What to take in, and how."""

    path: str = ""
    query: str = ""
    id_column: str = ID_COLUMN_DEFAULT
    dry_run: bool = False
    delete: bool = False
    report_path: str = ""
    encoding: str = ENCODING_DEFAULT


@dataclass(frozen=True)
class Progress:
    """How far an ingest is; counts of rows, and of cells taken for missing by field and reason."""

    rows_read: int = 0
    rows_total: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    done: bool = False
    report_path: str = ""
    blanked: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Consent:
    """What a change of consent, of protection or of approvals did."""

    changed: int
    unknown: int  # ids without a record; the change stands for them too


class ApprovalState(IntEnum):
    """How a disclosure stands that an officer decides about."""

    WAITING = 1
    APPROVED = 2
    DENIED = 3


@dataclass(frozen=True)
class Approval:
    """A disclosure of a protected person that was asked for."""

    id: str
    local_id: str  # empty where the record is gone
    partner: str
    state: ApprovalState
    match_weight: float
    purpose: str
    linker: str
    linkage_id: str
    asked_at: str
    decided_at: str  # empty while it waits


class PublishedLink(NamedTuple):
    """One link as the linker states it."""

    link_id: str
    subject: bytes
    partner: str
    partner_subject: bytes
    match_weight: float
    match_probability: float
    person_id: str
    verdict: int
    removed: bool
    own_handle: bytes
    partner_handle: bytes


class LocalLink(NamedTuple):
    """A link as the office sees it: by its own id of the person."""

    local_id: str
    link: PublishedLink
    linkage_id: str
    missing_registries: tuple[str, ...]
    published_at: str
