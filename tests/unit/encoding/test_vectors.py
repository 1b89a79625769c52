"""Vectors: what is read, how far sketches are apart, and what protects a template (ISO/IEC 24745).

Irreversibility, revocability and unlinkability are tested against the attacker of each: one without
the key, one who holds a template of an old key, and one who compares epochs. With the key a
template is no secret, and a test says so: it is why the linker never has one.
"""

from __future__ import annotations

import base64
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.encoding import keys
from kinlink_core.encoding.canary import canary_digest
from kinlink_core.encoding.conformance import Epoch, differing, parts
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.normalize import normalize_column
from kinlink_core.encoding.schema import (
    VECTOR_BITS,
    VECTOR_SAMPLE_BITS,
    SchemaError,
    Vector,
    parse_schema,
)
from kinlink_core.encoding.seal import digest_columns, seal_pairs
from kinlink_core.encoding.sieve import open_bits
from kinlink_core.encoding.sketch import gaussian_row, hamming_fraction
from kinlink_core.encoding.vectors import VectorSketcher, read_vector, vectors_of
from unit.encoding.drawn import seeds

SIZE = 128
FORM = Vector("model-1", SIZE, 0.5)
KEY, OTHER_KEY = bytes(range(32)), bytes(32)
SCHEMA_TEXT = """
name: vector_test
fields:
  - {name: name, kind: name, entropy_bits: 12}
  - name: face
    kind: vector
    model: model-1
    dimensions: 128
    levels: [{label: near, max_distance: 0.4}]
  - name: older
    kind: vector
    model: model-1
    dimensions: 128
    levels: [{label: near, max_distance: 0.4}]
    weight_max: 8
passes:
  - {id: name, parts: {name: exact}, exposure: "one name, for nothing but a test", cap: 2}
"""
SCHEMA = parse_schema(SCHEMA_TEXT, source="test")
CONTEXT = keys.Context(keys.MODE_PLAIN, "test", "e1", SCHEMA.fingerprint())
ENCODER = Encoder(SCHEMA, keys.KeySchedule(CONTEXT, keys.EpochSecret("e1", bytes(range(32)))))
NULL_L, NULL_R = b"l" * 32, b"r" * 32
FACES = 400
# Four standard errors of a mean over so many faces.
HALF_SD = 0.5 / np.sqrt(VECTOR_BITS)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def strangers(count: int, seed: int = 1) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, SIZE)))


def cells(vectors: np.ndarray, model: str = "model-1") -> list[str]:
    half = vectors.astype("<f2")
    return [f"{model} {base64.b64encode(row.tobytes()).decode()}" for row in half]


def bits(sketches: np.ndarray) -> np.ndarray:
    return np.unpackbits(sketches, axis=1)


def projection(key: bytes) -> np.ndarray:
    """Directions of the sketches under a key, (128, 4096), as anybody draws them who has it."""
    axes = (b"axis" + axis.to_bytes(4, "big") for axis in range(SIZE))
    return np.array([gaussian_row(key, axis, VECTOR_BITS).astype(int) for axis in axes])


def at_cosine(cosine: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    one, other = strangers(count, 2), strangers(count, 3)
    across = unit(other - (one * other).sum(axis=1, keepdims=True) * one)
    return one, cosine * one + np.sqrt(1 - cosine**2) * across


def test_a_cell_names_its_model_and_keeps_its_numbers() -> None:
    (cell,) = cells(strangers(1))
    assert read_vector(FORM, f"  {cell}  ") == cell
    assert read_vector(FORM, read_vector(FORM, cell)) == cell
    assert np.allclose(vectors_of([cell], SIZE), strangers(1), atol=1e-3)


def test_what_cannot_be_compared_is_missing_and_its_reason_counted() -> None:
    (good,) = cells(strangers(1))
    numbers = good.partition(" ")[2]
    field = SCHEMA.field("face")
    column = [
        good,
        None,
        "",
        "model-1",
        cells(strangers(1), "model-2")[0],
        numbers,
        cells(strangers(1)[:, :64])[0],
        good[:-5],
        "model-1 不是向量",
        cells(0.4 * strangers(1))[0],
        cells(np.full((1, SIZE), np.nan))[0],
        cells(np.full((1, SIZE), 2000.0))[0],
        "model-1 " + "A" * 100_000,
        "model-1 \x00",
    ]
    read = normalize_column(field, column)
    assert read.values == [good, *[None] * 13]
    assert read.faults == []
    assert read.blanks == [
        (4, "is of another model than the schema's"),
        (5, "names no model"),
        (6, "has more or fewer dimensions than the schema says"),
        (7, "is no vector in base64 of half-precision numbers"),
        (8, "is no vector in base64 of half-precision numbers"),
        (9, "is below the quality that the schema asks for"),
        (10, "is no vector in base64 of half-precision numbers"),
        (11, "is no vector in base64 of half-precision numbers"),
        (12, "is longer than this field allows"),
        (13, "holds control characters"),
    ]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80) | st.binary(max_size=300).map(lambda raw: f"model-1 {raw.hex()}"))
