"""What PFIF 1.4 calls things, and its words for those of notices."""

from __future__ import annotations

from typing import Final

from kinlink_local.reunion.notices import FOUND, SEEKING_CHILD

NAMESPACE: Final = "http://zesty.ca/pfif/1.4"
# PFIF wants a name; this stands where the notice has none.
NO_NAME: Final = "?"
SEXES: Final = {"female": "F", "male": "M"}
# Status → kind and how found; `believed_alive` is of somebody found, or a tip, by who was met.
STATUSES: Final = {
    "information_sought": (SEEKING_CHILD, ""),
    "believed_missing": (SEEKING_CHILD, ""),
    "is_note_author": (FOUND, "self_seeking"),
}  # fmt: skip
# ISO 3166-2:CN without its country → GB/T 2260; until 2017 it was the number itself.
STATES: Final = {
    "BJ": "11", "TJ": "12", "HE": "13", "SX": "14", "NM": "15", "LN": "21", "JL": "22", "HL": "23",
    "SH": "31", "JS": "32", "ZJ": "33", "AH": "34", "FJ": "35", "JX": "36", "SD": "37", "HA": "41",
    "HB": "42", "HN": "43", "GD": "44", "GX": "45", "HI": "46", "CQ": "50", "SC": "51", "GZ": "52",
    "YN": "53", "XZ": "54", "SN": "61", "GS": "62", "QH": "63", "NX": "64", "XJ": "65", "TW": "71",
    "HK": "81", "MO": "82",
}  # fmt: skip
STATES.update({number: number for number in tuple(STATES.values())})
