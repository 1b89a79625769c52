"""Certificates of a federation: keys, requests and a small authority.

P-256 keys, X.509 v3 as RFC 5280. One self-signed CA a federation, leaves signed by it; a leaf is
both a TLS client and a TLS server. A certificate says who a peer is, nothing else: what it may do
is the policy of each server. There is no revocation list: leaves are short-lived, and a registry
that must go gets no secret for the next epoch.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.cards import Card, sign_card, verify_card
from kinlink_core.runtime.chain import (
    certificate_identity,
    days_left,
    identity_of_names,
    verify_chain,
    verify_key,
)
from kinlink_core.runtime.identity import DNS_SUFFIX, Identity, Role, check_name

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Card",
    "CertificateAuthority",
    "certificate_identity",
    "days_left",
    "make_ca",
    "make_csr",
    "make_key",
    "request_identity",
    "sign_card",
    "verify_card",
    "verify_chain",
    "verify_key",
]

CA_DAYS = 3650
LEAF_DAYS = 90
# A peer whose clock is behind must accept a certificate made just now.
CLOCK_SKEW = dt.timedelta(minutes=5)


def make_key() -> bytes:
    """A new P-256 private key, PEM (PKCS #8, not encrypted)."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def make_csr(
    key_pem: bytes, federation: str, role: str, name: str, hosts: Sequence[str] = ()
) -> bytes:
    """A certificate request (PEM) for an identity and the host names or addresses it serves on."""
    identity = Identity(federation, Role(role), name)
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(identity))
        .add_extension(_alternative_names(identity, hosts), critical=False)
    )
    request = builder.sign(_load_key(key_pem), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def request_identity(csr_pem: bytes) -> Identity:
    """Whom a request asks to be, for the authority's operator to look at before issuing."""
    return identity_of_names(_load_request(csr_pem).extensions)


def make_ca(federation: str, days: float = CA_DAYS) -> CertificateAuthority:
    """A new self-signed authority of a federation."""
    check_name("federation", federation)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, federation),
            x509.NameAttribute(NameOID.COMMON_NAME, "Kinlink CA"),
        ]
    )
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _dated(x509.CertificateBuilder(), dt.datetime.now(dt.UTC), days)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(key_id, critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return CertificateAuthority(
        federation, certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key)
    )


@dataclass(frozen=True)
class CertificateAuthority:
    """The authority of one federation; `key_pem` is its private key and masked in `repr`."""

    federation: str
    cert_pem: bytes
    key_pem: bytes = field(repr=False)

    def issue(
        self,
        csr_pem: bytes,
        role: str,
        name: str,
        hosts: Sequence[str] = (),
        days: float = LEAF_DAYS,
        *,
        not_before: dt.datetime | None = None,
    ) -> bytes:
        """A leaf certificate (PEM) for the key of a request; the authority decides all else."""
        request = _load_request(csr_pem)
        identity = Identity(self.federation, Role(role), name)
        issuer = x509.load_pem_x509_certificate(self.cert_pem)
        issuer_key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        public_key = request.public_key()
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise _bad_request("The request's key must be a P-256 key.")
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        start = not_before or dt.datetime.now(dt.UTC)
        builder = (
            _dated(x509.CertificateBuilder(), start, days)
            .subject_name(_subject(identity))
            .issuer_name(issuer.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(_alternative_names(identity, hosts), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id),
                critical=False,
            )
        )
        certificate = builder.sign(_load_key(self.key_pem), hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)


def _dated(
    builder: x509.CertificateBuilder, start: dt.datetime, days: float
) -> x509.CertificateBuilder:
    return builder.not_valid_before(start - CLOCK_SKEW).not_valid_after(
        start + dt.timedelta(days=days)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(identity: Identity) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.federation),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, identity.role),
            x509.NameAttribute(NameOID.COMMON_NAME, identity.name),
        ]
    )


def _alternative_names(identity: Identity, hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(identity.uri),
        x509.DNSName(identity.dns_name),
    ]
    return x509.SubjectAlternativeName(names + [_host_name(host) for host in hosts])


def _host_name(host: str) -> x509.GeneralName:
    if host.lower().rstrip(".").endswith(DNS_SUFFIX):
        raise _bad_request(f"No host may end in {DNS_SUFFIX}: those names state identities.")
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _bad_request("The key must be a P-256 key.")
    return key


def _load_request(csr_pem: bytes) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
    except ValueError as error:
        raise _bad_request("The certificate request is not PEM.") from error
    if not request.is_signature_valid:
        raise _bad_request("The certificate request is not signed by its own key.")
    return request


def _bad_request(public: str) -> InvalidInputError:
    return InvalidInputError(Reason.CERTIFICATE_INVALID, public)
