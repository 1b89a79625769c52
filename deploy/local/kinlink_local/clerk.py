"""How a registry's clerk writes a person down: what is asked, left out, and what goes wrong.

Each province has its own habits (the order and marks of a date, traditional characters); slips are
those of hand-kept books: a character that sounds alike, a digit, day and month changed over.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from kinlink_local.names import homophone_slip, traditional
from kinlink_local.people import PHONE_HEAD, Person, could_be_real, draw_phone
from kinlink_local.places import draw_address, draw_county

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

DATE_FORMATS: Final = {
    "shaanxi": "{0:%Y-%m-%d}",
    "sichuan": "{0.year}年{0.month}月{0.day}日",
    "henan": "{0:%Y/%m/%d}",
}

# Chance of a slip in a value that is present.
TRADITIONAL_RATE: Final = 0.04
HOMOPHONE_RATE: Final = 0.03
DIGIT_SLIP_RATE: Final = 0.02
DAY_MONTH_SWAP_RATE: Final = 0.01
MONTH_ONLY_RATE: Final = 0.01

# Chance that a value is on the books at all.
PRESENT: Final = {
    "birth_date": 0.985,
    "address": 0.96,
    "place": 0.95,
    "phone": 0.75,
    "national_id": 0.60,
    "childhood_name": 0.30,
    "origin": 0.85,
    "moved_on": 0.40,
    "mark": 0.20,
    "blood_group": 0.45,
}
# The same where someone is searched for: the form asks for all of it.
PRESENT_IN_SEARCH: Final = {
    "childhood_name": 0.90,
    "origin": 0.85,
    "moved_on": 0.95,
    "mark": 0.70,
    "blood_group": 0.60,
}

# What happens to the values of a person who moved to another province.
ADDRESS_MOVED_SHARE: Final = 0.75
PLACE_MOVED_SHARE: Final = 0.35
PHONE_CHANGED_SHARE: Final = 0.40
ARRIVAL_DAYS_MAX: Final = 45

# How a lost child's birth comes to be registered anew.
BIRTH_SHIFT_DAYS: Final = (-60, 330)
BIRTH_TRUE_SHARE: Final = 0.25
MONTH_REMEMBERED_SHARE: Final = 0.5
MONTHS: Final = 12


@dataclass(frozen=True)
class Values:
    """The columns of a registry's file; empty text is missing."""

    name: str
    birth_date: str = ""
    sex: str = ""
    address: str = ""
    place: str = ""
    phone: str = ""
    national_id: str = ""
    origin: str = ""
    moved_on: str = ""
    childhood_name: str = ""
    mark: str = ""
    blood_group: str = ""

    def as_row(self) -> list[str]:
        """The values in the order of `COLUMNS`."""
        return list(astuple(self))


COLUMNS: Final = tuple(field.name for field in fields(Values))


def write_person(
    rng: random.Random, person: Person, registry: str, *, moved: bool = False
) -> Values:
    """An ordinary entry; `moved` writes the second entry, of a person who came from elsewhere."""
    here = draw_county(rng, registry)
    stayed = {"address": person.address, "place": person.county.code, "phone": person.phone}
    came = {
        "address": draw_address(rng, here) if rng.random() < ADDRESS_MOVED_SHARE else None,
        "place": here.code if rng.random() < PLACE_MOVED_SHARE else None,
        "phone": draw_phone(rng) if rng.random() < PHONE_CHANGED_SHARE else None,
    }
    known = {key: (came[key] or stayed[key]) if moved else stayed[key] for key in stayed}
    arrival = person.moved_on + timedelta(days=rng.randint(0, ARRIVAL_DAYS_MAX) if moved else 0)
    values = Values(
        name=_slip_name(rng, person.name),
        birth_date=_write_date(rng, person.born, registry),
        sex=_write_sex(person),
        national_id=_slip_national_id(rng, person.national_id),
        origin=person.origin.prefecture_code,
        moved_on=_write_date(rng, arrival, registry),
        childhood_name=person.childhood_name,
        mark=person.mark,
        blood_group=person.blood_group,
        address=_slip_digit(rng, known["address"]),
        place=known["place"],
        phone=PHONE_HEAD + _slip_digit(rng, known["phone"].removeprefix(PHONE_HEAD)),
    )
    return _leave_out(rng, values, PRESENT)


