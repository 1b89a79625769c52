"""The sieve inside an island: 64 masked bits a side of a pair, and a proof of how far they differ.

Words are masked and put in order under a key of the pair, so the linker learns the distance of the
two sides of a pair and nothing else; under one key an island, a registry that knows eleven of its
members reads the twelfth's bits. But which 64 bits of a record sketch they show is fixed for an
island of two registries: the one that colludes with the linker gets these of a record and pass,
however often and for however many handles it has it asked.

A registry seals a pair only if the linker proves that its two words are near. The partner's bits
are authenticated one by one by a linear one-time MAC over the prime field of p = 2^31 - 1 (the
universal hash of Wegman and Carter, JCSS 1981, in its linear form). With u the bits of the own word
and v those of the partner's, and α ≠ 0 and β_0 … β_63 drawn for the pair and the side,

    tag of bit i           t_i = α·v_i + β_i
    distance               d   = Σ u_i + Σ (1 - 2·u_i)·v_i
    proof, by the linker   T   = Σ (1 - 2·u_i)·t_i
    check                  T   = α·(d - Σ u_i) + Σ (1 - 2·u_i)·β_i        all modulo p

Each β_i is used once, so tags are uniform and say nothing about α. A proof of another distance is
T + α·(d' - d), that is, a guess of α: right with probability 1 / (p - 1). The registry that checks
learns d and nothing else of the partner's bits.

Not guaranteed: whoever has the pair key proves what it likes, so a registry that colludes with the
linker has everything sealed towards itself. Guesses may be repeated: p is as many as it takes, and
each wrong one is a refused row. The linker still learns the distance of every pair of an island.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from kinlink_core.encoding._draws import RANK_BYTES, Reader, shuffled
from kinlink_core.encoding.sketch import SKETCH_BYTES, Bytes

if TYPE_CHECKING:
    from kinlink_core.encoding.prf import Seeds
    from kinlink_core.encoding.schema import Pass, Schema

SIEVE_BITS: Final = 64
DISTANCE_TAG_BYTES: Final = 4
# A pass with this `sieve_max` has no sieve: no word is asked for, nothing is proven.
NO_SIEVE: Final = 1.0

_PRIME: Final = 2**31 - 1
# 31 random bits modulo p are uniform to within 2^-31.
_DRAWN_BYTES: Final = 4

Words = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]
Tags = npt.NDArray[np.uint32]
Proofs = npt.NDArray[np.uint32]


def open_bits(schema: Schema, blocking_pass: Pass) -> Positions:
    """Which bits of a record sketch a pass sieves by: those of fields it does not fix; (m,).

    What all records of an island have in common says nothing about two of them, and would let
    strangers pass. Byte i of a record sketch belongs to field i mod F.
    """
    # What one side wants does not look like what the other shows, and faces of one person are
    # nearly as far apart as strangers'.
    idle = [
        field.name in blocking_pass.fixed_fields
        or field.relation is not None
        or field.vector is not None
        for field in schema.fields
    ]
    open_bytes = ~np.resize(np.array(idle), SKETCH_BYTES)
    bits = np.flatnonzero(np.repeat(open_bytes, 8))
    return bits if len(bits) >= SIEVE_BITS else np.arange(8 * SKETCH_BYTES)


def places(islands: Seeds, positions: Positions) -> Positions:
    """Where islands look, one place out of each 64th of a pass's `open_bits`; (n, 64)."""
    first = np.arange(SIEVE_BITS + 1) * len(positions) // SIEVE_BITS
    drawn = np.ascontiguousarray(islands.draw(b"sample", 2 * SIEVE_BITS)).view("<u2")
    chosen: Positions = positions[first[:-1] + drawn % np.diff(first)]
    return chosen


def short_sketches(record_sketches: Bytes, looked_at: Positions) -> Bytes:
    """The bits that islands sieve by, at the `places` of each record's island; (n, 64)."""
    sampled = np.take_along_axis(record_sketches, looked_at >> 3, axis=1)
    bits: Bytes = (sampled >> (looked_at & 7).astype(np.uint8)) & np.uint8(1)
    return bits


def with_sides(short: Bytes, wants: npt.NDArray[np.bool_], *, of_left: bool) -> Bytes:
    """Short sketches in which every other bit tells whether two records are of different sides.

    Of a pair of one wanting and one showing record these bits agree, of two alike they all differ:
    such a pair is half as far apart as its records, and one of two alike at least 32 bits.
    """
    sided = short.copy()
    sided[:, ::2] = (wants == of_left)[:, None]
    return sided