def test_no_cell_loses_its_record(text: str) -> None:
    read = normalize_column(SCHEMA.field("face"), [text])
    assert read.faults == []
    assert all(text not in reason for _, reason in read.blanks if len(text) > 3)


@pytest.mark.parametrize("cosine", [0.0, 0.35, 0.7, 0.95, -0.5])
def test_the_distance_is_the_angle_whatever_the_lengths(cosine: float) -> None:
    one, other = at_cosine(cosine, FACES)
    sketcher = VectorSketcher(KEY, SIZE)
    distance = hamming_fraction(sketcher.sketch(cells(one)), sketcher.sketch(cells(3 * other)))
    expected = np.arccos(cosine) / np.pi
    # All are of one projection, but 400 pairs of directions are as good as independent.
    spread = np.sqrt(expected * (1 - expected) / VECTOR_BITS)
    assert abs(distance.mean() - expected) < 4 * spread / np.sqrt(FACES) + 5e-4
    assert distance.std() < 1.3 * spread + 1e-3


def test_signs_are_exact_in_any_order_of_the_sum() -> None:
    faces = np.random.default_rng(5).normal(scale=30, size=(20, SIZE)).astype("<f2")
    directions = projection(KEY)
    # Whole numbers of any size: Python's own.
    steps = np.array([[int(float(x) * 2**24) for x in row] for row in faces], object)
    exact = steps @ directions[:, :64].astype(object)
    found = bits(VectorSketcher(KEY, SIZE).sketch(cells(faces.astype(float))))[:, :64]
    assert (found == (exact > 0)).all()


def test_a_sketch_does_not_depend_on_its_neighbours() -> None:
    faces = cells(strangers(1_100))
    together = VectorSketcher(KEY, SIZE).sketch(faces)
    alone = VectorSketcher(KEY, SIZE).sketch(faces[-1:])
    assert (together[-1:] == alone).all()


def test_the_released_sketch_stays_as_it_is() -> None:
    faces = np.linspace(-1, 1, 2 * SIZE).reshape(2, SIZE)
    digest = hashlib.sha256(VectorSketcher(KEY, SIZE).sketch(cells(faces)).tobytes()).hexdigest()
    assert digest[:32] == "2ef6fb24e0646d3baa2f3721f60cd145"
    left, right = sealed([*cells(faces)], [*cells(faces[::-1])])
    digest = hashlib.sha256(left.tobytes() + right.tobytes()).hexdigest()
    assert digest[:32] == "bd375bf2b9dd97f1d24ef6c6cf5c09c6"


# ISO/IEC 24745: revocability, unlinkability, irreversibility.


def test_a_template_under_a_new_key_is_as_far_as_a_strangers() -> None:
    faces = cells(strangers(FACES))
    old, new = (VectorSketcher(key, SIZE).sketch(faces) for key in (KEY, OTHER_KEY))
    mated = hamming_fraction(old, new)
    assert abs(mated.mean() - 0.5) < 4 * HALF_SD / np.sqrt(FACES)
    assert mated.std() == pytest.approx(HALF_SD, rel=0.15)
    others = hamming_fraction(old, np.roll(new, 1, axis=0))
    assert abs(mated.mean() - others.mean()) < 6 * HALF_SD / np.sqrt(FACES)


