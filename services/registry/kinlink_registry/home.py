"""Where a registry keeps its things: one directory, every path of it named here."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.runtime.enrolment import Enrolment
from kinlink_core.runtime.identity import Role

if TYPE_CHECKING:
    from pathlib import Path

CONNECT_SECONDS_MAX = 2.0


@dataclass(frozen=True)
class Home:
    """The paths of one registry."""

    root: Path

    @property
    def settings(self) -> Path:
        """Settings, written by the operator."""
        return self.root / "registry.toml"

    @property
    def enrolment(self) -> Enrolment:
        """The certificate files that `enrol` and `install-cert` make."""
        return Enrolment(self.root / "tls", Role.REGISTRY)

    @property
    def agreement_key(self) -> Path:
        """X25519 key of registry pairs, mode 0600."""
        return self.root / "keys" / "agreement.pem"

    @property
    def epochs(self) -> Path:
        """Epoch secrets, one file each, sealed under the vault key."""
        return self.root / "keys" / "epochs"

    @property
    def revoked(self) -> Path:
        """Registries that are no longer trusted here."""
        return self.root / "keys" / "revoked.json"

    @property
    def vault_key(self) -> Path:
        """Default place of the vault key, mode 0600."""
        return self.root / "vault.key"

    @property
    def vault(self) -> Path:
        """The DuckDB file."""
        return self.root / "vault.duckdb"

    @property
    def socket(self) -> Path:
        """Local socket of a serving registry, mode 0600."""
        return self.root / "registry.sock"

    @property
    def ready(self) -> Path:
        """Addresses of a serving registry; absent when nothing serves."""
        return self.root / "ready.json"

    @property
    def audit(self) -> Path:
        """Audit log: who asked what, and how many rows of it."""
        return self.root / "audit.jsonl"

    @property
    def reports(self) -> Path:
        """Reports of rejected rows."""
        return self.root / "reports"


def is_served(home: Home) -> bool:
    """Whether a process answers on the local socket; a file that a crash left does not count."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_SECONDS_MAX)
        try:
            client.connect(str(home.socket))
        except OSError:
            return False
    return True
