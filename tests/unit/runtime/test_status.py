from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from kinlink_core.errors import (
    ERROR_DOMAIN,
    MESSAGES,
    DeadlineError,
    KinlinkError,
    NotFoundError,
    PreconditionError,
    QuotaError,
    Reason,
    UnauthenticatedError,
    UnavailableError,
    error_class,
)
from kinlink_core.runtime.status import (
    DETAILS_KEY,
    MESSAGE_CHARS_MAX,
    to_status,
    translate,
    translated,
)


class FailedCall(grpc.RpcError):
    """What a client raises, as far as we read it."""

    def __init__(self, code: grpc.StatusCode, details: str, status: bytes | None = None) -> None:
        super().__init__()
        self._code, self._details = code, details
        self._trailing = ((DETAILS_KEY, status),) if status is not None else ()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailing


def failed_with(error: KinlinkError) -> FailedCall:
    status = to_status(error)
    code = grpc.StatusCode[error.code]
    return FailedCall(code, status.message, status.SerializeToString())


def test_every_reason_has_a_message_that_is_one_sentence() -> None:
    assert set(MESSAGES) == set(Reason)
    assert all(text.endswith(".") and "\n" not in text for text in MESSAGES.values())


def test_every_class_of_error_survives_the_wire() -> None:
    for kind in (KinlinkError, *KinlinkError.__subclasses__()):
        if kind.__module__ != KinlinkError.__module__:
            continue
        error = kind(Reason.QUOTA_EXCEEDED, detail="for the log only", limit="3")
        back = translate(failed_with(error), peer="sichuan")
        assert type(back) is kind is error_class(kind.code)
        assert (back.reason, back.public) == (error.reason, error.public)
        assert back.metadata == {"limit": "3", "peer": "sichuan"}
        assert back.detail == ""


def test_the_status_carries_domain_reason_and_metadata() -> None:
    status = to_status(PreconditionError(Reason.SCHEMA_DIFFERS, registry="sichuan"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == (ERROR_DOMAIN, "SCHEMA_DIFFERS")
    assert dict(info.metadata) == {"registry": "sichuan"}
    assert status.message == "The other side has another schema."


@pytest.mark.parametrize(
    ("code", "details", "kind", "reason"),
    [
        ("UNAVAILABLE", "failed to connect", UnavailableError, Reason.UNREACHABLE),
        ("UNAVAILABLE", "Ssl handshake failed", UnauthenticatedError, Reason.HANDSHAKE_FAILED),
        ("DEADLINE_EXCEEDED", "", DeadlineError, Reason.DEADLINE),
        ("RESOURCE_EXHAUSTED", "Concurrent RPC limit", QuotaError, Reason.TOO_MANY_REQUESTS),
        (
            "RESOURCE_EXHAUSTED",
            "SERVER: Received message larger than max (5 vs. 4)",
            QuotaError,
            Reason.MESSAGE_TOO_LARGE,
        ),
        ("UNKNOWN", "boom", KinlinkError, Reason.INTERNAL),
        ("NOT_FOUND", "", NotFoundError, Reason.INTERNAL),
    ],
)
def test_a_failure_without_our_details_is_named_by_its_code(
    code: str, details: str, kind: type[KinlinkError], reason: Reason
) -> None:
    error = translate(FailedCall(grpc.StatusCode[code], details))
    assert (type(error), error.reason) == (kind, reason)
    assert error.public == MESSAGES[reason]
    assert error.detail == details


def packed(domain: str, reason: str) -> any_pb2.Any:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(domain=domain, reason=reason))
    return detail


@pytest.mark.parametrize(
    "status",
    [
        b"garbage that is no protobuf \xff\xff",
        status_pb2.Status(code=5, message="another message").SerializeToString(),
        status_pb2.Status(code=9, message="m").SerializeToString(),
        status_pb2.Status(
            code=5, message="m", details=[packed("elsewhere", "INTERNAL")]
        ).SerializeToString(),
        status_pb2.Status(
            code=5, message="m", details=[packed(ERROR_DOMAIN, "MADE_UP")]
        ).SerializeToString(),
    ],
)
def test_details_that_are_not_ours_are_not_believed(status: bytes) -> None:
    error = translate(FailedCall(grpc.StatusCode.NOT_FOUND, "m", status))
    assert (type(error), error.reason) == (NotFoundError, Reason.INTERNAL)
    assert error.public == MESSAGES[Reason.INTERNAL]


def test_a_peers_message_is_bounded() -> None:
    error = translate(failed_with(NotFoundError(Reason.LINK_NOT_FOUND, "x" * 10_000)))
    assert len(error.public) == MESSAGE_CHARS_MAX


def test_a_peer_cannot_say_that_it_is_another() -> None:
    raised = failed_with(NotFoundError(Reason.LINK_NOT_FOUND, peer="shaanxi"))
    assert translate(raised, peer="sichuan").metadata == {"peer": "sichuan"}


def test_only_failed_calls_are_translated() -> None:
    with pytest.raises(NotFoundError), translated("sichuan"):
        raise failed_with(NotFoundError(Reason.LINK_NOT_FOUND))
    with pytest.raises(ZeroDivisionError), translated("sichuan"):
        raise ZeroDivisionError
