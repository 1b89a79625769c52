"""Short random ids for calls and jobs, in an alphabet that shares no character with hex.

Logs mask long hex, because tokens, handles and digests are hex; an id that people must read in a
log is made here, so the mask never hits it and no value can pose as one.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

ID_CHARS: Final = 12
_ALPHABET: Final = "ghjkmnpqrstvwxyz"
_PATTERN: Final = re.compile(rf"[{_ALPHABET}]{{{ID_CHARS}}}")


def new_id() -> str:
    """A fresh id of 48 random bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))


def is_id(text: str) -> bool:
    """Whether a text has the form of `new_id`; nothing else is taken over from a peer."""
    return _PATTERN.fullmatch(text) is not None
