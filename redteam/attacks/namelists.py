"""A public list of names, and what distances say about surnames if one has such a list.

How far two names are apart depends on how many tokens their surnames share, which depends on which
surnames they are. An attacker tabulates that on a public list; it needs no key for it, because a
sketch's distance is the angle between token sets whatever the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.chinese import split_name
from kinlink_core.encoding.features import sketch_tokens
from kinlink_core.encoding.schema import SAMPLE_BITS
from scipy.sparse import csr_array
from scipy.stats import norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Field

    from redteam.population import Population

SURNAMES: Final = 150
OTHERS: Final = 6  # rare surnames that stand for the rest
GIVEN_SAMPLES: Final = 30
BIN_BITS: Final = 4
_ANGLES: Final = 256

Table = npt.NDArray[np.float32]  # (kinds, labels, labels)


@dataclass(frozen=True)
class PublicList:
    """What a public list of names tells: surnames by registry, given names."""

    surnames: tuple[str, ...]  # the commonest, then a few that stand for the rest
    prior: npt.NDArray[np.float64]  # (registries, SURNAMES + 1), the last is "another"
    given: tuple[str, ...]

    @classmethod
    def of(cls, public: Population) -> PublicList:
        """Count a population that nobody linked."""
        names = [split_name(name or "") for name in public.values["name"]]
        distinct, code = np.unique([family for family, _ in names], return_inverse=True)
        order = np.argsort(-np.bincount(code))
        rest = np.linspace(SURNAMES, len(order) - 1, OTHERS).astype(int)
        kept = order[np.concatenate([np.arange(SURNAMES), rest])]
        label = np.full(len(distinct), SURNAMES)
        label[order[:SURNAMES]] = np.arange(SURNAMES)
        prior = np.zeros((len(public.names), SURNAMES + 1))
        np.add.at(prior, (public.registry, label[code]), 1)
        national = prior.sum(axis=0) / prior.sum()
        # A registry's own counts, steadied by the national shares.
        prior += 50 * national
        rng = np.random.default_rng(0)
        drawn = [names[i][1] for i in rng.integers(0, len(names), 2_000).tolist()]
        return cls(
            tuple(distinct[kept].tolist()),
            prior / prior.sum(axis=1, keepdims=True),
            tuple(given for given in drawn if given),
        )


def tables_of(field: Field, public: PublicList, *, fixed: bool) -> list[Table]:
    """P(bin of the distance | two surnames), one table for each length of a fixed given name."""
    rng = np.random.default_rng(0)
    if not fixed:
        half = len(public.surnames)
        draws = [rng.choice(public.given, 2 * half).tolist() for _ in range(GIVEN_SAMPLES)]
        return [table_of([_angles(field, public, d[:half], d[half:]) for d in draws], SAMPLE_BITS)]
    by_length: dict[int, list[str]] = {}
    for given in public.given:
        by_length.setdefault(len(sketch_tokens(field, given)), []).append(given)
    common = [group for group in by_length.values() if len(group) >= 0.02 * len(public.given)]
    return [
        table_of(
            [
                _angles(field, public, [given] * len(public.surnames))
                for given in rng.choice(group, GIVEN_SAMPLES).tolist()
            ],
            SAMPLE_BITS,
        )
        for group in common
    ]


def _angles(
    field: Field, public: PublicList, given: Sequence[str], other: Sequence[str] | None = None
) -> npt.NDArray[np.float64]:
    """Expected Hamming fraction of every pair of surnames, with some given names."""
    one = [sketch_tokens(field, s + g) for s, g in zip(public.surnames, given, strict=True)]
    two = one
    if other is not None:
        two = [sketch_tokens(field, s + g) for s, g in zip(public.surnames, other, strict=True)]
    return angles(one, two)


def angles(
    one: Sequence[tuple[str, ...]], two: Sequence[tuple[str, ...]]
) -> npt.NDArray[np.float64]:
    """Angle/π of every token set of `one` with every one of `two`."""
    index: dict[str, int] = {}

    def members(sets: Sequence[tuple[str, ...]]) -> csr_array:
        at = [index.setdefault(token, len(index)) for tokens in sets for token in tokens]
        offsets = np.cumsum([0, *map(len, sets)])
        return csr_array((np.ones(len(at)), at, offsets), shape=(len(sets), 100_000))

    left, right = members(one), members(two)
    sizes = np.sqrt(np.outer([len(set(s)) for s in one], [len(set(s)) for s in two]))
    return np.asarray(np.arccos(np.minimum((left @ right.T).toarray() / sizes, 1)) / np.pi)


def table_of(samples: Sequence[npt.NDArray[np.float64]], bits: int) -> Table:
    """Likelihood of each bin of `BIN_BITS`, averaged over samples of expected fractions."""
    by_angle = _by_angle(bits)
    total = np.zeros((bits // BIN_BITS + 1, SURNAMES + 1, SURNAMES + 1), np.float32)
    for sample in samples:
        level = np.minimum((sample * _ANGLES).round().astype(int), _ANGLES - 1)
        table = np.moveaxis(by_angle[level], 2, 0)
        total[:, :-1, :-1] += table[:, :SURNAMES, :SURNAMES]
        total[:, -1, :-1] += table[:, SURNAMES:, :SURNAMES].mean(axis=1)
        total[:, :-1, -1] += table[:, :SURNAMES, SURNAMES:].mean(axis=2)
        total[:, -1, -1] += table[:, SURNAMES:, SURNAMES:].mean(axis=(1, 2))
    mean = total / len(samples) + 1e-6
    return np.asarray((mean + np.swapaxes(mean, 1, 2)) / 2, np.float32)


@lru_cache(maxsize=4)
def _by_angle(bits: int) -> npt.NDArray[np.float32]:
    """(angles, bins) probability of a bin of sampled distance at each expected fraction."""
    fraction = np.arange(_ANGLES)[:, None] / _ANGLES
    sigma = np.sqrt(np.maximum(fraction * (1 - fraction) * bits, 1e-6))
    edge = np.arange(bits // BIN_BITS + 2) * BIN_BITS - 0.5
    return np.asarray(np.diff(norm.cdf((edge - fraction * bits) / sigma), axis=1), np.float32)
