"""Sealing what rests on a disk under a key that lies apart from it.

AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces; each blob is bound to its place by its
associated data, and each store has a key of its own, derived by HKDF from the key of its source.

Not guaranteed: whoever holds the key and the blobs reads everything; a file system may keep
the blocks of a deleted file until they are overwritten.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kinlink_core.errors import PreconditionError, Reason

SEALING_KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class Sealer:
    """Seals and opens bytes of one store; `store` names it, such as `key server`."""

    def __init__(self, key: bytes, store: str) -> None:
        if len(key) != SEALING_KEY_BYTES:
            raise PreconditionError(
                Reason.KEY_MISSING, f"A sealing key has {SEALING_KEY_BYTES} bytes; this has not."
            )
        info = f"kinlink/v1 sealing {store}".encode()
        self._aead = AESGCM(HKDF(hashes.SHA256(), SEALING_KEY_BYTES, None, info).derive(key))
        self._store = store

    def __repr__(self) -> str:
        return f"Sealer({self._store!r}, ***)"

    def seal(self, place: bytes, plaintext: bytes) -> bytes:
        """Seal bytes for one place of the store."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plaintext, place)

    def open(self, place: bytes, blob: bytes) -> bytes:
        """Open what was sealed for this place; `PreconditionError` under another key or place."""
        try:
            return self._aead.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], place)
        except (InvalidTag, ValueError) as error:
            raise PreconditionError(
                Reason.KEY_MISSING, f"The key of the {self._store} does not open what rests here."
            ) from error
