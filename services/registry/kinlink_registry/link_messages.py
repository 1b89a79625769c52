"""Links out of protobuf: part of the servicer, and as strict as `kinlink_core.wire` is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from kinlink_core.errors import InvalidInputError, Reason

from kinlink_registry import columns
from kinlink_registry.domain import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT_CHARACTERS_MAX = 128
_NO_ID = bytes(columns.ID_BYTES)


def read_links(messages: Sequence[Any]) -> Any:
    """Published links out of protobuf, checked: an Arrow table with the fields' names.

    Handles that are absent are zero.
    """
    verdict = np.array([each.verdict for each in messages], np.int64)
    weight = np.array([each.match_weight for each in messages], np.float64)
    probability = np.array([each.match_probability for each in messages], np.float64)
    if not ((verdict >= 0) & (verdict < len(VERDICTS))).all():
        raise _malformed("verdict")
    if not (np.isfinite(weight) & (probability >= 0) & (probability <= 1)).all():
        raise _malformed("match_weight or match_probability")
    return columns.table(
        position=columns.positions(len(messages)),
        subject=_ids([each.subject for each in messages], "subject"),
        partner_subject=_ids([each.partner_subject for each in messages], "partner_subject"),
        own_handle=_ids([each.own_handle or _NO_ID for each in messages], "own_handle"),
        partner_handle=_ids([each.partner_handle or _NO_ID for each in messages], "partner_handle"),
        match_weight=weight,
        match_probability=probability,
        verdict=verdict.astype(np.uint8),
        removed=np.array([each.removed for each in messages], np.uint8),
        link_id=[read_text(each.link_id, "link_id") for each in messages],
        partner=[read_text(each.partner, "partner") for each in messages],
        person_id=[read_text(each.person_id, "person_id") for each in messages],
    )


def _ids(values: list[bytes], name: str) -> columns.Bytes:
    if any(len(value) != columns.ID_BYTES for value in values):
        raise _malformed(name)
    return columns.from_list(values)


def read_text(text: str, name: str) -> str:
    """Take a peer's text of bounded length."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise _malformed(name)
    return text


def _malformed(name: str) -> InvalidInputError:
    return InvalidInputError(Reason.REQUEST_MALFORMED, f"{name} does not have its form.")
