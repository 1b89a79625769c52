"""Loopy belief propagation: what labels fit best, given frequencies and what pairs of nodes show.

Sum-product with damping (Pearl 1982; Murphy, Weiss and Jordan, UAI 1999): exact on trees, a good
approximation on the dense small graphs that islands are. All islands are one disjoint graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]

ROUNDS: Final = 10
DAMPING: Final = 0.5
_TINY: Final = 1e-12


@dataclass(frozen=True)
class Edges:
    """m undirected edges; `kind` chooses the table of what was seen between the two nodes."""

    left: I64
    right: I64
    kind: I64


def beliefs(prior: npt.NDArray[Any], edges: Edges, tables: npt.NDArray[Any]) -> F32:
    """Marginal probability of every label at every node.

    Args:
        prior: (nodes, labels) probabilities before anything was seen.
        edges: what was seen between pairs of nodes.
        tables: (kinds, labels, labels) symmetric likelihoods of what was seen, given two labels.

    Returns:
        (nodes, labels), rows sum to 1. Time grows with edges × labels².
    """
    start = np.log(prior + _TINY).astype(np.float32)
    count = len(edges.left)
    if not count:
        return _normal(start)
    source = np.concatenate([edges.left, edges.right])
    target = np.concatenate([edges.right, edges.left])
    back = np.concatenate([np.arange(count, 2 * count), np.arange(count)])
    kind = np.concatenate([edges.kind, edges.kind])
    by_kind = np.argsort(kind, kind="stable")
    used, first = np.unique(kind[by_kind], return_index=True)
    groups = list(zip(used.tolist(), np.split(by_kind, first[1:]), strict=True))
    gather = _Sum.at(target, len(prior))
    message = np.zeros((2 * count, prior.shape[1]), np.float32)
    for number in range(ROUNDS):
        belief = start + gather(message)
        leaving = _normal(belief[source] - message[back])
        fresh = np.empty_like(message)
        for each, rows in groups:
            fresh[rows] = leaving[rows] @ tables[each].astype(np.float32)
        fresh = np.log(fresh / fresh.sum(axis=1, keepdims=True) + _TINY)
        message = fresh if number == 0 else DAMPING * message + (1 - DAMPING) * fresh
    return _normal(start + gather(message))


@dataclass(frozen=True)
class _Sum:
    """Sums rows that go to the same node."""

    order: I64
    first: I64
    node: I64
    nodes: int

    @classmethod
    def at(cls, target: I64, nodes: int) -> _Sum:
        order = np.argsort(target, kind="stable")
        node, first = np.unique(target[order], return_index=True)
        return cls(order, first, node, nodes)

    def __call__(self, rows: F32) -> F32:
        total = np.zeros((self.nodes, rows.shape[1]), np.float32)
        total[self.node] = np.add.reduceat(rows[self.order], self.first, axis=0)
        return total


def _normal(logs: F32) -> F32:
    shown = np.exp(logs - logs.max(axis=1, keepdims=True))
    normal: F32 = shown / shown.sum(axis=1, keepdims=True)
    return normal
