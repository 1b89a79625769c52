from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kinlink_core.errors import ForbiddenError, InvalidInputError, Reason
from kinlink_core.runtime.identity import Identity, Role
from kinlink_core.runtime.pki import (
    Card,
    CertificateAuthority,
    certificate_identity,
    days_left,
    make_ca,
    make_csr,
    make_key,
    request_identity,
    sign_card,
    verify_card,
    verify_chain,
    verify_key,
)

AGREEMENT_KEY = bytes(range(32))


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return make_ca("demo")


@pytest.fixture(scope="module")
def key() -> bytes:
    return make_key()


@pytest.fixture(scope="module")
def certificate(authority: CertificateAuthority, key: bytes) -> bytes:
    request = make_csr(key, "demo", "registry", "sichuan", ["localhost", "127.0.0.1"])
    return authority.issue(request, "registry", "sichuan", ["localhost", "127.0.0.1", "::1"])


@pytest.fixture(scope="module")
def card(key: bytes, certificate: bytes) -> Card:
    return sign_card(key_pem=key, certificate_chain=certificate, agreement_public_key=AGREEMENT_KEY)


def refused(caught: pytest.ExceptionInfo[InvalidInputError]) -> str:
    assert caught.value.reason is Reason.CERTIFICATE_INVALID
    return caught.value.public


def test_an_issued_certificate_verifies_and_states_its_identity(
    authority: CertificateAuthority, certificate: bytes
) -> None:
    identity = verify_chain(certificate, authority.cert_pem, "demo", "registry", "sichuan")
    assert identity == certificate_identity(certificate)
    assert identity == Identity("demo", Role.REGISTRY, "sichuan")
    assert 89 < days_left(certificate) <= 90


