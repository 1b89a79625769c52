"""Pairs of records drawn at random across two registries, for chance agreement (u).

Both registries order their records by a PRF under the epoch secret and take the first ones; the
i-th of one is paired with the i-th of the other. Neither learns whom it was paired with, the draw
is the same whenever it is asked for in an epoch, and each round uses a record at most once. The
pairs are sealed like any others, under keys that belong to no island, so the linker compares them
and learns how often random people agree, not about whom.

Not guaranteed: a few of the drawn pairs may be true pairs (about pairs / records).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kinlink_core.encoding import keys

CHANCE_PAIRS_MAX = 16_384
ROUNDS_MAX = 8


@dataclass(frozen=True)
class ChanceDraw:
    """Own side of the drawn pairs."""

    index: npt.NDArray[np.int64]  # (n,) which of the own record tags
    pair_keys: list[bytes]  # n keys of 32 bytes


def draw(
    schedule: keys.KeySchedule,
    registry_pair_key: bytes,
    own: str,
    tags: list[bytes],
    partner_records: int,
) -> ChanceDraw:
    """Draw one's own side of up to `CHANCE_PAIRS_MAX` pairs with a partner.

    Args:
        schedule: the epoch's keys.
        registry_pair_key: K_AB.
        own: name of the own registry.
        tags: one stable 16-byte tag a live record.
        partner_records: records the partner declares; each side uses the other's declared count.

    Returns:
        min(own, partner) pairs a round, as many rounds as fit.
    """
    a_round = min(len(tags), partner_records)
    if a_round == 0:
        return ChanceDraw(np.empty(0, np.int64), [])
    rounds = min(max(CHANCE_PAIRS_MAX // a_round, 1), ROUNDS_MAX)
    a_round = min(a_round, CHANCE_PAIRS_MAX)
    order_key = schedule.derive(b"chance order", own.encode())
    seal_key = keys.extract(registry_pair_key, schedule.derive(b"chance seal"))
    index = np.concatenate([_order(order_key, number, tags)[:a_round] for number in range(rounds)])
    labels = (number.to_bytes(4, "big") for number in range(len(index)))
    return ChanceDraw(index, [keys.expand(seal_key, b"chance" + label) for label in labels])


def _order(key: bytes, number: int, tags: list[bytes]) -> npt.NDArray[np.int64]:
    head = number.to_bytes(4, "big")
    ranks = b"".join(hmac.digest(key, head + tag, "sha256")[:8] for tag in tags)
    return np.argsort(np.frombuffer(ranks, "<u8"), kind="stable")
