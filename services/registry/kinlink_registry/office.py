"""What the officer of a registry can ask for, whichever way the vault is reached.

A serving process owns the vault, so commands reach it over the local socket (`control_client`);
where nothing serves, the command opens the vault itself (`LocalOffice`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from kinlink_registry import approvals, backup, consent, ingest, links, node, protection, rounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kinlink_registry.domain import Approval, Consent, IngestRequest, LocalLink, Progress
    from kinlink_registry.node import Node


class Office(Protocol):
    """The officer's requests."""

    def ingest(self, request: IngestRequest) -> Iterator[Progress]:
        """Take records in, or out."""

    def status(self) -> dict[str, Any]:
        """The registry's state."""

    def set_consent(self, local_ids: Sequence[str], *, withdrawn: bool) -> Consent:
        """Withdraw or grant consent."""

    def protect(self, local_ids: Sequence[str], kind: int) -> Consent:
        """Set the protection of people, by its number in `domain.PROTECTIONS`."""

    def approvals(self, *, decided: bool) -> Iterator[Approval]:
        """Disclosures that wait for an officer, and those that were decided."""

    def decide_approvals(self, ids: Sequence[str], *, approved: bool) -> Consent:
        """Approve or deny disclosures."""

    def leave_at_once(self, local_id: str, pass_id: str, reason: str) -> int:
        """Let one record leave at once in one pass; returns how many handles left."""

    def local_links(self, local_id: str) -> Iterator[LocalLink]:
        """Links of one person, or of everyone for an empty id."""

    def backup(self, path: Path) -> int:
        """Copy the vault; returns its number of records."""

    def restore(self, path: Path) -> int:
        """Put a copy back; returns its number of records."""


class LocalOffice:
    """The vault in this process."""

    def __init__(self, opened: Node) -> None:
        self._node = opened

    def ingest(self, request: IngestRequest) -> Iterator[Progress]:
        """Take records in, or out."""
        return ingest.ingest(self._node, request)

    def status(self) -> dict[str, Any]:
        """The registry's state."""
        return node.status(self._node)

    def set_consent(self, local_ids: Sequence[str], *, withdrawn: bool) -> Consent:
        """Withdraw or grant consent."""
        return consent.set_consent(self._node, local_ids, withdrawn=withdrawn)

    def protect(self, local_ids: Sequence[str], kind: int) -> Consent:
        """Set the protection of people, by its number in `domain.PROTECTIONS`."""
        return protection.protect(self._node, local_ids, kind)

    def approvals(self, *, decided: bool) -> Iterator[Approval]:
        """Disclosures that wait for an officer, and those that were decided."""
        self._node.audit.write("list-approvals", "operator/local", decided=decided)
        with self._node.vault.reading() as session:
            yield from approvals.listed(session, self._node.vault.cipher, decided=decided)

    def decide_approvals(self, ids: Sequence[str], *, approved: bool) -> Consent:
        """Approve or deny disclosures."""
        return approvals.decide(self._node, ids, approved=approved)

    def leave_at_once(self, local_id: str, pass_id: str, reason: str) -> int:
        """Let one record leave at once in one pass; returns how many handles left."""
        return rounds.leave_at_once(self._node, local_id, pass_id, reason)

    def local_links(self, local_id: str) -> Iterator[LocalLink]:
        """Links of one person, or of everyone for an empty id."""
        self._node.audit.write("list-links", "operator/local", everyone=not local_id)
        with self._node.vault.reading() as session:
            for page in links.local_links(session, self._node.vault.cipher, local_id):
                yield from page

    def backup(self, path: Path) -> int:
        """Copy the vault; returns its number of records."""
        return backup.backup(self._node, path)

    def restore(self, path: Path) -> int:
        """Put a copy back; returns its number of records."""
        return backup.restore(self._node, path)
