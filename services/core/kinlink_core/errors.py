"""Every failure Kinlink reports on purpose: one class per gRPC code, one reason per cause.

    KinlinkError
    ├── InvalidInputError        INVALID_ARGUMENT      the caller sent something malformed
    ├── NotFoundError            NOT_FOUND
    ├── UnauthenticatedError     UNAUTHENTICATED       no or unusable identity
    ├── ForbiddenError           PERMISSION_DENIED     known, but not allowed
    ├── PreconditionError        FAILED_PRECONDITION   profiles, epochs or states do not fit
    ├── QuotaError               RESOURCE_EXHAUSTED    a limit, a quota or a budget is used up
    ├── ConflictError            ABORTED               something else is in the way; try again
    ├── UnavailableError         UNAVAILABLE           a peer or store cannot be reached; try again
    ├── DeadlineError            DEADLINE_EXCEEDED     no answer in time
    ├── CancelledError           CANCELLED             the caller went away
    ├── UnsupportedError         UNIMPLEMENTED         no such method here
    └── BrokenStreamError        DATA_LOSS             a stream ended before its trailer

Handlers raise these; one interceptor turns them into `google.rpc.Status` with `ErrorInfo`.
`MESSAGES` holds the text of a reason for those who have nothing more precise to say; a more
precise one may name a field, a limit or a registry, never a value.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ERROR_DOMAIN = "kinlink"


class Reason(StrEnum):
    """The `ErrorInfo.reason` of every error that leaves a process."""

    ABOVE_CAP = "ABOVE_CAP"
    AUDIT_BROKEN = "AUDIT_BROKEN"
    CANCELLED = "CANCELLED"
    CARD_INVALID = "CARD_INVALID"
    CERTIFICATE_INVALID = "CERTIFICATE_INVALID"
    CONFIG_INVALID = "CONFIG_INVALID"
    DEADLINE = "DEADLINE"
    DEADLINE_MISSING = "DEADLINE_MISSING"
    DISK_FULL = "DISK_FULL"
    ENCODING_DIFFERS = "ENCODING_DIFFERS"
    ENCODING_VERSION_DIFFERS = "ENCODING_VERSION_DIFFERS"
    ENGINE_FAILED = "ENGINE_FAILED"
    EPOCH_UNKNOWN = "EPOCH_UNKNOWN"
    FEDERATION_DIFFERS = "FEDERATION_DIFFERS"
    FILE_UNREADABLE = "FILE_UNREADABLE"
    HANDLES_UNKNOWN = "HANDLES_UNKNOWN"
    HANDSHAKE_FAILED = "HANDSHAKE_FAILED"
    IDENTITY_MISSING = "IDENTITY_MISSING"
    INTERNAL = "INTERNAL"
    INTERRUPTED = "INTERRUPTED"
    KEY_CHANGED = "KEY_CHANGED"
    KEY_MISSING = "KEY_MISSING"
    LINKAGE_ENDED = "LINKAGE_ENDED"
    LINKAGE_NOT_FOUND = "LINKAGE_NOT_FOUND"
    LINK_NOT_FOUND = "LINK_NOT_FOUND"
    CASE_NOT_FOUND = "CASE_NOT_FOUND"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    METHOD_UNKNOWN = "METHOD_UNKNOWN"
    MODEL_INVALID = "MODEL_INVALID"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    RECORD_NOT_FOUND = "RECORD_NOT_FOUND"
    MODE_DIFFERS = "MODE_DIFFERS"
    PEER_UNKNOWN = "PEER_UNKNOWN"
    PROOF_REFUSED = "PROOF_REFUSED"
    PURPOSE_REFUSED = "PURPOSE_REFUSED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    REQUEST_MALFORMED = "REQUEST_MALFORMED"
    REVOKED = "REVOKED"
    ROLE_FORBIDDEN = "ROLE_FORBIDDEN"
    SCHEMA_DIFFERS = "SCHEMA_DIFFERS"
    SCHEMA_INVALID = "SCHEMA_INVALID"
    SECRET_DIFFERS = "SECRET_DIFFERS"  # noqa: S105 - a reason, not a secret
    SHARES_INVALID = "SHARES_INVALID"
    STORE_BUSY = "STORE_BUSY"
    STORE_VERSION = "STORE_VERSION"
    STREAM_CUT = "STREAM_CUT"
    TOO_FEW_REGISTRIES = "TOO_FEW_REGISTRIES"
    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
    UNREACHABLE = "UNREACHABLE"


MESSAGES: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.ABOVE_CAP: "The island holds more records than the cap of its pass.",
        Reason.AUDIT_BROKEN: "The audit log was edited or shortened: its hash chain does not hold.",
        Reason.CANCELLED: "The caller cancelled the call.",
        Reason.CARD_INVALID: "The registry card does not verify against the federation's CA.",
        Reason.CERTIFICATE_INVALID: "The certificate does not verify, or is for another name.",
        Reason.CONFIG_INVALID: "The configuration is not valid.",
        Reason.DEADLINE: "The call did not end before its deadline.",
        Reason.DEADLINE_MISSING: "Every call needs a deadline of at most 24 hours.",
        Reason.DISK_FULL: "There is no space left on the disk; nothing was lost.",
        Reason.ENCODING_DIFFERS: "The other side encodes some values otherwise.",
        Reason.ENCODING_VERSION_DIFFERS: "The other side encodes with another version.",
        Reason.ENGINE_FAILED: "The cluster that computes linkages failed or cannot be reached.",
        Reason.EPOCH_UNKNOWN: "This epoch is not served here.",
        Reason.FEDERATION_DIFFERS: "The other side belongs to another federation.",
        Reason.FILE_UNREADABLE: "The file cannot be read.",
        Reason.HANDLES_UNKNOWN: "None of the handles is live here.",
        Reason.HANDSHAKE_FAILED: "The TLS handshake failed: look at both certificates.",
        Reason.IDENTITY_MISSING: "The client certificate carries no usable Kinlink identity.",
        Reason.INTERNAL: "Something failed here; the log of this process says what.",
        Reason.INTERRUPTED: "The linker stopped while this linkage ran; start it again.",
        Reason.KEY_CHANGED: "The key server's key of this epoch is not the one it had.",
        Reason.KEY_MISSING: "A key that this needs is not here.",
        Reason.LINKAGE_ENDED: "The linkage has already ended.",
        Reason.LINKAGE_NOT_FOUND: "There is no linkage with this id.",
        Reason.LINK_NOT_FOUND: "There is no link with this id.",
        Reason.CASE_NOT_FOUND: "There is no case of this notice.",
        Reason.MESSAGE_TOO_LARGE: "A message is larger than the limit.",
        Reason.METHOD_UNKNOWN: "There is no such method here.",
        Reason.MODEL_INVALID: "The model does not fit the schema, or is malformed.",
        Reason.MODEL_NOT_FOUND: "There is no model with this name.",
        Reason.RECORD_NOT_FOUND: "There is no record with this local id.",
        Reason.MODE_DIFFERS: "The other side uses another mode of blocking tokens.",
        Reason.PEER_UNKNOWN: "This peer is not known here.",
        Reason.PROOF_REFUSED: "None of the membership proofs holds.",
        Reason.PURPOSE_REFUSED: "This registry does not allow linkages of this purpose.",
        Reason.QUOTA_EXCEEDED: "The quota is used up.",
        Reason.REQUEST_MALFORMED: "The request is malformed.",
        Reason.REVOKED: "This registry, or its certificate, was revoked here.",
        Reason.ROLE_FORBIDDEN: "The role of the caller may not call this method.",
        Reason.SCHEMA_DIFFERS: "The other side has another schema.",
        Reason.SCHEMA_INVALID: "The schema is not valid.",
        Reason.SECRET_DIFFERS: "The other side holds another epoch secret.",
        Reason.SHARES_INVALID: "The shares do not give the secret back.",
        Reason.STORE_BUSY: "Another process has this store open.",
        Reason.STORE_VERSION: "The store was written by a newer version.",
        Reason.STREAM_CUT: "A stream ended before its trailer, or its rows do not add up.",
        Reason.TOO_FEW_REGISTRIES: "A linkage needs at least two registries.",
        Reason.TOO_MANY_REQUESTS: "Too many calls at once; try again.",
        Reason.UNREACHABLE: "The other side cannot be reached.",
    }
)


class KinlinkError(Exception):
    """Base of all; `reason`, `public` and `metadata` may leave the process, `detail` is logged.

    Without `public` the message of the reason is used. `detail` must not hold a value either.
    """

    code: ClassVar[str] = "INTERNAL"

    def __init__(
        self, reason: Reason, public: str = "", *, detail: str = "", **metadata: str
    ) -> None:
        self.public = public or MESSAGES[reason]
        super().__init__(self.public)
        self.reason = reason
        self.detail = detail
        self.metadata = metadata


class InvalidInputError(KinlinkError):
    """The caller sent something malformed."""

    code = "INVALID_ARGUMENT"


class NotFoundError(KinlinkError):
    """The named thing does not exist here."""

    code = "NOT_FOUND"


class UnauthenticatedError(KinlinkError):
    """No identity, or one that cannot be used."""

    code = "UNAUTHENTICATED"


class ForbiddenError(KinlinkError):
    """A known peer asked for what its role may not have."""

    code = "PERMISSION_DENIED"


class PreconditionError(KinlinkError):
    """Profiles, epochs or states do not fit together."""

    code = "FAILED_PRECONDITION"


class QuotaError(KinlinkError):
    """A limit, a quota or a budget is used up."""

    code = "RESOURCE_EXHAUSTED"


class ConflictError(KinlinkError):
    """Something else is in the way; the same call may succeed later."""

    code = "ABORTED"


class UnavailableError(KinlinkError):
    """A peer or a store cannot be reached; the same call may succeed later."""

    code = "UNAVAILABLE"


class DeadlineError(KinlinkError):
    """No answer came in time."""

    code = "DEADLINE_EXCEEDED"


class CancelledError(KinlinkError):
    """The caller went away, or the call was cancelled."""

    code = "CANCELLED"


class UnsupportedError(KinlinkError):
    """The method does not exist here."""

    code = "UNIMPLEMENTED"


class BrokenStreamError(KinlinkError):
    """A stream ended before its trailer, or its row count does not match."""

    code = "DATA_LOSS"


_CLASSES: Final[tuple[type[KinlinkError], ...]] = (KinlinkError, *KinlinkError.__subclasses__())
_CLASS_OF_CODE: Final = MappingProxyType({kind.code: kind for kind in _CLASSES})


def error_class(code: str) -> type[KinlinkError]:
    """The class that stands for a gRPC code, by the code's name; `KinlinkError` for all others."""
    return _CLASS_OF_CODE.get(code, KinlinkError)
