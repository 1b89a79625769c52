"""Islands, handles and what is drawn for them, made up but the same each time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.prf import BLOCK_BYTES, Prf

if TYPE_CHECKING:
    from kinlink_core.encoding.prf import Seeds

PRF = Prf(bytes(range(32)))


def blocks(count: int, label: str = "") -> np.ndarray:
    """(count, 16) blocks that differ."""
    digests = (hashlib.sha256(f"{label}{i}".encode()).digest() for i in range(count))
    rows = b"".join(digest[:BLOCK_BYTES] for digest in digests)
    return np.frombuffer(rows, np.uint8).reshape(count, BLOCK_BYTES)


def seeds(count: int, label: str = "", *, island: str | None = None) -> Seeds:
    """Of as many pairs; all in one island if that is named."""
    own = blocks(count, "island" + label)
    if island is not None:
        own = np.repeat(blocks(1, island), count, axis=0)
    return PRF.pairs(own, blocks(count, "left" + label), blocks(count, "right" + label))
