"""Where a registry keeps its things: one directory, every path of it named here."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HOME_ENV = "KINLINK_REGISTRY_HOME"
DIRECTORY_MODE = 0o700
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
    def tls_key(self) -> Path:
        """Private key of the certificate, mode 0600."""
        return self.root / "tls" / "key.pem"

    @property
    def tls_request(self) -> Path:
        """Certificate request that `enrol` makes."""
        return self.root / "tls" / "request.pem"

    @property
    def tls_certificate(self) -> Path:
        """Certificate chain, leaf first."""
        return self.root / "tls" / "cert.pem"

    @property
    def tls_authority(self) -> Path:
        """Certificate of the federation's authority."""
        return self.root / "tls" / "ca.pem"

    @property
    def agreement_key(self) -> Path:
        """X25519 key of registry pairs, mode 0600."""
        return self.root / "keys" / "agreement.pem"

    @property
    def epochs(self) -> Path:
        """Epoch secrets, one file each, sealed under the vault key."""
        return self.root / "keys" / "epochs"

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


def make_directory(path: Path) -> None:
    """Make a directory, and its parents, that only its owner may enter."""
    if not path.exists():
        make_directory(path.parent)
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)


def is_served(home: Home) -> bool:
    """Whether a process answers on the local socket; a file that a crash left does not count."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_SECONDS_MAX)
        try:
            client.connect(str(home.socket))
        except OSError:
            return False
    return True
