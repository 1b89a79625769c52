"""Pairs of records drawn at random across two registries, for chance agreement (u).

Both registries order their records by a PRF under the epoch secret and take the first ones; the
i-th of one is paired with the i-th of the other. Neither learns whom it was paired with, the draw
is the same whenever it is asked for in an epoch, and each round uses a record at most once. The
pairs are sealed like any others, under keys that belong to no island, so the linker compares them
and learns how often random people agree, not about whom.

Not guaranteed: a few of the drawn pairs may be true pairs (about pairs / records).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kinlink_core.encoding import keys
from kinlink_core.encoding.prf import BLOCK_BYTES, Prf, Seeds

if TYPE_CHECKING:
    from kinlink_core.encoding.sketch import Bytes

CHANCE_PAIRS_MAX = 16_384
ROUNDS_MAX = 8


@dataclass(frozen=True)
class ChanceDraw:
    """Own side of the drawn pairs."""

    index: npt.NDArray[np.int64]  # (n,) which of the own records
    seeds: Seeds  # of n pairs


def draw(
    schedule: keys.KeySchedule,
    registry_pair_key: bytes,
    own: str,
    names: Bytes,
    partner_records: int,
) -> ChanceDraw:
    """Draw one's own side of up to `CHANCE_PAIRS_MAX` pairs with a partner.

    Args:
        schedule: the epoch's keys.
        registry_pair_key: K_AB.
        own: name of the own registry.
        names: (n, 16), a stable one of each live record.
        partner_records: records the partner declares; each side uses the other's declared count.

    Returns:
        min(own, partner) pairs a round, as many rounds as fit.
    """
    a_round = min(len(names), partner_records)
    rounds = min(max(CHANCE_PAIRS_MAX // a_round, 1), ROUNDS_MAX) if a_round else 0
    a_round = min(a_round, CHANCE_PAIRS_MAX)
    order = Prf(schedule.derive(b"chance order", own.encode())).islands(names)
    ranks = order.draw(b"order", rounds * BLOCK_BYTES).reshape(len(names), rounds, BLOCK_BYTES)
    words = np.ascontiguousarray(ranks).view("<u8")
    index = [np.argsort(words[:, number, 0], kind="stable")[:a_round] for number in range(rounds)]
    seal_key = keys.extract(registry_pair_key, schedule.derive(b"chance seal"))
    labels = np.zeros((rounds * a_round, 2), "<u8")
    labels[:, 0] = np.arange(1, len(labels) + 1)
    return ChanceDraw(
        np.concatenate([np.empty(0, np.int64), *index]),
        Prf(seal_key).islands(labels.view(np.uint8)),
    )
