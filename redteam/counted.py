"""Token rows as their counts: all that an attack by frequency looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from redteam.places import I64

# Counts up to here are told apart one by one, larger ones by thirds of an octave.
EXACT_COUNTS: Final = 24
BINS_AN_OCTAVE: Final = 3
# A row of a table with less public support falls back to a coarser one.
SUPPORT_MIN: Final = 25


@dataclass(frozen=True)
class Counted:
    """Rows of one pass and level; tokens are numbered 0 to k - 1."""

    record: I64  # (n,)
    registry: I64  # (n,)
    token: I64  # (n,)
    first: I64  # (k,) a row of each token
    registries: int

    @classmethod
    def of(cls, record: I64, registry: npt.NDArray[Any], token: I64, registries: int) -> Counted:
        """Number the tokens of some rows anew."""
        _, first, dense = np.unique(token, return_index=True, return_inverse=True)
        return cls(record, registry.astype(np.int64), dense.reshape(-1), first, registries)

    @property
    def sizes(self) -> I64:
        """Records under each token; (k,)."""
        return np.bincount(self.token, minlength=len(self.first))

    def vectors(self, tokens: I64) -> I64:
        """Records under some tokens by registry; (tokens, registries)."""
        place = np.full(len(self.first), -1)
        place[tokens] = np.arange(len(tokens))
        rows = np.flatnonzero(place[self.token] >= 0)
        flat = place[self.token[rows]] * self.registries + self.registry[rows]
        counts = np.bincount(flat, minlength=len(tokens) * self.registries)
        return counts.reshape(len(tokens), self.registries)

    def features(self) -> list[I64]:
        """For each row a number of what is seen of its token, from the finest to the coarsest."""
        own = self.token * self.registries + self.registry
        _, inverse, counts = np.unique(own, return_inverse=True, return_counts=True)
        held, size = binned(counts)[inverse.reshape(-1)], binned(self.sizes)[self.token]
        by_size = self.registry * 256 + size
        return [by_size * 256 + held, by_size, self.registry]


def binned(counts: I64) -> I64:
    """Counts in bins: exact where small."""
    logs = np.log2(np.maximum(counts, EXACT_COUNTS) / EXACT_COUNTS) * BINS_AN_OCTAVE
    return np.where(counts <= EXACT_COUNTS, counts, EXACT_COUNTS + 1 + logs.astype(np.int64))


@dataclass(frozen=True)
class Usual:
    """The most usual label of every feature, learnt from a public list."""

    feature: I64
    label: I64
    support: I64

    @classmethod
    def learn(cls, feature: I64, label: I64) -> Usual:
        """Count labels by feature."""
        span = int(label.max(initial=0)) + 1
        distinct, counts = np.unique(feature * span + label, return_counts=True)
        features, labels = distinct // span, distinct % span
        order = np.lexsort((-counts, features))
        names, best = np.unique(features[order], return_index=True)
        return cls(names, labels[order][best], np.add.reduceat(counts[order], best))

    def guess(self, feature: I64, otherwise: I64) -> I64:
        """The label of each feature; `otherwise` where it was hardly seen."""
        if not len(self.feature):
            return otherwise
        at = np.minimum(np.searchsorted(self.feature, feature), len(self.feature) - 1)
        seen = (self.feature[at] == feature) & (self.support[at] >= SUPPORT_MIN)
        return np.where(seen, self.label[at], otherwise)


def guess_by_table(public: Counted, labels: I64, target: Counted) -> tuple[I64, I64]:
    """Guess each target row's label from the public rows with the same features.

    Returns:
        The guesses, and the constant guess of each row's registry, which needs no token.
    """
    known = labels >= 0
    finest_first = list(zip(public.features(), target.features(), strict=True))
    guess = np.full(len(target.record), -1)
    constant = guess
    for number, (theirs, ours) in enumerate(reversed(finest_first)):
        guess = Usual.learn(theirs[known], labels[known]).guess(ours, guess)
        if number == 0:
            constant = guess
    return guess, constant


def share(right: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> float:
    """Share of the rows `of` that are right; 0 of none."""
    return float(right[of].mean()) if of.any() else 0.0
