"""Checks of a certificate: its chain to the federation's CA, its identity, its key.

Path validation is RFC 5280 as `cryptography.x509.verification` does it (dates, constraints,
signatures, key usage). Not guaranteed: revocation, which a federation does by epochs.
"""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification

from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.identity import Identity

SECONDS_PER_DAY = 86_400.0


def verify_chain(
    cert_chain_pem: bytes,
    ca_pem: bytes,
    federation: str,
    role: str | None = None,
    name: str | None = None,
    *,
    now: dt.datetime | None = None,
) -> Identity:
    """Verify a chain, leaf first, and return whose it is; `None` accepts any role or name.

    Raises:
        InvalidInputError: `CERTIFICATE_INVALID`, with what does not fit.
    """
    chain = _certificates(cert_chain_pem, "certificate")
    roots = _certificates(ca_pem, "CA certificate")
    builder = verification.PolicyBuilder().store(verification.Store(roots))
    verifier = builder.time(now or dt.datetime.now(dt.UTC)).build_client_verifier()
    try:
        verifier.verify(chain[0], chain[1:])
    except verification.VerificationError as error:
        raise _invalid(
            "The certificate does not verify against the federation's CA.", detail=str(error)
        ) from error
    identity = certificate_identity(chain[0])
    _expect("federation", identity.federation, federation)
    _expect("role", identity.role, role)
    _expect("name", identity.name, name)
    return identity


def certificate_identity(certificate: x509.Certificate | bytes) -> Identity:
    """The identity in the only URI SAN of a certificate (or of the leaf of a PEM chain)."""
    if isinstance(certificate, bytes):
        certificate = _certificates(certificate, "certificate")[0]
    return identity_of_names(certificate.extensions)


def identity_of_names(extensions: x509.Extensions) -> Identity:
    """The identity that the only URI among subject alternative names states."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise _invalid("The certificate has no subject alternative name.") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise _invalid("The certificate must have exactly one URI name.")
    try:
        return Identity.from_uri(uris[0])
    except InvalidInputError as error:
        raise _invalid("The certificate's URI name is not a Kinlink identity.") from error


def verify_key(cert_chain_pem: bytes, key_pem: bytes) -> None:
    """Check that a private key is the one the leaf was issued for."""
    leaf = _certificates(cert_chain_pem, "certificate")[0]
    try:
        public = serialization.load_pem_private_key(key_pem, password=None).public_key()
    except (ValueError, TypeError) as error:
        raise _invalid("The private key is not an unencrypted PEM key.") from error
    if _spki(public) != _spki(leaf.public_key()):
        raise _invalid("The certificate was issued for another private key.")


def certificate_serial(cert_chain_pem: bytes) -> str:
    """Serial number of the leaf, in lower-case hex without leading zeros."""
    return f"{_certificates(cert_chain_pem, 'certificate')[0].serial_number:x}"


def days_left(cert_chain_pem: bytes, *, now: dt.datetime | None = None) -> float:
    """Days until the leaf expires; negative when it has."""
    leaf = _certificates(cert_chain_pem, "certificate")[0]
    left = leaf.not_valid_after_utc - (now or dt.datetime.now(dt.UTC))
    return left.total_seconds() / SECONDS_PER_DAY


def _certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise _invalid(f"The {what} is not PEM.") from error


def _spki(public: object) -> bytes:
    encoded: bytes = public.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _expect(what: str, actual: str, expected: str | None) -> None:
    if expected is not None and actual != expected:
        raise _invalid(f"The certificate is for {what} {actual}, not {expected}.")


def _invalid(public: str, *, detail: str = "") -> InvalidInputError:
    return InvalidInputError(Reason.CERTIFICATE_INVALID, public, detail=detail)
