"""ABO blood groups by Mendel, and how often groups that are written down occur together."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion import assumptions as assumed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ALLELES: Final = ("A", "B", "O")
GROUPS: Final = ("O", "A", "B", "AB")
UNKNOWN: Final = len(GROUPS)
# Group of a pair of alleles.
GROUP_OF: Final = np.array([[1, 3, 1], [3, 2, 2], [1, 2, 0]])


def draw_parents(rng: np.random.Generator, size: int) -> tuple[Ints, Ints]:
    """Alleles of mothers and fathers, each (size, 2)."""
    share = np.array([assumed.ABO_ALLELES[allele] for allele in ALLELES])
    mothers, fathers = (rng.choice(len(ALLELES), (size, 2), p=share) for _ in range(2))
    return mothers, fathers


def draw_children(rng: np.random.Generator, mothers: Ints, fathers: Ints) -> Ints:
    """One allele of each parent (n, 2)."""
    rows = np.arange(len(mothers))
    picked = rng.integers(0, 2, (2, len(mothers)))
    return np.stack([mothers[rows, picked[0]], fathers[rows, picked[1]]], axis=1)


def write_group(rng: np.random.Generator, alleles: Ints, known: float) -> Ints:
    """Groups as written: unknown, right, or by error any (n,)."""
    size = len(alleles)
    group = GROUP_OF[alleles[:, 0], alleles[:, 1]]
    wrong = rng.random(size) < assumed.BLOOD_ERROR
    group = np.where(wrong, rng.integers(0, len(GROUPS), size), group)
    return np.where(rng.random(size) < known, group, UNKNOWN)


@cache
def lift() -> Floats:
    """P(found group | mother's, father's and child's group) / P(found group), all as written.

    Axes: mother, father, child, found; the last entry of each is unknown (5, 5, 5, 5).
    """
    share = np.array([assumed.ABO_ALLELES[allele] for allele in ALLELES])
    joint = np.zeros((4, 4, 4))
    genotypes = [*product(range(len(ALLELES)), repeat=2)]
    for mother, father in product(genotypes, repeat=2):
        prior = share[[*mother, *father]].prod()
        for one, other in product(mother, father):
            joint[GROUP_OF[mother], GROUP_OF[father], GROUP_OF[one, other]] += prior / 4
    right = np.eye(4) * (1 - assumed.BLOOD_ERROR) + assumed.BLOOD_ERROR / 4
    written = np.einsum("mfc,mi,fj,ck,cl->ijkl", joint, right, right, right, right)
    # An unknown group is summed over.
    for axis in range(3):
        written = np.concatenate([written, written.sum(axis=axis, keepdims=True)], axis=axis)
    conditional = written / written.sum(axis=3, keepdims=True)
    ratio = conditional / conditional[UNKNOWN, UNKNOWN, UNKNOWN]
    return np.concatenate([ratio, np.ones((5, 5, 5, 1))], axis=3)
