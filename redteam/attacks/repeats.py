"""R5: one pair of records seen in two passes is recognised by its distances.

The attacker is the linker. Two records that meet in two passes are sealed twice, under other keys
and other samples, but they are the same two records: the same fields are there, the same tags are
equal, the same fields do not differ at all, and the other distances are alike. Inside each pair of
registries the attacker matches the pairs it would link in one pass to those of another, bucket by
bucket of what has no noise, by the distances that have.

The measure is the share of pairs of records linked in both of two passes that are matched rightly,
over every two of the passes that give a record one handle; where a bucket says nothing, a pair is
matched by chance.

Classical: a filter a field under one key, the same in every pass, so a pair is recognised wherever
no other pair of records has the same values. First design: each side's nulls in the clear,
distances of 512 samples. "Without labels" is the same attack by a scorer that is not told which
registries and which pass a pair belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.encode import split_fixed
from kinlink_core.encoding.schema import SAMPLE_BITS, SKETCH_BITS
from scipy.optimize import linear_sum_assignment

from redteam.meetings import MISSING
from redteam.results import Result

if TYPE_CHECKING:
    from redteam.places import I64
    from redteam.setting import Setting
    from redteam.view import View

TARGET_MAX: Final = {31: 0.45}
CLASSICAL_MIN: Final = 0.90
FIRST_DESIGN_BITS: Final = 512
PASS_PAIRS_MAX: Final = 10
ASSIGNED_MAX: Final = 300
CELLS_A_CHUNK: Final = 2_000_000

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sightings:
    """n linked pairs of one pass: who (for scoring), exact features, distances (0 if missing)."""

    pair: I64  # a number of the pair of records
    exact: Bytes
    distance: npt.NDArray[np.float64]


def run(setting: Setting) -> list[Result]:
    """Matching accuracy on Kinlink, on the first design, and for a scorer without labels."""
    view = setting.view()
    share = accuracy(sightings(view), SAMPLE_BITS)
    first = accuracy(sightings(view, clear=True), FIRST_DESIGN_BITS)
    blind = accuracy(sightings(view, labels=False), SAMPLE_BITS)
    classical = accuracy(filtered(view), SAMPLE_BITS)
    result = Result(
        "R5",
        "a pair joined across passes",
        setting.label,
        setting.seed,
        "linked pairs recognised in another pass",
        share,
        target=TARGET_MAX.get(setting.registries),
        classical=classical,
        classical_min=CLASSICAL_MIN,
        detail=(
            f"{blind:.1%} by a scorer without labels of registry and pass; first design {first:.1%}"
        ),
    )
    return [result]


def sightings(view: View, *, clear: bool = False, labels: bool = True) -> list[Sightings]:
    """Linked pairs, pass by pass, of the passes in which a record has one handle."""
    return [observe(view, chosen, clear=clear, labels=labels) for chosen in _linked(view)]


def filtered(view: View) -> list[Sightings]:
    """The same pairs as filters a field show them: a number for each side's values."""
    values = list(zip(*view.population.values.values(), strict=True))
    index: dict[tuple[str | None, ...], int] = {}
    kind = np.array([index.setdefault(each, len(index)) for each in values])
    found = []
    for chosen in _linked(view):
        one, other = (
            view.secrets.record[side[chosen]] for side in (view.pairs.left, view.pairs.right)
        )
        exact = np.ascontiguousarray(np.column_stack([kind[one], kind[other]])).view(np.uint8)
        pair = one * view.population.records + other
        found.append(Sightings(pair, exact, np.zeros((len(chosen), 1))))
    return found


def _linked(view: View) -> list[I64]:
    if view.disclosed is None:
        raise ValueError("this view was made without scores")
    linked = view.disclosed.weight >= 0
    found = []
    for index in range(len(view.schema.passes)):
        of_pass = np.flatnonzero(linked & (view.pairs.pass_index == index))
        handles = view.rows.pass_index == index
        records = view.secrets.record[handles & (view.rows.level == 0)]
        if len(of_pass) and len(records) == len(np.unique(records)):
            found.append(of_pass)
    return found


