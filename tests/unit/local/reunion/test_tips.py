"""A tip adds what a notice does not say, and changes nothing that it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinlink_local.reunion.columns import schema_columns
from kinlink_local.reunion.notices import COLUMNS, FOUND, LIST_COLUMNS, TIP
from kinlink_local.reunion.replay import replay_notices
from kinlink_local.reunion.tips import OWN_COLUMNS, TOGETHER, attach

CELLS = st.fixed_dictionaries(
    {
        name: st.sampled_from(("", "x", "y") if name not in LIST_COLUMNS else ("", "x", "y;x"))
        for name in COLUMNS
    }
)


def test_the_tip_of_2020_says_where_he_was_bought_and_leaves_the_rest() -> None:
    _, man, tip = ({name: cells[0] for name, cells in each.items()} for each in replay_notices())
    told = attach(man, tip)
    changed = {name: cell for name, cell in told.items() if cell != man[name]}
    assert changed == {"lost_place": "61"}
    assert (tip["kind"], told["kind"]) == (TIP, FOUND)
    line = schema_columns({name: [cell] for name, cell in told.items()})
    assert line["place"] == ["61"]


@given(CELLS, CELLS)
def test_nothing_known_is_replaced_and_nothing_told_twice(
    notice: dict[str, str], tip: dict[str, str]
) -> None:
    told = attach(notice, tip)
    assert told.keys() == notice.keys()
    for name, cell in told.items():
        if name in OWN_COLUMNS:
            assert cell == notice[name]
        elif name in LIST_COLUMNS:
            assert {*cell.split(";")} - {""} == {
                *notice[name].split(";"), *tip[name].split(";")
            } - {""}  # fmt: skip
        else:
            assert cell in {notice[name], tip[name]}
            assert cell == notice[name] or not notice[name]
    assert attach(told, tip) == told


@pytest.mark.parametrize("names", TOGETHER)
def test_cells_that_belong_together_come_from_one_source(names: tuple[str, ...]) -> None:
    empty = dict.fromkeys(COLUMNS, "")
    notice = {**empty, names[0]: "own"}
    tip = {**empty, **dict.fromkeys(names, "told")}
    assert [attach(notice, tip)[name] for name in names] == ["own", *[""] * (len(names) - 1)]
    assert [attach(empty, tip)[name] for name in names] == ["told"] * len(names)


def test_that_nothing_was_there_gives_way_to_what_was() -> None:
    empty = dict.fromkeys(COLUMNS, "")
    notice, tip = {**empty, "marks": "none"}, {**empty, "marks": "left/ear/mole"}
    assert attach(notice, tip)["marks"] == "left/ear/mole"
    assert attach(notice, {**empty, "marks": "none"})["marks"] == "none"
