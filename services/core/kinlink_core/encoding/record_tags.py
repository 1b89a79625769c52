"""Record tags: what two registries call each other's records, so that a pair is sealed only once.

Two records meet in every pass whose value they share, under other handles each time. Each registry
has a name for its record, which the linker relays sealed to the other: by both names they know that
they have met, and seal the pair no second time.

A tag is masked by a one-time pad, and the masked bytes are authenticated by keyed BLAKE2b (RFC
7693). Pad and key are drawn by SHAKE-128 for the pair of handles and the side, from the island's
sieve key, so both are used for one tag alone.

Not guaranteed: a registry that colludes with the linker learns under which of its islands' handles
the partner's records go.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_core.encoding._draws import Reader, xof

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from kinlink_core.encoding.sketch import Bytes

RECORD_TAG_BYTES: Final = 16
SEALED_TAG_BYTES: Final = 32

_MAC_BYTES: Final = SEALED_TAG_BYTES - RECORD_TAG_BYTES
_KEY_BYTES: Final = 32


def seal_record_tags(seeds: Sequence[bytes], tags: Bytes, *, of_left: bool) -> Bytes:
    """Seal (n, 16) own record tags for the partner of each pair; (n, 32).

    Args:
        seeds: n times the sieve key of the island and both handles (`keys.pair_seeds`).
        tags: those of the own records, row by row.
        of_left: whose tags they are: of the registry whose name sorts first, or of the other.
    """
    pad, mac_keys = _draws(seeds, of_left=of_left)
    masked = tags ^ pad
    return np.concatenate([masked, _macs(mac_keys, masked)], axis=1)


def open_record_tags(
    seeds: Sequence[bytes], sealed: Bytes, *, of_left: bool
) -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """Open the partner's tags; (n, 16), and which of them were sealed for their pair and side.

    `of_left` says that the partner is the registry whose name sorts first.
    """
    pad, mac_keys = _draws(seeds, of_left=of_left)
    masked = np.ascontiguousarray(sealed[:, :RECORD_TAG_BYTES])
    expected = _macs(mac_keys, masked)
    shown = np.ascontiguousarray(sealed[:, RECORD_TAG_BYTES:])
    genuine = [
        hmac.compare_digest(one.tobytes(), other.tobytes())
        for one, other in zip(expected, shown, strict=True)
    ]
    return masked ^ pad, np.array(genuine, bool)


def _draws(seeds: Sequence[bytes], *, of_left: bool) -> tuple[Bytes, list[bytes]]:
    """Pads and MAC keys of one side of n pairs."""
    purpose = b"record tag " + (b"left" if of_left else b"right")
    stream = Reader(xof(seeds, purpose, RECORD_TAG_BYTES + _KEY_BYTES))
    return stream.take(RECORD_TAG_BYTES), [
        key.tobytes() for key in np.ascontiguousarray(stream.take(_KEY_BYTES))
    ]


def _macs(mac_keys: list[bytes], masked: Bytes) -> Bytes:
    found = b"".join(
        hashlib.blake2b(row.tobytes(), key=key, digest_size=_MAC_BYTES).digest()
        for key, row in zip(mac_keys, masked, strict=True)
    )
    return np.frombuffer(found, np.uint8).reshape(len(mac_keys), _MAC_BYTES)
