"""`reunion.yaml`: its tables are those of the notices, and it reads what is made of them."""

from __future__ import annotations

from functools import cache

import pytest
from kinlink_core.encoding.level_sets import Places, Table
from kinlink_core.encoding.normalize import join_columns, normalize_column
from kinlink_core.encoding.schema import Schema, load_schema, packaged_schema
from kinlink_local.reunion.columns import SCHEMA_COLUMNS, schema_columns
from kinlink_local.reunion.divisions import divisions, flow
from kinlink_local.reunion.population import Config, make_population

from scripts.reunion_schema import rewritten

SEED = 23  # neither tuned nor reported on


@cache
def schema() -> Schema:
    return load_schema(packaged_schema("reunion"))


def table(field: str) -> Table:
    relation = schema().field(field).relation
    assert isinstance(relation, Table)
    return relation


def test_the_tables_are_what_the_script_writes() -> None:
    text = packaged_schema("reunion").read_text("utf-8")
    assert rewritten(text) == text


def test_tiers_of_arrival_start_at_home_and_go_on_by_how_many_go() -> None:
    codes = divisions().provinces
    moved = (flow("F") + flow("M")) / 2
    arrival = table("arrival")
    for number, code in enumerate(codes):
        tiers = [arrival.wanted(level, code) for level in range(8)]
        assert tiers[0] == (code,)
        assert len({each for tier in tiers for each in tier}) == 25
        least = [min(moved[number, codes.index(each)] for each in tier) for tier in tiers]
        assert least == sorted(least, reverse=True)


def test_a_group_that_no_child_of_these_parents_has_is_on_no_list_or_on_the_last() -> None:
    blood = table("blood")
    two_of_o = {group for level in range(4) for group in blood.wanted(level, "OOX")}
    assert two_of_o == {"O"}
    # AB is rare, so it is more often written by error, and then O is possible.
    assert {group for level in range(3) for group in blood.wanted(level, "COX")} == {"A", "B"}


def test_neighbours_are_mutual_and_of_short_distance() -> None:
    place = schema().field("place").relation
    assert isinstance(place, Places)
    near = dict(place.neighbours)
    assert "6104" in near["6101"]
    assert all(code in near[other] for code, others in near.items() for other in others)


@pytest.mark.parametrize("regime", ["informative", "hard"])
def test_every_field_reads_what_is_made_of_notices(regime: str) -> None:
    population = make_population(Config(SEED, 300, regime, replay=True))
    for notices in (population.family, population.found):
        raw = {
            name: [cell or None for cell in cells]
            for name, cells in schema_columns(notices).items()
        }
        for field in schema().fields:
            assert set(field.columns) <= set(SCHEMA_COLUMNS)
            cells = join_columns(field, raw)
            read = normalize_column(field, cells)
            assert not read.faults
            told = [cell is not None for cell in cells]
            assert [value is not None for value in read.values] == told


def test_every_pass_keeps_to_one_sex_and_says_what_it_exposes() -> None:
    for each in schema().passes:
        assert "sex" in each.fixed_fields
        assert each.exposure
        assert each.cap == 128
        assert not each.refine
    assert all(field.m is not None for field in schema().fields if field.name != "role")
