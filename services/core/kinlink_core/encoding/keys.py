"""Every key Kinlink derives, and from what: the key schedule of the federation on one page.

    ctx      = lp("kinlink/v1") ‖ lp(mode) ‖ lp(federation) ‖ lp(epoch) ‖ lp(schema fingerprint)
    x        = lp(pass) ‖ lp(blocking value)
    y        = VOPRF(x) with a key server, empty in plain mode
    BK       = HKDF-Extract(salt = SHA-256(ctx), ikm = lp(C_e) ‖ lp(y) ‖ lp(x))
    token    = HKDF-Expand(BK, "token", 16)
    M_AB     = HKDF-Expand(K_AB, "members", 32)    islands and proofs, from BK: `membership`
    D_AB     = HKDF-Expand(K_AB, "draws", 32)      all that is drawn for pairs: `prf`
    K_f      = HKDF(C_e, ctx ‖ lp(field), 32)

lp is a four-byte big-endian length followed by the bytes. HKDF is RFC 5869 with SHA-256; every
output here is at most 32 bytes, so Expand is one HMAC, and the hot paths call OpenSSL's HMAC
directly (a test holds them against `cryptography`'s HKDF).

Not guaranteed: in plain mode a registry that colludes with the linker can test guesses of blocking
values offline, because it knows C_e; and an epoch protects a stolen disk, not against a linker that
remembers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ENCODING_VERSION = "v1"
MODE_PLAIN: Final = "plain"
MODE_KEY_SERVER: Final = "key-server"

SECRET_BYTES = 32
KEY_BYTES = 32
TOKEN_BYTES = 16
HANDLE_BYTES = 16
EVALUATION_BYTES = 64  # y of a key server: SHA-512 over ristretto255

_NONCE_ZERO = bytes(12)


class KeyFault(ValueError):  # noqa: N818 - a fault of the input, named as the schema's faults are
    """A key, secret or sealed envelope has the wrong size or was not made for us."""


def lp(*parts: bytes) -> bytes:
    """Length-prefix each part, so that no two different lists of parts give the same bytes."""
    # A list: half the time of a generator, and every blocking value passes here.
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract of RFC 5869, 32 bytes."""
    return hmac.digest(salt, ikm, "sha256")


