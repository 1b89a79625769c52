"""From compared pairs to links: scores, one entry a subject pair, threshold, one-to-one.

Passes are merged only after disclosure, because only then it is known which pairs are of the same
two people; until then every handle pair stands for itself.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.keys import lp
from kinlink_core.encoding.schema import LinkType
from kinlink_core.wire import Side

from kinlink_linker.arrays import first_of_each
from kinlink_linker.domain import Seeker, as_bytes, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.domain import F64, I64, U8, U16, Bools, Ids, LinkageOrder

LINK_ID_BYTES = 16


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of all passes between two registries, best first."""

    left: str
    right: str
    pass_index: U16
    left_handle: Ids
    right_handle: Ids
    left_tag: U8
    right_tag: U8
    levels: U8
    weight: F64
    probability: F64

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.weight)

    def take(self, chosen: I64) -> ScoredPairs:
        """The pairs at some rows, in that order."""
        return ScoredPairs(
            self.left, self.right, *(getattr(self, name)[chosen] for name in _SCORED_COLUMNS)
        )

    @staticmethod
    def concatenate(parts: Sequence[ScoredPairs]) -> ScoredPairs:
        """All pairs of the same two registries, best first."""
        joined = ScoredPairs(
            parts[0].left,
            parts[0].right,
            *(np.concatenate([getattr(part, name) for part in parts]) for name in _SCORED_COLUMNS),
        )
        return joined.take(np.argsort(-joined.weight, kind="stable"))


_SCORED_COLUMNS = (
    "pass_index",
    "left_handle",
    "right_handle",
    "left_tag",
    "right_tag",
    "levels",
    "weight",
    "probability",
)


@dataclass(frozen=True)
class FoundLinks:
    """Disclosed pairs between two registries, one a subject pair, best first."""

    left: str
    right: str
    left_subject: Ids
    right_subject: Ids
    left_handle: Ids
    right_handle: Ids
    pass_index: U16
    levels: U8
    weight: F64
    probability: F64
    linked: Bools
    seeker: U8  # `domain.Seeker`

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.weight)

    def ids(self) -> list[str]:
        """The link id of every row."""
        return self._ids

    @cached_property
    def _ids(self) -> list[str]:
        lefts, rights = as_bytes(self.left_subject), as_bytes(self.right_subject)
        return [
            link_id(self.left, one, self.right, other)
            for one, other in zip(lefts, rights, strict=True)
        ]


@dataclass(frozen=True)
class LinkRule:
    """When a disclosed pair is a link."""

    weight_min: float
    one_to_one: bool

    @classmethod
    def from_probability(cls, probability: float, *, one_to_one: bool) -> LinkRule:
        """The rule of a threshold given as a probability; 1 - 2^-(w) is monotone in w."""
        return cls(weight_of(probability), one_to_one)

    def linked(
        self, left: Ids, right: Ids, weight: F64, names: Callable[[], Sequence[str]]
    ) -> Bools:
        """Which of some subject pairs of two registries are links.

        One to one takes them best first, of equals the one whose link id, which `names` gives, is
        smaller: so the same pairs give the same links in whatever order they were found.
        """
        above: Bools = weight >= self.weight_min
        if not self.one_to_one:
            return above
        order = np.lexsort((np.array(names(), np.str_), -weight))
        kept = np.zeros(len(above), bool)
        kept[order] = _greedy(left[order], right[order], above[order])
        return kept


def threshold_of(order: LinkageOrder, schema: Schema) -> float:
    """The threshold that an order comes to, as a probability."""
    if order.threshold.weight is not None:
        return probability_of(order.threshold.weight)
    if order.threshold.probability is not None:
        return order.threshold.probability
    return schema.threshold_probability


def rule_of(order: LinkageOrder, schema: Schema) -> LinkRule:
    """When a disclosed pair is a link, by an order."""
    one_to_one = schema.link_type is LinkType.ONE_TO_ONE
    if order.threshold.weight is not None:
        return LinkRule(order.threshold.weight, one_to_one)
    return LinkRule.from_probability(threshold_of(order, schema), one_to_one=one_to_one)


def weight_of(probability: float) -> float:
    """Match weight in bits of a probability."""
    if probability <= 0:
        return -math.inf
    if probability >= 1:
        return math.inf
    return math.log2(probability / (1 - probability))


def probability_of(weight: float) -> float:
    """Probability of a match weight in bits."""
    return 1 / (1 + 2.0**-weight) if weight > -1000 else 0.0  # noqa: PLR2004 - underflow of a float


def merge(
    scored: ScoredPairs, left_subject: Ids, right_subject: Ids, rule: LinkRule, *, seekers: U8
) -> FoundLinks:
    """Keep the best pair of every subject pair and say which are links.

    Args:
        scored: disclosed pairs, best first.
        left_subject: (n, 2) subject of each pair's left side.
        right_subject: (n, 2) subject of each pair's right side.
        rule: the threshold.
        seekers: (n,) whose notice is the family's, see `seekers_of`.
    """
    # Rows are sorted by weight, so the first row of a subject pair is its best.
    chosen = first_of_each(np.column_stack([left_subject, right_subject]))
    best = scored.take(chosen)
    lefts, rights = left_subject[chosen], right_subject[chosen]
    found = FoundLinks(
        scored.left,
        scored.right,
        lefts,
        rights,
        best.left_handle,
        best.right_handle,
        best.pass_index,
        best.levels,
        best.weight,
        best.probability,
        np.zeros(len(chosen), bool),
        seekers[chosen],
    )
    return replace(found, linked=rule.linked(lefts, rights, best.weight, found.ids))


def seekers_of(left: U8, right: U8) -> U8:
    """Which of two records wants, by the sides that both registries said; (n,) `domain.Seeker`.

    Nobody, where one of them did not say, or where they say the same of both.
    """
    seekers = np.full(len(left), Seeker.NOBODY, np.uint8)
    seekers[(left == Side.WANTS) & (right == Side.SHOWS)] = Seeker.LEFT
    seekers[(left == Side.SHOWS) & (right == Side.WANTS)] = Seeker.RIGHT
    return seekers


def link_id(left: str, left_subject: bytes, right: str, right_subject: bytes) -> str:
    """The id of a subject pair, the same in every linkage of an epoch; 32 hex digits."""
    parts = lp(left.encode(), left_subject, right.encode(), right_subject)
    return hashlib.sha256(b"kinlink/link/v1" + parts).digest()[:LINK_ID_BYTES].hex()


def _greedy(left: Ids, right: Ids, above: Bools) -> Bools:
    """Take pairs from the best down while neither subject is taken."""
    taken_l: set[bytes] = set()
    taken_r: set[bytes] = set()
    kept = np.zeros(len(above), bool)
    lefts, rights = packed(left), packed(right)
    for row in np.flatnonzero(above):
        one, other = lefts[row].tobytes(), rights[row].tobytes()
        if one not in taken_l and other not in taken_r:
            taken_l.add(one)
            taken_r.add(other)
            kept[row] = True
    return kept
