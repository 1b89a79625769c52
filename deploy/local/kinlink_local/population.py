"""A synthetic population of three provinces, written down by three registries, with its truth.

Most people live in one province; some are on the books of two or three. A few were lost as
children: their family's notice stands in one province and the grown person, under another name, in
another. The marginals are those of the tables in `data/`; everything follows from one seed.
"""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Final

from kinlink_local.case1988 import CASE_PERSON, FAMILY_NOTICE, FOUND_PERSON
from kinlink_local.clerk import COLUMNS, Values, write_family_notice, write_found, write_person
from kinlink_local.people import draw_person

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

REGISTRIES: Final = ("shaanxi", "sichuan", "henan")
RECORD_PREFIX: Final = {"shaanxi": "SN", "sichuan": "SC", "henan": "HA"}
RECORDS_MIN: Final = 200

# Shares of a registry's records.
TWO_PROVINCES_SHARE: Final = 0.10
THREE_PROVINCES_SHARE: Final = 0.01
REUNION_PAIRS_SHARE: Final = 0.012
UNANSWERED_NOTICES_SHARE: Final = 0.015
UNCLAIMED_PEOPLE_SHARE: Final = 0.02


@dataclass(frozen=True)
class Record:
    """One line of one registry's file, and whom it is about."""

    record_id: str
    person_id: str
    values: Values


@dataclass(frozen=True)
class Population:
    """The files of the registries and the truth about them."""

    records: dict[str, tuple[Record, ...]]
    case: dict[str, str]  # registry → record id of the 1988 case

    def write(self, folder: Path) -> dict[str, Path]:
        """Write one CSV a registry and `truth.csv` into `folder`; the registries' files."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.csv" for name in self.records}
        for name, records in self.records.items():
            rows = ([each.record_id, *each.values.as_row()] for each in records)
            _write_csv(paths[name], ("record_id", *COLUMNS), rows)
        everyone = (each for records in self.records.values() for each in records)
        rows = ([each.record_id, each.person_id] for each in everyone)
        _write_csv(folder / "truth.csv", ("record_id", "person_id"), rows)
        return paths


def make_population(records_per_registry: int, seed: int) -> Population:
    """Draw a population; the same arguments give the same people.

    Raises:
        ValueError: Fewer than `RECORDS_MIN` records a registry leave no room for the shares.
    """
    if records_per_registry < RECORDS_MIN:
        raise ValueError(
            f"a registry needs at least {RECORDS_MIN} records, not {records_per_registry}"
        )
    books = _Books(random.Random(seed))
    books.add_case()
    books.add_reunions(round(records_per_registry * REUNION_PAIRS_SHARE))
    books.add_open_searches(records_per_registry)
    books.add_movers(records_per_registry)
    books.fill(records_per_registry)
    return books.close()


class _Books:
    """The three registries while they are being written."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._entries: dict[str, list[tuple[str, Values]]] = {name: [] for name in REGISTRIES}
        self._persons = 0

    def _next_id(self) -> str:
        self._persons += 1
        return f"P{self._persons:06d}"

    def _enter(self, registry: str, person_id: str, values: Values) -> None:
        self._entries[registry].append((person_id, values))

    def add_case(self) -> None:
        self._enter("shaanxi", CASE_PERSON, FAMILY_NOTICE)
        self._enter("sichuan", CASE_PERSON, FOUND_PERSON)

    def add_reunions(self, pairs_per_registry: int) -> None:
        """Children with a notice in one province who grew up in another."""
        roads = list(permutations(REGISTRIES, 2))
        for number in range(pairs_per_registry * len(REGISTRIES) // 2):
            home, away = roads[number % len(roads)]
            child = draw_person(self._rng, self._next_id(), home, lost=True)
            grown = draw_person(self._rng, child.id, away, lost=True)
            self._enter(home, child.id, write_family_notice(self._rng, child))
            self._enter(away, child.id, write_found(self._rng, child, grown))

    def add_open_searches(self, records: int) -> None:
        """Notices nobody has answered, and grown children nobody has claimed."""
        for home in REGISTRIES:
            for _ in range(round(records * UNANSWERED_NOTICES_SHARE)):
                child = draw_person(self._rng, self._next_id(), home, lost=True)
                self._enter(home, child.id, write_family_notice(self._rng, child))
            for _ in range(round(records * UNCLAIMED_PEOPLE_SHARE)):
                origin = self._rng.choice([name for name in REGISTRIES if name != home])
                child = draw_person(self._rng, self._next_id(), origin, lost=True)
                grown = draw_person(self._rng, child.id, home, lost=True)
                self._enter(home, child.id, write_found(self._rng, child, grown))

    def add_movers(self, records: int) -> None:
        """People on the books of two provinces, or of all three."""
        roads = list(permutations(REGISTRIES, 2))
        for number in range(round(records * TWO_PROVINCES_SHARE * len(REGISTRIES) / 2)):
            self._enter_mover(roads[number % len(roads)])
        for number in range(round(records * THREE_PROVINCES_SHARE)):
            first = number % len(REGISTRIES)
            self._enter_mover(REGISTRIES[first:] + REGISTRIES[:first])

    def _enter_mover(self, provinces: Sequence[str]) -> None:
        person = draw_person(self._rng, self._next_id(), provinces[0])
        for number, registry in enumerate(provinces):
            values = write_person(self._rng, person, registry, moved=number > 0)
            self._enter(registry, person.id, values)

    def fill(self, records: int) -> None:
        """Add people of one province until every registry has its number of records."""
        for registry, entries in self._entries.items():
            while len(entries) < records:
                person = draw_person(self._rng, self._next_id(), registry)
                self._enter(registry, person.id, write_person(self._rng, person, registry))

    def close(self) -> Population:
        """Shuffle each registry's lines and number them."""
        records: dict[str, tuple[Record, ...]] = {}
        case: dict[str, str] = {}
        for registry, entries in self._entries.items():
            self._rng.shuffle(entries)
            prefix = RECORD_PREFIX[registry]
            records[registry] = tuple(
                Record(f"{prefix}-{number:06d}", person_id, values)
                for number, (person_id, values) in enumerate(entries, start=1)
            )
            for each in records[registry]:
                if each.person_id == CASE_PERSON:
                    case[registry] = each.record_id
        return Population(records, case)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
