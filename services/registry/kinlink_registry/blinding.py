"""A registry's half of the VOPRF (RFC 9497, mode 0x01, ristretto255-SHA512).

The key server sees random group elements. A proof over the whole batch shows that all of them went
through the key whose public half is pinned; only then is anything unblinded.

Not guaranteed: that other registries are answered under the same key. Equal canaries show that.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voprf import ristretto

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUITE = "ristretto255-SHA512"
ELEMENT_BYTES = 32
PROOF_BYTES = 64
PUBLIC_KEY_BYTES = 32
_PANIC = "PanicException"


class ProofFault(ValueError):  # noqa: N818 - a fault of the answer, as the encoding names them
    """An answer does not verify under the public key, or is no answer to the request."""


@dataclass(frozen=True)
class Blinded:
    """A blinded batch: what is sent, and what only we know of it."""

    elements: bytes  # ELEMENT_BYTES each
    _clients: list[ristretto.Client] = field(repr=False)

    def unblind(self, evaluated: bytes, proof: bytes, public_key: bytes) -> list[bytes]:
        """The y of each input, 64 bytes, in order; `ProofFault` where the proof does not hold.

        Args:
            evaluated: ELEMENT_BYTES for each element sent.
            proof: PROOF_BYTES over all of them.
            public_key: PUBLIC_KEY_BYTES, the one that is pinned.
        """
        if len(proof) != PROOF_BYTES or len(evaluated) != len(self.elements):
            raise ProofFault("the answer has another size than the request")
        with _proof_named():
            # The package wants the proof first.
            output = ristretto.VerifiableBatchOutput.deserialize(proof + evaluated)
            key = ristretto.PublicKey.deserialize(public_key)
            return ristretto.Client.finalize_batch(self._clients, output, key)


@contextmanager
def _proof_named() -> Iterator[None]:
    """Turn what the package raises over a bad answer into `ProofFault`.

    It raises ValueError for what is no group element, but panics (a BaseException) where a proof
    does not hold.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, ValueError) or type(error).__name__ == _PANIC:
            raise ProofFault("the answer does not verify under the public key") from error
        raise


def blind(inputs: Sequence[bytes]) -> Blinded:
    """Blind inputs of 1 to 65,535 bytes, each with a fresh random scalar."""
    pairs = [ristretto.Client.blind(each) for each in inputs]
    return Blinded(
        b"".join([blinded.serialize() for _, blinded in pairs]), [client for client, _ in pairs]
    )
