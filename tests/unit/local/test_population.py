"""The synthetic population: its marginals, its errors, and that nobody in it can be real."""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest
from kinlink_local.case1988 import CASE_PERSON
from kinlink_local.clerk import COLUMNS
from kinlink_local.names import homophone_slip, surnames, traditional
from kinlink_local.people import PHONE_HEAD, could_be_real
from kinlink_local.population import REGISTRIES, Population, make_population
from kinlink_local.tables import rows

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = 2000


@cache
def population() -> Population:
    return make_population(RECORDS, seed=7)


def everyone() -> list[tuple[str, str, dict[str, str]]]:
    """Registry, person and values of every record."""
    return [
        (registry, record.person_id, dict(zip(COLUMNS, record.values.as_row(), strict=True)))
        for registry, records in population().records.items()
        for record in records
    ]


def share(hits: int, total: int) -> float:
    return hits / total


def test_the_same_seed_gives_the_same_people_and_another_seed_others() -> None:
    assert make_population(300, seed=1) == make_population(300, seed=1)
    assert make_population(300, seed=1).records != make_population(300, seed=2).records


def test_every_registry_has_the_records_that_were_asked_for() -> None:
    assert {name: len(records) for name, records in population().records.items()} == dict.fromkeys(
        REGISTRIES, RECORDS
    )


def test_too_few_records_are_refused_with_the_least_number() -> None:
    with pytest.raises(ValueError, match="at least 200"):
        make_population(10, seed=1)


def test_the_five_commonest_surnames_have_their_published_share() -> None:
    names = [values["name"] for _, _, values in everyone()]
    common = ("王", "李", "张", "張", "刘", "劉", "陈", "陳")
    assert share(sum(name.startswith(common) for name in names), len(names)) == pytest.approx(
        0.306, abs=0.03
    )
    table = surnames()
    assert table.cumulated[99] / table.cumulated[-1] == pytest.approx(0.859, abs=0.02)


def test_sexes_and_blood_groups_follow_their_shares() -> None:
    people = everyone()
    assert share(sum(v["sex"] == "男" for _, _, v in people), len(people)) == pytest.approx(
        0.513, abs=0.025
    )
    groups = Counter(v["blood_group"] for _, _, v in people if v["blood_group"])
    assert share(groups["O"], groups.total()) == pytest.approx(0.34, abs=0.03)
    assert share(groups["AB"], groups.total()) == pytest.approx(0.09, abs=0.02)


def test_a_tenth_of_a_registry_is_also_on_the_books_of_another() -> None:
    provinces: dict[str, set[str]] = {}
    for registry, person, _ in everyone():
        provinces.setdefault(person, set()).add(registry)
    several = Counter(len(where) for where in provinces.values())
    assert several[2] == pytest.approx(0.15 * RECORDS, rel=0.15)
    assert several[3] == pytest.approx(0.01 * RECORDS, rel=0.1)


def test_values_are_missing_as_often_as_the_forms_say() -> None:
    people = everyone()
    present = Counter(column for _, _, v in people for column, value in v.items() if value)
    assert share(present["phone"], len(people)) == pytest.approx(0.74, abs=0.03)
    assert share(present["national_id"], len(people)) == pytest.approx(0.60, abs=0.03)
    assert share(present["childhood_name"], len(people)) == pytest.approx(0.32, abs=0.03)
    assert present["name"] == present["sex"] == len(people)


def test_place_codes_are_those_of_the_standard_and_of_the_province() -> None:
    known = {row["code"] for row in rows("places.csv")}
    for registry, person, values in everyone():
        assert not values["place"] or values["place"] in known, (registry, person)


def test_no_telephone_and_no_national_id_can_be_anybodys() -> None:
    for _, _, values in everyone():
        assert not values["phone"] or values["phone"].startswith(PHONE_HEAD)
        assert not values["national_id"] or not could_be_real(values["national_id"])


def test_the_checksum_test_knows_a_real_resident_number() -> None:
    # The worked example of the standard GB 11643-1999.
    assert could_be_real("11010519491231002X")


def test_the_case_stands_once_in_shaanxi_and_once_in_sichuan_under_two_names() -> None:
    case = {registry: values for registry, person, values in everyone() if person == CASE_PERSON}
    assert set(case) == set(population().case) == {"shaanxi", "sichuan"}
    lost, found = case["shaanxi"], case["sichuan"]
    for column in ("name", "birth_date", "address", "place"):
        assert lost[column] != found[column]
    for column in ("sex", "origin", "mark", "blood_group"):
        assert lost[column] == found[column]
    assert lost["moved_on"] == "1988-10-17"
    assert not lost["phone"]
    assert not lost["national_id"]


def test_the_case_is_not_alone_in_what_it_shares() -> None:
    same = Counter(
        column
        for _, person, values in everyone()
        for column, value in (
            ("mark", "左耳后胎记"),
            ("origin", "6101"),
            ("childhood_name", "石榴"),
        )
        if person != CASE_PERSON and values[column] == value
    )
    assert same["origin"] > 100
    assert same["mark"] > 2


def test_errors_keep_the_sound_or_the_meaning_of_a_name() -> None:
    import random

    assert traditional("刘伟东") == "劉偉東"
    slipped = homophone_slip(random.Random(1), "王伟")
    assert slipped != "王伟"
    assert slipped.startswith("王")
    assert len(slipped) == 2


def test_files_have_a_header_and_one_line_a_record(tmp_path: Path) -> None:
    paths = make_population(300, seed=3).write(tmp_path)
    with paths["henan"].open(encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["record_id", *COLUMNS]
    assert len(lines) == 301
    truth = (tmp_path / "truth.csv").read_text(encoding="utf-8").splitlines()
    assert truth[0] == "record_id,person_id"
    assert len(truth) == 901
