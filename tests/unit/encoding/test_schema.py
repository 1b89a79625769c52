"""A schema file is read as a whole, and refused as a whole with every fault in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.encoding.schema import (
    CAP_DEFAULT,
    Fault,
    FieldKind,
    LinkType,
    Part,
    Schema,
    SchemaError,
    load_schema,
    packaged_schema,
    parse_schema,
)

GOLDEN_FINGERPRINTS = Path(__file__).parents[2] / "golden" / "normalize_fingerprints.json"
BENCH_SCHEMAS = Path(__file__).parents[3] / "bench" / "schemas"
PARTS = "parts: {family: exact, dob: exact}"
GOOD = """\
name: small
fields:
  - {name: family, kind: name}
  - name: dob
    kind: date
    columns: [birth_year, birth_month, birth_day]
    normalise: {order: dmy, year_min: 1850}
  - {name: address, kind: text, optional: true}
  - name: sex
    kind: code
    entropy_bits: 1
    normalise: {values: {M: [男, male], F: [女, female]}}
passes:
  - id: family_birth
    parts: {family: exact, dob: exact}
  - id: area
    parts:
      dob: year_month
      address: lsh(10, 4)
    refine: {sex: exact}
    cap: 24
    sieve_max: 0.35
    exposure: a test, and nobody is exposed by it
"""


def faults(text: str) -> dict[str, str]:
    """Path to reason of everything wrong with `text`."""
    with pytest.raises(SchemaError) as caught:
        parse_schema(text, source="test.yaml")
    return {fault.path: fault.reason for fault in caught.value.faults}


def ignoring(names: str) -> str:
    return f"{PARTS}\n    ignores: [{names}]"


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_small_file_gives_the_schema_it_describes() -> None:
    schema = parse_schema(GOOD, source="test.yaml")
    assert [field.name for field in schema.fields] == ["family", "dob", "address", "sex"]
    assert schema.field("dob").columns == ("birth_year", "birth_month", "birth_day")
    assert schema.field("family").columns == ("family",)
    assert schema.field("address").optional
    assert not schema.field("family").optional
    area = schema.passes[schema.pass_index("area")]
    assert area.parts == (Part("dob", "year_month"), Part("address", "lsh", (10, 4)))
    assert area.refine == (Part("sex", "exact"),)
    assert (area.cap, area.sieve_max) == (24, 0.35)
    assert schema.passes[0].cap == CAP_DEFAULT
    assert schema.passes[0].fixed_fields == {"family", "dob"}
    assert schema.lsh_tables == 4
    assert (schema.link_type, schema.threshold_probability) == (LinkType.MANY_TO_MANY, 0.5)
    assert schema.disclosure_floor_probability == 0.01


def test_each_kind_brings_its_comparison_and_levels() -> None:
    schema = parse_schema(GOOD, source="test.yaml")
    assert [field.comparison for field in schema.fields] == ["sketch", "date", "sketch", "category"]
    assert [field.has_sketch for field in schema.fields] == [True, True, True, False]
    assert schema.field("family").tags == ()
    assert schema.field("sex").tags == ("equal",)
    assert schema.field("dob").tags == ("day", "year_month", "month_day", "year", "swapped")
    assert schema.field("family").levels[0].max_distance == 0.0
    assert schema.field("dob").levels[0].tag == "day"


def test_a_level_list_replaces_the_default() -> None:
    levels = "levels: [{label: same, max_distance: 0}, {label: near, max_distance: 0.2}]"
    schema = parse_schema(changed("kind: name}", f"kind: name, {levels}}}"), source="test.yaml")
    assert [level.label for level in schema.field("family").levels] == ["same", "near"]


def test_json_with_tabs_is_read_like_yaml() -> None:
    content = {
        "name": "small",
        "fields": [{"name": "number", "kind": "code", "entropy_bits": 30}],
        "passes": [{"id": "number", "parts": {"number": "exact"}, "exposure": None}],
    }
    schema = parse_schema(json.dumps(content, indent="\t"), source="test.json")
    assert schema.field("number").kind is FieldKind.CODE


def test_words_that_yaml_takes_for_booleans_stay_codes() -> None:
    text = changed("{M: [男, male], F: [女, female]}", "{NO: [no, 0], YES: [yes, 1]}")
    options = parse_schema(text, source="test.yaml").field("sex").options
    assert options.values == (("0", "NO"), ("1", "YES"), ("no", "NO"), ("yes", "YES"))


def test_all_faults_of_a_file_come_at_once_with_their_lines() -> None:
    text = """\