def test_sketches_of_two_epochs_and_of_two_fields_are_unrelated() -> None:
    faces = cells(strangers(FACES))
    columns = {"name": [None] * FACES, "face": [*faces], "older": [*faces]}
    found = []
    for epoch, secret in (("e1", bytes(range(32))), ("e2", bytes(range(1, 33)))):
        context = keys.Context(keys.MODE_PLAIN, "test", epoch, SCHEMA.fingerprint())
        encoder = Encoder(SCHEMA, keys.KeySchedule(context, keys.EpochSecret(epoch, secret)))
        found.append(split_fixed(SCHEMA, encoder.sketch(columns)).vectors)
    for one, other in ((found[0][:, 0], found[1][:, 0]), (found[0][:, 0], found[0][:, 1])):
        distance = hamming_fraction(one, other)
        assert abs(distance.mean() - 0.5) < 4 * HALF_SD / np.sqrt(FACES)
        assert distance.std() == pytest.approx(HALF_SD, rel=0.15)


def inverted(sketches: np.ndarray, key: bytes) -> np.ndarray:
    """The least-squares inversion of a sketch under a key; unit vectors."""
    signs = 2.0 * bits(sketches) - 1
    return unit(np.linalg.lstsq(projection(key).T.astype(float), signs.T, rcond=None)[0].T)


def test_without_the_key_a_sketch_gives_no_face_and_with_it_nearly_all() -> None:
    faces = strangers(FACES)
    sketches = VectorSketcher(KEY, SIZE).sketch(cells(faces))
    without = (inverted(sketches, OTHER_KEY) * faces).sum(axis=1)
    with_key = (inverted(sketches, KEY) * faces).sum(axis=1)
    assert abs(without.mean()) <= 0.1
    # As a guess: two directions in 128 dimensions are at a cosine of 0 ± 0.088.
    assert without.std() == pytest.approx(1 / np.sqrt(SIZE), rel=0.2)
    assert with_key.min() > 0.9


# Sealed for a pair.


