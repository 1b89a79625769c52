"""Record tags: what two registries call each other's records, so that a pair is sealed only once.

Two records meet in every pass whose value they share, under other handles each time. Each registry
has a name for its record, which the linker relays sealed to the other: by both names they know that
they have met, and seal the pair no second time.

A tag is masked by a one-time pad that is drawn for the pair of handles and the side (`prf`), and
the masked bytes are authenticated by a MAC of the same function.

Not guaranteed: a registry that colludes with the linker learns under which of its islands' handles
the partner's records go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_core.encoding.prf import same

if TYPE_CHECKING:
    import numpy.typing as npt

    from kinlink_core.encoding.prf import Seeds
    from kinlink_core.encoding.sketch import Bytes

RECORD_TAG_BYTES: Final = 16
SEALED_TAG_BYTES: Final = 32


def seal_record_tags(seeds: Seeds, tags: Bytes, *, of_left: bool) -> Bytes:
    """Seal (n, 16) own record tags for the partner of each pair; (n, 32).

    Args:
        seeds: of the n pairs.
        tags: those of the own records, row by row.
        of_left: whose tags they are: of the registry whose name sorts first, or of the other.
    """
    masked = tags ^ _pad(seeds, of_left=of_left)
    return np.concatenate([masked, _mac(seeds, masked, of_left=of_left)], axis=1)


def open_record_tags(
    seeds: Seeds, sealed: Bytes, *, of_left: bool
) -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """Open the partner's tags; (n, 16), and which of them were sealed for their pair and side.

    `of_left` says that the partner is the registry whose name sorts first.
    """
    masked, shown = sealed[:, :RECORD_TAG_BYTES], sealed[:, RECORD_TAG_BYTES:]
    genuine = same(_mac(seeds, masked, of_left=of_left), shown)
    return masked ^ _pad(seeds, of_left=of_left), genuine


def _pad(seeds: Seeds, *, of_left: bool) -> Bytes:
    return seeds.draw(b"name l" if of_left else b"name r", RECORD_TAG_BYTES)


def _mac(seeds: Seeds, masked: Bytes, *, of_left: bool) -> Bytes:
    return seeds.mac(b"mac l" if of_left else b"mac r", masked)
