"""Two-sided comparisons: what one side wants and the other shows, sealed and compared."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.features import blocking_values, two_sided
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.level_sets import Places, Shared, Table, Window
from kinlink_core.encoding.normalize import normalize_column
from kinlink_core.encoding.schema import SchemaError, parse_schema
from kinlink_core.encoding.seal import SealedBatch, digest_columns, seal_pairs
from kinlink_core.encoding.sieve import with_sides
from kinlink_linker.compare import NULL_LEVEL, compare, of_two_sides
from unit.encoding.drawn import seeds

TEXT = """
name: two_sided
sides: {field: role, wants: SEEKING}
fields:
  - name: role
    kind: code
    entropy_bits: 1
    normalise: {values: {SEEKING: [seeking child], FOUND: [found]}}
  - name: birth
    kind: level_set
    relation: days
    entropy_bits: 14
    levels:
      - {label: same day, window: [0, 0]}
      - {label: within a month, window: [-30, 30]}
      - {label: registered up to four months late, window: [31, 120]}
      - {label: within two years, window: [-730, 730]}
  - name: age
    kind: level_set
    relation: numbers
    entropy_bits: 4
    optional: true
    levels:
      - {label: equal, window: [0, 0]}
      - {label: one off, window: [-1, 1]}
  - name: place
    kind: level_set
    relation: places
    entropy_bits: 9
    optional: true
    neighbours: {"6101": ["6104", "6105"], "6104": ["6101"]}
    levels:
      - {label: same county, place: county}
      - {label: same prefecture, place: prefecture}
      - {label: neighbouring prefecture, place: near}
      - {label: same province, place: province}
  - name: blood
    kind: level_set
    relation: table
    entropy_bits: 1
    optional: true
    table: {AO: [[B, AB], [A, O]], OO: [[A, B, AB], [O]]}
    levels:
      - {label: impossible}
      - {label: possible}
  - name: marks
    kind: level_set
    relation: shared
    rare: [left ear birthmark]
    entropy_bits: 8
    optional: true
    levels:
      - {label: two, shared: 2}
      - {label: a rare one, rare: true}
      - {label: one}
    m: [0.15, 0.2, 0.2, 0.45]
passes:
  - {id: birth, parts: {birth: level(1), place: level(1)}, sieve_max: 0.5}
  - id: marks
    parts: {marks: level(2), place: level(1)}
    exposure: a test, and nobody is exposed by it
