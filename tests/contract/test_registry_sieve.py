"""A registry seals what is proven to be near: a linker that lies about distances gets nothing."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink_core.encoding.sieve import distance_max, prove_distances
from kinlink_core.errors import QuotaError
from kinlink_core.meetings import SAMPLED_ONE_IN, drawn
from kinlink_core.wire import Refusal, Shown, TaggedSieveRows
from unit.registry.rig import SCHEMA, Linker, Meeting, Rig, meet, nothing_shown, people, person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unit.registry.rig import Asked

PRIME = 2**31 - 1
SIEVED = SCHEMA.replace("    cap: 4\n", "    cap: 4\n    sieve_max: 0.1\n")
LIMIT = distance_max(0.1)
SAME, FAR = 12, 4


@contextmanager
def two(
    directory: Path, *, schema: str = SIEVED, toml: str = ""
) -> Iterator[tuple[Linker, Linker, Meeting]]:
    """Registries that share people, and strangers of one family name and birth date."""
    rig = Rig(directory, schema)
    homes = rig.pair(toml=toml)
    strangers = [
        {**person(each), "given": person(each + 50)["given"], "postcode": "1"}
        for each in range(SAME, SAME + FAR)
    ]
    rig.fill(homes[0], people(*range(SAME + FAR)))
    rig.fill(homes[1], [*people(*range(SAME)), *strangers])
    with ExitStack() as stack:
        left, right = (stack.enter_context(rig.linker(home)) for home in homes)
        yield left, right, meet(left, right)


@pytest.fixture
def met(tmp_path: Path) -> Iterator[Meeting]:
    with two(tmp_path) as (_, _, found):
        yield found


def proofs_of(linker: Linker, asked: Asked) -> Shown:
    found = linker.proven(asked).proven
    assert found is not None
    return found


def far_of(met: Meeting) -> np.ndarray:
    words = met.left.sieve(met.to_left).word ^ met.right.sieve(met.to_right).word
    return np.bitwise_count(words) > LIMIT


def sealed(linker: Linker, asked: Asked, proofs: Shown) -> list[int]:
    answer = linker.seal(dataclasses.replace(asked, proven=proofs))
    return answer.refusal.tolist()


def expected(refused: np.ndarray) -> list[int]:
    return np.where(refused, Refusal.SIEVE_REFUSED, Refusal.ANSWERED).tolist()


def test_pairs_that_are_near_are_sealed_and_the_others_refused_by_both_sides(met: Meeting) -> None:
    far = far_of(met)
    assert 1 <= far.sum() <= FAR
    for linker, asked in ((met.left, met.to_left), (met.right, met.to_right)):
        proofs = proofs_of(linker, asked)
        assert (proofs.distances[~far] <= LIMIT).all()
        assert (proofs.distances[far] > LIMIT).all()
        assert sealed(linker, asked, proofs) == expected(far)
        # The same answer as often as it is asked for.
        assert sealed(linker, asked, proofs) == expected(far)


def test_a_distance_that_is_not_that_of_the_words_is_refused(met: Meeting) -> None:
    far = far_of(met)
    for linker, asked in ((met.left, met.to_left), (met.right, met.to_right)):
        proofs = proofs_of(linker, asked)
        nearer = dataclasses.replace(proofs, distances=np.minimum(proofs.distances, LIMIT))
        assert sealed(linker, asked, nearer) == expected(far)
        farther = dataclasses.replace(proofs, distances=proofs.distances + np.uint8(1))
        assert sealed(linker, asked, farther) == expected(np.ones_like(far))


def test_a_proof_that_was_changed_swapped_or_made_up_is_refused(met: Meeting) -> None:
    left, asked = met.left, met.to_left
    proofs = proofs_of(left, asked)
    nothing = expected(np.ones(len(asked.own), bool))
    for forged in (
        (proofs.distance_proofs + np.uint32(1)) % np.uint32(PRIME),
        proofs.distance_proofs + np.uint32(PRIME),
        np.zeros_like(proofs.distance_proofs),
        np.roll(proofs.distance_proofs, 1),
    ):
        assert sealed(left, asked, dataclasses.replace(proofs, distance_proofs=forged)) == nothing
    # What the one side is proven says nothing to the other.
    assert sealed(left, asked, proofs_of(met.right, met.to_right)) == nothing
    one = proofs.distance_proofs.copy()
    one[0] ^= 1
    alone = np.arange(len(one)) == 0
    changed = dataclasses.replace(proofs, distance_proofs=one)
    assert sealed(left, asked, changed) == expected(alone | far_of(met))


def test_the_words_of_a_far_pair_do_not_prove_that_it_is_near(met: Meeting) -> None:
    far = far_of(met)
    tagged = met.right.sieve(met.to_right, tags=True)
    assert isinstance(tagged, TaggedSieveRows)
    # As if the left side had the very word of the right one.
    made_up = prove_distances(tagged.word, tagged.distance_tags)
    same = np.zeros(len(far), np.uint8)
    refused = met.left.sieve(met.to_left, tags=True).word != tagged.word
    assert refused[far].all()
    shown = Shown(same, made_up, tagged.record_tag)
    assert sealed(met.left, met.to_left, shown) == expected(refused)


def test_a_proof_holds_for_its_two_handles_alone(met: Meeting) -> None:
    asked = met.to_left
    proofs = proofs_of(met.left, asked)
    others = dataclasses.replace(asked, theirs=np.roll(asked.theirs, 1, axis=0))
    assert sealed(met.left, others, proofs) == expected(np.ones(len(asked.own), bool))
    with_others = meet(met.left, met.right, 1)
    count = len(with_others.to_left.own)
    replayed = proofs[:count]
    assert set(sealed(met.left, with_others.to_left, replayed)) == {Refusal.SIEVE_REFUSED}


def test_what_is_refused_costs_no_quota_and_is_counted(tmp_path: Path) -> None:
    toml = f"[policy]\nsealed_pairs_per_epoch_max = {SAME}\n"
    with two(tmp_path, toml=toml) as (left, _, met):
        far = far_of(met)
        count = len(far)
        false = nothing_shown(count)
        for _ in range(2):
            assert sealed(left, met.to_left, false) == expected(np.ones(count, bool))
        assert Refusal.OVER_QUOTA not in sealed(left, met.to_left, proofs_of(left, met.to_left))
        sample = left.node.instruments.registry.registry.get_sample_value
        labels = {"stage": "seal", "partner": "sichuan", "refusal": "sieve_refused"}
        refused = 2 * count + int(far.sum())
        assert sample("kinlink_registry_refused_rows_total", labels) == refused
        labels = {"stage": "distance", "partner": "sichuan"}
        assert sample("kinlink_registry_answered_rows_total", labels) == count
        assert f'"refused_sieve_refused":{count}' in left.node.home.audit.read_text().replace(
            " ", ""
        )


def test_tags_tell_the_word_they_stand_beside_and_are_the_same_each_time(met: Meeting) -> None:
    plain = met.left.sieve(met.to_left)
    tagged, again = (met.left.sieve(met.to_left, tags=True) for _ in range(2))
    assert isinstance(tagged, TaggedSieveRows)
    assert isinstance(again, TaggedSieveRows)
    assert (tagged.word == plain.word).all()
    assert (tagged.distance_tags == again.distance_tags).all()
    assert int(tagged.distance_tags.max()) < PRIME


def test_refused_rows_carry_tags_of_nothing(met: Meeting) -> None:
    proofs = met.to_left.proofs.copy()
    proofs[0] ^= 1
    forged = dataclasses.replace(met.to_left, proofs=proofs)
    one, other = (met.left.sieve(forged, tags=True) for _ in range(2))
    assert isinstance(one, TaggedSieveRows)
    assert isinstance(other, TaggedSieveRows)
    assert one.refusal.tolist() == [Refusal.PROOF_REFUSED] + [0] * (len(proofs) - 1)
    assert (one.distance_tags[0] != other.distance_tags[0]).any()
    assert (one.distance_tags[1:] == other.distance_tags[1:]).all()


def test_in_a_pass_without_a_sieve_every_distance_is_near_enough(tmp_path: Path) -> None:
    schema = SIEVED.replace("sieve_max: 0.1", "sieve_max: 1.0", 1)
    with two(tmp_path, schema=schema) as (left, _, met):
        assert not left.seal(met.to_left).refusal.any()
        nothing = nothing_shown(len(met.to_left.own))
        assert set(sealed(left, met.to_left, nothing)) == {Refusal.SIEVE_REFUSED}


def test_a_record_tag_that_was_changed_is_refused(met: Meeting) -> None:
    proofs = proofs_of(met.left, met.to_left)
    far = far_of(met)
    for byte in (0, 31):
        tags = proofs.partner_tags.copy()
        tags[:, byte] ^= 1
        found = sealed(met.left, met.to_left, dataclasses.replace(proofs, partner_tags=tags))
        assert found == np.where(far, Refusal.SIEVE_REFUSED, Refusal.PROOF_REFUSED).tolist()


def test_two_records_are_sealed_once_in_a_linkage_whatever_the_pass(met: Meeting) -> None:
    left, right = met.left, met.right
    again = meet(left, right, 1)
    far = far_of(met)
    for linker, first, second in (
        (left, met.to_left, not_sampled(again.to_left)),
        (right, met.to_right, not_sampled(again.to_right)),
    ):
        assert linker.seal(first).refusal.tolist() == expected(far)
        assert set(linker.seal(second).refusal.tolist()) == {Refusal.SUPERSEDED}
        assert linker.seal(first).refusal.tolist() == expected(far)


def test_a_meeting_that_counts_before_takes_the_place_of_the_sealed_one(met: Meeting) -> None:
    first, second = met.to_left, not_sampled(meet(met.left, met.right, 1).to_left)
    assert set(met.left.seal(second).refusal.tolist()) == {Refusal.ANSWERED}
    assert met.left.seal(first).refusal.tolist() == expected(far_of(met))
    assert Refusal.SUPERSEDED in met.left.seal(second).refusal.tolist()


def not_sampled(asked: Asked) -> Asked:
    """Meetings that no pass before theirs comes after."""
    return asked.only(np.flatnonzero(drawn(asked.own, asked.theirs) % SAMPLED_ONE_IN != 0))


def test_nothing_is_sealed_of_a_record_that_was_not_booked(met: Meeting) -> None:
    words = met.left.sieve(met.to_left).word
    theirs = met.right.sieve(met.to_right, tags=True)
    assert isinstance(theirs, TaggedSieveRows)
    shown = Shown(
        np.bitwise_count(words ^ theirs.word),
        prove_distances(words, theirs.distance_tags),
        theirs.record_tag,
    )
    # The left side was asked for words alone, which books nothing.
    with pytest.raises(QuotaError):
        sealed(met.left, met.to_left.only(~far_of(met)), shown[~far_of(met)])


def test_columns_of_proofs_that_do_not_fit_are_malformed(met: Meeting) -> None:
    asked = met.to_left
    request = pb.StreamSealedPairsRequest(
        epoch=met.left.epoch, partner=asked.card, islands=asked.islands(),
        own_handles=asked.own.tobytes(), partner_handles=asked.theirs.tobytes(),
        island_index=asked.index().tobytes(),
        distances=bytes(len(asked.own)), distance_proofs=bytes(4 * len(asked.own) - 4),
        partner_tags=bytes(32 * len(asked.own)),
    )  # fmt: skip
    with pytest.raises(Exception, match="different numbers of rows"):
        list(met.left.stub.StreamSealedPairs(request))
