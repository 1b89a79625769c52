"""Notices from PFIF 1.4, the People Finder Interchange Format.

The file is read as it streams, by expat, with no document type: no entity is ever declared, so none
can be expanded or fetched. Depth, a value, and a person with its notes are bounded. What the table
of notices has no column for is counted and dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final
from xml.parsers import expat

from kinlink_local.reunion.intake.body_marks import read_marks
from kinlink_local.reunion.intake.checks import check
from kinlink_local.reunion.intake.outcome import Found
from kinlink_local.reunion.intake.pfif_terms import (
    NAMESPACE,
    NO_NAME,
    SEXES,
    STATES,
    STATUSES,
)
from kinlink_local.reunion.intake.place_names import codes, place_code
from kinlink_local.reunion.intake.written_ages import Age, born_at_age
from kinlink_local.reunion.intake.written_dates import WrittenDate
from kinlink_local.reunion.notices import FOUND, SEEKING_CHILD, TIP

if TYPE_CHECKING:
    from kinlink_local.reunion.intake.outcome import Cells, Outcome

VALUE_CHARACTERS_MAX: Final = 20_000
PERSON_CHARACTERS_MAX: Final = 200_000
DEPTH_MAX: Final = 6
CHUNK_BYTES: Final = 1 << 16
MAPPED: Final = frozenset({
    "person_record_id", "source_date", "full_name", "given_name", "family_name",
    "alternate_names", "description", "sex", "date_of_birth", "age", "home_city", "home_state",
    "home_country", "entry_date",
})  # fmt: skip
NOTE_MAPPED: Final = frozenset({
    "note_record_id", "person_record_id", "status", "author_made_contact", "last_known_location",
    "entry_date", "source_date", "author_name", "text",
})  # fmt: skip
_DAY: Final = re.compile(r"(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(?:\.\d+)?Z")
_BORN: Final = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
_AGE: Final = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")


@dataclass
class _Record:
    """A person or a note as it streams by."""

    line: int
    values: dict[str, str] = field(default_factory=dict)


@dataclass
class _Person(_Record):
    notes: list[_Record] = field(default_factory=list)
    too_long: bool = False


def import_pfif(file: IO[bytes], outcome: Outcome, domain: str = "") -> None:
    """Read persons, each with the notes inside it and then those beside it, into the outcome.

    Args:
        file: XML, UTF-8 or as its declaration says.
        outcome: takes the notices; a file that breaks off keeps those before.
        domain: of this office: left off ids that begin with it.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = lambda name, _: reader.start(name, parser.CurrentLineNumber)
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        while chunk := file.read(CHUNK_BYTES):
            parser.Parse(chunk, False)  # noqa: FBT003 - expat takes it by position
        parser.Parse(b"", True)  # noqa: FBT003
    except (expat.ExpatError, _BrokenError) as error:
        text = str(error) if isinstance(error, _BrokenError) else "the file is no XML from here on"
        outcome.lose(parser.CurrentLineNumber, "", "file", text)
    outcome.dropped.update(reader.attach_late_notes())
    for person in reader.persons:
        _keep(person, outcome, domain)


class _BrokenError(Exception):
    """The file is not one that is read; the message says why, without a value."""


def _refuse_doctype(*_: object) -> None:
    raise _BrokenError("the file has a document type, which PFIF has not; remove it")


class _Reader:
    """Takes the parser's events."""

    def __init__(self) -> None:
        self.persons: list[_Person] = []
        self._late: list[_Record] = []
        self._depth = 0
        self._person: _Person | None = None
        self._note: _Record | None = None
        self._name = ""
        self._value: list[str] = []
        self._size = 0

    def start(self, tag: str, line: int) -> None:
        """An element opens."""
        namespace, _, name = tag.rpartition(" ")
        self._depth += 1
        self._size += len(name)
        if self._depth > DEPTH_MAX:
            raise _BrokenError("elements are nested deeper than PFIF has them")
        if self._depth == 1 and (namespace != NAMESPACE or name != "pfif"):
            raise _BrokenError("the file is not PFIF 1.4; its root says otherwise")
        if name == "person" and self._person is None:
            self._person, self._size = _Person(line), 0
        elif name == "note" and self._note is None:
            self._note = _Record(line)
            if self._person is None:
                self._size = 0
        else:
            self._name, self._value = name, []

    def text(self, data: str) -> None:
        """Characters of an element."""
        self._size += len(data)
        if self._name and self._size <= PERSON_CHARACTERS_MAX:
            self._value.append(data)

    def end(self, tag: str) -> None:
        """An element closes."""
        name = tag.rpartition(" ")[2]
        self._depth -= 1
        if name == "note" and self._note is not None:
            if self._size <= PERSON_CHARACTERS_MAX:
                (self._person.notes if self._person else self._late).append(self._note)
            self._note = None
        elif name == "person" and self._person is not None:
            self._person.too_long = self._size > PERSON_CHARACTERS_MAX
            self.persons.append(self._person)
            self._person = None
        elif name == self._name:
            record = self._note or self._person
            value = "".join(self._value).strip()[:VALUE_CHARACTERS_MAX]
            if record is not None and value and self._size <= PERSON_CHARACTERS_MAX:
                record.values.setdefault(name, value)
            self._name = ""

    def attach_late_notes(self) -> list[str]:
        """Give notes beside the persons to them; a word for each whose person is not there."""
        known = {person.values.get("person_record_id", ""): person for person in self.persons}
        left = []
        for note in self._late:
            if person := known.get(note.values.get("person_record_id", "")):
                person.notes.append(note)
            else:
                left.append("note without its person")
        return left


