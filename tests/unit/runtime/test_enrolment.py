"""A service enrols under one identity, and installs only the certificate that fits it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import ConflictError, InvalidInputError, Reason
from kinlink_core.runtime.enrolment import Enrolment
from kinlink_core.runtime.identity import Identity, Role
from kinlink_core.runtime.pki import request_identity
from kinlink_core.runtime.tls import TlsFiles
from support.pki import FEDERATION, Federation, other_federation

if TYPE_CHECKING:
    from pathlib import Path

WHO = Identity(FEDERATION, Role.KEYSERVER, "keys")


@pytest.fixture
def enrolment(tmp_path: Path) -> Enrolment:
    made = Enrolment(tmp_path / "tls", Role.KEYSERVER)
    made.enrol(WHO, ["keys.example.org"])
    return made


def test_a_request_states_the_identity_and_a_second_one_keeps_the_key(
    enrolment: Enrolment,
) -> None:
    key = enrolment.key.read_bytes()
    assert enrolment.key.stat().st_mode & 0o777 == 0o600
    assert request_identity(enrolment.request.read_bytes()) == WHO
    enrolment.enrol(WHO, [])
    assert enrolment.key.read_bytes() == key


def test_the_answer_that_fits_is_installed_and_serves(tmp_path: Path, enrolment: Enrolment) -> None:
    authority = Federation(tmp_path / "pki").authority
    chain = authority.issue(enrolment.request.read_bytes(), "keyserver", "keys")
    enrolment.install(WHO, chain, authority.cert_pem)
    assert TlsFiles.in_dir(enrolment.directory).load().identity == WHO


def test_an_answer_for_another_role_name_key_or_authority_is_not_installed(
    tmp_path: Path, enrolment: Enrolment
) -> None:
    ours, theirs = Federation(tmp_path / "a").authority, other_federation(tmp_path / "b").authority
    request = enrolment.request.read_bytes()
    other = Enrolment(tmp_path / "other", Role.KEYSERVER)
    other.enrol(WHO, [])
    for chain in (
        ours.issue(request, "registry", "keys"),
        ours.issue(request, "keyserver", "other"),
        ours.issue(other.request.read_bytes(), "keyserver", "keys"),
        theirs.issue(request, "keyserver", "keys"),
    ):
        with pytest.raises(InvalidInputError) as raised:
            enrolment.install(WHO, chain, ours.cert_pem)
        assert raised.value.reason is Reason.CERTIFICATE_INVALID
        assert not enrolment.certificate.exists()


def test_who_it_is_is_said_once_and_then_known(tmp_path: Path, enrolment: Enrolment) -> None:
    assert enrolment.identity(None, None) == WHO
    assert enrolment.identity(FEDERATION, "keys") == WHO
    for federation, name in ((None, "other"), ("other", None)):
        with pytest.raises(ConflictError, match="already that of keyserver/keys"):
            enrolment.identity(federation, name)
    settled = Identity(FEDERATION, Role.KEYSERVER, "settled")
    assert enrolment.identity(None, "settled", known=settled) == settled
    fresh = Enrolment(tmp_path / "fresh", Role.KEYSERVER)
    assert fresh.identity(FEDERATION, "new").name == "new"
    with pytest.raises(InvalidInputError, match="Say who this keyserver is"):
        fresh.identity(FEDERATION, None)
