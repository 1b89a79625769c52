"""Where a key server keeps its things: one directory, every path of it named here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.runtime.enrolment import Enrolment
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.ready import READY_FILE

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The paths of one key server."""

    root: Path

    @property
    def settings(self) -> Path:
        """Settings, written by the operator."""
        return self.root / "keyserver.toml"

    @property
    def enrolment(self) -> Enrolment:
        """The certificate files that `enrol` and `install-cert` make."""
        return Enrolment(self.root / "tls", Role.KEYSERVER)

    @property
    def epochs(self) -> Path:
        """Epoch seeds, one file each, sealed under the key file."""
        return self.root / "keys" / "epochs"

    @property
    def ledger(self) -> Path:
        """What was evaluated, for whom: the SQLite file that budgets are held against."""
        return self.root / "ledger.sqlite"

    @property
    def ready(self) -> Path:
        """Addresses of a serving key server; absent when nothing serves."""
        return self.root / READY_FILE

    @property
    def audit(self) -> Path:
        """Audit log: who had how many values evaluated, of which pass and epoch."""
        return self.root / "audit.jsonl"
