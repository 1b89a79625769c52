"""Levels of pairs drawn at random across registries: what agreement by chance looks like (u).

Both registries of a pair draw under the epoch secret, so their rows match one by one. The draw
depends on how many records the partner declares; where a count moved between the two answers, both
are asked again.

Pairs of registries grow with their square, and what u needs does not: of many registries each draws
with a few others only.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.chance import CHANCE_PAIRS_MAX, ROUNDS_MAX
from kinlink_core.wire import Refusal

from kinlink_linker.compare import compare, of_two_sides
from kinlink_linker.federation import Ask
from kinlink_linker.seal import only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kinlink_core.runtime.cards import Card
    from kinlink_core.wire import SealedRows

    from kinlink_linker.domain import U8
    from kinlink_linker.federation import Federation
    from kinlink_linker.peer import Description, RegistryPeer
    from kinlink_linker.run import Run

DRAWS_MAX = 3
# No more pairs of registries are asked once these are to be had: the standard error of a u of
# .001 is then a sixteenth of it.
CHANCE_PAIRS_ENOUGH = 250_000


def chance_levels(run: Run) -> U8:
    """Draw and compare chance pairs of registries.

    Returns:
        (n, fields) levels; two registries whose draws never matched add nothing.
    """
    federation, schema, epoch = run.federation, run.schema, run.epoch
    parts = [np.empty((0, len(schema.fields)), np.uint8)]
    records = {name: each.records for name, each in federation.descriptions.items()}
    open_pairs = drawing_pairs(federation.pairs(), records)
    run.progress.expect(len(open_pairs))
    for draw in range(DRAWS_MAX):
        if draw:
            _ask_counts_again(federation)
        sides: dict[tuple[str, str], SealedRows] = {}
        sides.update(federation.ask(_asks(federation, epoch, open_pairs)))
        still_open = []
        for left, right in open_pairs:
            one, other = sides.get((left, right)), sides.get((right, left))
            if one is None or other is None:
                continue
            # One that holds many records draws nothing with one that holds few, as often as asked.
            if len(one.refusal) != len(other.refusal):
                if len(one.refusal) and len(other.refusal):
                    still_open.append((left, right))
                else:
                    run.progress.advance()
                continue
            answered = (one.refusal == Refusal.ANSWERED) & (other.refusal == Refusal.ANSWERED)
            levels = compare(schema, only(one, answered), only(other, answered))
            parts.append(levels[of_two_sides(schema, levels)])
            run.progress.advance()
        open_pairs = still_open
        if not open_pairs:
            break
    return np.concatenate(parts)


def drawing_pairs(
    pairs: Sequence[tuple[str, str]], records: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Which pairs of registries draw: all of them where that is not more than enough.

    Registries stand in a circle, in an order that says nothing about them and is the same in every
    linkage. Each draws with its neighbours, then with those two places on, until there are
    `CHANCE_PAIRS_ENOUGH`; so all registries draw equally often.

    Args:
        pairs: those that are linked, the smaller name first.
        records: how many each registry declares.
    """
    linked = set(pairs)
    circle = sorted({name for pair in pairs for name in pair}, key=_place)
    chosen: list[tuple[str, str]] = []
    expected = 0
    for apart in range(1, len(circle) // 2 + 1):
        if expected >= CHANCE_PAIRS_ENOUGH:
            break
        ring = {
            (min(name, other), max(name, other))
            for name, other in zip(circle, circle[apart:] + circle[:apart], strict=True)
        }
        for left, right in sorted(ring & linked):
            smaller = min(records[left], records[right])
            # At least: rounds are rounded down to a power of two.
            expected += min(ROUNDS_MAX * smaller, CHANCE_PAIRS_MAX) // 2
            chosen.append((left, right))
    return sorted(chosen)


def _place(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _asks(
    federation: Federation, epoch: str, pairs: list[tuple[str, str]]
) -> list[Ask[tuple[str, str], SealedRows]]:
    asks = []
    for left, right in pairs:
        for own, partner in ((left, right), (right, left)):
            described = federation.descriptions[partner]
            call = partial(_chance_at, epoch, described.card, described.records)
            asks.append(Ask(own, (own, partner), call))
    return asks


def _ask_counts_again(federation: Federation) -> None:
    asks = [Ask(name, name, _describe) for name in federation.present]
    federation.descriptions.update(federation.ask(asks))


def _describe(peer: RegistryPeer) -> Description:
    return peer.describe()


def _chance_at(epoch: str, partner: Card, records: int, peer: RegistryPeer) -> SealedRows:
    return peer.chance(epoch, partner, records)
