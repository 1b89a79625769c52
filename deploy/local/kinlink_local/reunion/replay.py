"""The case the project was started for, as notices: a boy lost in 1988 and found 32 years later.

Of the true case only what was public and says when and where is kept: the days of birth and loss,
Xi'an, Sichuan, and what the tip of April 2020 said. Names are those of `case1988`, and the found
man's altered date of birth is invented too; whatever else the notices could say is left empty. His
and the family's photographs are two vectors, as alike as the score model has such ages (`faces`).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from kinlink_local.case1988 import FAMILY_NOTICE, FOUND_PERSON
from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion.children import stream
from kinlink_local.reunion.faces import draw_strangers, gap_class, separations, write_faces
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
    "registered_name": FAMILY_NOTICE.name,
    "family_surname": FAMILY_NOTICE.name[0],
    "dna_held": "mother;father",
}
_FOUND: Final = {
    "record_id": FOUND_ID,
    "kind": FOUND,
    "found_as": "adoptee",
    "sex": "M",
    "birth_date": "1986-11-23",
    "birth_calendar": "solar",
    "first_seen_date": "1988-10-17/1988-12-31",
    "found_place": "51",
    "registered_name": FOUND_PERSON.name,
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

# The child's last photograph at home, and the man's.
CHILD_PHOTO_AGE: Final = 2
MAN_PHOTO_AGE: Final = 33


def replay_photographs(seed: int) -> tuple[dict[str, str], dict[str, str]]:
    """Columns of a photograph of the child and of one of the man: `photo_age`, `face_…`.

    The two are as alike as the score model has it on average for their ages; in the true story the
    photograph gave the lead, so it is no chance draw here.
    """
    rng = stream(seed, "replay faces")
    child, other = draw_strangers(rng, 2)
    years = gap_class(np.array([CHILD_PHOTO_AGE]), np.array([MAN_PHOTO_AGE]))
    cosine = float(separations()[years][0]) / np.sqrt(assumed.FACE_DIMENSION)
    across = other - (other @ child) * child
    man = cosine * child + np.sqrt(1 - cosine**2) * across / np.linalg.norm(across)
    one, two = (
        {"photo_age": str(age), "face_model": assumed.FACE_MODEL, "face_embedding": text}
        for age, text in zip(
            (CHILD_PHOTO_AGE, MAN_PHOTO_AGE), write_faces(np.stack([child, man])), strict=True
        )
    )
    return one, two


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
