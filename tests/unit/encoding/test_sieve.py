"""Words compare inside a pair; a distance between them is proven, or it is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.encoding.schema import load_schema, packaged_schema, parse_schema
from kinlink_core.encoding.sieve import (
    SIEVE_BITS,
    distance_max,
    distance_tags,
    open_bits,
    places,
    prove_distances,
    short_sketches,
    sieve_words,
    verify_distances,
)
from scipy.stats import chi2
from unit.encoding.drawn import PRF, blocks, seeds

PRIME = 2**31 - 1
ROWS = 400
WORD = st.integers(0, 2**64 - 1)


EVERY = np.arange(2048)
SEEDS = seeds(ROWS)
ONE = SEEDS.take(np.arange(1))


def uniform(numbers: np.ndarray, values: int) -> bool:
    """Chi-square over values, at one in a million: a right build fails once in a lifetime."""
    counts = np.bincount(numbers.reshape(-1), minlength=values)
    expected = counts.sum() / values
    return bool(((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-6, values - 1))


def looked_at(island: str) -> np.ndarray:
    return places(PRF.islands(blocks(1, island)), EVERY)


def random_words(seed: int, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, rows, np.uint64)


def proven(own: np.ndarray, partner: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Whether the side on the left believes distances that are proven by the right side's tags."""
    drawn = SEEDS.take(np.arange(len(own)))
    proofs = prove_distances(own, distance_tags(drawn, partner, of_left=False))
    return verify_distances(drawn, own, distances, proofs, of_left=False)


def test_sieve_words_compare_in_a_pair_and_nowhere_else() -> None:
    rng = np.random.default_rng(1)
    records = rng.integers(0, 256, (1000, 256), np.uint8)
    noisy = records ^ (rng.random((1000, 256, 8)) < 0.1).astype(np.uint8).dot(
        1 << np.arange(8)
    ).astype(np.uint8)
    looked = places(PRF.islands(blocks(1000, "island")), EVERY)
    short, short_noisy = (short_sketches(each, looked) for each in (records, noisy))
    words = sieve_words(seeds(1000), short)
    distance = np.bitwise_count(words ^ sieve_words(seeds(1000), short_noisy)) / 64
    assert abs(distance.mean() - 0.1) < 4 * np.sqrt(0.09 / 64_000)
    assert (distance * 64 == (short ^ short_noisy).sum(axis=1)).all()
    for elsewhere in (
        sieve_words(seeds(1000, island="another"), short_noisy),
        sieve_words(seeds(1000, "others"), short_noisy),
    ):
        differing = np.bitwise_count(words ^ elsewhere)
        assert abs(differing.mean() / 64 - 0.5) < 4 * np.sqrt(0.25 / 64_000)


def test_sieve_words_alone_are_uniform_also_in_one_island() -> None:
    rows = 15_625
    same = np.tile(np.random.default_rng(2).integers(0, 2, (1, 64), np.uint8), (rows, 1))
    words = sieve_words(seeds(rows, island="one"), same)
    assert uniform(words.view(np.uint8), 256)


