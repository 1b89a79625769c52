"""Levels of pairs drawn at random across registries: what agreement by chance looks like (u).

Both registries of a pair draw under the epoch secret, so their rows match one by one. The draw
depends on how many records the partner declares; where a count moved between the two answers, both
are asked again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.wire import Refusal

from kinlink_linker.compare import compare, of_two_sides
from kinlink_linker.federation import Ask
from kinlink_linker.seal import only

if TYPE_CHECKING:
    from kinlink_core.runtime.cards import Card
    from kinlink_core.wire import SealedRows

    from kinlink_linker.domain import U8
    from kinlink_linker.federation import Federation
    from kinlink_linker.peer import Description, RegistryPeer
    from kinlink_linker.run import Run

DRAWS_MAX = 3


def chance_levels(run: Run) -> U8:
    """Draw and compare chance pairs of every two registries.

    Returns:
        (n, fields) levels; two registries whose draws never matched add nothing.
    """
    federation, schema, epoch = run.federation, run.schema, run.epoch
    parts = [np.empty((0, len(schema.fields)), np.uint8)]
    open_pairs = federation.pairs()
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
            if len(one.refusal) != len(other.refusal):
                still_open.append((left, right))
                continue
            answered = (one.refusal == Refusal.ANSWERED) & (other.refusal == Refusal.ANSWERED)
            levels = compare(schema, only(one, answered), only(other, answered))
            parts.append(levels[of_two_sides(schema, levels)])
            run.progress.advance()
        open_pairs = still_open
        if not open_pairs:
            break
    return np.concatenate(parts)


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