name: Bad Name
link_typ: one_to_one
fields:
  - {name: a, kind: nam}
  - {name: b, kind: date, entropy_bits: many}
  - {name: b, kind: text}
  - {name: c, kind: code}
passes:
  - id: p
    parts: {b: prefix(3), z: exact}
    cap: 40
  - id: p
    parts: {c: exact}
"""
    with pytest.raises(SchemaError) as caught:
        parse_schema(text, source="bad.yaml")
    found = [(fault.line, fault.path) for fault in caught.value.faults]
    assert found == [
        (1, "name"),
        (2, "link_typ"),
        (4, "fields[0].kind"),
        (5, "fields[1].entropy_bits"),
        (6, "fields[2].name"),
        (7, "fields[3].entropy_bits"),
        (10, "passes[0].parts.b"),
        (10, "passes[0].parts.z"),
        (11, "passes[0].cap"),
        (12, "passes[1]"),
        (12, "passes[1].id"),
    ]
    assert str(caught.value).startswith("bad.yaml: line 1: name: must start with a-z")


@pytest.mark.parametrize(
    ("old", "new", "path", "reason"),
    [
        (PARTS, ignoring("fmily"), "passes[0].ignores", "`fmily` is no field"),
        (PARTS, ignoring("dob"), "passes[0].ignores", "a part of the pass"),
        (PARTS, ignoring("address, sex"), "passes[0].ignores", "nothing to compare"),
        ("name: small", "nam: small", "nam", "did you mean `name`?"),
        ("name: small", "name: 1st", "name", "must start with a-z"),
        ("name: small", f"name: {'a' * 41}", "name", "at most 40 characters"),
        ("kind: text", "kind: txt", "fields[2].kind", "must be one of"),
        ("year_min: 1850", "year_min: 3000", "fields[1].normalise", "year_min after its year_max"),
        ("order: dmy", "order: dym", "fields[1].normalise.order", "ymd, dmy, mdy"),
        ("order: dmy", "length: 3", "fields[1].normalise.length", "does not suit"),
        ("F: [女, female]", "F: [女, male]", "fields[3].normalise.values.F", "keep one"),
        (
            "kind: name}",
            "kind: name, comparison: date}",
            "fields[0].comparison",
            "sketch, category",
        ),
        ("kind: name}", "kind: name, entropy_bits: 65}", "fields[0].entropy_bits", "from 0 to 64"),
        ("kind: name}", "kind: name, columns: []}", "fields[0].columns", "1 to 16 columns"),
        ("dob: exact}", "dob: prefix(2)}", "passes[0].parts.dob", "does not suit"),
        ("dob: exact}", "dob: year_window(0)}", "passes[0].parts.dob", "k from 1 to 10"),
        ("dob: exact}", "dob: exact(1)}", "passes[0].parts.dob", "takes no arguments"),
        ("dob: exact}", "dob: exactly}", "passes[0].parts.dob", "is no transform"),
        ("dob: exact}", "address: lsh(8, 2)}", "passes[0].parts.address", "quote it"),
        ("dob: exact}", "birth: exact}", "passes[0].parts.birth", "names no field"),
        ("{family: exact, dob: exact}", "{}", "passes[0].parts", "1 to 6 parts"),
        ("{family: exact, dob: exact}", "{family: exact}", "passes[0]", "below 16"),
        ("{sex: exact}", "{sex: exact, family: each_word}", "passes[1]", "several values"),
        ("{sex: exact}", "{dob: year_month}", "passes[1]", "one part twice"),
        ("cap: 24", "cap: 1", "passes[1].cap", "from 2 to 1000"),
        ("exposure: a test, and nobody is exposed by it", "", "passes[1].cap", "add `exposure:`"),
        ("a test, and nobody is exposed by it", "yes", "passes[1].exposure", "in a sentence"),
        ("sieve_max: 0.35", "sieve_max: 2", "passes[1].sieve_max", "from 0.01 to 1"),
        ("lsh(10, 4)", "lsh(10, 9)", "passes[1].parts.address", "tables from 1 to 8"),
        ("id: area", "id: family_birth", "passes[1].id", "another pass's id"),
    ],
)
def test_a_fault_names_its_place_and_what_to_do(old: str, new: str, path: str, reason: str) -> None:
    assert reason in faults(changed(old, new))[path]


def test_a_low_entropy_pass_is_accepted_once_its_exposure_is_declared() -> None:
    text = changed(
        "{family: exact, dob: exact}",
        "{family: exact}\n    exposure: weak evidence, all we have for foundlings",
    )
    assert parse_schema(text, source="test.yaml").passes[0].exposure is not None


def test_a_schema_has_at_most_eight_lsh_tables_even_with_an_exposure() -> None:
    more = """\
  - id: more
    parts: {family: "lsh(8, 5)"}
    exposure: a test, and nobody is exposed by it