def sieve_words(seeds: Seeds, short: Bytes) -> Words:
    """The bits of (n, 64) `short_sketches`, shuffled and masked pair by pair; (n,) uint64.

    The XOR of the words of the two sides of a pair has as many ones as their short sketches differ
    in; a word compares with that one other word and with nothing else.
    """
    rank_bytes = RANK_BYTES * SIEVE_BITS
    stream = Reader(seeds.draw(b"sieve", SIEVE_BITS // 8 + rank_bytes))
    mask = np.ascontiguousarray(stream.take(SIEVE_BITS // 8)).view("<u8").reshape(-1)
    (bits,) = shuffled([short], stream.take(rank_bytes))
    words = np.ascontiguousarray(np.packbits(bits, axis=1)).view("<u8").reshape(-1)
    masked: Words = (words ^ mask).astype(np.uint64)
    return masked


def distance_max(sieve_max: float) -> int:
    """Most bits of 64 in which the words of a pair may differ to be sealed, by a pass's share."""
    return SIEVE_BITS if sieve_max >= NO_SIEVE else int(sieve_max * SIEVE_BITS + 1e-9)


def distance_tags(seeds: Seeds, words: Words, *, of_left: bool) -> Tags:
    """Tags of the bits of n own words, for the linker; (n, 64) uint32 below 2^31 - 1.

    `of_left` says that the words are those of the registry whose name sorts first. Only ever one
    word of a side may be tagged for a pair of handles: two would give α away. So a record that
    changes gets new handles.
    """
    alpha, beta = _draws(seeds, of_left=of_left)
    return _reduced(alpha[:, None] * _bits(words) + beta)


def prove_distances(words: Words, partner_tags: Tags) -> Proofs:
    """What the linker shows the registry that made `words`: T of n pairs; (n,) uint32.

    The distance it proves is the number of ones in the XOR of the two words.
    """
    proofs: Proofs = (_signed_sum(_bits(words), partner_tags) % _PRIME).astype(np.uint32)
    return proofs


def verify_distances(
    seeds: Seeds,
    words: Words,
    distances: npt.NDArray[np.uint8],
    proofs: Proofs,
    *,
    of_left: bool,
) -> npt.NDArray[np.bool_]:
    """Which of n distances between own `words` and the partner's are proven; (n,) bool.

    `of_left` says that the partner, which tagged its bits, is the registry whose name sorts first.
    Every row takes the same arithmetic, whether its proof holds or not.
    """
    alpha, beta = _draws(seeds, of_left=of_left)
    further = distances.astype(np.int64) - np.bitwise_count(words)
    expected = alpha.astype(np.int64) * further + _signed_sum(_bits(words), beta)
    proven: npt.NDArray[np.bool_] = expected % _PRIME == proofs
    return proven


def _draws(seeds: Seeds, *, of_left: bool) -> tuple[Tags, Tags]:
    """α (n,) from 1 to p - 1 and β (n, 64) from 0 to p - 1 of one side of n pairs."""
    width = _DRAWN_BYTES * (1 + SIEVE_BITS)
    drawn = seeds.draw(b"prove l" if of_left else b"prove r", width)
    numbers = np.ascontiguousarray(drawn).view("<u4") >> np.uint32(1)
    return 1 + numbers[:, 0] % np.uint32(_PRIME - 1), _reduced(numbers[:, 1:])


def _reduced(numbers: Tags) -> Tags:
    """Numbers below 2p, modulo p: what is subtracted from a smaller one wraps around."""
    reduced: Tags = np.minimum(numbers, numbers - np.uint32(_PRIME))
    return reduced


def _signed_sum(bits: Tags, numbers: Tags) -> npt.NDArray[np.int64]:
    """Σ (1 - 2·bit)·number of each row."""
    total = numbers.sum(axis=1, dtype=np.int64)
    of_ones = (bits * numbers).sum(axis=1, dtype=np.int64)
    signed: npt.NDArray[np.int64] = total - 2 * of_ones
    return signed


def _bits(words: Words) -> Tags:
    """Bit i of each word, from the lowest; (n, 64) zeros and ones."""
    octets = np.ascontiguousarray(words).astype("<u8", copy=False).view(np.uint8)
    bits = np.unpackbits(octets.reshape(-1, SIEVE_BITS // 8), axis=1, bitorder="little")
    return bits.astype(np.uint32)
