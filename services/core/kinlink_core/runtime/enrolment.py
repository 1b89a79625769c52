"""How a service gets its certificate: a key and a request for the authority, and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.errors import ConflictError, InvalidInputError, Reason
from kinlink_core.runtime.chain import verify_chain, verify_key
from kinlink_core.runtime.files import (
    make_directory,
    read_file,
    read_secret_file,
    write_file,
    write_secret_file,
)
from kinlink_core.runtime.identity import Identity, Role, check_name
from kinlink_core.runtime.pki import make_csr, make_key, request_identity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Enrolment:
    """The certificate files of one service, in `directory`."""

    directory: Path
    role: Role

    @property
    def key(self) -> Path:
        """Private key of the certificate, mode 0600."""
        return self.directory / "key.pem"

    @property
    def request(self) -> Path:
        """Certificate request for the authority."""
        return self.directory / "request.pem"

    @property
    def certificate(self) -> Path:
        """Certificate chain, leaf first."""
        return self.directory / "cert.pem"

    @property
    def authority(self) -> Path:
        """Certificate of the federation's authority."""
        return self.directory / "ca.pem"

    def identity(
        self, federation: str | None, name: str | None, *, known: Identity | None = None
    ) -> Identity:
        """Who the service is: as its settings say (`known`), else its request, else as told.

        Raises:
            InvalidInputError: nobody says it.
            ConflictError: what is told differs from what is known.
        """
        if known is None and self.request.exists():
            known = request_identity(read_file(self.request))
        if known is None:
            if not (federation and name):
                raise InvalidInputError(
                    Reason.CONFIG_INVALID,
                    f"Say who this {self.role} is: --federation and --name.",
                )
            known = Identity(check_name("federation", federation), self.role, name)
        if federation not in (None, known.federation) or name not in (None, known.name):
            raise ConflictError(
                Reason.CONFIG_INVALID,
                f"This home is already that of {known} in {known.federation}.",
            )
        return known

    def enrol(self, identity: Identity, hosts: Sequence[str]) -> None:
        """Write a key, unless there is one, and a request for a certificate of it."""
        make_directory(self.directory)
        if not self.key.exists():
            write_secret_file(self.key, make_key())
        request = make_csr(
            read_secret_file(self.key), identity.federation, identity.role, identity.name, hosts
        )
        write_file(self.request, request)

    def install(self, identity: Identity, chain: bytes, authority: bytes) -> None:
        """Put the authority's answer to use if chain, name and key fit; nothing otherwise."""
        verify_key(chain, read_secret_file(self.key))
        verify_chain(chain, authority, identity.federation, self.role, identity.name)
        write_file(self.certificate, chain)
        write_file(self.authority, authority)
