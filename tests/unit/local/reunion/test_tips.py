"""A tip adds what a notice does not say, and changes nothing that it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kinlink_local.cli import main
from kinlink_local.reunion.columns import schema_columns
from kinlink_local.reunion.notices import (
    COLUMNS,
    FOUND,
    LIST_COLUMNS,
    TIP,
    join,
    read_csv,
    write_csv,
    write_jsonl,
)
from kinlink_local.reunion.replay import FOUND_ID, TIP_ID, replay_notices
from kinlink_local.reunion.tips import OWN_COLUMNS, TOGETHER, attach

if TYPE_CHECKING:
    from pathlib import Path

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


def test_the_command_writes_the_one_notice_and_says_what_it_lacks(tmp_path: Path) -> None:
    _, man, tip = replay_notices()
    write_csv(tmp_path / "found.csv", join([man, man | {"record_id": ["B51-OTHER"]}]))
    write_jsonl(tmp_path / "tips.jsonl", tip)
    words = ["notices", "attach", str(tmp_path / "found.csv"), str(tmp_path / "tips.jsonl")]
    rest = ["--tip", TIP_ID, "--out", str(tmp_path / "out.csv"), "--to"]
    done = CliRunner().invoke(main, [*words, *rest, FOUND_ID])
    assert done.exit_code == 0, done.output
    written = read_csv(tmp_path / "out.csv")
    assert (written["record_id"], written["lost_place"]) == ([FOUND_ID], ["61"])
    refused = CliRunner().invoke(main, [*words, *rest, "B51-NOBODY"])
    assert refused.exit_code == 2
    assert "0 records B51-NOBODY; it needs one `found`" in refused.output


def test_that_nothing_was_there_gives_way_to_what_was() -> None:
    empty = dict.fromkeys(COLUMNS, "")
    notice, tip = {**empty, "marks": "none"}, {**empty, "marks": "left/ear/mole"}
    assert attach(notice, tip)["marks"] == "left/ear/mole"
    assert attach(notice, {**empty, "marks": "none"})["marks"] == "none"
