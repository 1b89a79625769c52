"""Whatever stands in a file, reading it ends, keeps what is good, and writes only good cells."""

from __future__ import annotations

import io
import json
from contextlib import suppress

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kinlink_local.reunion.columns import schema_columns
from kinlink_local.reunion.intake.body_marks import read_marks
from kinlink_local.reunion.intake.checks import check
from kinlink_local.reunion.intake.date_words import FESTIVALS
from kinlink_local.reunion.intake.kin import read_family, read_name
from kinlink_local.reunion.intake.loose_tables import import_csv, import_jsonl
from kinlink_local.reunion.intake.measures import read_blood, read_height, read_held
from kinlink_local.reunion.intake.outcome import Outcome
from kinlink_local.reunion.intake.pfif_read import import_pfif
from kinlink_local.reunion.intake.place_names import codes, place_code
from kinlink_local.reunion.intake.template import LABELS
from kinlink_local.reunion.intake.template_cells import import_template
from kinlink_local.reunion.intake.written_ages import born_at_age, read_age
from kinlink_local.reunion.intake.written_dates import read_date
from kinlink_local.reunion.notices import COLUMNS

PIECES = (
    "年月日岁半个多天约左右前后至到或~-/.XX某号初廿卅闰正腊冬元"
    "春夏秋冬上中下旬底末虚周阳阴农历零〇一二三四五六七八九十两"
    "0123456789０９父母亲哥姐弟妹养生叫是有无没不型ABO型米厘公分"
    "尺左右额手背心耳后前疤痣胎记烫伤省市县区路王李张欧阳，。；：、（）() \n"
)
WORDS = (
    *FESTIVALS, "1988年", "1900年", "2048年", "1899", "2049-12", "八八年", "80年代", "10月17日",
    "农历", "阳历", "大约", "不详", "父亲", "母亲", "哥哥", "两个姐姐", "小名", "独生女", "A型",
    "1米05", "三尺二", "西安市", "四川省", "朝阳", "重庆", "左手背", "胳膊", "疤痕", "家寻宝贝",
    "宝贝寻家", "被拐", "虚岁", "周岁", "\ufffd", "-----", "\x00",
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.one_of(st.sampled_from(WORDS), st.sampled_from(PIECES)), max_size=14).map("".join),
    st.text(max_size=30),
)
LABEL = st.sampled_from([label for labels in LABELS.values() for label in labels])


def assert_good(outcome: Outcome) -> None:
    """Each notice passes its own checks, has an id of its own, and the schema reads it."""
    notices = outcome.notices
    assert len(set(notices["record_id"])) == outcome.read
    for row in zip(*notices.values(), strict=True):
        assert check(dict(zip(COLUMNS, row, strict=True))) == []
    schema_columns(notices)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(LABEL, st.sampled_from([":", "：", " ", "(阴历):"]), TEXTS), max_size=12))
def test_any_template_gives_good_cells(fields: list[tuple[str, str, str]]) -> None:
    outcome = Outcome()
    text = "".join(f"{label}{colon}{text}\n" for label, colon, text in fields)
    import_template(io.StringIO(text), outcome)
    assert_good(outcome)


@settings(max_examples=250, deadline=None)
@given(TEXTS)
@example("廿两个姐姐")
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_date, read_age, read_height):
        with suppress(ValueError):
            read(text)
    read_family(text)
    read_name(text)
    read_marks(text)
    read_blood(text)
    read_held(text)
    assert place_code(text) == "" or place_code(text) in codes()


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from((-25_000, 6_864, 28_000)))
@example("虚岁一八八", 6_864)
def test_any_age_gives_days_that_exist_or_is_refused(text: str, day: int) -> None:
    with suppress(ValueError):
        assert born_at_age(read_age(text), ((day, day + 6),)).days


CELLS = st.one_of(
    st.sampled_from(
        [
            "",
            "1988",
            "1988-02-30",
            "1988/1986",
            "9999",
            "found",
            "F",
            "610100",
            "4",
            "左/额/胎记",
            "O",
        ]
    ),
    TEXTS,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(COLUMNS), CELLS, min_size=1), max_size=4))
def test_any_table_gives_good_cells(rows: list[dict[str, str]]) -> None:
    outcome = Outcome()
    import_jsonl([json.dumps({"kind": "found", **row}) + "\n" for row in rows], outcome)
    assert_good(outcome)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_file_is_read_to_its_end(text: str) -> None:
    for read in (import_csv, import_jsonl, import_template):
        outcome = Outcome()
        read(io.StringIO("record_id,kind,sex\n" + text), outcome)
        assert_good(outcome)
    outcome = Outcome()
    import_pfif(io.BytesIO(text.encode("utf-8", "surrogatepass")), outcome)
    assert outcome.lost == 1
