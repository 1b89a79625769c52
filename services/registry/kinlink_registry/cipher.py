"""What the vault key does: seal what is at rest, and make ids that mean nothing without it.

AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces; each blob is bound to its place by its
associated data. Purposes have keys of their own, derived by HKDF from the vault key.

Not guaranteed: whoever holds the key file and the vault reads everything; DuckDB keeps deleted
blobs on its pages until they are overwritten, so deletion protects as far as the key does.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from kinlink_core.encoding.prf import Prf
from kinlink_core.errors import PreconditionError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from kinlink_registry.columns import Bytes

VAULT_KEY_BYTES = 32
NONCE_BYTES = 12
ID_BYTES = 16
# Of a record tag: the rest tells its versions apart.
RECORD_NAME_BYTES = 12

_CHECK_PLAINTEXT = b"kinlink vault key check"
_CHECK_PLACE = b"key check"


def record_name(tag: bytes) -> bytes:
    """The part of a record tag that stays the same over versions, padded to 16 bytes."""
    return tag[:RECORD_NAME_BYTES].ljust(ID_BYTES, b"\0")


class VaultCipher:
    """All that is derived from one vault key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != VAULT_KEY_BYTES:
            raise PreconditionError(
                Reason.KEY_MISSING, f"A vault key has {VAULT_KEY_BYTES} bytes; this file has not."
            )
        self._key = key
        self._aead = AESGCM(self._derive(b"rows"))
        self._local_id = self._derive(b"local ids")
        self._content = self._derive(b"content")
        self._tag = Prf(self._derive(b"record tags"))
        self._input = self._derive(b"blocking inputs")
        self.null_key = self._derive(b"missing values")

    def __repr__(self) -> str:
        return "VaultCipher(***)"

    def _derive(self, purpose: bytes) -> bytes:
        info = b"kinlink/v1 vault " + purpose
        return HKDF(hashes.SHA256(), VAULT_KEY_BYTES, None, info).derive(self._key)

    def seal(self, place: bytes, plaintext: bytes) -> bytes:
        """Seal bytes for one place of the vault."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plaintext, place)

    def seal_all(self, items: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """Seal many (place, plaintext) pairs; the tight loop of an ingest."""
        encrypt, random = self._aead.encrypt, os.urandom
        sealed = []
        for place, plaintext in items:
            nonce = random(NONCE_BYTES)
            sealed.append(nonce + encrypt(nonce, plaintext, place))
        return sealed

    def open(self, place: bytes, blob: bytes) -> bytes:
        """Open what was sealed for this place; `PreconditionError` under another key or place."""
        try:
            return self._aead.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], place)
        except (InvalidTag, ValueError) as error:
            raise PreconditionError(
                Reason.KEY_MISSING, "The vault key does not open what this vault holds."
            ) from error

    def open_all(self, items: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """Open many (place, blob) pairs."""
        return [self.open(place, blob) for place, blob in items]

    def key_check(self) -> bytes:
        """A blob that only this key opens, kept in the vault to recognise a wrong key."""
        return self.seal(_CHECK_PLACE, _CHECK_PLAINTEXT)

    def fits(self, key_check: bytes) -> bool:
        """Whether `key_check` was made under this key."""
        try:
            return self.open(_CHECK_PLACE, key_check) == _CHECK_PLAINTEXT
        except PreconditionError:
            return False

    def local_key(self, local_id: str) -> bytes:
        """What stands for an office's own id in the vault's tables; 16 bytes."""
        return hmac.digest(self._local_id, local_id.encode(), "sha256")[:ID_BYTES]

    def content_digest(self, content: bytes) -> bytes:
        """Tells a changed record from an unchanged one; 16 bytes."""
        return hmac.digest(self._content, content, "sha256")[:ID_BYTES]

    def input_digest(self, epoch_id: int, blocking_input: bytes) -> bytes:
        """What a blocking value's evaluation is found by, in one epoch; 16 bytes."""
        text = epoch_id.to_bytes(2, "big") + blocking_input
        return hmac.digest(self._input, text, "sha256")[:ID_BYTES]

    def record_names(self, local_keys: Bytes) -> Bytes:
        """What names n records to partners, whatever their version; (n, 16), padded."""
        names = np.zeros((len(local_keys), ID_BYTES), np.uint8)
        drawn = self._tag.islands(local_keys).draw(b"name", RECORD_NAME_BYTES)
        names[:, :RECORD_NAME_BYTES] = drawn
        return names

    def record_tags(self, local_keys: Bytes, versions: npt.NDArray[np.int32]) -> Bytes:
        """What names n records to partners; (n, 16).

        The first `RECORD_NAME_BYTES` stay the same over versions and epochs, the rest over epochs.
        """
        tags = self.record_names(local_keys)
        words = np.zeros((len(versions), 2), "<u8")
        words[:, 0] = versions
        editions = self._tag.pairs(local_keys, words.view(np.uint8), np.zeros_like(tags))
        tags[:, RECORD_NAME_BYTES:] = editions.draw(b"edition", ID_BYTES - RECORD_NAME_BYTES)
        return tags
