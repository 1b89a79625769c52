"""Why a linkage is made: a short code word that every audit carries and a registry may refuse."""

from __future__ import annotations

import re
from typing import Final

from kinlink_core.errors import InvalidInputError, Reason

PURPOSE_CHARS_MAX: Final = 32
PURPOSE_DEFAULT: Final = "general"

PURPOSE_PATTERN: Final = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"

_PURPOSE: Final = re.compile(PURPOSE_PATTERN)


def check_purpose(text: str) -> str:
    """Return `text` if it may be a purpose; it is shown and logged, so it is no free text."""
    if not _PURPOSE.fullmatch(text):
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED,
            f"A purpose is a code word of 1 to {PURPOSE_CHARS_MAX} of a-z, 0-9 and -, "
            "such as family-search.",
        )
    return text
