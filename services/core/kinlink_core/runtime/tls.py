"""TLS of every gRPC connection: files, credentials that demand certificates, the peer's identity.

Servers read their files again at each new connection when they changed, so a rotated certificate
needs no restart; Python gRPC clients cannot, so a client opens one channel a job.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc
import structlog

from kinlink_core.errors import InvalidInputError, KinlinkError, Reason, UnauthenticatedError
from kinlink_core.runtime.chain import certificate_identity, days_left, verify_key
from kinlink_core.runtime.files import read_file, read_secret_file
from kinlink_core.runtime.identity import Identity, Role

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "Identity",
    "Role",
    "TlsFiles",
    "TlsMaterial",
    "certificate_days_left",
    "client_credentials",
    "peer_identity",
    "server_credentials",
]

# gRPC puts each URI name of the verified client certificate here.
_PEER_URI: Final = "peer_uri"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TlsMaterial:
    """What the files of one process hold; the key is masked in `repr`."""

    key_pem: bytes = field(repr=False)
    cert_pem: bytes
    ca_pem: bytes
    identity: Identity


@dataclass(frozen=True)
class TlsFiles:
    """Where a process keeps its key (mode 0600), its certificate chain and the federation's CA."""

    key: Path
    cert: Path
    ca: Path

    @classmethod
    def in_dir(cls, directory: Path) -> TlsFiles:
        """`key.pem`, `cert.pem` and `ca.pem` of a directory."""
        return cls(directory / "key.pem", directory / "cert.pem", directory / "ca.pem")

    def load(self) -> TlsMaterial:
        """Read all three and check that key and certificate belong together."""
        key_pem = read_secret_file(self.key)
        cert_pem = read_file(self.cert)
        verify_key(cert_pem, key_pem)
        return TlsMaterial(key_pem, cert_pem, read_file(self.ca), certificate_identity(cert_pem))

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Changes whenever one of the files does."""
        stats = [path.stat() for path in (self.key, self.cert, self.ca)]
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)


def client_credentials(material: TlsMaterial) -> grpc.ChannelCredentials:
    """Credentials that present our certificate and trust the federation's CA alone."""
    return grpc.ssl_channel_credentials(
        root_certificates=material.ca_pem,
        private_key=material.key_pem,
        certificate_chain=material.cert_pem,
    )


def server_credentials(
    files: TlsFiles, on_reload: Callable[[str], None] = lambda _outcome: None
) -> grpc.ServerCredentials:
    """Credentials that demand a client certificate and follow the files as they rotate.

    `on_reload` hears `"loaded"` or `"failed"`; files that do not fit together (a rotation that is
    half done) leave the certificate in use as it is.
    """
    fetcher = _Fetcher(files, on_reload)
    return grpc.dynamic_ssl_server_credentials(
        fetcher.initial,
        fetcher,  # type: ignore[arg-type]  # the stub forgets that None means no change
        require_client_authentication=True,
    )


class _Fetcher:
    """Called by gRPC before each handshake; answers None while nothing changed."""

    def __init__(self, files: TlsFiles, on_reload: Callable[[str], None]) -> None:
        self._files = files
        self._on_reload = on_reload
        self._lock = threading.Lock()
        self._stamp = files.stamp()
        self.initial = _configuration(files.load())

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            try:
                stamp = self._files.stamp()
                if stamp == self._stamp:
                    return None
                configuration = _configuration(self._files.load())
            except (OSError, KinlinkError) as error:
                _log.warning("certificate_reload_failed", error=type(error).__name__)
                self._on_reload("failed")
                return None
            self._stamp = stamp
        _log.info("certificate_reloaded")
        self._on_reload("loaded")
        return configuration


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key_pem, material.cert_pem)], root_certificates=material.ca_pem
    )


def peer_identity(context: grpc.ServicerContext) -> Identity:
    """The identity in the URI SAN of the verified client certificate of a call."""
    uris = context.auth_context().get(_PEER_URI, ())
    if len(uris) != 1:
        raise UnauthenticatedError(Reason.IDENTITY_MISSING)
    try:
        return Identity.from_uri(bytes(uris[0]).decode("ascii"))
    except (InvalidInputError, UnicodeDecodeError) as error:
        raise UnauthenticatedError(Reason.IDENTITY_MISSING) from error


def certificate_days_left(path: Path) -> float:
    """Days until the leaf in a PEM file expires; negative when it has."""
    return days_left(read_file(path))
