"""Errors on the wire: `KinlinkError` as `google.rpc.Status` with `ErrorInfo`, and back.

What comes back from a peer is material, not truth: its reason counts only when it is one of ours,
its message is bounded, and everything else goes to `detail`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from kinlink_core.errors import (
    ERROR_DOMAIN,
    KinlinkError,
    QuotaError,
    Reason,
    UnauthenticatedError,
    error_class,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DETAILS_KEY: Final = "grpc-status-details-bin"
# Status and metadata must fit into the trailing metadata of a call.
MESSAGE_CHARS_MAX: Final = 1_000
METADATA_VALUE_CHARS_MAX: Final = 200

_REASON_OF_CODE: Final = {
    grpc.StatusCode.UNAVAILABLE: Reason.UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE,
    grpc.StatusCode.CANCELLED: Reason.CANCELLED,
    grpc.StatusCode.UNIMPLEMENTED: Reason.METHOD_UNKNOWN,
    grpc.StatusCode.UNAUTHENTICATED: Reason.IDENTITY_MISSING,
    grpc.StatusCode.PERMISSION_DENIED: Reason.ROLE_FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.TOO_MANY_REQUESTS,
    grpc.StatusCode.INVALID_ARGUMENT: Reason.REQUEST_MALFORMED,
    grpc.StatusCode.DATA_LOSS: Reason.STREAM_CUT,
}
_TOO_LARGE: Final = "larger than max"
_HANDSHAKE_SIGNS: Final = ("handshake", "Verification Check", "CERTIFICATE_VERIFY_FAILED")


def status_code(error: KinlinkError) -> grpc.StatusCode:
    """The gRPC code of an error."""
    return grpc.StatusCode[error.code]


def to_status(error: KinlinkError) -> status_pb2.Status:
    """What leaves the process of an error: code, public message, reason and metadata."""
    metadata = {key: str(text)[:METADATA_VALUE_CHARS_MAX] for key, text in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(
        reason=error.reason.value, domain=ERROR_DOMAIN, metadata=metadata
    )
    packed = any_pb2.Any()
    packed.Pack(info)
    number: int = status_code(error).value[0]
    return status_pb2.Status(
        code=number, message=error.public[:MESSAGE_CHARS_MAX], details=[packed]
    )


def translate(error: grpc.RpcError, *, peer: str = "") -> KinlinkError:
    """The `KinlinkError` that a failed call stands for; `peer` is named in its metadata."""
    code: grpc.StatusCode = error.code()
    metadata = {"peer": peer} if peer else {}
    info, message = _error_info(error)
    if info is not None:
        kind = error_class(code.name)
        extra = {key: value for key, value in info.metadata.items() if key != "peer"}
        return _build(kind, Reason(info.reason), message, "", metadata | extra)
    detail = str(error.details() or "")[:MESSAGE_CHARS_MAX]
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in detail:
        return _build(QuotaError, Reason.MESSAGE_TOO_LARGE, "", detail, metadata)
    if code is grpc.StatusCode.UNAVAILABLE and any(sign in detail for sign in _HANDSHAKE_SIGNS):
        return _build(UnauthenticatedError, Reason.HANDSHAKE_FAILED, "", detail, metadata)
    reason = _REASON_OF_CODE.get(code, Reason.INTERNAL)
    return _build(error_class(code.name), reason, "", detail, metadata)


@contextmanager
def translated(peer: str = "") -> Iterator[None]:
    """Raise `KinlinkError` in place of any `grpc.RpcError` of the block."""
    try:
        yield
    except grpc.RpcError as error:
        raise translate(error, peer=peer) from error


def _build(
    kind: type[KinlinkError], reason: Reason, public: str, detail: str, metadata: dict[str, str]
) -> KinlinkError:
    error = kind(reason, public, detail=detail)
    error.metadata = metadata
    return error


def _error_info(error: grpc.RpcError) -> tuple[error_details_pb2.ErrorInfo | None, str]:
    """Our `ErrorInfo` of a failed call and its message, or None where there is none of ours."""
    info = error_details_pb2.ErrorInfo()
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # a failed call is a Call
        found = status is not None and any(detail.Unpack(info) for detail in status.details)
    except (ValueError, TypeError, DecodeError):
        return None, ""
    if not found or info.domain != ERROR_DOMAIN or info.reason not in set(Reason):
        return None, ""
    return info, str(status.message)[:MESSAGE_CHARS_MAX]