def test_a_certificate_lists_its_hosts_beside_its_stable_name(certificate: bytes) -> None:
    leaf = x509.load_pem_x509_certificate(certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "sichuan.registry.demo.kinlink.internal",
        "localhost",
    ]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("role", "name", "text"),
    [
        ("linker", "sichuan", "is for role registry, not linker"),
        ("registry", "shaanxi", "is for name sichuan, not shaanxi"),
    ],
)
def test_a_certificate_for_another_role_or_name_is_refused(
    authority: CertificateAuthority, certificate: bytes, role: str, name: str, text: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        verify_chain(certificate, authority.cert_pem, "demo", role, name)
    assert text in refused(caught)


def test_a_certificate_of_another_authority_is_refused(certificate: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        verify_chain(certificate, make_ca("demo").cert_pem, "demo")
    assert "does not verify" in refused(caught)


def test_a_certificate_for_another_federation_is_refused(
    authority: CertificateAuthority, certificate: bytes
) -> None:
    with pytest.raises(InvalidInputError, match="is for federation demo, not other"):
        verify_chain(certificate, authority.cert_pem, "other")


@pytest.mark.parametrize("days", [-1, 91])
def test_a_certificate_outside_its_dates_is_refused(
    authority: CertificateAuthority, certificate: bytes, days: int
) -> None:
    now = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    with pytest.raises(InvalidInputError) as caught:
        verify_chain(certificate, authority.cert_pem, "demo", now=now)
    assert "does not verify" in refused(caught)


def test_a_leaf_cannot_issue_certificates(
    authority: CertificateAuthority, key: bytes, certificate: bytes
) -> None:
    pretender = CertificateAuthority("demo", certificate, key)
    request = make_csr(make_key(), "demo", "linker", "evil")
    chain = pretender.issue(request, "linker", "evil") + certificate
    with pytest.raises(InvalidInputError):
        verify_chain(chain, authority.cert_pem, "demo")


def test_the_authority_decides_the_identity_and_not_the_request(
    authority: CertificateAuthority, key: bytes
) -> None:
    request = make_csr(key, "demo", "operator", "boss", ["evil.example"])
    assert request_identity(request) == Identity("demo", Role.OPERATOR, "boss")
    certificate = authority.issue(request, "registry", "sichuan")
    assert certificate_identity(certificate).name == "sichuan"
    assert b"evil" not in x509.load_pem_x509_certificate(certificate).public_bytes(
        serialization.Encoding.DER
    )


@pytest.mark.parametrize("host", ["linker.linker.demo.kinlink.internal", "x.KINLINK.internal."])
def test_no_host_may_pose_as_an_identity(
    authority: CertificateAuthority, key: bytes, host: str
) -> None:
    request = make_csr(key, "demo", "registry", "sichuan")
    with pytest.raises(InvalidInputError, match="those names state identities"):
        authority.issue(request, "registry", "sichuan", [host])


def test_a_certificate_goes_with_its_own_key_only(key: bytes, certificate: bytes) -> None:
    verify_key(certificate, key)
    with pytest.raises(InvalidInputError, match="another private key"):
        verify_key(certificate, make_key())
    with pytest.raises(InvalidInputError, match="not an unencrypted PEM key"):
        verify_key(certificate, b"no key")


def test_a_request_with_another_kind_of_key_is_refused(authority: CertificateAuthority) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(InvalidInputError, match="P-256"):
        authority.issue(make_csr(key, "demo", "linker", "linker"), "linker", "linker")


@pytest.mark.parametrize("pem", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAA\n"])
def test_what_is_no_pem_is_a_clear_error(authority: CertificateAuthority, pem: bytes) -> None:
    for attempt in (
        lambda: verify_chain(pem, authority.cert_pem, "demo"),
        lambda: verify_chain(authority.cert_pem, pem, "demo"),
        lambda: authority.issue(pem, "linker", "linker"),
        lambda: certificate_identity(pem),
    ):
        with pytest.raises(InvalidInputError, match="not PEM"):
            attempt()


def test_the_authoritys_key_does_not_show_in_its_repr(authority: CertificateAuthority) -> None:
    assert "PRIVATE" not in repr(authority)


def test_a_card_verifies_and_names_its_registry(
    authority: CertificateAuthority, card: Card
) -> None:
    assert card.registry == "sichuan"
    verify_card(card, ca_pem=authority.cert_pem, federation="demo", registry="sichuan")
    verify_card(card, ca_pem=authority.cert_pem, federation="demo")


def change(card: Card, **fields: object) -> Card:
    return dataclasses.replace(card, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"agreement_public_key": bytes(32)},
        {"agreement_public_key": AGREEMENT_KEY[:31]},
        {"registry": "shaanxi"},
        {"signature": b""},
        {"signature": b"\x30\x06\x02\x01\x01\x02\x01\x01"},
        {"certificate_chain": b"garbage"},
        {"certificate_chain": b"x" * 20_000},
    ],
)
def test_a_changed_card_is_refused(
    authority: CertificateAuthority, card: Card, fields: dict[str, object]
) -> None:
    with pytest.raises(ForbiddenError) as caught:
        verify_card(change(card, **fields), ca_pem=authority.cert_pem, federation="demo")
    assert caught.value.reason is Reason.CARD_INVALID


def test_a_card_of_another_registry_than_expected_is_refused(
    authority: CertificateAuthority, card: Card
) -> None:
    with pytest.raises(ForbiddenError):
        verify_card(card, ca_pem=authority.cert_pem, federation="demo", registry="shaanxi")


def test_only_a_registry_can_have_a_card(authority: CertificateAuthority) -> None:
    key = make_key()
    chain = authority.issue(make_csr(key, "demo", "linker", "sichuan"), "linker", "sichuan")
    forged = sign_card(key_pem=key, certificate_chain=chain, agreement_public_key=AGREEMENT_KEY)
    with pytest.raises(ForbiddenError):
        verify_card(forged, ca_pem=authority.cert_pem, federation="demo")


def test_a_card_of_another_authority_is_refused(card: Card) -> None:
    with pytest.raises(ForbiddenError):
        verify_card(card, ca_pem=make_ca("demo").cert_pem, federation="demo")
