"""Notices in the eight-part template become cells; what cannot be read is reported by its place."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from click.testing import CliRunner
from kinlink_local.cli import main
from kinlink_local.reunion.columns import schema_columns
from kinlink_local.reunion.dates import possible_days
from kinlink_local.reunion.intake.files import read_notices
from kinlink_local.reunion.intake.outcome import Outcome
from kinlink_local.reunion.intake.template_cells import import_template
from kinlink_local.reunion.notices import COLUMNS, read_csv, read_jsonl

if TYPE_CHECKING:
    from click.testing import Result

FIXTURES: Final = Path(__file__).resolve().parents[3] / "fixtures/notices"
EXAMPLE: Final = Path(__file__).resolve().parents[4] / "docs/how-to/notices-example.txt"
TRUTH: Final[list[dict[str, Any]]] = [
    json.loads(line) for line in (FIXTURES / "truth.jsonl").read_text("utf-8").splitlines()
]
EPOCH: Final = date(1970, 1, 1).toordinal()


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return read_notices(FIXTURES / "template.txt", "template")


def read(text: str) -> Outcome:
    found = Outcome()
    import_template(text.splitlines(keepends=True), found)
    return found


def notice(text: str) -> dict[str, str]:
    """The filled cells of one notice."""
    found = read(text)
    assert found.read == 1
    return {name: column[0] for name, column in found.notices.items() if column[0]}


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["notices", *map(str, arguments)])


@pytest.mark.parametrize("number", range(len(TRUTH)), ids=lambda n: TRUTH[n]["cells"]["record_id"])
def test_each_invented_notice_gives_its_cells(outcome: Outcome, number: int) -> None:
    found = {name: column[number] for name, column in outcome.notices.items() if column[number]}
    assert found == TRUTH[number]["cells"]


@pytest.mark.parametrize("number", range(len(TRUTH)), ids=lambda n: TRUTH[n]["cells"]["record_id"])
@pytest.mark.parametrize("what", ["born", "lost"])
def test_the_day_that_was_meant_is_among_the_possible_ones(
    outcome: Outcome, number: int, what: str
) -> None:
    text, name = TRUTH[number][what], {"born": "birth", "lost": "lost"}[what]
    cell = outcome.notices[f"{name}_date"][number]
    if not text:
        assert cell == ""
        return
    day = date.fromisoformat(text).toordinal() - EPOCH
    days = possible_days(cell, outcome.notices[f"{name}_calendar"][number])
    assert any(first <= day <= last for first, last in days)


def test_what_cannot_be_read_is_reported_with_its_place_and_nothing_else_is(
    outcome: Outcome,
) -> None:
    lines = (FIXTURES / "template.txt").read_text("utf-8").splitlines()
    assert [(fault.record_id, fault.field) for fault in outcome.faults] == [
        ("T13", "marks"), ("T14", "lost_date"), ("T19", "birth_date"), ("T20", "lost_date"),
    ]  # fmt: skip
    for fault in outcome.faults:
        # The line is the notice's first; its id stands on the next.
        assert fault.record_id in lines[fault.line]
    assert outcome.lost == 0


def test_the_schema_reads_every_notice(outcome: Outcome) -> None:
    assert len(schema_columns(outcome.notices)["record_id"]) == len(TRUTH)


def test_no_fault_carries_a_value(outcome: Outcome) -> None:
    text = "".join(fault.text for fault in outcome.faults)
    for cells in (each["cells"] for each in TRUTH):
        for name in ("registered_name", "birth_date", "father_name", "nickname"):
            assert cells.get(name, "-" * 9) not in text


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, form: str) -> None:
    table, other, again = (tmp_path / name for name in ("a.csv", f"b.{form}l", "c.csv"))
    command("import", FIXTURES / "template.txt", "--from", "template", "--out", table)
    assert command("export", table, "--to", form, "--out", other).exit_code == 0
    done = command("import", other, "--from", form, "--out", again)
    assert (done.exit_code, done.stderr) == (0, "")
    assert again.read_bytes() == table.read_bytes()
    if form == "json":
        assert read_jsonl(other) == read_csv(table)


def test_the_example_of_the_documentation_is_read_without_a_fault(tmp_path: Path) -> None:
    done = command("import", EXAMPLE, "--from", "template", "--out", tmp_path / "a.csv")
    assert done.exit_code == 0
    assert "fault" not in done.stderr
    assert len(read_csv(tmp_path / "a.csv")["record_id"]) == 2


@pytest.mark.parametrize(
    "label",
    [
        "出生日期:",
        "出生日期：",
        "出 生 日 期 ：",
        "　出生日期　: ",
        "出生年月：",
        "【出生日期】",
        "1、出生日期：",
    ],
)
def test_a_label_is_known_whatever_its_width_spaces_and_number(label: str) -> None:
    cells = notice(f"编号：1\n{label}1988年10月17日（阳历）\n")
    assert (cells["birth_date"], cells["birth_calendar"]) == ("1988-10-17", "solar")


def test_notices_part_where_an_opening_label_comes_again_or_at_a_line_of_dashes() -> None:
    found = read("编号：1\n性别：男\n编号：2\n性别：女\n-----\n姓名：王伟\n编号：3\n")
    assert found.notices["record_id"] == ["1", "2", "3"]
    assert found.notices["sex"] == ["M", "F", ""]


def test_a_value_that_is_also_a_label_is_a_value_and_a_label_may_follow_another() -> None:
    found = read(
        "寻亲类别：其他\n编号：1\n其他资料：注册时间:2011/5/14 11:20:21\n跟进志愿者：某某\n"
    )
    assert found.notices["category"] == ["other"]
    assert found.notices["entry_date"] == ["2011-05-14"]
    assert found.dropped == {"contact": 1}


def test_a_notice_without_an_id_or_with_one_met_before_is_kept_and_reported() -> None:
    found = read("编号：1\n性别：男\n编号：1\n性别：女\n---\n姓名：王伟\n性别：男\n")
    assert found.notices["record_id"] == ["1", "1-2", "line-6"]
    assert [fault.field for fault in found.faults] == ["record_id", "record_id"]


def test_a_notice_with_nothing_in_it_is_lost_and_reported() -> None:
    found = read("编号：9\n姓名：不详\n性别：\n编号：10\n性别：男\n")
    assert (found.lost, found.notices["record_id"]) == (1, ["10"])
    assert found.faults[0].record_id == "9"


def test_one_bad_field_leaves_the_others() -> None:
    found = read("编号：1\n性别：男\n出生日期：很久以前\n失踪地点：某地\n血型：A\n")
    assert found.notices["blood_group"] == ["A"]
    assert [fault.field for fault in found.faults] == ["birth_date", "lost_place"]


@pytest.mark.parametrize(
    ("height", "expected"),
    [
        ("85厘米", "85"), ("约1米05", "105"), ("1.2米", "120"), ("三尺二", "107"),
        ("九十五公分", "95"), ("90-94厘米", "92"), ("1米2", "120"), ("100左右", "100"),
        ("110CM", "110"),
    ],
)  # fmt: skip
def test_a_height_is_in_centimetres(height: str, expected: str) -> None:
    assert notice(f"编号：1\n失踪时身高：{height}\n")["height_cm"] == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("孩子O型", {"blood_group": "O"}),
        ("AB", {"blood_group": "AB"}),
        ("父亲A型，母亲B型", {"father_blood_group": "A", "mother_blood_group": "B"}),
        ("父母都是0型", {"father_blood_group": "O", "mother_blood_group": "O"}),
        ("哥哥A型；孩子不知道，妈妈Ｂ型", {"mother_blood_group": "B"}),
    ],
)
def test_a_blood_group_is_of_whom_it_is_said(said: str, expected: dict[str, str]) -> None:
    cells = notice(f"编号：1\n性别：男\n血型：{said}\n")
    assert {name: cell for name, cell in cells.items() if "blood" in name} == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("左手背和右膝盖各有一块疤", "右/膝/疤痕;左/手背/疤痕"),
        ("胎记在左肩", "左/肩/胎记"),
        ("无胎记，左耳后有痣", "左/耳后/黑痣"),
        ("身上无明显特征", "none"),
        ("眼睛大，穿红色上衣", None),
        ("胳膊上有疤", None),
    ],
)
def test_a_mark_is_side_site_and_kind_or_nothing(said: str, expected: str | None) -> None:
    assert notice(f"编号：1\n性别：男\n特征：{said}\n").get("marks") == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "父亲：上官文，母亲：李静",
            {"family_surname": "上官", "father_name": "文", "mother_name": "静"},
        ),
        ("養父張三 生父陳明", {"family_surname": "陈", "father_name": "明"}),
        ("爷爷毛建国，父亲毛平", {"family_surname": "毛", "father_name": "平"}),
        ("父亲木匠，母亲务农", {}),
    ],
)
def test_names_are_those_of_the_family(said: str, expected: dict[str, str]) -> None:
    cells = notice(f"编号：1\n性别：男\n家庭成员：{said}\n")
    assert {n: c for n, c in cells.items() if n.endswith("name")} == expected


def test_bytes_of_another_encoding_lose_no_other_notice(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_bytes("编号：1\n性别：男\n".encode() + "编号：2\n".encode() + b"\xd0\xd4\xff\n")
    done = command("import", source, "--from", "template", "--out", tmp_path / "a.csv")
    assert done.exit_code == 0
    assert read_csv(tmp_path / "a.csv")["record_id"][0] == "1"
    source.write_bytes("编号：1\n性别：女\n".encode("gb18030"))
    done = command(
        "import", source, "--from", "template", "--out", tmp_path / "a.csv", "--encoding", "gb18030"
    )
    assert read_csv(tmp_path / "a.csv")["sex"] == ["F"]


def test_the_command_writes_faults_beside_the_table_and_ends_as_others_do(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    done = command("import", FIXTURES / "template.txt", "--from", "template", "--out", table)
    assert done.exit_code == 0
    with (tmp_path / "a-faults.csv").open(encoding="utf-8") as file:
        assert [row["record_id"] for row in csv.DictReader(file)] == ["T13", "T14", "T19", "T20"]
    empty = tmp_path / "empty.txt"
    empty.write_text("没有启事\n", "utf-8")
    assert command("import", empty, "--from", "template", "--out", table).exit_code == 2
    empty.write_text("编号：1\n姓名：不详\n", "utf-8")
    assert command("import", empty, "--from", "template", "--out", table).exit_code == 1


def test_cells_of_others_are_kept_where_they_are_good(tmp_path: Path) -> None:
    source = tmp_path / "theirs.csv"
    source.write_text(
        "\ufeffkind,Record_ID,sex,birth_date,lost_place,eye_colour\n"
        "seeking_child,1,F,1988-13-40,610102,brown\n"
        "seeking_child,2,female,1988-10,999999,\n"
        "cousin,3,F,,,\n"
        "found,4,M\n"
        "found,5,M,1986,,\n",
        "utf-8",
    )
    found = read_notices(source, "csv")
    assert found.notices["record_id"] == ["1", "2", "5"]
    assert found.notices["birth_date"] == ["", "1988-10", "1986"]
    assert found.notices["birth_calendar"] == ["", "unknown", "unknown"]
    assert found.notices["lost_place"] == ["610102", "", ""]
    assert found.dropped == {"eye_colour": 1}
    assert [(fault.line, fault.field) for fault in found.faults] == [
        (2, "birth_date"), (3, "sex"), (3, "lost_place"), (4, "kind"), (5, "notice"),
    ]  # fmt: skip


def test_lines_that_are_no_objects_lose_no_other_line(tmp_path: Path) -> None:
    source = tmp_path / "theirs.jsonl"
    source.write_text(
        '{"record_id": "1", "kind": "tip"}\n[1]\n{"\n{"record_id": 2, "kind": "found"}\n'
    )
    found = read_notices(source, "json")
    assert found.notices["record_id"] == ["1", "2"]
    assert found.lost == 2


def test_every_column_that_is_written_is_a_column_of_notices(outcome: Outcome) -> None:
    assert tuple(outcome.notices) == COLUMNS
