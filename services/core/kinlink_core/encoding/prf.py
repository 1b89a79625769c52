"""What is drawn for pairs of records: one pseudorandom function, evaluated on arrays.

AES-256 in CBC-MAC over messages of 16-byte blocks, under a key that two registries share:

    island, left handle, right handle, purpose ‖ n        block n of what a purpose draws for a pair
    island, 0, 0, purpose ‖ n                             the same, for an island
    island, left handle, right handle, purpose ‖ -1, b    a MAC of one block b

A purpose is eight bytes of text, n counts from zero or is a number of the pair's own. Handles are
random and never zero. No message is the beginning of another, so CBC-MAC is a pseudorandom function
(Petrank and Rackoff, J. of Cryptology 2000). The first three blocks are encrypted once a pair; each
block drawn is then one more, all in one call of the library. XOFs and HMACs, called pair by pair,
took most of a linkage (ADR 0025).

Not guaranteed: what is drawn is worth as much as the key and the island's block are secret. It can
be told from random after about 2^60 blocks under one key, which is one epoch of two registries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    import numpy.typing as npt

    from kinlink_core.encoding.sketch import Bytes

    Words = npt.NDArray[np.uint64]

BLOCK_BYTES: Final = 16
PURPOSE_BYTES: Final = 8

# n of the block under which a MAC is made; no draw is so long.
_MAC: Final = 2**64 - 1


class Prf:
    """The function under one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES256(key), modes.ECB())  # noqa: S305 - of CBC-MAC

    def __repr__(self) -> str:
        return "Prf(***)"

    def islands(self, islands: Bytes) -> Seeds:
        """What is drawn for islands, known by (n, 16) secret blocks."""
        nobody = np.zeros_like(islands)
        return self.pairs(islands, nobody, nobody)

    def pairs(self, islands: Bytes, left: Bytes, right: Bytes) -> Seeds:
        """What is drawn for pairs of handles in islands, all (n, 16).

        `left` are the handles of the registry whose name sorts first.
        """
        state = self._encrypt(_words(islands))
        state = self._encrypt(state ^ _words(left))
        return Seeds(self, self._encrypt(state ^ _words(right)))

    def again(self, seeds: Seeds) -> Seeds:
        """What is drawn for the same pairs under this key, of which the partner knows nothing."""
        return Seeds(self, self._encrypt(seeds.state))

    def _encrypt(self, words: Words) -> Words:
        """AES of (n, 2) or (n, k, 2) words, block by block."""
        # The library asks for room for one more block.
        out = np.empty(words.size + 2, np.uint64)
        self._cipher.encryptor().update_into(_octets(words), _octets(out))
        return out[: words.size].reshape(words.shape)


@dataclass(frozen=True)
class Seeds:
    """n pairs or islands, as far as they were encrypted; secret."""

    prf: Prf
    state: Words  # (n, 2)

    def __repr__(self) -> str:
        return f"Seeds({len(self.state)} ***)"

    def __len__(self) -> int:
        return len(self.state)

    def take(self, rows: npt.NDArray[np.int64]) -> Seeds:
        """Some of them."""
        return Seeds(self.prf, self.state[rows])

    def draw(self, purpose: bytes, width: int) -> Bytes:
        """Random bytes, (n, width)."""
        blocks = -(-width // BLOCK_BYTES)
        labels = _labels(purpose, np.arange(blocks, dtype=np.uint64))
        drawn = self.prf._encrypt(self.state[:, None, :] ^ labels)  # noqa: SLF001 - one module
        return drawn.view(np.uint8).reshape(len(self), blocks * BLOCK_BYTES)[:, :width]

    def draw_at(self, purpose: bytes, numbers: Words) -> Bytes:
        """One block each, of a number each has of its own; (n, 16)."""
        labels = _labels(purpose, numbers)
        drawn = self.prf._encrypt(self.state ^ labels)  # noqa: SLF001 - one module
        return drawn.view(np.uint8).reshape(len(self), BLOCK_BYTES)

    def mac(self, purpose: bytes, blocks: Bytes) -> Bytes:
        """MACs of one block each, (n, 16); a purpose of a MAC draws nothing else."""
        label = _labels(purpose, np.array([_MAC], np.uint64))
        state = self.prf._encrypt(self.state ^ label)  # noqa: SLF001 - one module
        found = self.prf._encrypt(state ^ _words(blocks))  # noqa: SLF001 - one module
        return found.view(np.uint8).reshape(len(self), BLOCK_BYTES)

    def macs(self, purpose: bytes, words: Words) -> Words:
        """MACs of k one-word messages each, (n, k) to (n, k): half of each block."""
        label = _labels(purpose, np.array([_MAC], np.uint64))
        state = self.prf._encrypt(self.state ^ label)  # noqa: SLF001 - one module
        blocks = np.stack([words, np.zeros_like(words)], axis=2) ^ state[:, None, :]
        found: Words = self.prf._encrypt(blocks)[:, :, 0]  # noqa: SLF001 - one module
        return found


def same(one: Bytes, other: Bytes) -> npt.NDArray[np.bool_]:
    """Which rows are equal; all bytes of all rows are compared, whatever they are."""
    equal: npt.NDArray[np.bool_] = np.bitwise_or.reduce(one ^ other, axis=1) == 0
    return equal


def _words(blocks: Bytes) -> Words:
    return np.ascontiguousarray(blocks).view("<u8").astype(np.uint64, copy=False)


def _octets(words: Words) -> memoryview[int]:
    return np.ascontiguousarray(words).reshape(-1).view(np.uint8).data


def _labels(purpose: bytes, numbers: Words) -> Words:
    """(k, 2) blocks of a purpose and numbers."""
    if len(purpose) > PURPOSE_BYTES:
        raise ValueError(f"a purpose has at most {PURPOSE_BYTES} bytes")
    word = int.from_bytes(purpose.ljust(PURPOSE_BYTES, b"\0"), "little")
    return np.column_stack([np.full(len(numbers), word, np.uint64), numbers])
