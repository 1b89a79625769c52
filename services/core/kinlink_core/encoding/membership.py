"""What a registry proves to a partner of islands they share, and the islands as both see them.

Both follow from the blocking key BK of a token by the pseudorandom function of `prf`, under M_AB:

    seed     = (BK, first half), (BK, second half), 0
    IK_AB    = "island" ‖ 0
    proof_A  = "member l" or "member r" ‖ n_A ‖ day        l: of the registry whose name sorts first

So who makes a proof has the blocking key and is one of the two registries.

Not guaranteed: a registry that can guess the blocking value can prove a presence it does not have;
the linker and other registries, which lack M_AB, cannot. And a proof outlives the record it was
given for by up to `PROOF_DAYS_SLACK` days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_core.encoding.prf import BLOCK_BYTES, same

if TYPE_CHECKING:
    import numpy.typing as npt

    from kinlink_core.encoding.prf import Prf, Seeds
    from kinlink_core.encoding.sketch import Bytes

PROOF_BYTES: Final = BLOCK_BYTES
COUNT_MAX: Final = 2**32 - 1
# A proof is believed so many days before and after its own: linkages run over midnight, and clocks
# of two offices differ.
PROOF_DAYS_SLACK: Final = 1


def island_seeds(prf: Prf, blocking_keys: Bytes) -> Seeds:
    """Seeds of islands by their (n, 32) blocking keys, under the function of M_AB."""
    first, second = blocking_keys[:, :BLOCK_BYTES], blocking_keys[:, BLOCK_BYTES:]
    return prf.pairs(first, second, np.zeros_like(first))


def island_blocks(seeds: Seeds) -> Bytes:
    """IK_AB: islands as two registries see them, and nobody else; (n, 16)."""
    return seeds.draw(b"island", BLOCK_BYTES)


def prove(seeds: Seeds, counts: npt.NDArray[np.int64], day: int, *, of_left: bool) -> Bytes:
    """Prove that one holds so many records in each island on a day (since 1970); (n, 16).

    `of_left` says who proves: the registry whose name sorts first, or the other. Raises
    `ValueError` for a count that is not between 1 and 2^32 - 1.
    """
    if len(counts) and not 0 < counts.min() <= counts.max() <= COUNT_MAX:
        raise ValueError("a membership count is between 1 and 2^32 - 1")
    numbers = counts.astype(np.uint64) << np.uint64(32) | np.uint64(day)
    return seeds.draw_at(b"member l" if of_left else b"member r", numbers)


def verify(
    seeds: Seeds, counts: npt.NDArray[np.int64], proofs: Bytes, day: int, *, of_left: bool
) -> npt.NDArray[np.bool_]:
    """Which proofs of about today hold, (n,); a count of zero proves nothing.

    Every row takes the same arithmetic, whether its proof holds or not.
    """
    claimed = np.clip(counts, 1, COUNT_MAX)
    found = np.zeros(len(counts), bool)
    for each in range(day - PROOF_DAYS_SLACK, day + PROOF_DAYS_SLACK + 1):
        found |= same(prove(seeds, claimed, each, of_left=of_left), proofs)
    holds: npt.NDArray[np.bool_] = found & (claimed == counts)
    return holds
