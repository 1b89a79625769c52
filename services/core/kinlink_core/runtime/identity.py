"""Who a process is: a federation, a role and a name, as its certificate states them.

The URI SAN `kinlink://FEDERATION/ROLE/NAME` is what a server reads of its caller; the DNS SAN
`NAME.ROLE.FEDERATION.kinlink.internal` is what gRPC compares when a client dials.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kinlink_core.errors import InvalidInputError, Reason

URI_SCHEME: Final = "kinlink"
DNS_SUFFIX: Final = "kinlink.internal"
NAME_CHARS_MAX: Final = 63
LOCAL_NAME: Final = "local"

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_URI_PARTS: Final = 3


class Role(StrEnum):
    """What a peer is for; policies name roles, never peers."""

    REGISTRY = "registry"
    LINKER = "linker"
    GATEWAY = "gateway"
    OPERATOR = "operator"
    KEYSERVER = "keyserver"


def check_name(kind: str, name: str) -> str:
    """Return `name` if it may name a federation or a peer; lower case, as DNS compares without."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            Reason.CONFIG_INVALID,
            f"A {kind} name has 1 to {NAME_CHARS_MAX} of a-z, 0-9, - and _, "
            "and starts and ends with a letter or digit.",
        )
    return name


@dataclass(frozen=True)
class Identity:
    """A peer of a federation."""

    federation: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        check_name("federation", self.federation)
        check_name(self.role, self.name)

    @property
    def uri(self) -> str:
        """The URI SAN of this identity's certificate."""
        return f"{URI_SCHEME}://{self.federation}/{self.role}/{self.name}"

    @property
    def dns_name(self) -> str:
        """The stable DNS SAN that clients of this identity demand."""
        return f"{self.name}.{self.role}.{self.federation}.{DNS_SUFFIX}"

    def __str__(self) -> str:
        return f"{self.role}/{self.name}"

    @classmethod
    def from_uri(cls, uri: str) -> Identity:
        """Read a URI SAN; raises `InvalidInputError` when it is not exactly one of ours."""
        scheme, _, rest = uri.partition("://")
        parts = rest.split("/")
        if scheme != URI_SCHEME or len(parts) != _URI_PARTS or parts[1] not in set(Role):
            raise InvalidInputError(Reason.IDENTITY_MISSING)
        return cls(parts[0], Role(parts[1]), parts[2])
