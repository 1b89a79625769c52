"""A throwaway federation: one CA and certificate files for any role, name or fault."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kinlink_core.runtime.files import write_file, write_secret_file
from kinlink_core.runtime.pki import CertificateAuthority, make_ca, make_csr, make_key
from kinlink_core.runtime.tls import TlsFiles

if TYPE_CHECKING:
    from pathlib import Path

FEDERATION = "test-federation"
HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Federation:
    """Issues into `directory/ROLE-NAME/{key,cert,ca}.pem`."""

    directory: Path
    name: str = FEDERATION
    authority: CertificateAuthority = field(default_factory=lambda: make_ca(FEDERATION))

    def tls(self, role: str, name: str, *, days: float = 30, ago_days: float = 0) -> TlsFiles:
        """Files of a peer, valid for `days` from `ago_days` ago."""
        home = self.directory / f"{role}-{name}"
        home.mkdir(parents=True, exist_ok=True)
        files = TlsFiles.in_dir(home)
        self.issue_into(files, role, name, days=days, ago_days=ago_days)
        return files

    def issue_into(
        self, files: TlsFiles, role: str, name: str, *, days: float = 30, ago_days: float = 0
    ) -> None:
        """Write a fresh key and certificate over the files, as a rotation does."""
        key = make_key()
        start = dt.datetime.now(dt.UTC) - dt.timedelta(days=ago_days)
        request = make_csr(key, self.authority.federation, role, name, HOSTS)
        certificate = self.authority.issue(request, role, name, HOSTS, days, not_before=start)
        write_secret_file(files.key, key)
        write_file(files.cert, certificate)
        write_file(files.ca, self.authority.cert_pem)


def other_federation(directory: Path, name: str = FEDERATION) -> Federation:
    """A federation with another CA, of the same name unless told."""
    return Federation(directory, name, make_ca(name))
