"""The encoding part by part: what differs has a name, and causes come before what follows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from kinlink_core.encoding import chinese, features, keys, released
from kinlink_core.encoding.conformance import PART_BYTES, Epoch, differing, parts, told
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.schema import parse_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.schema import Schema

TEXT = """
name: small
fields:
  - {name: person, kind: name_zh}
  - {name: dob, kind: date}
  - {name: sex, kind: code, entropy_bits: 1}
passes:
  - {id: birth, parts: {person: phonetic, dob: exact}}
  - {id: month, parts: {person: exact, dob: year_month}, refine: {sex: exact}}
"""
EPOCH = Epoch("north", keys.EpochSecret("2026-11", bytes(range(32))))


def small(old: str = "", new: str = "") -> Schema:
    assert old in TEXT
    return parse_schema(TEXT.replace(old, new), source="test")


def test_the_same_encoding_has_the_same_parts_in_the_order_of_causes() -> None:
    found = parts(small(), EPOCH)
    assert found == parts(small(), EPOCH)
    assert list(found) == [
        "secret", "traditional", "unicode", "pinyin",
        "normalise/person", "normalise/dob", "normalise/sex",
        "sketch/person", "sketch/dob", "sketch/sex",
        "blocking/birth", "blocking/month", "sealing",
    ]  # fmt: skip
    assert {len(digest) for digest in found.values()} == {PART_BYTES}
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("kind: date}", "kind: date, normalise: {order: dmy}}", ["normalise/dob"]),
        ("dob: year_month", "dob: year", ["blocking/month"]),
        ("refine: {sex: exact}", "refine: {dob: exact}", ["blocking/month"]),
        ("id: month", "id: months", ["blocking/month", "blocking/months"]),
        (
            "kind: date}",
            "kind: date, comparison: category}",
            ["sketch/dob", "sealing"],
        ),
    ],
)
def test_what_a_changed_schema_changes_is_named(old: str, new: str, named: list[str]) -> None:
    """Tuning of one field or pass shows in its own parts alone."""
    assert differing(parts(small(), EPOCH), parts(small(old, new), EPOCH)) == named


def test_another_secret_or_federation_changes_every_part() -> None:
    other = dataclasses.replace(EPOCH, secret=keys.EpochSecret("2026-11", bytes(32)))
    for epoch in (other, Epoch("south", EPOCH.secret)):
        found, changed = parts(small(), EPOCH), parts(small(), epoch)
        assert differing(found, changed) == list(found)


def test_parts_are_told_in_words_and_many_are_cut_short() -> None:
    names = ["secret", "unicode", "pinyin", "normalise/dob", "sketch/dob", "blocking/birth"]
    assert told(names[:1]) == "the epoch secret"
    assert told(names[2:4]) == "the pinyin table, the reading of field dob"
    assert told(names).endswith("the reading of field dob and 2 more")
    assert told(["key-server/birth", "new"]) == "the key server's key of pass birth, new"


@pytest.fixture
def fresh_tables() -> Iterator[None]:
    """What is cached of a table is forgotten before and after a test changes it."""
    cached = (chinese._readings, chinese._spellings, chinese.split_pinyin, chinese.probe)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.usefixtures("fresh_tables")
def test_one_changed_reading_is_named_as_the_table_and_then_what_rests_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pypinyin.pinyin_dict import pinyin_dict

    before = parts(small(), EPOCH)
    monkeypatch.setitem(pinyin_dict, ord("伟"), "wo")
    chinese._readings.cache_clear()
    chinese.probe.cache_clear()
    named = ["pinyin", "sketch/person", "blocking/birth", "sealing"]
    assert differing(before, parts(small(), EPOCH)) == named


@pytest.mark.usefixtures("fresh_tables")
def test_a_reading_that_no_canary_has_is_found_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pypinyin.pinyin_dict import pinyin_dict

    before = parts(small(), EPOCH)
    monkeypatch.setitem(pinyin_dict, ord("龘"), "ta")
    chinese._readings.cache_clear()
    chinese.probe.cache_clear()
    assert differing(before, parts(small(), EPOCH)) == ["pinyin"]


def test_a_changed_transform_is_named_by_its_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parts(small(), EPOCH)
    monkeypatch.setitem(features._TRANSFORMS, "year_month", lambda _f, value, _n: value[:4])
    assert differing(before, parts(small(), EPOCH)) == ["blocking/month"]


class Reversed:
    """A key server that answers one pass under another key."""

    def __init__(self, spoiled: str = "") -> None:
        self.spoiled = spoiled

    def evaluate(self, pass_id: str, inputs: list[bytes]) -> list[bytes]:
        key = b"other" if pass_id == self.spoiled else b"key"
        return [keys.expand(key, each) * 2 for each in inputs]


def test_a_key_server_that_answers_under_another_key_is_named_by_its_pass() -> None:
    context = keys.Context(keys.MODE_KEY_SERVER, "north", "2026-11", small().fingerprint())
    encoder = Encoder(small(), keys.KeySchedule(context, EPOCH.secret))
    found = parts(small(), EPOCH, key_server=(encoder, Reversed()))
    assert list(found)[-2:] == ["key-server/birth", "key-server/month"]
    other = parts(small(), EPOCH, key_server=(encoder, Reversed("month")))
    assert differing(found, other) == ["key-server/month"]


def test_this_installation_encodes_as_the_released_version() -> None:
    """A failure means that offices with the new code differ from those with the old."""
    assert released.moved_parts() == []


def test_a_part_that_moved_since_the_release_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(features._TRANSFORMS, "suffix", lambda _f, value, n: value[:n])
    assert released.moved_parts() == ["blocking/days"]
