"""`ControlService`: the officer's requests over the local socket of a serving registry."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinlink.registry.v1 import control_pb2 as pb
from kinlink.registry.v1 import control_pb2_grpc, registry_pb2
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.server import Service

from kinlink_registry.domain import PROTECTIONS, IngestRequest
from kinlink_registry.textfile import ENCODING_DEFAULT, ID_COLUMN_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_registry.domain import LocalLink
    from kinlink_registry.office import Office

SERVICE_NAME = "kinlink.registry.v1.ControlService"
LINKS_A_MESSAGE = 500
_OPERATOR = frozenset({Role.OPERATOR})
POLICY = dict.fromkeys(
    (
        "Ingest",
        "GetStatus",
        "SetConsent",
        "SetProtection",
        "LeaveAtOnce",
        "ListApprovals",
        "DecideApprovals",
        "ListLocalLinks",
        "Backup",
        "Restore",
    ),
    _OPERATOR,
)


def service(office: Office) -> Service:
    """The service for the local socket; its file mode is what keeps others out."""
    return Service(
        control_pb2_grpc.add_ControlServiceServicer_to_server,
        ControlServicer(office),
        SERVICE_NAME,
        POLICY,
    )


class ControlServicer(control_pb2_grpc.ControlServiceServicer):
    """Answers the commands of this machine."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def Ingest(self, request: pb.IngestRequest, context: Any) -> Iterator[pb.IngestResponse]:  # noqa: ARG002, N802
        """Take records in; one message a batch."""
        asked = IngestRequest(
            path=_absolute(request.path, "path") if request.path else "",
            query=request.query,
            id_column=request.id_column or ID_COLUMN_DEFAULT,
            dry_run=request.dry_run,
            delete=request.delete,
            report_path=_absolute(request.report_path, "report_path")
            if request.report_path
            else "",
            encoding=request.encoding or ENCODING_DEFAULT,
        )
        for progress in self._office.ingest(asked):
            yield pb.IngestResponse(**asdict(progress))

    def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:  # noqa: ARG002, N802
        """The registry's state."""
        return pb.GetStatusResponse(status_json=json.dumps(self._office.status()))

    def SetConsent(self, request: pb.SetConsentRequest, context: Any) -> pb.SetConsentResponse:  # noqa: ARG002, N802
        """Withdraw or grant consent."""
        done = self._office.set_consent(list(request.local_ids), withdrawn=request.withdrawn)
        return pb.SetConsentResponse(changed=done.changed, unknown=done.unknown)

    def LeaveAtOnce(  # noqa: N802
        self,
        request: pb.LeaveAtOnceRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.LeaveAtOnceResponse:
        """Let one record leave at once in one pass."""
        left = self._office.leave_at_once(request.local_id, request.pass_id, request.reason)
        return pb.LeaveAtOnceResponse(handles=left)

    def SetProtection(  # noqa: N802
        self,
        request: pb.SetProtectionRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.SetProtectionResponse:
        """Set the protection of people."""
        if not 0 <= request.protection < len(PROTECTIONS):
            raise InvalidInputError(Reason.REQUEST_MALFORMED, "protection is not a known one.")
        done = self._office.protect(list(request.local_ids), int(request.protection))
        return pb.SetProtectionResponse(changed=done.changed, unknown=done.unknown)

    def ListApprovals(  # noqa: N802
        self,
        request: pb.ListApprovalsRequest,
        context: Any,  # noqa: ARG002
    ) -> Iterator[pb.ListApprovalsResponse]:
        """Disclosures that wait for an officer."""
        found = self._office.approvals(decided=request.decided)
        while page := list(islice(found, LINKS_A_MESSAGE)):
            yield pb.ListApprovalsResponse(approvals=[pb.Approval(**asdict(each)) for each in page])

    def DecideApprovals(  # noqa: N802
        self,
        request: pb.DecideApprovalsRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.DecideApprovalsResponse:
        """Approve or deny disclosures."""
        done = self._office.decide_approvals(list(request.ids), approved=request.approved)
        return pb.DecideApprovalsResponse(changed=done.changed, unknown=done.unknown)

    def ListLocalLinks(  # noqa: N802
        self,
        request: pb.ListLocalLinksRequest,
        context: Any,  # noqa: ARG002
    ) -> Iterator[pb.ListLocalLinksResponse]:
        """Links by this office's own ids."""
        found = self._office.local_links(request.local_id)
        while page := list(islice(found, LINKS_A_MESSAGE)):
            yield pb.ListLocalLinksResponse(links=[_message(link) for link in page])

    def Backup(self, request: pb.BackupRequest, context: Any) -> pb.BackupResponse:  # noqa: ARG002, N802
        """Copy the vault."""
        path = _absolute(request.path, "path")
        return pb.BackupResponse(path=path, records=self._office.backup(Path(path)))

    def Restore(self, request: pb.RestoreRequest, context: Any) -> pb.RestoreResponse:  # noqa: ARG002, N802
        """Put a copy in the vault's place."""
        path = _absolute(request.path, "path")
        return pb.RestoreResponse(records=self._office.restore(Path(path)))


def _absolute(path: str, name: str) -> str:
    if not Path(path).is_absolute():
        raise InvalidInputError(Reason.REQUEST_MALFORMED, f"{name} is not an absolute path.")
    return path


def _message(local: LocalLink) -> pb.LocalLink:
    return pb.LocalLink(
        local_id=local.local_id,
        link=registry_pb2.PublishedLink(**local.link._asdict()),
        linkage_id=local.linkage_id,
        missing_registries=local.missing_registries,
        published_at=local.published_at,
    )