"""
    assert "9 LSH tables" in faults(GOOD + more)["passes[2]"]


def test_two_passes_may_not_be_the_same() -> None:
    text = GOOD + "  - id: again\n    parts: [{dob: exact}, {family: exact}]\n"
    assert "has the parts of another pass" in faults(text)["passes[2]"]


def test_a_disclosure_floor_above_the_threshold_is_refused() -> None:
    text = GOOD + "threshold_probability: 0.2\ndisclosure_floor_probability: 0.3\n"
    assert "is above" in faults(text)["disclosure_floor_probability"]


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ("[{label: a}]", "needs either"),
        ("[{label: a, max_distance: 0.2, tag: day}]", "needs either"),
        ("[{label: a, tag: day}]", "no meaning for a sketch"),
        ("[{label: a, max_distance: 0.2}, {label: b, max_distance: 0.1}]", "can never hold"),
        ("[{label: a, max_distance: 0.2}, {label: a, max_distance: 0.3}]", "label of another"),
        ("[]", "1 to 8 levels"),
    ],
)
def test_levels_that_cannot_work_are_refused(levels: str, reason: str) -> None:
    found = faults(changed("kind: name}", f"kind: name, levels: {levels}}}"))
    assert any(reason in text for path, text in found.items() if path.startswith("fields[0]"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n- b\n", "must be a mapping"),
        ("name: [\n", "is not valid YAML or JSON"),
        ("name: a\n\tfields: 1\n", "is not valid YAML or JSON"),
        ("name: &a small\n", "anchor or alias"),
        ("name: *a\n", "anchor or alias"),
        ("name: !!python/name:os.system\n", "uses a YAML tag"),
        ("[" * 100, "nested deeper"),
        ("name: \x00", "is not valid YAML or JSON"),
        ("name: \ud800", "not Unicode text"),
        ("name: a\n" * 40_000, "larger than 256 KiB"),
        ("? [a]\n: b\n", "a key that is not a word"),
    ],
)
def test_text_that_is_no_schema_is_one_clear_fault(text: str, reason: str) -> None:
    assert reason in faults(text)["(file)"]


def test_a_key_given_twice_names_both_lines() -> None:
    assert faults(GOOD + "name: other\n")["name"] == "is given twice, first in line 1; keep one"


def test_too_many_fields_or_passes_are_refused() -> None:
    fields = "".join(f"  - {{name: f{n}, kind: text}}\n" for n in range(33))
    assert "1 to 32 fields" in faults(changed("fields:\n", f"fields:\n{fields}"))["fields"]
    passes = "".join(f"  - {{id: p{n}, parts: {{dob: exact}}}}\n" for n in range(64))
    assert "1 to 64 passes" in faults(GOOD + passes)["passes"]


def test_a_missing_or_undecodable_file_is_a_schema_error(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="cannot be read"):
        load_schema(tmp_path / "absent.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: a\n# M\xfcller\n")
    with pytest.raises(SchemaError, match=r"line 2: .*not UTF-8"):
        load_schema(latin)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (256 * 1024 + 1))
    with pytest.raises(SchemaError, match="larger than 256 KiB"):
        load_schema(large)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    marked = tmp_path / "marked.yaml"
    marked.write_text(GOOD, encoding="utf-8-sig")
    assert load_schema(marked) == parse_schema(GOOD, source="test.yaml")


@settings(deadline=None)
@given(st.text(max_size=300))
def test_arbitrary_text_raises_nothing_but_a_schema_error(text: str) -> None:
    with pytest.raises(SchemaError):
        parse_schema(text, source="fuzz")


@settings(deadline=None)
@given(
    st.integers(0, len(GOOD) - 1), st.integers(0, 20), st.sampled_from(["", "{", "x", ": ", "\n- "])
)
def test_a_damaged_file_is_read_or_refused_with_lines_inside_it(
    start: int, length: int, inserted: str
) -> None:
    text = GOOD[:start] + inserted + GOOD[start + length :]
    found: tuple[Fault, ...] = ()
    try:
        parse_schema(text, source="fuzz")
    except SchemaError as error:
        found = error.faults
    assert all(1 <= fault.line <= text.count("\n") + 1 for fault in found)


SAME_FINGERPRINT = [
    ("name: small", "name: other"),
    ("cap: 24", "cap: 20"),
    ("sieve_max: 0.35", "sieve_max: 0.3"),
    ("kind: name}", "kind: name, entropy_bits: 9}"),
    ("optional: true", "optional: false"),
    ("columns: [birth_year, birth_month, birth_day]", "columns: [born]"),
    ("name: small", "name: small\nlink_type: one_to_one\nthreshold_probability: 0.9"),
    ("kind: text,", "kind: text, levels: [{label: same, max_distance: 0}],"),
]
OTHER_FINGERPRINT = [
    ("{name: family, kind: name}", "{name: family, kind: name_zh}"),
    ("order: dmy", "order: mdy"),
    ("year_min: 1850", "year_min: 1851"),
    ("dob: exact}", "dob: year_month}"),
    ("lsh(10, 4)", "lsh(10, 3)"),
    ("refine: {sex: exact}", "refine: {dob: exact}"),
    ("id: area", "id: region"),
    ("kind: name}", "kind: name, comparison: category}"),
    ("address: lsh(10, 4)", "address: sorted_words"),
]


@pytest.mark.parametrize(("old", "new"), SAME_FINGERPRINT)
def test_tuning_keeps_the_fingerprint(old: str, new: str) -> None:
    tuned = parse_schema(changed(old, new), source="test.yaml")
    assert tuned.fingerprint() == parse_schema(GOOD, source="test.yaml").fingerprint()


@pytest.mark.parametrize(("old", "new"), OTHER_FINGERPRINT)
def test_another_encoding_changes_the_fingerprint(old: str, new: str) -> None:
    other = parse_schema(changed(old, new), source="test.yaml")
    assert other.fingerprint() != parse_schema(GOOD, source="test.yaml").fingerprint()


REUNION = packaged_schema("reunion").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("u_given: born", "u_given: bone", "must name another field"),
        ("u_given: born", "u_given: parted", "must name another field"),
        ("u_given: born", "u_given: role", "must name another field"),
        ("    m: [0.995, 0.005]", "    #", "needs `m` of every field; `sex` has none"),
    ],
)
def test_a_u_by_another_field_is_checked(old: str, new: str, says: str) -> None:
    with pytest.raises(SchemaError) as error:
        parse_schema(REUNION.replace(old, new, 1), source="reunion.yaml")
    assert any(says in str(fault) for fault in error.value.faults)


def test_a_u_by_another_field_keeps_the_fingerprint() -> None:
    without = parse_schema(REUNION.replace("    u_given: born", "    #"), source="reunion.yaml")
    assert without.fingerprint() == parse_schema(REUNION, source="reunion.yaml").fingerprint()


def test_fingerprints_move_only_on_purpose() -> None:
    """A failure means that offices with the new code refuse those with the old."""
    found = {
        "small": parse_schema(GOOD, source="test.yaml").fingerprint(),
        "person": load_schema(packaged_schema("person")).fingerprint(),
        "reunion": load_schema(packaged_schema("reunion")).fingerprint(),
    }
    assert found == json.loads(GOLDEN_FINGERPRINTS.read_text(encoding="utf-8"))


def shipped() -> list[Path]:
    packaged = [packaged_schema(name) for name in ("person", "reunion")]
    return [*packaged, *sorted(BENCH_SCHEMAS.glob("*.yaml"))]


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_shipped_schema_is_valid_and_hashable(path: Path) -> None:
    schema = load_schema(path)
    assert schema.name == path.stem
    assert len(schema.fingerprint()) == 64
    assert isinstance(hash(schema), int)


def test_the_person_schema_needs_no_column_and_declares_no_exposure() -> None:
    schema: Schema = load_schema(packaged_schema("person"))
    names = ["name", "dob", "sex", "address", "place", "phone", "national_id"]
    assert [field.name for field in schema.fields] == names
    assert all(field.optional for field in schema.fields)
    assert all(each.exposure is None and each.cap == CAP_DEFAULT for each in schema.passes)
    assert schema.lsh_tables == 4