def _keep(person: _Person, outcome: Outcome, domain: str) -> None:
    found = _cells(person)
    if person.too_long:
        found.fault("notice", f"is over {PERSON_CHARACTERS_MAX} characters; the rest was left out")
    record_id = person.values.get("person_record_id", "")
    found.cells["record_id"] = record_id.removeprefix(f"{domain}/") if domain else record_id
    found.faults += check(found.cells)
    outcome.dropped.update(name for name in person.values if name not in MAPPED)
    outcome.dropped.update(
        f"note.{name}" for note in person.notes for name in note.values if name not in NOTE_MAPPED
    )
    outcome.dropped.update(found.dropped)
    outcome.add(person.line, found.cells, found.faults)


def _cells(person: _Person) -> Found:
    values = person.values
    found = Found()
    _kind(person.notes, found)
    name = values.get("full_name") or values.get("family_name", "") + values.get("given_name", "")
    found.cells |= {
        "registered_name": "" if name == NO_NAME else name,
        "family_surname": values.get("family_name", ""),
        # One a line; the first is what the child was called.
        "nickname": values.get("alternate_names", "").split("\n")[0].strip(),
    }
    if sex := values.get("sex"):
        found.cells["sex"] = SEXES.get(sex, "")
        if sex not in SEXES:
            found.dropped.append("sex")
    if description := values.get("description"):
        found.cells["marks"], unplaced = read_marks(description)
        if unplaced or not found.cells["marks"]:
            found.dropped.append("description")
    _dates(values, found)
    _home(values, found)
    return found


def _kind(notes: list[_Record], found: Found) -> None:
    """Kind and place of loss: the last note that says each."""
    found.cells["kind"] = SEEKING_CHILD
    for note in notes:
        status = note.values.get("status")
        if status == "believed_alive":
            met = note.values.get("author_made_contact") == "true"
            found.cells |= {"kind": FOUND if met else TIP, "found_as": ""}
        elif status in STATUSES:
            kind, found_as = STATUSES[status]
            found.cells |= {"kind": kind, "found_as": found_as}
        elif status:
            found.fault(
                "kind", "has a status that no kind of notice has; taken for a missing child"
            )
        if place := note.values.get("last_known_location"):
            found.cells["lost_place"] = place_code(place)
            if not found.cells["lost_place"]:
                found.fault("lost_place", "names no division of China that is known")


def _dates(values: dict[str, str], found: Found) -> None:
    source = values.get("source_date", "")
    day = _DAY.fullmatch(source)
    if day:
        found.cells["entry_date"] = day[1]
    elif source:
        found.fault("entry_date", "is no UTC time; source_date is yyyy-mm-ddThh:mm:ssZ")
    born, age = values.get("date_of_birth", ""), _AGE.fullmatch(values.get("age", ""))
    if _BORN.fullmatch(born):
        found.cells |= {"birth_date": born, "birth_calendar": "solar"}
    elif born:
        found.fault("birth_date", "is none of YYYY, YYYY-MM, YYYY-MM-DD")
    elif age and day:
        _born_at(int(age[1]), int(age[2] or age[1]), day[1], found.cells)
    elif values.get("age"):
        found.fault("birth_date", "an age counts from source_date; one of them cannot be read")


def _born_at(low: int, high: int, day: str, cells: Cells) -> None:
    """An age is one on the day of the source."""
    try:
        days = WrittenDate(day, "solar").days
        born = born_at_age(Age((12 * low, 12 * (high + 1))), days)
    except (ValueError, OverflowError):
        return
    cells |= {"birth_date": born.text, "birth_calendar": born.calendar}


def _home(values: dict[str, str], found: Found) -> None:
    """Where somebody found lives; a family's home has no column."""
    country, state = values.get("home_country", "CN"), values.get("home_state", "")
    province = STATES.get(state.removeprefix("CN-"), "")
    code = province or place_code(state)
    if country == "CN" and (code or values.get("home_city")):
        # With the province's name before it a town's name is read as one in it.
        code = place_code(values.get("home_city", ""), codes().get(code, "")) or code
    if found.cells["kind"] == SEEKING_CHILD:
        found.dropped += ["home"] * bool(state or values.get("home_city"))
    elif country == "CN" and code:
        found.cells["found_place"] = code
    elif state or values.get("home_city"):
        found.fault("found_place", "names no division of China that is known")
