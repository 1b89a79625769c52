"""R5: one pair of records seen in two passes is recognised.

The attacker is the linker. Two records that meet in several passes are sealed in one of them; of
their other meetings it has the sieve distance and a refusal. Inside two registries it looks for
each pair that it would link among the refused pairs of another pass, by what the sealed distances
say about how far the words should be apart.

The measure is the share of linked pairs found rightly among the refused ones of another pass, over
every two of the passes that give a record one handle.

Classical: a filter a field under one key, the same in every pass, so a pair is recognised wherever
no other pair of records has the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.schema import SAMPLE_BITS
from kinlink_core.encoding.sieve import SIEVE_BITS
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

from redteam.meetings import MISSING
from redteam.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redteam.places import I64
    from redteam.setting import Setting
    from redteam.view import View

TARGET_MAX: Final = {31: 0.45}
CLASSICAL_MIN: Final = 0.90
PASS_PAIRS_MAX: Final = 20
ASSIGNED_MAX: Final = 300
CELLS_A_CHUNK: Final = 2_000_000
# How far apart a field is believed to be of which not both sides have a value.
UNKNOWN: Final = 0.25
SURE: Final = 0.99

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sightings:
    """Linked pairs sealed in one pass, and pairs refused in another, in which they met too."""

    one_pass: int
    other_pass: int
    sealed: I64  # rows of the view's pairs
    refused: I64  # rows of its repeated pairs


def run(setting: Setting) -> list[Result]:
    """How many are recognised on Kinlink, and on filters."""
    view = setting.view()
    share, classical = np.zeros(2), np.zeros(2)
    for each in sightings(view):
        share += _counted(*found(view, each))
        classical += _counted(*_by_filters(view, each))
    return [
        Result(
            "R5",
            "a pair joined across passes",
            setting.label,
            setting.seed,
            "linked pairs recognised in another pass",
            float(share[0] / max(share[1], 1)),
            target=TARGET_MAX.get(setting.registries),
            classical=float(classical[0] / max(classical[1], 1)),
            classical_min=CLASSICAL_MIN,
            detail=f"of {share[1]:.0f} meetings of linked pairs in a second pass",
        )
    ]


def sightings(view: View, *, of: npt.NDArray[np.bool_] | None = None) -> Iterator[Sightings]:
    """Passes in twos, some if there are many; `of` are the records that are looked at."""
    if view.disclosed is None:
        raise ValueError("this view was made without scores")
    known = view.disclosed.weight >= 0
    again = np.ones(view.repeated.count, bool)
    if of is not None:
        known = known & _touches(view, view.pairs.left, view.pairs.right, of)
        again = _touches(view, view.repeated.left, view.repeated.right, of)
    chosen = list(permutations(single_passes(view), 2))
    order = np.random.default_rng(0).permutation(len(chosen))[:PASS_PAIRS_MAX]
    for number in order.tolist():
        one, other = chosen[number]
        yield Sightings(
            one,
            other,
            np.flatnonzero(known & (view.pairs.pass_index == one)),
            np.flatnonzero(again & (view.repeated.pass_index == other)),
        )


def single_passes(view: View) -> list[int]:
    """Passes in which a record has one handle at most."""
    found = []
    for index in range(len(view.schema.passes)):
        feed = (view.rows.pass_index == index) & (view.rows.level == 0)
        records = view.secrets.record[feed]
        if len(records) and len(records) == len(np.unique(records)):
            found.append(index)
    return found


def found(view: View, seen: Sightings) -> tuple[F64, int]:
    """How surely each sealed pair is found rightly, and how many there are to be found."""
    pairs, again = view.pairs, view.repeated
    expected = _expected(view, seen)
    shown = again.distance[seen.refused]
    right = np.zeros(len(seen.sealed))
    ours = _names(view, pairs.left[seen.sealed], pairs.right[seen.sealed])
    theirs = _names(view, again.left[seen.refused], again.right[seen.refused])
    at_ours = _where(view, pairs.left[seen.sealed], pairs.right[seen.sealed])
    at_theirs = _grouped(_where(view, again.left[seen.refused], again.right[seen.refused]))
    for place, rows in _grouped(at_ours).items():
        if place in at_theirs:
            # Equally likely ones are taken by lot.
            candidates = np.random.default_rng(0).permutation(at_theirs[place])
            best = _best(expected[rows], shown[candidates])
            right[rows] = np.where(best < 0, 0, ours[rows] == theirs[candidates[best]])
    return right, len(np.intersect1d(ours, theirs))


def _expected(view: View, seen: Sightings) -> F64:
    """What share of the bits that the other pass sieves by should differ, by sealed distances."""
    schema = view.schema
    fixed = schema.passes[seen.other_pass].fixed_fields
    distance = view.pairs.distance[seen.sealed].astype(np.float64)
    share = np.full((len(seen.sealed), len(schema.fields)), UNKNOWN)
    sketched = [index for index, field in enumerate(schema.fields) if field.has_sketch]
    share[:, sketched] = np.where(distance == MISSING, UNKNOWN, distance / SAMPLE_BITS)
    # Categories have sketches of their value in the sieve, and tags when sealed.
    tags = 0
    for index, field in enumerate(schema.fields):
        if not field.has_sketch and field.tags:
            equal = view.pairs.tags[seen.sealed, tags]
            share[:, index] = np.where(
                view.pairs.present[seen.sealed, index], np.where(equal, 0, 0.5), UNKNOWN
            )
        tags += len(field.tags)
    open_fields = [i for i, field in enumerate(schema.fields) if field.name not in fixed]
    return np.asarray(share[:, open_fields or slice(None)].mean(axis=1))


def _best(expected: F64, shown: npt.NDArray[np.uint8]) -> I64:
    """The likeliest candidate of each row; one to one where there are few, -1 for none."""
    likely = np.clip(expected, 1 - SURE, SURE)

    def cost(rows: slice) -> F64:
        # A distance has few values: one likelihood for each.
        values, place = np.unique(shown, return_inverse=True)
        table = -binom.logpmf(values[None, :], SIEVE_BITS, likely[rows, None])
        return np.asarray(table[:, place.reshape(-1)])

    if max(len(expected), len(shown)) <= ASSIGNED_MAX:
        rows, columns = linear_sum_assignment(cost(slice(None)))
        best = np.full(len(expected), -1)
        best[rows] = columns
        return best
    step = max(CELLS_A_CHUNK // len(shown), 1)
    starts = range(0, len(expected), step)
    return np.concatenate([cost(slice(at, at + step)).argmin(axis=1) for at in starts])


def _by_filters(view: View, seen: Sightings) -> tuple[F64, int]:
    """The same on filters a field: a number for each side's values."""
    values = list(zip(*view.population.values.values(), strict=True))
    index: dict[tuple[str | None, ...], int] = {}
    kind = np.array([index.setdefault(each, len(index)) for each in values])
    record = view.secrets.record
    sides = []
    for pairs, rows in ((view.pairs, seen.sealed), (view.repeated, seen.refused)):
        one, other = record[pairs.left[rows]], record[pairs.right[rows]]
        sides.append(
            (kind[one] * len(kind) + kind[other], _names(view, pairs.left[rows], pairs.right[rows]))
        )
    (ours, our_names), (theirs, their_names) = sides
    distinct, counts = np.unique(theirs, return_counts=True)
    at = np.minimum(np.searchsorted(distinct, ours), max(len(distinct) - 1, 0))
    here = np.isin(our_names, their_names)
    if not len(distinct):
        return np.zeros(len(ours)), 0
    return np.asarray(np.where(here, 1 / counts[at], 0.0), np.float64), int(here.sum())


def _counted(right: F64, shared: int) -> F64:
    return np.array([float(right.sum()), shared])


def _names(view: View, left: I64, right: I64) -> I64:
    """A number of each pair of records."""
    record = view.secrets.record
    named: I64 = record[left] * view.population.records + record[right]
    return named


def _where(view: View, left: I64, right: I64) -> I64:
    """A number of each pair's two registries."""
    registry = view.rows.registry.astype(np.int64)
    place: I64 = registry[left] * len(view.population.names) + registry[right]
    return place


def _touches(view: View, left: I64, right: I64, of: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    record = view.secrets.record
    return np.asarray(of[record[left]] | of[record[right]])


def _grouped(codes: I64) -> dict[int, I64]:
    order = np.argsort(codes, kind="stable")
    key, first = np.unique(codes[order], return_index=True)
    return dict(zip(key.tolist(), np.split(order, first[1:]), strict=True))