def expand(prk: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-Expand of RFC 5869 for at most 32 bytes."""
    return hmac.digest(prk, info + b"\x01", "sha256")[:length]


@dataclass(frozen=True)
class Context:
    """What every key of one epoch is bound to."""

    mode: str
    federation: str
    epoch: str
    fingerprint: str

    def to_bytes(self) -> bytes:
        """The `ctx` of the key schedule."""
        words = ("kinlink/" + ENCODING_VERSION, self.mode, self.federation, self.epoch)
        return lp(*(word.encode() for word in words), self.fingerprint.encode())


@dataclass(frozen=True)
class EpochSecret:
    """C_e, the registries' shared secret of one epoch; the linker never has it."""

    epoch: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise KeyFault(f"an epoch secret has {SECRET_BYTES} bytes, not {len(self.secret)}")

    @classmethod
    def generate(cls, epoch: str) -> EpochSecret:
        """Fresh random bytes, never derived from another epoch."""
        return cls(epoch, os.urandom(SECRET_BYTES))


class Evaluator(Protocol):
    """The seam for a key server: turns blocking inputs x into y, under a key of their pass."""

    def evaluate(self, pass_id: str, inputs: list[bytes]) -> list[bytes]:
        """One y for each x of a pass, in order."""


class PlainEvaluator:
    """Plain mode: no key server, y is empty."""

    def evaluate(self, pass_id: str, inputs: list[bytes]) -> list[bytes]:  # noqa: ARG002
        """Return an empty y for each x."""
        return [b""] * len(inputs)


@dataclass(frozen=True)
class KeySchedule:
    """All keys that follow from one epoch secret under one context."""

    context: Context
    secret: EpochSecret
    _salt: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.context.epoch != self.secret.epoch:
            raise KeyFault("the context and the secret belong to different epochs")
        object.__setattr__(self, "_salt", hashlib.sha256(self.context.to_bytes()).digest())

    def blocking_keys(self, inputs: list[bytes], evaluations: list[bytes]) -> list[bytes]:
        """BK of each blocking input x with its key-server evaluation y; 32 bytes each.

        `KeyFault` for a y of another mode: an empty one would quietly undo the key server.
        """
        length = EVALUATION_BYTES if self.context.mode == MODE_KEY_SERVER else 0
        if {len(y) for y in evaluations} - {length}:
            raise KeyFault(f"in mode {self.context.mode!r} an evaluation has {length} bytes")
        head = lp(self.secret.secret)
        salt = self._salt
        return [extract(salt, head + lp(y, x)) for x, y in zip(inputs, evaluations, strict=True)]

    def field_key(self, name: str) -> bytes:
        """K_f, the key of a field's sketches; 32 bytes."""
        return self.derive(b"field", name.encode())

    def derive(self, *purpose: bytes) -> bytes:
        """Derive a 32-byte key of this epoch for a purpose of its own."""
        return HKDF(
            hashes.SHA256(), KEY_BYTES, None, self.context.to_bytes() + lp(*purpose)
        ).derive(self.secret.secret)


def blocking_input(pass_id: str, level: int, parts: tuple[bytes, ...]) -> bytes:
    """Make x of a pass's composite blocking value; refinement levels are inputs of their own."""
    return lp(f"{pass_id}/{level}".encode(), lp(*parts))


def token(blocking_key: bytes) -> bytes:
    """What the linker sees instead of a blocking value; 16 bytes."""
    return expand(blocking_key, b"token", TOKEN_BYTES)


def draw_key(registry_pair_key: bytes) -> bytes:
    """D_AB, under which everything is drawn for pairs of two registries; 32 bytes."""
    return expand(registry_pair_key, b"draws")


def membership_key(registry_pair_key: bytes) -> bytes:
    """M_AB, under which two registries prove islands to each other; 32 bytes."""
    return expand(registry_pair_key, b"members")


@dataclass(frozen=True)
class AgreementKey:
    """A registry's long-lived X25519 key; its public half is certified in the registry's card."""

    _private: X25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> AgreementKey:
        """Make a new key."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> AgreementKey:
        """Read a key from PKCS#8 PEM."""
        private = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(private, X25519PrivateKey):
            raise KeyFault("the agreement key is not an X25519 key")
        return cls(private)

    def to_pem(self) -> bytes:
        """Write the key as unencrypted PKCS#8 PEM; the file's mode protects it."""
        return self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def public(self) -> bytes:
        """Raw public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    def _exchange(self, partner_public: bytes, info: bytes) -> bytes:
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(partner_public))
        except ValueError as error:
            raise KeyFault("the partner's agreement key is unusable") from error
        return HKDF(hashes.SHA256(), KEY_BYTES, None, info).derive(shared)

    def registry_pair_key(
        self, partner_public: bytes, *, context: Context, own: str, partner: str
    ) -> bytes:
        """K_AB: what two registries share and the linker does not; 32 bytes, one an epoch."""
        first, second = sorted((own, partner))
        info = lp(
            b"kinlink/v1 registry pair",
            context.federation.encode(),
            context.epoch.encode(),
            first.encode(),
            second.encode(),
        )
        return self._exchange(partner_public, info)

    def open_secret(self, envelope: bytes, *, federation: str, epoch: str) -> EpochSecret:
        """Open an epoch secret that was sealed to this key; `KeyFault` if it was not."""
        ephemeral, sealed = envelope[:KEY_BYTES], envelope[KEY_BYTES:]
        if len(envelope) != 2 * KEY_BYTES + 16:
            raise KeyFault("the sealed secret is cut off or is no sealed secret")
        key = self._exchange(ephemeral, _envelope_info(federation, epoch, ephemeral, self.public))
        try:
            return EpochSecret(epoch, ChaCha20Poly1305(key).decrypt(_NONCE_ZERO, sealed, None))
        except InvalidTag as error:
            raise KeyFault(
                "the secret was sealed to another key, for another epoch or federation"
            ) from error


def seal_secret(secret: EpochSecret, recipient_public: bytes, *, federation: str) -> bytes:
    """Seal an epoch secret to another registry's agreement key; 80 bytes.

    Ephemeral X25519, HKDF, ChaCha20-Poly1305. The key is used once, so the nonce is fixed. The
    envelope does not say who made it: compare canaries after the import.
    """
    ephemeral = AgreementKey.generate()
    info = _envelope_info(federation, secret.epoch, ephemeral.public, recipient_public)
    key = ephemeral._exchange(recipient_public, info)  # noqa: SLF001 - same class
    return ephemeral.public + ChaCha20Poly1305(key).encrypt(_NONCE_ZERO, secret.secret, None)


def _envelope_info(federation: str, epoch: str, ephemeral: bytes, recipient: bytes) -> bytes:
    return lp(
        b"kinlink/v1 sealed secret", federation.encode(), epoch.encode(), ephemeral, recipient
    )
