"""The versions of everything that decides what a raw value becomes, as one digest.

It goes into the schema's fingerprint, so offices whose tables differ refuse each other by name
instead of silently missing links. It covers behaviour and table contents, not package versions: an
upgrade that changes no reading re-keys nobody.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import jellyfish

from kinlink_core.encoding import chinese, folding

NORMALIZE_VERSION: Final = "1"
FEATURES_VERSION: Final = "1"

SOUND_PROBE: Final = (
    "thomas", "catherine", "knight", "wright", "physician", "schmidt", "czajkowski", "nguyen",
    "xavier", "zhang", "quinn", "wharton", "aeolus", "gnome", "pneumonia", "bough", "thumb",
    "science", "school", "church", "jacques", "michael", "wojciech", "ashcraft", "tymczak",
    "pfister", "honeyman", "lloyd", "mcdonald", "obrien", "vaughan", "leicester", "edge", "cite",
)  # fmt: skip


@lru_cache(maxsize=64)
def tables_digest(kinds: tuple[str, ...]) -> str:
    """Hex SHA-256 of the tables that fields of these kinds use."""
    parts = [NORMALIZE_VERSION, FEATURES_VERSION, folding.probe()]
    if "name_zh" in kinds:
        parts.append(chinese.probe())
    if {"name", "text"} & set(kinds):
        parts += [jellyfish.metaphone(word) + jellyfish.soundex(word) for word in SOUND_PROBE]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
