"""Budgets follow from declared records, the schema's passes and the growth factor."""

from __future__ import annotations

import pytest
from kinlink_core.encoding.extent import entropy_bits, inputs_per_record
from kinlink_core.encoding.schema import Schema, load_schema, packaged_schema
from kinlink_core.errors import ForbiddenError, InvalidInputError, Reason
from kinlink_keyserver.budgets import CANARY_RECORDS, budgets_of, reach


@pytest.fixture(scope="module")
def schema() -> Schema:
    return load_schema(packaged_schema("person"))


def test_a_record_has_an_input_for_each_value_and_each_refinement(schema: Schema) -> None:
    rows = {each.id: inputs_per_record(schema, each) for each in schema.passes}
    assert rows["phone"] == 1
    assert rows["name_sound_month"] == 3  # and two refinements
    assert rows["name_years"] == 6  # two windows, each with two refinements
    assert rows["name_address"] == 4  # four tables


def test_a_budget_is_records_times_rows_times_growth(schema: Schema) -> None:
    budgets = budgets_of(schema, {"anhui": 1_000, "gansu": 10}, 1.5, {})
    assert budgets.of("anhui")["phone"] == (1_000 + CANARY_RECORDS) * 1.5
    assert budgets.of("anhui")["name_years"] == (1_000 + CANARY_RECORDS) * 6 * 1.5
    assert budgets.of("gansu")["phone"] == (10 + CANARY_RECORDS) * 1.5
    assert tuple(budgets.of("gansu")) == tuple(each.id for each in schema.passes)


def test_rows_a_record_can_be_set_by_pass(schema: Schema) -> None:
    budgets = budgets_of(schema, {"anhui": 992}, 2.0, {"name_years": 1.25})
    assert budgets.of("anhui")["name_years"] == 2_500
    assert budgets.of("anhui")["phone"] == 2_000
    with pytest.raises(InvalidInputError, match="the schema has no nothing") as raised:
        budgets_of(schema, {"anhui": 1}, 1.0, {"nothing": 1.0})
    assert raised.value.reason is Reason.CONFIG_INVALID


def test_a_registry_that_nobody_declared_has_no_budget(schema: Schema) -> None:
    budgets = budgets_of(schema, {"anhui": 1}, 1.0, {})
    assert budgets.registries == ("anhui",)
    with pytest.raises(ForbiddenError) as raised:
        budgets.of("gansu")
    assert raised.value.reason is Reason.PEER_UNKNOWN


def test_the_reach_is_the_share_of_values_that_the_largest_budget_could_guess(
    schema: Schema,
) -> None:
    budgets = budgets_of(schema, {"anhui": 100_000, "gansu": 10}, 1.5, {})
    found = reach(schema, budgets)
    phone = schema.passes[schema.pass_index("phone")]
    assert found["phone"] == pytest.approx(
        budgets.of("anhui")["phone"] / 2 ** entropy_bits(schema, phone)
    )
    assert found["national_id"] < found["phone"] < found["name_years"] == 1.0
