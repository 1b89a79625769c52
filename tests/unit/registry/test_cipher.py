from __future__ import annotations

import os

import numpy as np
import pytest
from kinlink_core.errors import PreconditionError
from kinlink_registry.cipher import VAULT_KEY_BYTES, VaultCipher, record_name


@pytest.fixture
def cipher() -> VaultCipher:
    return VaultCipher(bytes(range(VAULT_KEY_BYTES)))


def test_what_is_sealed_opens_at_its_place_only(cipher: VaultCipher) -> None:
    sealed = cipher.seal(b"record 1 1", b"values")
    assert cipher.open(b"record 1 1", sealed) == b"values"
    with pytest.raises(PreconditionError):
        cipher.open(b"record 1 2", sealed)


def test_the_same_bytes_are_never_sealed_alike(cipher: VaultCipher) -> None:
    assert len(set(cipher.seal_all((b"place", b"values") for _ in range(100)))) == 100


def test_a_changed_or_shortened_blob_does_not_open(cipher: VaultCipher) -> None:
    sealed = cipher.seal(b"place", b"values")
    for broken in (sealed[:-1], sealed[:10], b"", bytes([sealed[0] ^ 1]) + sealed[1:]):
        with pytest.raises(PreconditionError):
            cipher.open(b"place", broken)


def test_another_key_is_recognised(cipher: VaultCipher) -> None:
    check = cipher.key_check()
    assert cipher.fits(check)
    assert not VaultCipher(os.urandom(VAULT_KEY_BYTES)).fits(check)


def test_ids_depend_on_the_key_and_on_nothing_else(cipher: VaultCipher) -> None:
    same, other = VaultCipher(bytes(range(VAULT_KEY_BYTES))), VaultCipher(bytes(VAULT_KEY_BYTES))
    local_key = cipher.local_key("510104-1988")
    assert local_key == same.local_key("510104-1988") != other.local_key("510104-1988")
    keys = np.frombuffer(local_key * 2, np.uint8).reshape(2, 16)
    versions = np.array([1, 2], np.int32)
    first, second = (row.tobytes() for row in cipher.record_tags(keys, versions))
    assert first == same.record_tags(keys, versions)[0].tobytes() != local_key
    assert first != second != other.record_tags(keys, versions)[1].tobytes()
    assert record_name(first) == record_name(second) == cipher.record_names(keys)[1].tobytes()
    assert cipher.local_key("x") != cipher.content_digest(b"x")


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(PreconditionError):
        VaultCipher(b"short")


def test_a_cipher_does_not_show_its_key(cipher: VaultCipher) -> None:
    assert repr(cipher) == "VaultCipher(***)"