"""
SCHEMA = parse_schema(TEXT, source="test")
NAMES = [field.name for field in SCHEMA.fields]
CONTEXT = keys.Context(keys.MODE_PLAIN, "test", "e1", SCHEMA.fingerprint())
ENCODER = Encoder(SCHEMA, keys.KeySchedule(CONTEXT, keys.EpochSecret("e1", bytes(range(32)))))
NONE = "none of these"

Record = dict[str, str]


def canonical(records: list[Record]) -> dict[str, list[str | None]]:
    read = {
        field.name: normalize_column(field, [each.get(field.name) for each in records])
        for field in SCHEMA.fields
    }
    assert not any(each.faults for each in read.values())
    return {name: list(each.values) for name, each in read.items()}


def sealed(records: list[Record], null_key: bytes) -> SealedBatch:
    columns = canonical(records)
    digests = digest_columns(SCHEMA, [columns[name] for name in NAMES])
    fixed = ENCODER.encode(columns).fixed
    return seal_pairs(SCHEMA, seeds(len(records)), fixed, digests, null_key)


def levels(left: list[Record], right: list[Record]) -> list[dict[str, str]]:
    found = compare(SCHEMA, sealed(left, b"l" * 32), sealed(right, b"r" * 32))
    labels = [[*(level.label for level in field.levels), NONE] for field in SCHEMA.fields]
    return [
        {
            name: "missing" if level == NULL_LEVEL else names[level]
            for name, names, level in zip(NAMES, labels, row, strict=True)
        }
        for row in found.tolist()
    ]


def level(field: str, seeking: str, found: str) -> str:
    """The level of one field, which must not depend on which side stands left."""
    one = [{"role": "SEEKING", "birth": "1986", field: seeking}]
    other = [{"role": "FOUND", "birth": "1986", field: found}]
    (forth,), (back,) = levels(one, other), levels(other, one)
    assert forth == back
    return forth[field]


@pytest.mark.parametrize(
    ("field", "seeking", "found", "label"),
    [
        ("birth", "1986-02-23", "19860223", "same day"),
        ("birth", "19860223,19860401", "19860401", "same day"),  # read as solar and as lunar
        ("birth", "19860223", "19860320", "within a month"),
        ("birth", "19860223", "19860420", "registered up to four months late"),
        ("birth", "19860420", "19860223", "within two years"),  # earlier is not late
        ("birth", "19860223", "1987", "within two years"),  # a year is too wide for finer levels
        ("birth", "19860223", "19900101", NONE),
        ("age", "3", "3", "equal"),
        ("age", "3", "4", "one off"),
        ("age", "3", "5", NONE),
        ("place", "610102", "610102", "same county"),
        ("place", "610100", "610102", "same prefecture"),
        ("place", "610102", "610400", "neighbouring prefecture"),
        ("place", "610400", "610500", "same province"),
        ("place", "610102", "510000", NONE),
        ("blood", "AO", "B", "impossible"),
        ("blood", "AO", "O", "possible"),
        ("blood", "AA", "B", NONE),  # the table says nothing of it
        ("marks", "Left ear birthmark, scar", "scar，left ear birthmark", "two"),
        ("marks", "left ear birthmark", "left ear birthmark,mole", "a rare one"),
        ("marks", "scar", "scar,mole", "one"),
        ("marks", "scar", "mole", NONE),
    ],
)
def test_a_level_holds_where_what_is_shown_is_wanted(
    field: str, seeking: str, found: str, label: str
) -> None:
    assert level(field, seeking, found) == label


def test_two_records_of_one_side_are_told_apart_and_share_nothing() -> None:
    mao = {"role": "SEEKING", "birth": "19860223", "place": "610102", "marks": "scar,mole"}
    gu = mao | {"role": "FOUND"}
    for one, other, two_sides in ((mao, mao, False), (gu, gu, False), (mao, gu, True)):
        found = compare(SCHEMA, sealed([one], b"l" * 32), sealed([other], b"r" * 32))
        assert of_two_sides(SCHEMA, found).tolist() == [two_sides]
        (told,) = levels([one], [other])
        assert (told["birth"] == "same day") is two_sides
        assert (told["marks"] == "two") is two_sides


def test_a_missing_value_is_missing_and_a_record_without_a_side_has_none() -> None:
    seeking = {"role": "SEEKING", "birth": "1986", "age": "3"}
    assert levels([seeking], [{"role": "FOUND", "birth": "1986"}])[0]["age"] == "missing"
    columns = canonical([seeking, {"birth": "1986"}])
    sided = two_sided(SCHEMA, [columns[name] for name in NAMES])
    assert sided[NAMES.index("birth")] == ["<1986", None]


DAYS = st.dates(date(1950, 1, 1), date(2019, 12, 31))


@settings(max_examples=200, deadline=None)
@given(DAYS, st.integers(-200, 200))
def test_windows_hold_inside_and_not_a_step_beyond(born: date, apart: int) -> None:
    relation = SCHEMA.field("birth").relation
    assert isinstance(relation, Window)
    wanted, shown = (f"{day:%Y%m%d}" for day in (born, born + timedelta(days=apart)))
    for number, (low, high) in enumerate(relation.windows):
        shared = set(relation.slots(number, wanted, wants=True)) & set(
            relation.slots(number, shown, wants=False)
        )
        step = max(1, (high - low) // 8)
        if low <= apart <= high:
            assert shared
        if not low - step < apart < high + step:
            assert not shared


@settings(max_examples=200, deadline=None)
@given(DAYS, DAYS, st.sampled_from([Window(((0, 0), (-30, 30), (0, 5000)), of_days=True)]))
def test_no_value_takes_more_slots_than_its_level_has(
    one: date, other: date, relation: Window
) -> None:
    first, last = sorted((one, other))
    value = relation.read(f"{first:%Y%m%d}~{last:%Y%m%d},{first:%Y}")
    for number, width in enumerate(relation.widths):
        assert len(relation.slots(number, value, wants=True)) <= width.wants
        assert len(relation.slots(number, value, wants=False)) <= width.shows


def test_tags_of_a_side_fill_every_slot_and_tell_neither_size_nor_side() -> None:
    relation = SCHEMA.field("marks").relation
    assert isinstance(relation, Shared)
    few = {"role": "SEEKING", "birth": "19860223", "marks": "scar"}
    many = {"role": "FOUND", "birth": "1986", "marks": "a,b,c,d,e,f,g,h"}
    rows = 400
    for record in (few, many):
        tags = sealed([record] * rows, b"n" * 32).fields[NAMES.index("marks")].tags
        assert tags is not None
        words = np.ascontiguousarray(tags).view("<u8")
        assert words.shape == (rows, sum(w.wants + w.shows for w in relation.widths))
        assert len(np.unique(words)) == words.size  # no two pairs, no two slots alike
        assert abs(np.unpackbits(tags).mean() - 0.5) < 0.01
        each_level = words.reshape(rows, -1, 16)
        assert (np.diff(each_level.astype(object), axis=2) > 0).all()  # sorted, so no place tells


def test_records_that_may_match_share_a_blocking_value() -> None:
    columns = canonical(
        [
            {"role": "SEEKING", "birth": "19860223", "place": "610102"},
            {"role": "FOUND", "birth": "19860301", "place": "610100"},
            {"role": "FOUND", "birth": "19890301", "place": "610100"},
        ]
    )
    found = ENCODER.blocking_inputs(columns)[0]
    of = [{found.inputs[i] for i, row in zip(found.input_index, found.row, strict=True) if row == n}
          for n in range(3)]  # fmt: skip
    assert of[0] & of[1]
    assert not of[0] & of[2]
    (value,) = blocking_values(SCHEMA.passes[1].parts[1], SCHEMA.field("place"), "<610102")
    assert value == "6101"


def test_the_sieve_tells_records_of_one_side_apart() -> None:
    columns = canonical([{"role": "SEEKING", "birth": "1986"}, {"role": "FOUND", "birth": "1986"}])
    parts = split_fixed(SCHEMA, ENCODER.encode(columns).fixed)
    assert parts.wants.tolist() == [True, False]
    short = np.random.default_rng(1).integers(0, 2, (1, 64), np.uint8)
    sides = [
        with_sides(short, np.array([wants]), of_left=of_left)
        for wants, of_left in ((True, True), (False, False), (True, False), (False, True))
    ]
    assert (sides[0] != sides[1]).sum() == 0  # one wants, the other shows
    assert (sides[2] != sides[3]).sum() == 0
    assert (sides[0] != sides[2]).sum() == 32  # both want
    assert (sides[1] != sides[3]).sum() == 32  # both show


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("sides: {field: role, wants: SEEKING}", "", "those have two sides"),
        ("wants: SEEKING", "wants: OTHER", "two codes"),
        ("field: role", "field: birth", "two codes"),
        ("window: [-30, 30]", "window: [30, -30]", "least and the largest"),
        ("window: [-30, 30]", "window: [30]", "least and the largest"),
        ("relation: days", "relation: weeks", "must be one of"),
        ("place: county", "place: village", "must be one of"),
        ("AO: [[B, AB], [A, O]]", "AO: [[B], [A], [O]]", "3 lists for 2 levels"),
        ("m: [0.15, 0.2, 0.2, 0.45]", "m: [0.15, 0.2, 0.2]", "4 probabilities"),
        ("m: [0.15, 0.2, 0.2, 0.45]", "m: [0.5, 0.2, 0.2, 0.45]", "add up to 1"),
        ("birth: level(1)", "birth: level(7)", "names level 7 of 4"),
        ("birth: level(1)", "birth: year", "does not suit"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(old: str, new: str, reason: str) -> None:
    assert old in TEXT
    with pytest.raises(SchemaError, match=reason):
        parse_schema(TEXT.replace(old, new, 1), source="test")


def test_relations_decide_the_fingerprint_and_labels_do_not() -> None:
    same = parse_schema(TEXT.replace("label: same day", "label: the day"), source="test")
    assert same.fingerprint() == SCHEMA.fingerprint()
    for old, new in (("[-30, 30]", "[-31, 31]"), ("wants: SEEKING", "wants: FOUND")):
        other = parse_schema(TEXT.replace(old, new), source="test")
        assert other.fingerprint() != SCHEMA.fingerprint()


@pytest.mark.parametrize(
    ("field", "raw", "fault"),
    [
        ("birth", "1986-13-01", "does not exist"),
        ("birth", "last spring", "is not a date"),
        ("birth", "1987~1986", "is not a date"),
        ("age", "three", "is not a number"),
        ("place", "61010", "length"),
    ],
)
def test_what_cannot_be_read_is_a_fault_without_the_value(field: str, raw: str, fault: str) -> None:
    read = normalize_column(SCHEMA.field(field), [raw])
    assert read.values == [None]
    assert fault in read.faults[0][1]
    assert raw not in read.faults[0][1]


def test_canonical_values_are_fixed_points() -> None:
    for field, raw in (
        ("birth", "1986-02-23～1986-03, 1985"),
        ("age", " 2 ~ 4 "),
        ("place", "610100"),
        ("blood", "ao"),
        ("marks", "Scar; 胎记、mole"),
    ):
        once = normalize_column(SCHEMA.field(field), [raw]).values
        assert once[0]
        assert normalize_column(SCHEMA.field(field), once).values == once


def test_relations_are_of_the_kinds_the_schema_names() -> None:
    kinds = [type(SCHEMA.field(name).relation) for name in NAMES[1:]]
    assert kinds == [Window, Window, Places, Table, Shared]


def test_rare_words_have_one_order_in_every_process() -> None:
    """A set's own order differs from process to process, and would do so in the fingerprint."""
    words = frozenset({"d", "b", "a", "c"})
    assert repr(Shared((True,), words)) == "Shared(lists=(True,), rare=['a', 'b', 'c', 'd'])"
