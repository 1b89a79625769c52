"""The case the project was started for, as notices: a boy lost in 1988 and found 32 years later.

Only what was made public is here, and of it only names, dates, sex, places and whose DNA was held;
whatever else the notices could say is left empty. The found man's date of birth was altered when he
was registered; how is not public, so his notice has none. Neither have the days of entry.
"""

from __future__ import annotations

from typing import Final

from kinlink_local.reunion.notices import COLUMNS, FOUND, SEEKING_CHILD, TIP, Notices

SEEKING_ID: Final = "A61-REPLAY"
FOUND_ID: Final = "B51-REPLAY"
TIP_ID: Final = "T51-REPLAY"

_SEEKING: Final = {
    "record_id": SEEKING_ID,
    "kind": SEEKING_CHILD,
    "category": "abducted",
    "sex": "M",
    "birth_date": "1986-02-23",
    "birth_calendar": "solar",
    "age_at_loss": "2",
    "lost_date": "1988-10-17",
    "lost_calendar": "solar",
    "lost_place": "610100",
    "registered_name": "毛寅",
    "family_surname": "毛",
    "dna_held": "mother;father",
}
_FOUND: Final = {
    "record_id": FOUND_ID,
    "kind": FOUND,
    "found_as": "adoptee",
    "sex": "M",
    "first_seen_date": "1988-10-17/1988-12-31",
    "found_place": "51",
    "registered_name": "顾宁宁",
    "dna_held": "self",
}
_TIP: Final = {
    "record_id": TIP_ID,
    "kind": TIP,
    "entry_date": "2020-04",
    "sex": "M",
    "first_seen_date": "1986/1989",
    "lost_place": "61",
    "found_place": "51",
}


def replay_notices() -> tuple[Notices, Notices, Notices]:
    """The family's notice, the found man's, and the tip, as tables of one line."""
    seeking, found, tip = (
        {name: [cells.get(name, "")] for name in COLUMNS} for cells in (_SEEKING, _FOUND, _TIP)
    )
    return seeking, found, tip


def with_replay(family: Notices, found: Notices) -> tuple[Notices, Notices]:
    """Both sides with the replay's notices at their ends; the tip stands with the found."""
    seeking, man, tip = replay_notices()
    return (
        {name: [*cells, *seeking[name]] for name, cells in family.items()},
        {name: [*cells, *man[name], *tip[name]] for name, cells in found.items()},
    )
