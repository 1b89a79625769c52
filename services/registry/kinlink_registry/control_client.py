"""The officer's requests, sent to the registry that serves on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kinlink.registry.v1 import control_pb2 as pb
from kinlink.registry.v1 import control_pb2_grpc
from kinlink_core.runtime.channel import open_local_channel, translated

from kinlink_registry.domain import (
    Approval,
    ApprovalState,
    Consent,
    LocalLink,
    Progress,
    PublishedLink,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from kinlink_registry.domain import IngestRequest

_PEER = "the serving registry"
# An ingest or a copy may take hours; gRPC wants a deadline all the same.
OFFICE_SECONDS_MAX = 43_200.0


class RemoteOffice:
    """The vault in the serving process; use it as a context."""

    def __init__(self, path: Path) -> None:
        self._channel = open_local_channel(path)
        self._stub = control_pb2_grpc.ControlServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def ingest(self, request: IngestRequest) -> Iterator[Progress]:
        """Take records in, or out."""
        message = pb.IngestRequest(
            path=request.path,
            query=request.query,
            id_column=request.id_column,
            dry_run=request.dry_run,
            delete=request.delete,
            report_path=request.report_path,
            encoding=request.encoding,
        )
        with translated(_PEER):
            for answer in self._stub.Ingest(message, timeout=OFFICE_SECONDS_MAX):
                yield Progress(
                    rows_read=answer.rows_read,
                    rows_total=answer.rows_total,
                    added=answer.added,
                    updated=answer.updated,
                    unchanged=answer.unchanged,
                    deleted=answer.deleted,
                    rejected=answer.rejected,
                    done=answer.done,
                    report_path=answer.report_path,
                    blanked=dict(answer.blanked),
                )

    def status(self) -> dict[str, Any]:
        """The registry's state."""
        with translated(_PEER):
            answer = self._stub.GetStatus(pb.GetStatusRequest())
        state: dict[str, Any] = json.loads(answer.status_json)
        return state

    def set_consent(self, local_ids: Sequence[str], *, withdrawn: bool) -> Consent:
        """Withdraw or grant consent."""
        message = pb.SetConsentRequest(local_ids=local_ids, withdrawn=withdrawn)
        with translated(_PEER):
            answer = self._stub.SetConsent(message, timeout=OFFICE_SECONDS_MAX)
        return Consent(answer.changed, answer.unknown)

    def leave_at_once(self, local_id: str, pass_id: str, reason: str) -> int:
        """Let one record leave at once in one pass; returns how many handles left."""
        message = pb.LeaveAtOnceRequest(local_id=local_id, pass_id=pass_id, reason=reason)
        with translated(_PEER):
            return int(self._stub.LeaveAtOnce(message, timeout=OFFICE_SECONDS_MAX).handles)

    def protect(self, local_ids: Sequence[str], kind: int) -> Consent:
        """Set the protection of people, by its number in `domain.PROTECTIONS`."""
        message = pb.SetProtectionRequest(local_ids=local_ids)
        message.protection = kind  # type: ignore[assignment] # the numbers are the same
        with translated(_PEER):
            answer = self._stub.SetProtection(message, timeout=OFFICE_SECONDS_MAX)
        return Consent(answer.changed, answer.unknown)

    def approvals(self, *, decided: bool) -> Iterator[Approval]:
        """Disclosures that wait for an officer, and those that were decided."""
        with translated(_PEER):
            for answer in self._stub.ListApprovals(pb.ListApprovalsRequest(decided=decided)):
                yield from map(_approval, answer.approvals)

    def decide_approvals(self, ids: Sequence[str], *, approved: bool) -> Consent:
        """Approve or deny disclosures."""
        message = pb.DecideApprovalsRequest(ids=ids, approved=approved)
        with translated(_PEER):
            answer = self._stub.DecideApprovals(message, timeout=OFFICE_SECONDS_MAX)
        return Consent(answer.changed, answer.unknown)

    def local_links(self, local_id: str) -> Iterator[LocalLink]:
        """Links of one person, or of everyone for an empty id."""
        with translated(_PEER):
            for answer in self._stub.ListLocalLinks(pb.ListLocalLinksRequest(local_id=local_id)):
                yield from map(_local, answer.links)

    def backup(self, path: Path) -> int:
        """Copy the vault; returns its number of records."""
        with translated(_PEER):
            answer = self._stub.Backup(pb.BackupRequest(path=str(path)), timeout=OFFICE_SECONDS_MAX)
        return answer.records

    def restore(self, path: Path) -> int:
        """Put a copy back; returns its number of records."""
        with translated(_PEER):
            answer = self._stub.Restore(
                pb.RestoreRequest(path=str(path)), timeout=OFFICE_SECONDS_MAX
            )
        return answer.records


def _approval(message: pb.Approval) -> Approval:
    return Approval(
        id=message.id,
        local_id=message.local_id,
        partner=message.partner,
        state=ApprovalState(message.state),
        match_weight=message.match_weight,
        purpose=message.purpose,
        linker=message.linker,
        linkage_id=message.linkage_id,
        asked_at=message.asked_at,
        decided_at=message.decided_at,
    )


def _local(message: pb.LocalLink) -> LocalLink:
    link = message.link
    return LocalLink(
        message.local_id,
        PublishedLink(
            link_id=link.link_id,
            subject=link.subject,
            partner=link.partner,
            partner_subject=link.partner_subject,
            match_weight=link.match_weight,
            match_probability=link.match_probability,
            person_id=link.person_id,
            verdict=int(link.verdict),
            removed=link.removed,
            own_handle=link.own_handle,
            partner_handle=link.partner_handle,
        ),
        message.linkage_id,
        tuple(message.missing_registries),
        message.published_at,
    )
