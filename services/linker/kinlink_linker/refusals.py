"""What is refused of a request before anything is looked up."""

from __future__ import annotations

from typing import Final

from kinlink_core.errors import InvalidInputError, Reason

NAME_CHARS_MAX: Final = 128


def check_length(name: str, text: str, limit: int = NAME_CHARS_MAX) -> None:
    """Refuse a text that is longer than any may be."""
    if len(text) > limit:
        raise malformed(f"{name} has more than {limit} characters.")


def malformed(sentence: str) -> InvalidInputError:
    """The error of a request that means nothing; the sentence says why."""
    return InvalidInputError(Reason.REQUEST_MALFORMED, sentence)
