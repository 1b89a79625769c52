"""Registry cards: a registry's X25519 key, signed with the key of its TLS certificate.

The linker only relays cards. A registry accepts a partner's agreement key because the partner's
leaf signed it (ECDSA P-256, SHA-256) and that leaf chains to the federation's CA, so a linker
cannot put itself between two registries. Not guaranteed: freshness; a card stands as long as its
certificate does.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinlink_core.errors import ForbiddenError, InvalidInputError, Reason
from kinlink_core.runtime.chain import certificate_identity, verify_chain, verify_key
from kinlink_core.runtime.identity import Role

AGREEMENT_KEY_BYTES = 32
CERTIFICATE_CHAIN_BYTES_MAX = 16_384
_CONTEXT = b"kinlink/card/v1"
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Card:
    """What `kinlink.type.v1.RegistryCard` says, outside of protobuf."""

    registry: str
    agreement_public_key: bytes
    certificate_chain: bytes
    signature: bytes


def sign_card(*, key_pem: bytes, certificate_chain: bytes, agreement_public_key: bytes) -> Card:
    """Make the card of the registry that the certificate names."""
    verify_key(certificate_chain, key_pem)
    identity = certificate_identity(certificate_chain)
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidInputError(Reason.CERTIFICATE_INVALID, "Cards need a P-256 key.")
    signed = _signed_bytes(identity.federation, identity.name, agreement_public_key)
    signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return Card(identity.name, agreement_public_key, certificate_chain, signature)


def verify_card(card: Card, *, ca_pem: bytes, federation: str, registry: str | None = None) -> None:
    """Check a card a peer relayed; `registry` is who it must be of, if that is known.

    Raises:
        ForbiddenError: `CARD_INVALID`, with the cause in `detail`.
    """
    if len(card.agreement_public_key) != AGREEMENT_KEY_BYTES:
        raise _refused("the agreement key has another length")
    if len(card.certificate_chain) > CERTIFICATE_CHAIN_BYTES_MAX:
        raise _refused("the certificate chain is too long")
    if registry is not None and card.registry != registry:
        raise _refused("the card is of another registry")
    try:
        verify_chain(card.certificate_chain, ca_pem, federation, Role.REGISTRY, card.registry)
    except InvalidInputError as error:
        raise _refused(error.detail or error.public) from error
    public = x509.load_pem_x509_certificates(card.certificate_chain)[0].public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise _refused("the certificate's key is not of an elliptic curve")
    signed = _signed_bytes(federation, card.registry, card.agreement_public_key)
    try:
        public.verify(card.signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise _refused("the signature does not hold") from error


def _signed_bytes(federation: str, registry: str, agreement_public_key: bytes) -> bytes:
    parts = (_CONTEXT, federation.encode(), registry.encode(), agreement_public_key)
    return b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)


def _refused(detail: str) -> ForbiddenError:
    return ForbiddenError(Reason.CARD_INVALID, detail=detail)
