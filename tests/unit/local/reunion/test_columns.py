"""What an office makes of notices before a schema reads them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from kinlink_local.cli import main
from kinlink_local.inputs import TRUTH_COLUMNS
from kinlink_local.reunion.columns import SCHEMA_COLUMNS, schema_columns
from kinlink_local.reunion.notices import COLUMNS, Notices, join, write_csv, write_jsonl
from kinlink_local.reunion.population import Config, make_population, write_population
from kinlink_local.reunion.registries import groups
from kinlink_local.reunion.replay import replay_notices
from kinlink_local.reunion.sounds import sound

if TYPE_CHECKING:
    from pathlib import Path

SEED = 23  # neither tuned nor reported on


def notice(kind: str, **cells: str) -> Notices:
    """One notice; what is not named is unknown."""
    known = {"record_id": "1", "kind": kind, **cells}
    return {name: [known.get(name, "")] for name in COLUMNS}


def column(name: str, kind: str, **cells: str) -> str:
    """One cell of what is made of one notice."""
    return schema_columns(notice(kind, **cells))[name][0]


def days(text: str) -> list[tuple[np.datetime64, np.datetime64]]:
    """First and last days of what a schema reads."""
    spans = []
    for each in text.split(","):
        first, _, last = each.partition("~")
        ends = [f"{end[:4]}-{end[4:6]}-{end[6:]}" for end in (first, last or first)]
        spans.append((np.datetime64(ends[0]), np.datetime64(ends[1])))
    return spans


def test_the_case_of_1988_is_two_days_and_two_provinces() -> None:
    seeking_notice, *others = replay_notices()
    seeking, found, tip = (schema_columns(each) for each in (seeking_notice, *others))
    told = {name: cells[0] for name, cells in seeking.items() if cells[0]}
    assert told == {
        "record_id": "A61-REPLAY",
        "kind": "seeking_child",
        "sex": "M",
        "born": "19860223",
        "parted": "19881017",
        "arrival": "61",
        "place": "610100",
        "surname": sound(seeking_notice["family_surname"][0]),
        "category": "abducted",
    }
    assert found["parted"] == ["19881017~19881231"]
    assert (found["arrival"], found["place"]) == (["51"], [""])
    assert (tip["born"], tip["parted"]) == ([""], ["19860101~19891231"])
    assert (tip["arrival"], tip["place"]) == (["51"], ["61"])


@pytest.mark.parametrize(
    ("text", "calendar", "expected"),
    [
        ("2016-03-23", "solar", "20160323"),
        ("2016-03-23", "lunar", "20160429"),
        ("2016-03-23", "unknown", "20160323,20160429"),
        ("1987-06", "lunar", "19870626~19870725,19870726~19870823"),  # a leap month repeats it
        ("1987-02", "", "19870201~19870228"),
        ("", "", ""),
    ],
)
def test_a_date_is_its_possible_days(text: str, calendar: str, expected: str) -> None:
    assert column("born", "found", birth_date=text, birth_calendar=calendar) == expected


def test_an_estimated_age_is_the_year_in_its_middle() -> None:
    found = {"birth_date": "1984-03/1986-03", "birth_calendar": "solar"}
    ((first, last),) = days(column("born", "found", **found))
    assert (last - first).astype(int) == 364
    assert first <= np.datetime64("1985-03-15") <= last
    lunar_year = column("born", "found", birth_date="1984", birth_calendar="lunar")
    assert lunar_year == "19840202~19850219"


def test_each_side_tells_its_own_province() -> None:
    places = {"lost_place": "510104", "found_place": "4101"}
    assert column("arrival", "seeking_child", **places) == "51"
    assert column("arrival", "found", **places) == "41"
    assert column("place", "found", **places) == "510104"


def test_names_are_what_they_sound_like_and_whose_they_are() -> None:
    names = {"father_name": "建国", "mother_name": "jian guo", "sibling_names": "建国;强"}
    sound = column("kin", "found", father_name="建国").removeprefix("father ")
    brothers = column("kin", "found", sibling_names="强")
    assert column("kin", "seeking_child", **names) == (
        f"father {sound},mother {sound},sibling {sound},{brothers}"
    )
    assert column("surname", "found", family_surname="张") == column(
        "surname", "seeking_child", family_surname="章"
    )


def test_blood_is_a_letter_for_each_of_three_or_the_groups_own_name() -> None:
    groups_ = {"mother_blood_group": "AB", "blood_group": "O"}
    assert column("blood", "seeking_child", **groups_) == "CXO"
    assert column("blood", "seeking_child") == ""
    assert column("blood", "found", blood_group="AB") == "AB"


def test_height_is_how_far_it_is_from_the_usual_one() -> None:
    usual = {"height_cm": "108", "age_at_loss": "5"}
    assert column("height", "seeking_child", **usual) == "100"
    assert column("height", "seeking_child", height_cm="117", age_at_loss="5") == "120"
    assert column("height", "seeking_child", height_cm="117") == ""
    seen = {"birth_date": "1990-01-01", "birth_calendar": "solar", "first_seen_date": "1995-06"}
    assert column("height", "found", height_cm="117", **seen) == "120"


def test_marks_and_memories_are_words_and_none_is_nothing() -> None:
    assert column("marks", "found", marks="左/肩/胎记;中/额/疤痕") == "左 肩 胎记,中 额 疤痕"
    assert column("memories", "found", memories="none") == ""


def test_what_cannot_be_read_is_named_by_its_number_alone() -> None:
    two = join([notice("found"), notice("found", birth_date="born in may")])
    with pytest.raises(ValueError, match=r"^notice 2 has a date") as caught:
        schema_columns(two)
    assert "may" not in str(caught.value)


@pytest.mark.parametrize("regime", ["informative", "hard"])
def test_the_true_days_are_among_a_familys_possible_days(regime: str) -> None:
    population = make_population(Config(SEED, 400, regime))
    columns = schema_columns(population.family)
    for name, truth in (("born", population.children.born), ("parted", population.children.lost)):
        for cell, day in zip(columns[name], truth.astype("datetime64[D]"), strict=False):
            assert any(first <= day <= last for first, last in days(cell))


def test_the_command_makes_the_same_of_csv_and_of_json_lines(tmp_path: Path) -> None:
    population = make_population(Config(SEED, 100, "informative"))
    half = (population.family, population.found)
    write_csv(tmp_path / "family.csv", half[0])
    write_jsonl(tmp_path / "found.jsonl", half[1])
    words = [str(tmp_path / name) for name in ("family.csv", "found.jsonl")]
    done = CliRunner().invoke(main, ["columns", *words, "--out", str(tmp_path / "out.csv")])
    assert done.exit_code == 0, done.output
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    made = schema_columns(join(half))
    assert tuple(header) == SCHEMA_COLUMNS
    assert lines == [list(line) for line in zip(*made.values(), strict=True)]


def test_registries_hold_every_notice_once_and_know_who_belongs_together(tmp_path: Path) -> None:
    population = make_population(Config(SEED, 200, "informative"))
    write_population(population, tmp_path / "out", registries=2)
    folder = tmp_path / "out" / "registries"
    files = {path.stem: path for path in folder.iterdir()}
    assert set(files) == {"seeking-1", "seeking-2", "found-1", "found-2", "truth"}
    tables = {}
    for name, path in files.items():
        with path.open(encoding="utf-8", newline="") as file:
            tables[name] = list(csv.DictReader(file))
    for side, kind, notices in (
        ("seeking", "seeking_child", population.family),
        ("found", "found", population.found),
    ):
        held = [line for number in (1, 2) for line in tables[f"{side}-{number}"]]
        assert {line["kind"] for line in held} == {kind}
        assert sorted(line["record_id"] for line in held) == sorted(notices["record_id"])
        assert min(len(tables[f"{side}-{number}"]) for number in (1, 2)) > 60
    assert tuple(tables["truth"][0]) == TRUTH_COLUMNS
    people = [line["person_id"] for line in tables["truth"]]
    assert len(people) == 2 * len(set(people)) == 120


def test_a_province_stays_whole_in_one_registry() -> None:
    of = groups(["51", "11", "51", "44", "11", "51"], 3)
    assert of.tolist() == [2, 0, 2, 1, 0, 2]
