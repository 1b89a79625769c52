"""The key schedule: against `cryptography`, RFC vectors, and what each key must be bound to."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given
from hypothesis import strategies as st
from kinlink_core.encoding import keys

CONTEXT = keys.Context(keys.MODE_PLAIN, "test", "2026-11", "f" * 64)
EVALUATIONS = {keys.MODE_PLAIN: b"", keys.MODE_KEY_SERVER: b"y" * keys.EVALUATION_BYTES}
SECRET = keys.EpochSecret("2026-11", bytes(range(32)))
SCHEDULE = keys.KeySchedule(CONTEXT, SECRET)
DAY = 20_780  # since 1970


def blocking_key(value: bytes = b"value") -> bytes:
    return SCHEDULE.blocking_keys([keys.blocking_input("name", 0, (value,))], [b""])[0]


def test_extract_and_expand_give_the_rfc_5869_vector() -> None:
    # RFC 5869, A.1, truncated to the 32 bytes that one HMAC gives.
    prk = keys.extract(bytes(range(13)), bytes([0x0B] * 22))
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    okm = keys.expand(prk, bytes(range(0xF0, 0xFA)))
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=40), st.integers(1, 32))
def test_expand_equals_the_library(prk: bytes, info: bytes, length: int) -> None:
    assert keys.expand(prk, info, length) == HKDFExpand(hashes.SHA256(), length, info).derive(prk)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_extract_then_expand_equals_the_library(salt: bytes, ikm: bytes) -> None:
    whole = HKDF(hashes.SHA256(), 32, salt, b"info").derive(ikm)
    assert keys.expand(keys.extract(salt, ikm), b"info") == whole


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_length_prefixes_keep_different_lists_apart(a: list[bytes], b: list[bytes]) -> None:
    assert (keys.lp(*a) == keys.lp(*b)) == (a == b)


def test_blocking_keys_follow_the_written_formula() -> None:
    x = keys.blocking_input("name", 0, (b"value",))
    for mode, y in EVALUATIONS.items():
        context = keys.Context(mode, "test", "2026-11", "f" * 64)
        salt = hashlib.sha256(context.to_bytes()).digest()
        derived = keys.KeySchedule(context, SECRET).blocking_keys([x], [y])
        assert derived == [keys.extract(salt, keys.lp(SECRET.secret) + keys.lp(y, x))]


@pytest.mark.parametrize(
    "other",
    [
        keys.Context(keys.MODE_KEY_SERVER, "test", "2026-11", "f" * 64),
        keys.Context(keys.MODE_PLAIN, "other", "2026-11", "f" * 64),
        keys.Context(keys.MODE_PLAIN, "test", "2026-11", "e" * 64),
    ],
)
def test_every_part_of_the_context_changes_every_token(other: keys.Context) -> None:
    x = [keys.blocking_input("name", 0, (b"value",))]
    changed = keys.KeySchedule(other, SECRET).blocking_keys(x, [EVALUATIONS[other.mode]])[0]
    assert keys.token(changed) != keys.token(blocking_key())


def test_a_secret_of_another_epoch_is_refused_by_the_schedule() -> None:
    with pytest.raises(keys.KeyFault, match="different epochs"):
        keys.KeySchedule(CONTEXT, keys.EpochSecret.generate("2026-12"))


def test_two_registries_agree_on_their_pair_key_and_a_third_does_not_share_it() -> None:
    a, b, c = (keys.AgreementKey.generate() for _ in range(3))
    ab = a.registry_pair_key(b.public, context=CONTEXT, own="a", partner="b")
    assert ab == b.registry_pair_key(a.public, context=CONTEXT, own="b", partner="a")
    assert ab != c.registry_pair_key(b.public, context=CONTEXT, own="a", partner="b")


def test_a_sealed_secret_opens_only_for_its_recipient_epoch_and_federation() -> None:
    recipient, other = keys.AgreementKey.generate(), keys.AgreementKey.generate()
    envelope = keys.seal_secret(SECRET, recipient.public, federation="test")
    assert recipient.open_secret(envelope, federation="test", epoch="2026-11") == SECRET
    for key, federation, epoch in (
        (other, "test", "2026-11"),
        (recipient, "prod", "2026-11"),
        (recipient, "test", "2026-12"),
    ):
        with pytest.raises(keys.KeyFault):
            key.open_secret(envelope, federation=federation, epoch=epoch)
    with pytest.raises(keys.KeyFault, match="cut off"):
        recipient.open_secret(envelope[:-1], federation="test", epoch="2026-11")


def test_no_secret_shows_in_a_representation() -> None:
    shown = repr(SECRET) + repr(SCHEDULE) + repr(keys.AgreementKey.generate())
    assert SECRET.secret.hex() not in shown
    assert repr(SECRET.secret) not in shown


def test_an_agreement_key_survives_its_pem() -> None:
    key = keys.AgreementKey.generate()
    assert keys.AgreementKey.from_pem(key.to_pem()).public == key.public


def test_an_unusable_partner_key_is_refused() -> None:
    with pytest.raises(keys.KeyFault, match="unusable"):
        keys.AgreementKey.generate().registry_pair_key(
            bytes(32), context=CONTEXT, own="a", partner="b"
        )