def observe(view: View, chosen: I64, *, clear: bool = False, labels: bool = True) -> Sightings:
    """Features of some sealed pairs."""
    pairs, record = view.pairs, view.secrets.record
    left, right = pairs.left[chosen], pairs.right[chosen]
    one, other = record[left], record[right]
    distance = pairs.distance[chosen].astype(np.float64)
    distance[distance == MISSING] = 0
    flags = [pairs.present[chosen], pairs.tags[chosen]]
    if clear:
        distance, sides = _first_design(view, one, other, distance)
        flags.append(sides)
    flags.append(distance > 0)
    where = np.column_stack([view.rows.registry[left], view.rows.registry[right]])
    packed = np.packbits(np.concatenate(flags, axis=1), axis=1)
    exact = np.column_stack([where, packed]) if labels else packed
    return Sightings(one * view.population.records + other, np.ascontiguousarray(exact), distance)


def _first_design(
    view: View, one: I64, other: I64, distance: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Distances of 512 samples, and which side lacks which field."""
    if view.secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    parts = split_fixed(view.schema, view.secrets.fixed)
    both = parts.sketches[one] ^ parts.sketches[other]
    differing = np.bitwise_count(both).sum(axis=2, dtype=np.int64)
    drawn = np.random.default_rng(5).hypergeometric(
        differing, SKETCH_BITS - differing, FIRST_DESIGN_BITS
    )
    sides = np.concatenate([parts.present[one], parts.present[other]], axis=1)
    return np.where(distance > 0, drawn, 0).astype(np.float64), sides


def accuracy(passes: list[Sightings], bits: int) -> float:
    """Share of pairs seen in two passes that are matched rightly, over every two passes."""
    chosen = list(combinations(passes, 2))
    order = np.random.default_rng(0).permutation(len(chosen))[:PASS_PAIRS_MAX]
    right, total = 0.0, 0
    for number in order.tolist():
        one, other = chosen[number]
        hits, shared = matched(one, other, bits)
        right += float(hits.sum())
        total += shared
    return right / total if total else 0.0


def matched(one: Sightings, other: Sightings, bits: int) -> tuple[npt.NDArray[np.float64], int]:
    """How surely each of `one` is matched rightly, and how many are in both."""
    shared = len(np.intersect1d(one.pair, other.pair))
    keys = np.concatenate([one.exact, other.exact])
    code = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    split = len(one.pair)
    hits = np.zeros(split)
    groups_one, groups_other = _grouped(code[:split]), _grouped(code[split:])
    for key, rows in groups_one.items():
        candidates = groups_other.get(key)
        if candidates is None:
            continue
        if not (one.distance[rows[0]] > 0).any():
            there = np.isin(one.pair[rows], other.pair[candidates])
            hits[rows] = there / max(len(candidates), len(rows))
            continue
        best = _best(one.distance[rows], other.distance[candidates], bits)
        hits[rows] = np.where(best < 0, 0, one.pair[rows] == other.pair[candidates[best]])
    return hits, shared


def _grouped(codes: I64) -> dict[int, I64]:
    order = np.argsort(codes, kind="stable")
    key, first = np.unique(codes[order], return_index=True)
    return dict(zip(key.tolist(), np.split(order, first[1:]), strict=True))


def _best(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], bits: int) -> I64:
    """The likeliest candidate of each row; one to one where there are few, -1 for none."""
    if max(len(one), len(other)) <= ASSIGNED_MAX:
        rows, columns = linear_sum_assignment(_cost(one, other, bits))
        best = np.full(len(one), -1)
        best[rows] = columns
        return best
    step = max(CELLS_A_CHUNK // len(other), 1)
    starts = range(0, len(one), step)
    return np.concatenate([_cost(one[s : s + step], other, bits).argmin(axis=1) for s in starts])


def _cost(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], bits: int
) -> npt.NDArray[np.float64]:
    """Minus the log likelihood that two distances are samples of one, summed over fields."""
    total = np.zeros((len(one), len(other)))
    for field in range(one.shape[1]):
        mean = (one[:, None, field] + other[None, :, field]) / 2
        variance = np.maximum(2 * mean * (1 - mean / bits), 1.0)
        total += (one[:, None, field] - other[None, :, field]) ** 2 / (2 * variance)
        total += np.log(variance) / 2
    return total