def test_an_island_sieves_by_the_same_few_bits_of_every_record() -> None:
    rng = np.random.default_rng(4)
    records = rng.integers(0, 256, (500, 256), np.uint8)
    short = short_sketches(records, np.repeat(looked_at("one"), 500, axis=0))
    bits = np.unpackbits(records, axis=1, bitorder="little")
    found = [np.flatnonzero((bits == column[:, None]).all(axis=0)) for column in short.T]
    assert [len(place) for place in found] == [1] * 64
    assert (np.concatenate(found) // 32 == np.arange(64)).all()
    other = short_sketches(records, np.repeat(looked_at("other"), 500, axis=0))
    assert abs((short == other).mean() - 0.5) < 0.1


def test_a_pass_sieves_by_what_it_does_not_fix() -> None:
    schema = load_schema(packaged_schema("person"))
    blocking_pass = schema.passes[schema.pass_index("birth_place")]
    positions = open_bits(schema, blocking_pass)
    owners = {schema.fields[byte % len(schema.fields)].name for byte in positions // 8}
    assert owners == {"name", "address", "phone", "national_id"}
    alike = np.zeros((200, 256), np.uint8)
    other = alike.copy()
    other.reshape(200, -1)[:, np.setdiff1d(np.arange(256), positions // 8)] = 255
    looked = places(PRF.islands(blocks(200)), positions)
    one, two = (short_sketches(each, looked) for each in (alike, other))
    assert not (one ^ two).any()
    apart = short_sketches(np.full((200, 256), 255, np.uint8), looked)
    assert (one ^ apart).all()


def test_a_pass_that_fixes_everything_sieves_by_everything() -> None:
    schema = parse_schema(
        "name: s\nfields: [{name: id, kind: code, entropy_bits: 30}]\n"
        "passes: [{id: id, parts: {id: exact}}]",
        source="test",
    )
    assert len(open_bits(schema, schema.passes[0])) == 2048


@settings(max_examples=200, deadline=None)
@given(own=WORD, partner=WORD, claimed=st.integers(0, 255), of_left=st.booleans())
def test_a_distance_is_proven_exactly_if_it_is_that_of_the_words(
    *, own: int, partner: int, claimed: int, of_left: bool
) -> None:
    words, others = np.array([own], np.uint64), np.array([partner], np.uint64)
    true = (own ^ partner).bit_count()
    tags = distance_tags(ONE, others, of_left=of_left)
    proofs = prove_distances(words, tags)
    for distance in (claimed, true):
        found = verify_distances(
            ONE, words, np.array([distance], np.uint8), proofs, of_left=of_left
        )
        assert found.tolist() == [distance == true]


def test_both_sides_believe_the_same_distance_by_tags_of_their_own() -> None:
    left, right = random_words(1), random_words(2)
    distances = np.bitwise_count(left ^ right)
    sides = ((left, right, False), (right, left, True))
    tags = [distance_tags(SEEDS, others, of_left=of_left) for _, others, of_left in sides]
    assert (tags[0] != tags[1]).any(axis=1).all()
    for (own, _, of_left), shown in zip(sides, tags, strict=True):
        proofs = prove_distances(own, shown)
        assert verify_distances(SEEDS, own, distances, proofs, of_left=of_left).all()
        assert not verify_distances(SEEDS, own, distances, proofs, of_left=not of_left).any()


def test_the_proof_is_the_one_of_the_textbook() -> None:
    own, partner = random_words(3, 1), random_words(4, 1)
    drawn = ONE.draw(b"prove l", 4 * 65).tobytes()
    first, *rest = (int.from_bytes(drawn[at : at + 4], "little") >> 1 for at in range(0, 260, 4))
    alpha, beta = 1 + first % (PRIME - 1), [each % PRIME for each in rest]
    u, v = ([int(word) >> i & 1 for i in range(64)] for word in (own[0], partner[0]))
    tags = [(alpha * bit + pad) % PRIME for bit, pad in zip(v, beta, strict=True)]
    proof = sum((1 - 2 * bit) * tag for bit, tag in zip(u, tags, strict=True)) % PRIME
    found = distance_tags(ONE, partner, of_left=True)
    assert found[0].tolist() == tags
    assert prove_distances(own, found).tolist() == [proof]


def test_whatever_a_linker_changes_is_not_proven() -> None:
    own, partner = random_words(5), random_words(6)
    distances = np.bitwise_count(own ^ partner)
    tags = distance_tags(SEEDS, partner, of_left=False)
    proofs = prove_distances(own, tags)

    def believed(**changed: Any) -> np.ndarray:
        told: dict[str, Any] = {
            "seeds": SEEDS,
            "words": own,
            "proofs": proofs,
        }
        told |= {"distances": distances, **changed}
        return verify_distances(**told, of_left=False)

    assert believed().all()
    assert not believed(proofs=(proofs + 1) % PRIME).any()
    assert not believed(proofs=proofs + np.uint32(PRIME)).any()
    assert not believed(proofs=np.zeros(ROWS, np.uint32)).any()
    assert not believed(proofs=np.roll(proofs, 1)).any()
    assert not believed(seeds=SEEDS.take(np.roll(np.arange(ROWS), 1))).any()
    assert not believed(words=own ^ np.uint64(1)).any()
    near = np.minimum(distances, 9)
    assert not believed(distances=near).any()
    # Words of its own making give another sum, not another distance.
    assert not believed(distances=near, proofs=prove_distances(partner, tags)).any()


def test_tags_are_uniform_and_do_not_tell_the_bits_they_stand_for() -> None:
    rows = 20_000
    drawn = seeds(rows, island="one")
    for words in (np.zeros(rows, np.uint64), np.full(rows, 2**64 - 1, np.uint64)):
        tags = distance_tags(drawn, words, of_left=True)
        assert int(tags.max()) < PRIME
        assert uniform(tags >> 23, 256)
        assert uniform(tags & 255, 256)


def test_no_rows_are_proven_as_easily() -> None:
    nothing = np.empty(0, np.uint64)
    assert distance_tags(SEEDS.take(np.empty(0, np.int64)), nothing, of_left=True).shape == (
        0,
        SIEVE_BITS,
    )
    assert proven(nothing, nothing, np.empty(0, np.uint8)).shape == (0,)


@pytest.mark.parametrize(
    ("share", "bits"), [(0.01, 0), (0.3, 19), (0.4, 25), (0.5, 32), (0.578125, 37), (1.0, 64)]
)
def test_a_share_of_differing_bits_is_rounded_down(share: float, bits: int) -> None:
    assert distance_max(share) == bits
