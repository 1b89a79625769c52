"""Links out of protobuf: part of the servicer, and as strict as `kinlink_core.wire` is."""

from __future__ import annotations

import math
from typing import Any

from kinlink_core.errors import InvalidInputError, Reason

from kinlink_registry.columns import ID_BYTES
from kinlink_registry.domain import VERDICTS, PublishedLink

TEXT_CHARACTERS_MAX = 128


def read_link(message: Any) -> PublishedLink:
    """A published link out of protobuf, checked."""
    for name in ("subject", "partner_subject"):
        if len(getattr(message, name)) != ID_BYTES:
            raise _malformed(name)
    for name in ("own_handle", "partner_handle"):
        if len(getattr(message, name)) not in (0, ID_BYTES):
            raise _malformed(name)
    if not (math.isfinite(message.match_weight) and 0 <= message.match_probability <= 1):
        raise _malformed("match_weight or match_probability")
    if not 0 <= message.verdict < len(VERDICTS):
        raise _malformed("verdict")
    return PublishedLink(
        link_id=read_text(message.link_id, "link_id"),
        subject=message.subject,
        partner=read_text(message.partner, "partner"),
        partner_subject=message.partner_subject,
        match_weight=message.match_weight,
        match_probability=message.match_probability,
        person_id=read_text(message.person_id, "person_id"),
        verdict=int(message.verdict),
        removed=message.removed,
        own_handle=message.own_handle,
        partner_handle=message.partner_handle,
    )


def read_text(text: str, name: str) -> str:
    """Take a peer's text of bounded length."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise _malformed(name)
    return text


def _malformed(name: str) -> InvalidInputError:
    return InvalidInputError(Reason.REQUEST_MALFORMED, f"{name} does not have its form.")
