"""Normalisation: golden vectors, fixed points, and no text that breaks it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.encoding.folding import fold, fold_character, is_later
from kinlink_core.encoding.normalize import ValueFault, join_columns, normalize_column
from kinlink_core.encoding.schema import Field, FieldKind, parse_schema

if TYPE_CHECKING:
    from datetime import date

GOLDEN = Path(__file__).parents[2] / "golden" / "normalize.json"
VECTORS: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
# The folding of every code point, the same under Python 3.11, 3.12 and 3.13.
FOLDING_DIGEST = "59fc159272ae6778f251962ce125ac01e533e93497b4d242fc20add3975675f7"
SURROGATES = range(0xD800, 0xE000)


def field(kind: str, **options: object) -> Field:
    described: dict[str, object] = {"name": "f", "kind": kind, "entropy_bits": 20}
    if options:
        described["normalise"] = options
    content = {
        "name": "test",
        "fields": [described],
        "passes": [{"id": "p", "parts": {"f": "exact"}}],
    }
    return parse_schema(json.dumps(content, ensure_ascii=False), source="test").fields[0]


ONE_SIDED = [kind for kind in FieldKind if kind not in {FieldKind.LEVEL_SET, FieldKind.VECTOR}]
FIELDS = [field(kind) for kind in ONE_SIDED] + [
    field("date", order="dmy", keep_impossible=True),
    field("date", order="mdy", year_min=1, year_max=9999),
    field("phone", country="86"),
    field("name", honorifics=True),
    field("name_zh", honorifics=True),
]


def one(of: Field, raw: str | None) -> str | None:
    """The canonical value, or `!REASON`."""
    found = normalize_column(of, [raw])
    return f"!{ValueFault(found.faults[0][1]).name}" if found.faults else found.values[0]


def vector_id(vector: dict[str, Any]) -> str:
    return f"{vector['kind']}-{ascii(vector['raw'])[:30]}"


@pytest.mark.parametrize("vector", VECTORS, ids=vector_id)
def test_a_golden_value_keeps_its_canonical_form(vector: dict[str, Any]) -> None:
    assert one(field(vector["kind"], **vector["options"]), vector["raw"]) == vector["canonical"]


def test_every_interpreter_folds_every_code_point_alike() -> None:
    digest = hashlib.sha256()
    for code_point in range(sys.maxunicode + 1):
        if code_point not in SURROGATES:
            digest.update(f"{code_point:x}={fold_character(chr(code_point))}\n".encode())
    assert digest.hexdigest() == FOLDING_DIGEST


def test_characters_newer_than_the_oldest_python_do_not_depend_on_the_interpreter() -> None:
    assert is_later(0x1E030)
    assert fold(f"a{chr(0x1E030)}b") == "a b"
    assert fold(chr(0x31350)) == chr(0x31350)  # a Chinese character of Unicode 15


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FIELDS), st.text(max_size=60))
def test_normalising_twice_changes_nothing_and_nothing_raises(of: Field, raw: str) -> None:
    first = normalize_column(of, [raw])
    assert len(first.values) == 1
    canonical = first.values[0]
    if canonical is not None:
        assert canonical != ""
        assert not first.faults
        assert normalize_column(of, [canonical]).values == [canonical]


HAN_TEXT = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=8)
LATIN_TEXT = st.text("abcdefghijklmnopqrstuvwxyzABCXYZüÜ '-.", max_size=20)


@settings(max_examples=300, deadline=None)
@given(st.lists(HAN_TEXT | LATIN_TEXT, max_size=4).map(" ".join))
def test_a_chinese_name_is_a_fixed_point_in_any_mixture_of_scripts(raw: str) -> None:
    canonical = one(FIELDS[1], raw)
    assert FIELDS[1].kind is FieldKind.NAME_ZH
    if canonical is not None:
        assert one(FIELDS[1], canonical) == canonical


DATE_FORMS = ["{}-{:02d}-{:02d}", "{}/{}/{}", "{}.{}.{}", "{}{:02d}{:02d}", "{}年{}月{}日"]


@settings(deadline=None)
@given(st.dates(), st.sampled_from(DATE_FORMS))
def test_every_common_order_of_a_date_gives_the_same_value(day: date, form: str) -> None:
    raw = form.format(f"{day.year:04d}", day.month, day.day)
    of = field("date", year_max=9999)
    assert one(of, raw) == f"{day.year:04d}{day.month:02d}{day.day:02d}"


@settings(deadline=None)
@given(st.text(max_size=40))
def test_a_reason_never_holds_the_value(raw: str) -> None:
    for of in FIELDS:
        reasons = [reason for _, reason in normalize_column(of, [raw]).faults]
        assert set(reasons) <= {fault.value for fault in ValueFault}


def test_faults_name_their_rows_and_good_rows_stay() -> None:
    found = normalize_column(field("date"), ["1988-02-03", "1988-02-31", None, "88-1-1", "1990"])
    assert found.values == ["19880203", None, None, None, "1990"]
    assert found.faults == [
        (1, "is a date that does not exist"),
        (3, "has a year of two digits"),
    ]


def test_a_field_may_take_unreadable_values_for_missing() -> None:
    found = normalize_column(field("date", blank_faults=True), ["1988-02-31", "1988"])
    assert found.values == [None, "1988"]
    assert found.faults == []


def test_own_null_values_replace_the_default_list() -> None:
    of = field("name_zh", null_values=["未登记", "X"])
    values = normalize_column(of, ["未登记", " x ", "Na", "", "  "]).values
    assert values == [None, None, "na", None, None]


def test_columns_of_a_field_are_joined_and_missing_ones_left_out() -> None:
    content = """
name: test
fields:
  - {name: street, kind: text, columns: [number, road], entropy_bits: 20, optional: true}
  - {name: dob, kind: date, columns: [y, m, d], entropy_bits: 20}
passes:
  - {id: p, parts: {street: exact}}
"""
    street, dob = parse_schema(content, source="test").fields
    columns = {"number": ["12", None, None, "n/a"], "road": ["High St", "Mill Rd", None, "x"]}
    assert join_columns(street, columns) == ["12 High St", "Mill Rd", None, "x"]
    assert join_columns(street, {"other": ["a", "b"]}) == [None, None]
    born = join_columns(dob, {"y": ["1988", "1988"], "m": ["2", "2"], "d": ["3", None]})
    assert normalize_column(dob, born).values == ["19880203", "198802"]
    with pytest.raises(KeyError, match="d"):
        join_columns(dob, {"y": ["1988"], "m": ["2"]})