def write_family_notice(rng: random.Random, child: Person) -> Values:
    """What a family puts in its notice: the child as it was when it was lost."""
    registry = _registry_of(child)
    values = Values(
        name=child.name,
        birth_date=_write_date(rng, child.born, registry),
        sex=_write_sex(child),
        address=child.address,
        place=child.county.code,
        origin=child.county.prefecture_code,
        moved_on=_write_date(rng, child.moved_on, registry),
        childhood_name=child.childhood_name,
        mark=child.mark,
        blood_group=child.blood_group,
    )
    return _leave_out(rng, values, PRESENT_IN_SEARCH)


def write_found(rng: random.Random, child: Person, grown: Person) -> Values:
    """What a grown child's entry says: a new name and home, and what is remembered of the old."""
    registry = _registry_of(grown)
    shift = 0 if rng.random() < BIRTH_TRUE_SHARE else rng.randint(*BIRTH_SHIFT_DAYS)
    arrival = child.moved_on + timedelta(days=rng.randint(0, ARRIVAL_DAYS_MAX))
    remembered = child.childhood_name
    values = Values(
        name=grown.name,
        birth_date=_write_date(rng, child.born + timedelta(days=shift), registry),
        sex=_write_sex(child),
        address=grown.address,
        place=grown.county.code,
        phone=grown.phone,
        national_id=grown.national_id,
        origin=child.county.prefecture_code,
        moved_on=_write_month(arrival, registry)
        if rng.random() < MONTH_REMEMBERED_SHARE
        else f"{arrival.year}",
        childhood_name=remembered.removesuffix("娃").removesuffix("儿") or remembered,
        mark=child.mark,
        blood_group=child.blood_group,
    )
    return _leave_out(rng, values, {**PRESENT_IN_SEARCH, "phone": 0.9, "national_id": 0.9})


def _registry_of(person: Person) -> str:
    heads = {"陕西省": "shaanxi", "四川省": "sichuan", "河南省": "henan"}
    return heads[person.county.province]


def _write_sex(person: Person) -> str:
    return "男" if person.sex == "M" else "女"


def _write_date(rng: random.Random, day: date, registry: str) -> str:
    chance = rng.random()
    if chance < DAY_MONTH_SWAP_RATE and day.day <= MONTHS:
        day = date(day.year, day.day, day.month)
    elif chance < DAY_MONTH_SWAP_RATE + DIGIT_SLIP_RATE:
        day = date(day.year, day.month, rng.randint(1, 28))
    elif chance < DAY_MONTH_SWAP_RATE + DIGIT_SLIP_RATE + MONTH_ONLY_RATE:
        return _write_month(day, registry)
    return DATE_FORMATS[registry].format(day)


def _write_month(day: date, registry: str) -> str:
    return f"{day.year}年{day.month}月" if registry == "sichuan" else f"{day:%Y-%m}"


def _slip_name(rng: random.Random, name: str) -> str:
    slips: tuple[tuple[float, Callable[[str], str]], ...] = (
        (HOMOPHONE_RATE, lambda text: homophone_slip(rng, text)),
        (TRADITIONAL_RATE, traditional),
    )
    for rate, slip in slips:
        if rng.random() < rate:
            name = slip(name)
    return name


def _slip_digit(rng: random.Random, text: str) -> str:
    sites = [i for i, character in enumerate(text) if character.isdigit()]
    if not sites or rng.random() >= DIGIT_SLIP_RATE:
        return text
    site = rng.choice(sites)
    return text[:site] + rng.choice("0123456789") + text[site + 1 :]


def _slip_national_id(rng: random.Random, national_id: str) -> str:
    slipped = _slip_digit(rng, national_id)
    return national_id if could_be_real(slipped) else slipped


def _leave_out(rng: random.Random, values: Values, present: dict[str, float]) -> Values:
    missing = {column: "" for column, share in present.items() if rng.random() >= share}
    return replace(values, **missing)
