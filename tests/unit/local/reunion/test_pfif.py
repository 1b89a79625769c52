"""PFIF 1.4 both ways: what it can carry comes back, what it cannot is counted; XML is no door."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinlink_local.cli import main
from kinlink_local.reunion import terms
from kinlink_local.reunion.dates import possible_days
from kinlink_local.reunion.intake.outcome import Outcome
from kinlink_local.reunion.intake.pfif_read import import_pfif
from kinlink_local.reunion.intake.pfif_write import birth, export_pfif
from kinlink_local.reunion.intake.place_names import codes, place_code, place_text
from kinlink_local.reunion.notices import COLUMNS, Notices
from kinlink_local.reunion.population import Config, make_population

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN: Final = "office.example.org"
NOW: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
SPACE: Final = "{http://zesty.ca/pfif/1.4}"
MAPPED: Final = (
    "record_id", "kind", "entry_date", "sex", "birth_date", "birth_calendar", "lost_place",
    "found_place", "registered_name", "nickname", "family_surname", "marks",
)  # fmt: skip
# Six county towns have the name of their prefecture or province, which is what comes back.
PLACES: Final = sorted(code for code in codes() if place_code(place_text(code)) == code)
NAMES: Final = st.one_of(
    st.just(""),
    st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=20),
    st.sampled_from(["欧阳寅", "Mao Yin", "<&>", "O'Brien", "毛'\"毛"]),
)


def read(document: str | bytes, domain: str = DOMAIN) -> Outcome:
    outcome = Outcome()
    data = document.encode() if isinstance(document, str) else document
    import_pfif(io.BytesIO(data), outcome, domain)
    return outcome


def person(inside: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<pfif:pfif xmlns:pfif="http://zesty.ca/pfif/1.4">\n'
        f"<pfif:person>{inside}</pfif:person>\n</pfif:pfif>"
    )


def fields(**values: str) -> str:
    return "".join(f"<pfif:{name}>{value}</pfif:{name}>" for name, value in values.items())


def terms_of(cell: str) -> list[str]:
    """A list of marks has no order."""
    return sorted(cell.split(";"))


def first(outcome: Outcome) -> dict[str, str]:
    return {name: column[0] for name, column in outcome.notices.items() if column[0]}


@st.composite
def notices(draw: st.DrawFn) -> dict[str, str]:
    """A notice of what PFIF carries whole."""
    kind = draw(st.sampled_from(("seeking_child", "found", "tip")))
    day = draw(st.dates(date(1930, 1, 1), date(2026, 1, 1)))
    born = draw(st.sampled_from(("", "%Y", "%Y-%m", "%Y-%m-%d")))
    marks = draw(st.lists(st.sampled_from(terms.marks()), max_size=4, unique=True))
    place = st.sampled_from(("", *PLACES))
    return {
        "record_id": draw(st.from_regex(r"[A-Za-z0-9]{1,12}", fullmatch=True)),
        "kind": kind,
        "found_as": "self_seeking" if kind == "found" and draw(st.booleans()) else "",
        "entry_date": draw(st.dates(date(1990, 1, 1), date(2026, 1, 1))).isoformat(),
        "sex": draw(st.sampled_from(("", "F", "M"))),
        "birth_date": day.strftime(born).zfill(4) if born else "",
        "birth_calendar": "solar" if born else "",
        "lost_place": draw(place),
        "found_place": draw(place) if kind != "seeking_child" else "",
        "registered_name": draw(NAMES),
        "nickname": draw(NAMES),
        "family_surname": draw(NAMES),
        "marks": draw(st.sampled_from((";".join(sorted(marks)), "none"))) if marks else "",
    }


def table(*rows: dict[str, str]) -> Notices:
    return {name: [row.get(name, "") for row in rows] for name in COLUMNS}


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(row=notices())
def test_what_was_exported_comes_back_the_same(tmp_path: Path, row: dict[str, str]) -> None:
    left = export_pfif(table(row), tmp_path / "a.xml", DOMAIN, NOW)
    outcome = read((tmp_path / "a.xml").read_bytes())
    assert first(outcome) == {name: cell for name, cell in row.items() if cell}
    assert (outcome.faults, outcome.dropped, left) == ([], {}, {})


def test_a_whole_population_comes_back_in_its_mapped_columns(tmp_path: Path) -> None:
    drawn = make_population(Config(5, 200, "informative", 0.5, replay=False))
    for side in (drawn.family, drawn.found):
        left = export_pfif(side, tmp_path / "a.xml", DOMAIN, NOW)
        again = read((tmp_path / "a.xml").read_bytes()).notices
        # The county level of a municipality has no name of its own.
        for name in ("lost_place", "found_place"):
            assert all(
                code.startswith(back) and bool(back) == bool(code)
                for code, back in zip(side[name], again[name], strict=True)
                if name not in left
            )
        for name in set(MAPPED) - {"lost_place", "found_place"}:
            if name not in {"birth_date", "birth_calendar", "entry_date", *left}:
                assert list(map(terms_of, again[name])) == list(map(terms_of, side[name])), name
        for text, calendar, back in zip(
            side["birth_date"], side["birth_calendar"], again["birth_date"], strict=True
        ):
            for begin, end in possible_days(text, calendar or "solar") if back else ():
                assert any(a <= begin and end <= b for a, b in possible_days(back, "solar"))
        assert left["birth_date"] <= len(side["birth_date"])
        assert left["found_as"] == sum(
            each not in {"", "self_seeking"} for each in side["found_as"]
        )


@pytest.mark.parametrize(
    ("text", "calendar", "expected"),
    [
        ("1988-10-17", "solar", "1988-10-17"),
        ("1988", "", "1988"),
        ("1985-12-23", "lunar", "1986-02-01"),
        ("1988-10", "lunar", "1988"),
        ("1988", "lunar", ""),
        ("1986/1988", "solar", ""),
        ("", "", ""),
    ],
)
def test_a_birth_is_written_as_shortly_as_its_days_allow(
    text: str, calendar: str, expected: str
) -> None:
    assert birth(text, calendar) == expected


def test_entry_dates_never_go_back_and_every_person_has_what_pfif_wants(tmp_path: Path) -> None:
    rows = [
        {"record_id": str(n), "kind": "tip", "entry_date": day}
        for n, day in enumerate(("2020-05-01", "2019-01-01", ""))
    ]
    stamps: list[str] = []
    for hours in (0, 1):
        export_pfif(table(*rows), tmp_path / "a.xml", DOMAIN, NOW + timedelta(hours=hours))
        tree = ET.parse(tmp_path / "a.xml")  # noqa: S314 - our own file
        stamps += [each.text or "" for each in tree.iter(f"{SPACE}entry_date")]
        for each in tree.iter(f"{SPACE}person"):
            wanted = ("person_record_id", "source_date", "full_name")
            assert all(each.findtext(f"{SPACE}{name}") for name in wanted)
    assert stamps == sorted(stamps)
    assert len(stamps) == 12


def test_notes_say_what_a_record_is_of() -> None:
    cases = {
        ("information_sought", ""): "seeking_child",
        ("believed_missing", ""): "seeking_child",
        ("is_note_author", ""): "found",
        ("believed_alive", "true"): "found",
        ("believed_alive", "false"): "tip",
        ("believed_dead", ""): "seeking_child",
    }
    for (status, met), kind in cases.items():
        note = fields(status=status, **({"author_made_contact": met} if met else {}))
        outcome = read(
            person(fields(person_record_id="a/1", full_name="?") + f"<pfif:note>{note}</pfif:note>")
        )
        assert outcome.notices["kind"] == [kind]
        assert len(outcome.faults) == (status == "believed_dead")


def test_a_note_beside_the_persons_goes_to_its_person() -> None:
    one = person(fields(person_record_id="a/1", full_name="Li"))
    notes = "".join(
        f"<pfif:note>{fields(person_record_id=each, status='is_note_author')}</pfif:note>"
        for each in ("a/1", "a/2")
    )
    outcome = read(one.replace("</pfif:pfif>", notes + "</pfif:pfif>"))
    assert outcome.notices["kind"] == ["found"]
    assert outcome.dropped == {"note without its person": 1}


def test_an_age_is_one_on_the_day_of_the_source() -> None:
    inside = fields(
        person_record_id="a/1", full_name="Li", age="20-22", source_date="2008-10-17T00:00:00Z"
    )
    notes = f"<pfif:note>{fields(status='is_note_author')}</pfif:note>" * 50_000
    outcome = read(person(fields(person_record_id="a/1", full_name="Li") + notes))
    assert first(outcome)["registered_name"] == "Li"
    assert [fault.field for fault in outcome.faults] == ["notice"]
    cells = first(read(person(inside)))
    assert (cells["birth_date"], cells["birth_calendar"]) == ("1985-10-18/1988-10-17", "solar")
    assert read(person(fields(person_record_id="a/1", full_name="Li", age="20"))).faults


@pytest.mark.parametrize("state", ["SN", "CN-SN", "61", "陕西省", "陕西"])
def test_a_province_may_be_letters_a_number_or_a_name(state: str) -> None:
    note = f"<pfif:note>{fields(status='is_note_author')}</pfif:note>"
    inside = fields(
        person_record_id="a/1",
        full_name="Li",
        home_state=state,
        home_city="西安",
        home_country="CN",
    )
    assert first(read(person(inside + note)))["found_place"] == "6101"


def test_what_has_no_column_is_counted_by_its_name() -> None:
    inside = fields(
        person_record_id="a/1", full_name="Li", photo_url="x", expiry_date="x", sex="other"
    )
    outcome = read(person(inside + f"<pfif:note>{fields(photo_url='x')}</pfif:note>"))
    assert outcome.dropped == {"photo_url": 1, "expiry_date": 1, "sex": 1, "note.photo_url": 1}


LAUGHS: Final = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "document",
    [
        f'<!DOCTYPE p [<!ENTITY a0 "ha">{LAUGHS}]><p>&a9;</p>',
        '<!DOCTYPE p [<!ENTITY a SYSTEM "file:///etc/hostname">]><p>&a;</p>',
        '<!DOCTYPE p SYSTEM "http://192.0.2.1/p.dtd"><p/>',
        '<pfif xmlns="http://zesty.ca/pfif/1.1"/>',
        person("<pfif:a>" * 30 + "</pfif:a>" * 30),
        "not XML",
        "",
    ],
)
def test_no_trick_of_xml_works(document: str) -> None:
    outcome = read(document)
    assert (outcome.read, outcome.lost) == (0, 1)
    assert "ha" not in outcome.faults[0].text.split()


def test_a_file_that_breaks_off_keeps_the_persons_before() -> None:
    whole = person(fields(person_record_id=f"{DOMAIN}/1", full_name="Li"))
    outcome = read(whole.removesuffix("</pfif:pfif>") + "<pfif:person><pfif:full")
    assert outcome.notices["record_id"] == ["1"]
    assert [fault.line for fault in outcome.faults] == [4]


def test_a_person_without_end_takes_no_memory_without_end() -> None:
    cells = first(
        read(person(fields(person_record_id="a/1", full_name="x" * 10_000_000, sex="male")))
    )
    assert "registered_name" not in cells


def test_the_command_wants_a_domain_for_pfif_and_counts_what_stays_behind(tmp_path: Path) -> None:
    from kinlink_local.reunion.notices import write_csv

    write_csv(tmp_path / "a.csv", table({"record_id": "1", "kind": "tip", "father_name": "文"}))
    order = [
        "notices",
        "export",
        str(tmp_path / "a.csv"),
        "--to",
        "pfif",
        "--out",
        str(tmp_path / "a.xml"),
    ]
    assert CliRunner().invoke(main, order).exit_code == 2
    done = CliRunner().invoke(main, [*order, "--domain", DOMAIN])
    assert done.exit_code == 0
    assert "father_name 1" in done.stderr
    assert "文" not in done.stderr


def test_every_division_is_named_so_that_its_name_is_read_back() -> None:
    again = {code: place_code(place_text(code)) for code in codes()}
    # County towns called like their prefecture, and those without one: what holds them is read.
    assert {code for code, back in again.items() if code != back} == {
        "340181", "469003", "542301", "652101", "652201", "659001",
    }  # fmt: skip
    assert all(code.startswith(back) for code, back in again.items())
