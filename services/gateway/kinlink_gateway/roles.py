"""Who may do what: one table, default deny.

An analyst judges links but starts nothing. An operator runs linkages and reads the audit but sees
no link: nobody both steers the machine and reads what it says about people. A province reads what
touches its own registry, and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Role(StrEnum):
    """What a token holder is here."""

    ANALYST = "analyst"
    OPERATOR = "operator"
    PROVINCE = "province"


class Action(StrEnum):
    """Everything a person can ask for; also the verb in the audit."""

    IDENTITY_READ = "identity.read"
    REGISTRIES_READ = "registries.read"
    LINKAGES_READ = "linkages.read"
    LINKAGE_START = "linkage.start"
    LINKAGE_CANCEL = "linkage.cancel"
    LINKS_READ = "links.read"
    LINKS_EXPORT = "links.export"
    LINK_READ = "link.read"
    CASES_READ = "cases.read"
    CASE_READ = "case.read"
    LINK_DECIDE = "link.decide"
    AUDIT_READ = "audit.read"
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    # Granted to nobody: what the gateway and its command do by themselves.
    DECISION_FORGET = "decision.forget"
    TOKEN_CREATE = "token.create"  # noqa: S105 - a verb, not a secret
    TOKEN_REVOKE = "token.revoke"  # noqa: S105 - a verb, not a secret


_EVERYONE = frozenset(
    {
        Action.IDENTITY_READ,
        Action.REGISTRIES_READ,
        Action.LINKAGES_READ,
        Action.SIGN_IN,
        Action.SIGN_OUT,
    }
)

_READ_LINKS = frozenset(
    {
        Action.LINKS_READ,
        Action.LINKS_EXPORT,
        Action.LINK_READ,
        Action.CASES_READ,
        Action.CASE_READ,
    }
)

POLICY: Mapping[Role, frozenset[Action]] = MappingProxyType(
    {
        Role.ANALYST: _EVERYONE | _READ_LINKS | {Action.LINK_DECIDE},
        Role.OPERATOR: _EVERYONE | {Action.LINKAGE_START, Action.LINKAGE_CANCEL, Action.AUDIT_READ},
        Role.PROVINCE: _EVERYONE | _READ_LINKS,
    }
)


@dataclass(frozen=True)
class Principal:
    """A person as their token names them. `registry` is set for a province and for nobody else."""

    token_id: str
    name: str
    role: Role
    registry: str = ""

    def may(self, action: Action) -> bool:
        """Whether the policy table grants `action`."""
        return action in POLICY.get(self.role, frozenset())

    @property
    def label(self) -> str:
        """How the linker and the history name this person."""
        return f"{self.name} ({self.role.value})"