def sealed(left: list[str | None], right: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Field `face` of both sides of as many pairs."""
    drawn = seeds(len(left))
    sides = []
    for faces, null_key in ((left, NULL_L), (right, NULL_R)):
        columns: list[list[str | None]] = [["x"] * len(faces), faces, faces]
        named = dict(zip(("name", "face", "older"), columns, strict=True))
        digests = digest_columns(SCHEMA, columns)
        batch = seal_pairs(SCHEMA, drawn, ENCODER.encode(named).fixed, digests, null_key)
        column = batch.fields[1].sketch
        assert column is not None
        assert column.shape == (len(faces), VECTOR_SAMPLE_BITS // 8)
        sides.append(column)
    return sides[0], sides[1]


def test_half_of_the_bits_are_sealed_each_once() -> None:
    assert 2 * VECTOR_SAMPLE_BITS <= VECTOR_BITS
    one, other = at_cosine(0.35, FACES)
    left, right = sealed([*cells(one)], [*cells(other)])
    whole = hamming_fraction(
        *(
            split_fixed(SCHEMA, ENCODER.sketch({"name": [None] * FACES, "face": [*cells(side)],
                                                "older": [None] * FACES})).vectors[:, 0]
            for side in (one, other)
        )
    )  # fmt: skip
    distance = hamming_fraction(left, right)
    # One of each two bits: only where a pair of bits differs in one is it by chance.
    assert abs((distance - whole).mean()) < 4 * 0.5 / np.sqrt(VECTOR_BITS * FACES)
    assert 0 < (distance - whole).std() < 0.5 / np.sqrt(VECTOR_SAMPLE_BITS)
    same, again = sealed([*cells(one)], [*cells(one)])
    assert (same == again).all()


def test_a_registry_that_works_with_the_linker_reads_the_faces_sealed_towards_it() -> None:
    """No promise is made here (docs/explanation/what-leaves-a-registry.md); this is how much."""
    faces = strangers(FACES)
    sketches = bits(VectorSketcher(KEY, SIZE).sketch(cells(faces)))[:, ::2]
    signs, directions = 2.0 * sketches - 1, projection(KEY)[:, ::2].T.astype(float)
    read = unit(np.linalg.lstsq(directions, signs.T, rcond=None)[0].T)
    assert (read * faces).sum(axis=1).min() > 0.95


def test_a_side_alone_and_a_pair_that_misses_a_face_are_noise() -> None:
    (face,) = cells(strangers(1))
    left, right = sealed([face] * FACES, [None] * FACES)
    for found in (left, right, left ^ right):
        ones = np.unpackbits(found, axis=1).mean(axis=0)
        assert np.abs(ones - 0.5).max() < 6 * 0.5 / np.sqrt(FACES)
    assert abs(hamming_fraction(left, right).mean() - 0.5) < 4 * 0.5 / np.sqrt(
        VECTOR_SAMPLE_BITS * FACES
    )


def test_where_two_sealed_sides_differ_does_not_tell_which_bits_differ() -> None:
    """Of one pair of faces in many pairs of handles every place differs equally often."""
    one, other = at_cosine(0.8, 1)
    left, right = sealed([*cells(one)] * FACES, [*cells(other)] * FACES)
    differing = np.unpackbits(left ^ right, axis=1).mean(axis=0)
    spread = np.sqrt(differing.mean() * (1 - differing.mean()) / FACES)
    assert np.abs(differing - differing.mean()).max() < 6 * spread


def test_the_sieve_and_other_fields_do_not_use_a_vector() -> None:
    columns: dict[str, list[str | None]] = {
        "name": ["li mei"] * 2, "face": [*cells(strangers(2))], "older": [None] * 2,
    }  # fmt: skip
    parts = split_fixed(SCHEMA, ENCODER.sketch(columns))
    looked_at = open_bits(SCHEMA, parse_schema(
        SCHEMA_TEXT.replace("name: exact", "name: initial"), source="test").passes[0])  # fmt: skip
    assert not set((looked_at >> 3) % 3) - {0}
    record = bits(parts.record_sketch)[:, looked_at]
    assert (record[0] == record[1]).all()


def test_the_canary_moves_with_the_model_and_with_the_key() -> None:
    found = set()
    for text in (SCHEMA_TEXT, SCHEMA_TEXT.replace("dimensions: 128", "dimensions: 64")):
        schema = parse_schema(text, source="test")
        for secret in (KEY, OTHER_KEY):
            schedule = keys.KeySchedule(CONTEXT, keys.EpochSecret("e1", secret))
            found.add(canary_digest(schema, schedule))
    assert len(found) == 4


def test_registries_that_differ_in_a_model_learn_in_which_field() -> None:
    epoch = Epoch("north", keys.EpochSecret("e1", KEY))
    other = SCHEMA_TEXT.replace("model: model-1", "model: model-2", 1)
    found = [parts(parse_schema(text, source="t"), epoch) for text in (SCHEMA_TEXT, other)]
    assert differing(*found) == ["normalise/face"]


def test_the_fingerprint_holds_the_model_and_not_the_largest_weight() -> None:
    first = SCHEMA.fingerprint()
    for old, new in (("model-1", "model-2"), ("dimensions: 128", "dimensions: 512")):
        assert parse_schema(SCHEMA_TEXT.replace(old, new), source="t").fingerprint() != first
    tuned = SCHEMA_TEXT.replace("weight_max: 8", "weight_max: 9").replace("0.4}", "0.3}")
    assert parse_schema(tuned, source="t").fingerprint() == first


def test_a_field_of_vectors_says_its_model_its_size_and_its_levels() -> None:
    text = SCHEMA_TEXT.replace("    model: model-1\n    dimensions: 128\n", "")
    text = text.replace("    levels: [{label: near, max_distance: 0.4}]\n", "")
    with pytest.raises(SchemaError) as caught:
        parse_schema(text, source="t")
    told = str(caught.value)
    for missing in ("fields[1].model", "fields[1].dimensions", "fields[1].levels"):
        assert missing in told
