"""The two sides of a pair compare; anything else is noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.normalize import normalize_column
from kinlink_core.encoding.schema import SAMPLE_BITS, parse_schema
from kinlink_core.encoding.seal import SealedBatch, digest_columns, seal_pairs
from scipy.stats import chi2
from unit.encoding.drawn import PRF, blocks, seeds

if TYPE_CHECKING:
    from kinlink_core.encoding.prf import Seeds

SCHEMA = parse_schema(
    """
name: seal_test
fields:
  - {name: name, kind: name, entropy_bits: 12}
  - {name: dob, kind: date}
  - {name: sex, kind: code, entropy_bits: 1}
passes:
  - {id: name, parts: {name: exact, dob: exact}}
""",
    source="test",
)
CONTEXT = keys.Context(keys.MODE_PLAIN, "test", "e1", SCHEMA.fingerprint())
SCHEDULE = keys.KeySchedule(CONTEXT, keys.EpochSecret("e1", bytes(range(32))))
ENCODER = Encoder(SCHEMA, SCHEDULE)
NULL_L, NULL_R = b"l" * 32, b"r" * 32
BITS = 1_000_000

Person = dict[str, str | None]


def seal(people: list[Person], drawn: Seeds, null_key: bytes = NULL_L) -> SealedBatch:
    columns = {
        field.name: list(
            normalize_column(field, [person.get(field.name) for person in people]).values
        )
        for field in SCHEMA.fields
    }
    fixed = ENCODER.encode(columns).fixed
    values = [columns[field.name] for field in SCHEMA.fields]
    return seal_pairs(SCHEMA, drawn, fixed, digest_columns(SCHEMA, values), null_key)


def sketches(people: list[Person]) -> np.ndarray:
    columns = {
        field.name: list(
            normalize_column(field, [person.get(field.name) for person in people]).values
        )
        for field in SCHEMA.fields
    }
    return split_fixed(SCHEMA, ENCODER.encode(columns).fixed).sketches


def uniform_bits(packed: np.ndarray) -> bool:
    """Chi-square over byte values, at one in a million: a right build fails once in a lifetime."""
    counts = np.bincount(packed.reshape(-1), minlength=256)
    expected = counts.sum() / 256
    return float(((counts - expected) ** 2 / expected).sum()) < chi2.isf(1e-6, 255)


def one_pair(rows: int) -> Seeds:
    return seeds(1).take(np.zeros(rows, np.int64))


MEI = {"name": "Li Meizhi", "dob": "1960-05-01", "sex": "f"}


@settings(max_examples=30, deadline=None)
@given(st.text("abcdefgh ", min_size=1, max_size=20), st.text("abcdefgh ", min_size=1, max_size=20))
def test_hamming_of_sealed_is_hamming_of_the_sampled_sketches(a: str, b: str) -> None:
    people: list[Person] = [{"name": f"{a}x"}, {"name": f"{b}x"}]
    sealed = seal(people, one_pair(2))
    left, right = sketches(people)[:, 0]
    stream = one_pair(1).draw(b"seal", 64)[0]
    choice = np.stack([stream & 15, stream >> 4], axis=1).reshape(-1)
    sampled = ((left ^ right).view("<u2") >> choice) & 1
    column = sealed.fields[0].sketch
    assert column is not None
    assert np.bitwise_count(column[0] ^ column[1]).sum() == sampled.sum()


def test_equal_values_give_equal_tags_and_others_differ() -> None:
    batch = seal([MEI, {**MEI, "dob": "1960-01-05"}, {**MEI, "sex": "m"}], one_pair(3))
    sex, dob = batch.fields[2].tags, batch.fields[1].tags
    assert sex is not None
    assert dob is not None
    assert (sex[0] == sex[1]).all()
    assert not (sex[0] == sex[2]).all()
    tags = dob.reshape(3, 5, 8)
    same = {
        name: bool((tags[0, i] == tags[1, i]).all()) for i, name in enumerate(SCHEMA.fields[1].tags)
    }
    assert same == {
        "day": False, "year_month": False, "month_day": False, "year": True, "swapped": True,
    }  # fmt: skip


def test_tags_of_different_values_are_independent_and_uniform() -> None:
    rows = BITS // 64
    drawn = seeds(rows)
    one, other = seal([MEI] * rows, drawn), seal([{**MEI, "sex": "m"}] * rows, drawn)
    assert one.fields[2].tags is not None
    assert other.fields[2].tags is not None
    assert uniform_bits(one.fields[2].tags)
    assert uniform_bits(one.fields[2].tags ^ other.fields[2].tags)


def test_presence_tags_are_equal_only_where_both_values_are_present() -> None:
    drawn = seeds(2000)
    here = seal([MEI] * 2000, drawn)
    there = seal([{**MEI, "dob": None}] * 2000, drawn, NULL_R)
    neither = seal([{**MEI, "dob": None}] * 2000, drawn, NULL_L)
    for field, shared in ((0, 2000), (2, 2000)):
        assert (here.fields[field].presence == there.fields[field].presence).all(1).sum() == shared
    # 2^-16 by chance: three of 2,000 would be one in 30 million.
    assert (here.fields[1].presence == there.fields[1].presence).all(1).sum() < 3
    assert (neither.fields[1].presence == there.fields[1].presence).all(1).sum() < 3


def test_what_is_missing_is_the_same_noise_each_time_it_is_asked_for() -> None:
    drawn = seeds(5)
    nobody: list[Person] = [{}] * 5
    first, again = seal(nobody, drawn), seal(nobody, drawn)
    assert all(
        (a.presence == b.presence).all() for a, b in zip(first.fields, again.fields, strict=True)
    )


@pytest.mark.parametrize("field", [0, 1])
def test_one_side_of_many_pairs_is_indistinguishable_from_random(field: int) -> None:
    rows = BITS // SAMPLE_BITS
    column = seal([MEI] * rows, seeds(rows)).fields[field].sketch
    assert column is not None
    assert uniform_bits(column)


def test_the_same_record_in_another_pair_is_unrelated() -> None:
    rows = BITS // SAMPLE_BITS
    one = seal([MEI] * rows, seeds(rows, "partner a")).fields[0]
    other = seal([MEI] * rows, seeds(rows, "partner b")).fields[0]
    assert one.sketch is not None
    assert other.sketch is not None
    assert uniform_bits(one.sketch ^ other.sketch)
    assert uniform_bits(one.presence)


def test_another_version_of_a_record_is_unrelated_because_its_handle_is_new() -> None:
    rows = BITS // SAMPLE_BITS
    island, partner = (np.repeat(blocks(1, who), rows, axis=0) for who in ("island", "partner"))
    versions = [
        seal([MEI] * rows, PRF.pairs(island, blocks(rows, version), partner))
        for version in ("before", "after")
    ]
    one, other = (version.fields[0].sketch for version in versions)
    assert one is not None
    assert other is not None
    assert uniform_bits(one ^ other)


def test_the_random_test_finds_what_is_not_random() -> None:
    rows = BITS // SAMPLE_BITS
    key = one_pair(rows)
    column = seal([MEI] * rows, key).fields[0].sketch
    assert column is not None
    assert not uniform_bits(column)


def test_missing_values_look_like_present_ones() -> None:
    rows = BITS // SAMPLE_BITS
    nobody: list[Person] = [{"sex": "f"}] * rows
    batch = seal(nobody, seeds(rows))
    assert batch.fields[0].sketch is not None
    assert batch.fields[1].tags is not None
    assert uniform_bits(batch.fields[0].sketch)
    assert uniform_bits(batch.fields[1].tags)


def test_the_xor_of_a_pair_does_not_tell_which_bytes_of_the_sketches_differ() -> None:
    # Whoever knows the sketch keys would read both values out of it.
    rows = 4000
    people: list[Person] = [{"name": "Li Meizhi"}, {"name": "Wang Dashan"}]
    left, right = sketches(people)[:, 0]
    differing = np.unpackbits((left ^ right).reshape(-1, 2), axis=1).mean(axis=1)
    drawn = seeds(rows)
    one, other = (seal([person] * rows, drawn).fields[0].sketch for person in people)
    assert one is not None
    assert other is not None
    seen = np.unpackbits(one ^ other, axis=1)
    assert abs(seen.mean() - differing.mean()) < 0.01
    assert abs(np.corrcoef(seen.mean(axis=0), differing)[0, 1]) < 4 / np.sqrt(SAMPLE_BITS)
    # The same test does see it before the bits are shuffled.
    sampled = np.unpackbits((left ^ right).reshape(-1, 2), axis=1)
    places = np.random.default_rng(3).integers(0, 16, (rows, SAMPLE_BITS))
    chosen = sampled[np.arange(SAMPLE_BITS), places]
    assert np.corrcoef(chosen.mean(axis=0), differing)[0, 1] > 0.9


def test_no_rows_are_sealed_as_easily() -> None:
    for column in seal([], one_pair(0)).fields:
        assert column.presence.shape == (0, 2)


def test_columns_of_unequal_length_are_refused() -> None:
    fixed = ENCODER.encode({field.name: ["1960-05-01"] for field in SCHEMA.fields}).fixed
    with pytest.raises(ValueError, match="one length"):
        seal_pairs(SCHEMA, seeds(2), fixed, digest_columns(SCHEMA, [["x"]] * 3), NULL_L)
    with pytest.raises(ValueError, match="bytes wide"):
        split_fixed(SCHEMA, fixed[:, :-1])
