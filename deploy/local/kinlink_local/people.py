"""Synthetic people: who they are before any registry writes them down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from kinlink_local.names import Sex, draw_childhood_name, draw_given, surnames
from kinlink_local.places import County, draw_address, draw_county
from kinlink_local.tables import words

if TYPE_CHECKING:
    import random

BIRTH_FIRST: Final = date(1940, 1, 1)
BIRTH_LAST: Final = date(2004, 12, 31)
MALE_SHARE: Final = 0.513
MOVE_AGE_DAYS: Final = (17 * 365, 40 * 365)
WRITTEN_ON: Final = date(2024, 6, 30)
LOST_AGE_DAYS: Final = (200, 2_600)
LOST_BIRTH_FIRST: Final = date(1975, 1, 1)
LOST_BIRTH_LAST: Final = date(1996, 12, 31)
BORN_ELSEWHERE_SHARE: Final = 0.08

# Blood groups of a Han population, in percent.
BLOOD_GROUPS: Final = {"O": 34, "A": 28, "B": 29, "AB": 9}
MARK_SIDES: Final = ("左", "右")

# Both are unassigned, so that no made-up number is anyone's: mobile numbers begin with 13 to 19,
# and the last character of a resident number is a checksum, which is made wrong on purpose.
PHONE_HEAD: Final = "12"
CHECK_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECK_CHARACTERS: Final = "10X98765432"  # by the remainder


@dataclass(frozen=True)
class Person:
    """What is true of one synthetic person."""

    id: str
    name: str
    sex: Sex
    born: date
    county: County
    address: str
    phone: str
    national_id: str
    childhood_name: str
    origin: County
    moved_on: date
    blood_group: str
    mark: str


def draw_person(rng: random.Random, person_id: str, registry: str, *, lost: bool = False) -> Person:
    """A person at home in one province; `lost` draws a child who was separated from its family.

    Args:
        rng: source of chance.
        person_id: id in the truth.
        registry: registry of the province the person was born in, as a rule.
        lost: births, and the day the child left home, follow those of missing children.
    """
    sex: Sex = "M" if rng.random() < MALE_SHARE else "F"
    first, last = (LOST_BIRTH_FIRST, LOST_BIRTH_LAST) if lost else (BIRTH_FIRST, BIRTH_LAST)
    born = first + timedelta(days=rng.randrange((last - first).days))
    earliest, latest = LOST_AGE_DAYS if lost else MOVE_AGE_DAYS
    away = timedelta(days=rng.randint(earliest, min(latest, (WRITTEN_ON - born).days)))
    given = draw_given(rng, sex)
    county = draw_county(rng, registry)
    origin = county if rng.random() > BORN_ELSEWHERE_SHARE else draw_county(rng, registry)
    return Person(
        id=person_id,
        name=surnames().draw(rng) + given,
        sex=sex,
        born=born,
        county=county,
        address=draw_address(rng, county),
        phone=draw_phone(rng),
        national_id=draw_national_id(rng, origin, born, sex),
        childhood_name=draw_childhood_name(rng, given),
        origin=origin,
        moved_on=born + away,
        blood_group=rng.choices(tuple(BLOOD_GROUPS), tuple(BLOOD_GROUPS.values()))[0],
        mark=draw_mark(rng),
    )


def draw_phone(rng: random.Random) -> str:
    """Eleven digits that no operator has assigned."""
    return PHONE_HEAD + "".join(rng.choices("0123456789", k=9))


def draw_mark(rng: random.Random) -> str:
    """A mark on the body: side, site and kind."""
    return (
        rng.choice(MARK_SIDES) + rng.choice(words("mark_sites")) + rng.choice(words("mark_kinds"))
    )


def draw_national_id(rng: random.Random, county: County, born: date, sex: Sex) -> str:
    """Eighteen characters in the form of a resident number, with a checksum that cannot be."""
    order = rng.randrange(0, 998, 2) + (1 if sex == "M" else 2)
    head = f"{county.code}{born:%Y%m%d}{order:03d}"
    right = CHECK_CHARACTERS.index(check_character(head))
    return head + CHECK_CHARACTERS[(right + 1) % len(CHECK_CHARACTERS)]


def check_character(head: str) -> str:
    """The checksum that a real resident number with these 17 digits would have (GB 11643)."""
    total = sum(int(digit) * weight for digit, weight in zip(head, CHECK_WEIGHTS, strict=True))
    return CHECK_CHARACTERS[total % len(CHECK_CHARACTERS)]


def could_be_real(national_id: str) -> bool:
    """Whether the checksum holds."""
    return check_character(national_id[:-1]) == national_id[-1]
