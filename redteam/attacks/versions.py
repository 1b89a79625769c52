"""R13: one record sealed twice: as two versions, for two handles of a partner, for two partners.

The attacker is a lying linker. A registry checks its own handle and the partner's proof, never the
partner's handle, so the linker may have one record sieved under as many pair keys as it likes. To
have it sealed it needs the partner's tags for that very pair, which it does not get for a handle of
its own making. It tries to join what it got: for every row of one request the nearest row of
another, by Hamming distance over all sketches, tags and presence, and by sieve words. Joined rows
would be averaged into the sketch itself. First design: one key an island, where equal rows are
simply equal.

An updated record must not be sealed under its old handle again: that row differs from the new one
by what changed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from kinlink_core.errors import KinlinkError
from kinlink_core.wire import Refusal, SealedRows, TaggedSieveRows

from redteam.asker import ids, meet
from redteam.population import make
from redteam.registries import rows_of, twins
from redteam.results import Result, about

if TYPE_CHECKING:
    import numpy.typing as npt

    from redteam.asker import Asked, Asker
    from redteam.registries import Laboratory
    from redteam.setting import Setting

    Bytes = npt.NDArray[np.uint8]

PEOPLE = 120
PASS = "name_birth"  # noqa: S105 - a blocking pass
REPEATS = 30
REPEATS_QUICK = 5
# Beyond what guessing one of the rows gets; five standard deviations of the guessing.
TARGET = 0.02


def run(setting: Setting) -> list[Result]:
    """Join rows of the same record; seal an old version again."""
    population = make(PEOPLE, 2, setting.seed, correlated=False, errors=0)
    rows = rows_of(population, 0)
    place = f"{about(len(rows))} people, 3 real registries"
    repeats = REPEATS_QUICK if setting.quick else REPEATS
    with twins(rows, 3) as lab, lab.serving() as askers:
        left, right, third = askers.values()
        index = left.schema.pass_index(PASS)
        asked = left.near(meet(left, right, index).to_left)
        other = left.near(meet(left, third, index).to_left)
        joined = {
            "for two handles of one partner": _joined(left, asked, replace(asked), repeats),
            "towards two partners": _joined(left, asked, other, repeats),
        }
        classical = _nearest(left.seal(asked), left.seal(asked))
        again = _answered(left, asked)
        old = _old_versions(lab, left, asked, rows)
    results = [
        Result("R13", f"one record sealed twice, {kind}", place, setting.seed,
               "rows joined above chance", share, TARGET, classical, 0.9,
               detail="Lying linker, real registries. Beside it rows under one key.")
        for kind, share in joined.items()
    ]  # fmt: skip
    results.append(
        Result("R13", "one handle sealed in two versions", place, setting.seed,
               "old handles answered after an update", old, 0.0, again, 0.99,
               detail="Lying linker, real registries. Beside it the same before the update.")
    )  # fmt: skip
    return results


def _random(asked: Asked) -> Any:
    """Partner handles that nobody gave out."""
    return ids([os.urandom(16) for _ in range(len(asked.own))])


def _joined(left: Asker, one: Asked, other: Asked, repeats: int) -> float:
    """How much more often than by chance the nearest row is that of the same record.

    Both requests name the same own handles in one order, and partner handles made up each time.
    """
    order = np.argsort([handle.tobytes() for handle in one.own])
    there = np.argsort([handle.tobytes() for handle in other.own])
    one, other = one.only(order), other.only(there)
    shares = []
    for _ in range(repeats):
        first, second = replace(one, theirs=_random(one)), replace(other, theirs=_random(other))
        shares.append(
            [
                _nearest(left.seal(first), left.seal(second)),
                _nearest(left.tagged(first), left.tagged(second)),
            ]
        )
    return float(np.mean(shares, axis=0).max()) - 1 / len(one.own)


def _nearest(one: SealedRows | TaggedSieveRows, other: SealedRows | TaggedSieveRows) -> float:
    """Share of rows whose nearest row of the other answer has the same number."""
    left, right = _flat(one), _flat(other)
    distance = np.array([np.bitwise_count(right ^ row).sum(axis=1) for row in left])
    return float(np.mean(distance.argmin(axis=1) == np.arange(len(distance))))


def _flat(rows: SealedRows | TaggedSieveRows) -> Bytes:
    """All that stands in each row, side by side."""
    if isinstance(rows, TaggedSieveRows):
        parts = [np.ascontiguousarray(part) for part in (rows.word[:, None], rows.distance_tags)]
        return np.concatenate([*(part.view(np.uint8) for part in parts), rows.record_tag], axis=1)
    parts = []
    for column in rows.batch.fields:
        parts += [
            part for part in (column.presence, column.sketch, column.tags) if part is not None
        ]
    return np.concatenate(parts, axis=1)


def _answered(left: Asker, asked: Asked) -> float:
    """Share of rows answered, by the sieve or sealed."""
    shares = [0.0]
    for call in (left.seal, left.sieve):
        with suppress(KinlinkError):
            shares.append(float((call(asked).refusal == Refusal.ANSWERED).mean()))
    return max(shares)


def _old_versions(lab: Laboratory, left: Asker, asked: Asked, rows: list[dict[str, str]]) -> float:
    """Update everyone, then ask for the handles of before."""
    lab.ingest(left.node.name, [{**row, "phone": "12900000000"} for row in rows])
    return _answered(left, asked)
