"""Tips attached to notices: what police or the public say of a person fills what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kinlink_local.reunion.notices import LIST_COLUMNS, LIST_SEPARATOR
from kinlink_local.reunion.terms import NONE_KNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a notice is, not what is known of a person.
OWN_COLUMNS: Final = frozenset({"record_id", "kind", "found_as", "entry_date", "dna_held"})
# Columns that say nothing without each other: taken together or not at all.
TOGETHER: Final = (
    ("birth_date", "birth_calendar"),
    ("lost_date", "lost_calendar"),
    ("photo_age", "face_model", "face_embedding"),
)


def attach(notice: Mapping[str, str], tip: Mapping[str, str]) -> dict[str, str]:
    """The notice with what the tip adds: unknown cells are filled, lists grow, nothing is replaced.

    A tip that says otherwise than the notice stays a notice of its own and is scored beside it.
    """
    told = dict(tip)
    for names in TOGETHER:
        if any(notice[name] for name in names):
            told.update(dict.fromkeys(names, ""))
    return {
        name: cell if name in OWN_COLUMNS else _both(name, cell, told[name])
        for name, cell in notice.items()
    }


def _both(name: str, known: str, told: str) -> str:
    if name not in LIST_COLUMNS or not known or not told:
        return known or told
    terms = dict.fromkeys([*known.split(LIST_SEPARATOR), *told.split(LIST_SEPARATOR)])
    some = [term for term in terms if term != NONE_KNOWN]
    return LIST_SEPARATOR.join(some) or NONE_KNOWN
