"""The VOPRF of RFC 9497 (mode 0x01, ristretto255-SHA512), one batch at a time; nothing else.

One key pair for each pass of each epoch: DeriveKeyPair of the epoch's seed, with federation, epoch
and pass in the info. So an evaluation bought under one pass's budget is worth nothing in another.

The group arithmetic is the Rust crate behind the `voprf` package. It holds the interpreter for as
long as a batch takes, which is why `evaluators` runs these functions in processes of their own.

Not guaranteed: the proof shows that all elements of a batch went through one key, not that others
are served under the same key; registries pin public keys and compare canaries for that.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from kinlink_core.encoding.keys import lp
from voprf import ristretto

SUITE: Final = "ristretto255-SHA512"
SEED_BYTES: Final = 32
ELEMENT_BYTES: Final = 32
PROOF_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32

_PURPOSE: Final = b"kinlink/v1 keyserver"


class ElementFault(ValueError):  # noqa: N818 - a fault of the input, as in the encoding
    """An element of a batch is no element of the group, or the identity."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


@dataclass(frozen=True)
class PassKey:
    """What an evaluation key is derived from; the seed is masked in `repr`."""

    seed: bytes = field(repr=False)
    info: bytes


@dataclass(frozen=True)
class Evaluation:
    """One evaluated batch: elements in the order of the request, and the proof over all of them."""

    evaluated: bytes  # ELEMENT_BYTES each
    proof: bytes  # PROOF_BYTES


def new_seed() -> bytes:
    """Fresh random bytes for an epoch, never derived from another one; 32 bytes."""
    return secrets.token_bytes(SEED_BYTES)


def pass_key(seed: bytes, *, federation: str, epoch: str, pass_id: str) -> PassKey:
    """The key of one pass in one epoch."""
    info = lp(_PURPOSE, federation.encode(), epoch.encode(), pass_id.encode())
    return PassKey(seed, info)


def public_key(key: PassKey) -> bytes:
    """The public half of a key, as RFC 9497 serialises it; 32 bytes."""
    return _evaluator(key).public_key.serialize()


def evaluate(key: PassKey, blinded: bytes) -> Evaluation:
    """BlindEvaluate of RFC 9497 (section 3.3.2) for a batch, with one proof.

    Args:
        key: The key of the pass.
        blinded: ELEMENT_BYTES an element, at least one and at most 65,535 of them.

    Raises:
        ElementFault: with the position of the first element that is none; nothing was evaluated.
    """
    elements = [
        _element(blinded[start : start + ELEMENT_BYTES], start // ELEMENT_BYTES)
        for start in range(0, len(blinded), ELEMENT_BYTES)
    ]
    # The package puts the proof first.
    output = _evaluator(key).evaluate_batch(elements).serialize()
    return Evaluation(output[PROOF_BYTES:], output[:PROOF_BYTES])


def _evaluator(key: PassKey) -> ristretto.Evaluator:
    return ristretto.Evaluator.from_seed(key.seed, key.info)


def _element(raw: bytes, position: int) -> ristretto.BlindedInput:
    try:
        return ristretto.BlindedInput.deserialize(raw)
    except ValueError:
        raise ElementFault(position) from None
