"""The registry as its peers meet it: real servers, real mutual TLS, every refusal by its code."""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink_core.encoding.chance import ROUNDS_MAX
from kinlink_core.errors import (
    BrokenStreamError,
    ForbiddenError,
    InvalidInputError,
    KinlinkError,
    NotFoundError,
    PreconditionError,
    QuotaError,
    Reason,
)
from kinlink_core.wire import Refusal
from kinlink_registry import chance
from kinlink_registry.home import Home
from unit.registry.rig import (
    Asked,
    Linker,
    Meeting,
    Rig,
    ids,
    meet,
    must,
    people,
    person,
    write_csv,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_core.wire import SealedRows

LEFT, RIGHT = range(30), range(10, 40)


@contextmanager
def two_registries(directory: Path, *, toml: str = "") -> Iterator[tuple[Rig, Linker, Linker]]:
    """Two serving registries of which 20 people are the same."""
    rig = Rig(directory)
    homes = rig.pair(toml=toml)
    with ExitStack() as stack:
        linkers = []
        for home, numbers in zip(homes, (LEFT, RIGHT), strict=True):
            rig.fill(home, people(*numbers))
            linkers.append(stack.enter_context(rig.linker(home)))
        yield rig, linkers[0], linkers[1]


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[tuple[Rig, Linker, Linker]]:
    with two_registries(tmp_path) as three:
        yield three


def only(asked: Asked, *rows: int) -> Asked:
    """The same request about some of its pairs."""
    at = list(rows)
    return dataclasses.replace(
        asked,
        tokens=asked.tokens[at],
        counts=asked.counts[at],
        proofs=asked.proofs[at],
        own=asked.own[at],
        theirs=asked.theirs[at],
    )


def sealed_both(met: Meeting) -> tuple[SealedRows, SealedRows]:
    return met.left.seal(met.to_left), met.right.seal(met.to_right)


def disclosed_both(met: Meeting) -> tuple[np.ndarray, np.ndarray]:
    """Subject ids of every pair of a meeting, left and right."""
    ours = met.left.sieve(met.to_left, tags=True).record_tag
    theirs = met.right.sieve(met.to_right, tags=True).record_tag
    left = met.left.disclose(met.to_left.card, met.to_left.own, met.to_left.theirs, theirs)
    right = met.right.disclose(met.to_right.card, met.to_right.own, met.to_right.theirs, ours)
    assert not left.refusal.any()
    assert not right.refusal.any()
    return left.subjects, right.subjects


def refused(
    reason: Reason, kind: type[KinlinkError] = KinlinkError
) -> pytest.RaisesExc[KinlinkError]:
    return pytest.RaisesExc(kind, check=lambda error: error.reason is reason)


def test_a_profile_names_the_registry_its_epoch_and_its_feed(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = federation
    ours, theirs = left.profile(), right.profile()
    assert ours.registry == "anhui"
    assert ours.records == len(LEFT)
    assert [profile.epoch for profile in ours.profiles] == ["2026-11"]
    assert ours.profiles[0].schema_fingerprint == rig.schema.fingerprint()
    assert ours.profiles[0].canary == theirs.profiles[0].canary
    assert ours.feed_id != theirs.feed_id
    assert ours.last_sequence == left.feed().header.last_sequence


def test_two_registries_seal_the_same_people_alike(federation: tuple[Rig, Linker, Linker]) -> None:
    _, left, right = federation
    met = meet(left, right)
    assert len(met.tokens) == 20
    words = left.sieve(met.to_left), right.sieve(met.to_right)
    assert not words[0].refusal.any()
    assert (words[0].word == words[1].word).all()
    ours, theirs = sealed_both(met)
    for mine, yours in zip(ours.batch.fields, theirs.batch.fields, strict=True):
        assert (mine.presence == yours.presence).all()
        assert mine.sketch is None or (mine.sketch == yours.sketch).all()
        assert mine.tags is None or (mine.tags[:, :8] == yours.tags[:, :8]).all()
    ours_tag, theirs_tag = (
        linker.sieve(asked, tags=True).record_tag
        for linker, asked in ((left, met.to_left), (right, met.to_right))
    )
    assert (ours_tag != theirs_tag).any(axis=1).all()


def test_a_chance_draw_is_the_same_length_on_both_sides_and_repeats_itself(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    ours = left.chance(right.card, right.profile().records)
    theirs = right.chance(left.card, left.profile().records)
    rows = sum(frame.rows for frame in ours)
    assert rows == sum(frame.rows for frame in theirs) == ROUNDS_MAX * 16
    assert not any(frame.refusal.any() for frame in ours)
    for mine, yours in zip(ours, theirs, strict=True):
        for one, other in zip(mine.batch.fields, yours.batch.fields, strict=True):
            assert (one.presence == other.presence).mean() > 0.9
    again = left.chance(right.card, right.profile().records)
    for one, other in zip(ours, again, strict=True):
        assert (one.batch.fields[0].sketch == other.batch.fields[0].sketch).all()


def test_a_record_that_changed_is_noise_in_a_chance_draw_that_was_made_before(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = federation
    before = left.chance(right.card, right.profile().records)
    changed = [{**person(3), "given": "quentin"}, {**person(4), "given": "rosa"}]
    rig.fill(left.node.home.root, changed)
    after = left.chance(right.card, right.profile().records)
    assert not any(frame.refusal.any() for frame in after)
    one = np.concatenate([frame.batch.fields[0].sketch for frame in before])
    two = np.concatenate([frame.batch.fields[0].sketch for frame in after])
    moved = (one != two).any(axis=1)
    assert 0 < moved.mean() < 0.2
    # Other fields of the same people moved in rows of their own: no row is a record.
    family = np.concatenate([frame.batch.fields[1].sketch for frame in before])
    moved_too = (family != np.concatenate([f.batch.fields[1].sketch for f in after])).any(axis=1)
    assert moved_too.sum() == moved.sum()
    assert (moved_too != moved).any()
    assert uncorrelated(one[moved] ^ two[moved])


def uncorrelated(packed: np.ndarray) -> bool:
    """Whether about half of the bits are set."""
    bits = np.unpackbits(packed)
    return abs(bits.mean() - 0.5) < 4 * np.sqrt(0.25 / bits.size)


def test_a_large_registry_draws_no_small_rounds(
    federation: tuple[Rig, Linker, Linker], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, left, right = federation
    monkeypatch.setattr(chance, "ROUND_ROWS_MIN", 16)
    assert sum(frame.rows for frame in left.chance(right.card, 15)) == 0
    assert sum(frame.rows for frame in left.chance(right.card, 16)) == ROUNDS_MAX * 16


def test_a_registry_too_large_for_memory_answers_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two_registries(tmp_path) as (_, left, right):
        met = meet(left, right)
        words, sealed = left.sieve(met.to_left).word, left.seal(met.to_left)
        monkeypatch.setattr(left.node.shelf, "_budget_bytes", 0)
        assert (left.sieve(met.to_left).word == words).all()
        again = left.seal(met.to_left)
        for one, other in zip(sealed.batch.fields, again.batch.fields, strict=True):
            assert (one.presence == other.presence).all()
            assert one.tags is None or (one.tags == other.tags).all()
        assert not left.chance(right.card, 30)[0].refusal.any()


def test_an_epoch_that_is_not_served_is_refused_by_every_method(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    met = meet(left, right)
    left.epoch = "2031-01"
    tags = np.zeros((20, 32), np.uint8)
    for call in (
        left.feed,
        lambda: left.prove(met.to_left.tokens, 0, right.card),
        lambda: left.refine(met.to_left.tokens, 0),
        lambda: left.sieve(met.to_left),
        lambda: left.seal(met.to_left),
        lambda: left.chance(right.card, 10),
        lambda: left.disclose(right.card, met.to_left.own, met.to_left.theirs, tags),
        left.publish,
    ):
        with refused(Reason.EPOCH_UNKNOWN, NotFoundError):
            call()


@pytest.mark.parametrize("forgery", ["random", "other count", "own proof", "other token", "zero"])
def test_an_island_without_the_partners_proof_is_refused(
    federation: tuple[Rig, Linker, Linker], forgery: str
) -> None:
    _, left, right = federation
    met = meet(left, right)
    asked = met.to_left
    proofs = {
        "random": np.frombuffer(os.urandom(asked.proofs.size), np.uint8).reshape(-1, 16),
        "other count": asked.proofs,
        "own proof": left.prove(asked.tokens, 0, right.card).proofs,
        "other token": np.roll(asked.proofs, 1, axis=0),
        "zero": np.zeros_like(asked.proofs),
    }[forgery]
    counts = asked.counts + 1 if forgery == "other count" else asked.counts
    forged = dataclasses.replace(asked, proofs=proofs, counts=counts)
    with refused(Reason.PROOF_REFUSED, PreconditionError):
        left.sieve(forged)
    with refused(Reason.PROOF_REFUSED, PreconditionError):
        left.seal(forged)


def test_one_forged_island_among_good_ones_is_refused_alone(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    met = meet(left, right)
    proofs = met.to_left.proofs.copy()
    proofs[7] ^= 1
    forged = dataclasses.replace(met.to_left, proofs=proofs)
    expected = [Refusal.PROOF_REFUSED if row == 7 else Refusal.ANSWERED for row in range(20)]
    assert left.sieve(forged).refusal.tolist() == expected
    assert left.seal(forged).refusal.tolist() == expected


def test_a_handle_outside_of_the_island_it_is_asked_in_is_refused(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    met = meet(left, right)
    moved = dataclasses.replace(met.to_left, own=np.roll(met.to_left.own, 1, axis=0))
    with refused(Reason.PROOF_REFUSED):
        left.seal(moved)
    other_pass = dataclasses.replace(met.to_left, pass_index=1)
    with refused(Reason.PROOF_REFUSED):
        left.seal(other_pass)


def test_handles_nobody_gave_out_are_unknown(federation: tuple[Rig, Linker, Linker]) -> None:
    _, left, right = federation
    met = meet(left, right)
    invented = np.frombuffer(os.urandom(20 * 16), np.uint8).reshape(-1, 16)
    with refused(Reason.HANDLES_UNKNOWN, PreconditionError):
        left.seal(dataclasses.replace(met.to_left, own=invented))
    with refused(Reason.HANDLES_UNKNOWN, PreconditionError):
        left.disclose(right.card, invented, met.to_left.theirs, np.zeros((20, 32), np.uint8))


def test_handles_of_a_record_that_changed_are_retired(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = federation
    met = meet(left, right)
    rig.fill(left.node.home.root, [{**person(15), "given": "quentin"}])
    refusal = left.seal(met.to_left).refusal.tolist()
    assert sorted(refusal) == [Refusal.ANSWERED] * 19 + [Refusal.RETIRED_HANDLE]
    with refused(Reason.HANDLES_UNKNOWN):
        left.seal(only(met.to_left, refusal.index(Refusal.RETIRED_HANDLE)))


def test_an_island_above_its_cap_is_not_proved_and_not_answered(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    homes = rig.pair()
    twins = [{**person(1), "record_id": f"t{number}"} for number in range(3)]
    rig.fill(homes[0], twins)
    rig.fill(homes[1], twins[:2])
    with rig.linker(homes[0]) as left, rig.linker(homes[1]) as right:
        ((token, ours),) = left.feed().added(0).items()
        tokens = ids([token])
        proof = right.prove(tokens, 0, left.card)
        assert proof.counts.tolist() == [2]
        asked = Asked(
            right.card, 0, tokens, proof.counts, proof.proofs,
            ids(ours), ids([b"x" * 16] * 3), right, np.zeros(3),
        )  # fmt: skip
        assert left.sieve(asked).refusal.tolist() == [Refusal.ABOVE_CAP] * 3
        must(
            homes[0], "ingest", write_csv(tmp_path / "more.csv", [{**person(1), "record_id": "t9"}])
        )
        proof = left.prove(tokens, 0, right.card)
        assert proof.counts.tolist() == [0]
        assert not proof.proofs.any()


def test_a_registry_may_allow_smaller_islands_than_the_schema(tmp_path: Path) -> None:
    toml = "[policy]\nisland_cap_max = 2\n"
    with two_registries(tmp_path, toml=toml) as (rig, left, right):
        met = meet(left, right)
        assert not left.sieve(met.to_left).refusal.any()
        rig.fill(left.node.home.root, [{**person(12), "record_id": "twin"}])
        assert Refusal.ABOVE_CAP in left.sieve(met.to_left).refusal


def test_finer_tokens_can_be_proved_and_sealed_like_any_others(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    coarse = meet(left, right)
    hidden = left.node.vault
    with hidden.reading() as session:
        fine = session.value("SELECT handle FROM handle WHERE level = 1 LIMIT 1")
    unknown = dataclasses.replace(
        only(coarse.to_left, 0), own=np.frombuffer(fine.bytes, np.uint8).reshape(1, 16)
    )
    with refused(Reason.HANDLES_UNKNOWN):
        left.seal(unknown)
    (ours,), (theirs,) = (
        left.refine(coarse.to_left.tokens, 0),
        right.refine(coarse.to_left.tokens, 0),
    )
    assert ours.rows == theirs.rows == 20
    of_ours = {t.tobytes(): h for t, h in zip(ours.token, ours.handle, strict=True)}
    of_theirs = {t.tobytes(): h for t, h in zip(theirs.token, theirs.handle, strict=True)}
    shared = sorted(of_ours.keys() & of_theirs.keys())
    assert len(shared) == 20
    tokens = ids(shared)
    proof = right.prove(tokens, 0, left.card)
    asked = Asked(
        right.card, 0, tokens, proof.counts, proof.proofs,
        np.array([of_ours[t] for t in shared]), np.array([of_theirs[t] for t in shared]),
        right,
    )  # fmt: skip
    assert not left.seal(asked).refusal.any()


def test_a_refinement_the_schema_does_not_have_is_malformed(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, _ = federation
    tokens = ids(list(left.feed().added(1)))
    for pass_index, level in ((1, 1), (0, 0), (0, 2)):
        with refused(Reason.REQUEST_MALFORMED, InvalidInputError):
            left.refine(tokens, pass_index, level)


@pytest.mark.parametrize("fault", ["key", "name", "signature", "authority", "own"])
def test_a_card_that_does_not_hold_is_refused(
    federation: tuple[Rig, Linker, Linker], tmp_path: Path, fault: str
) -> None:
    _, left, right = federation
    met = meet(left, right)
    card = right.card
    if fault == "key":
        card.agreement_public_key = os.urandom(32)
    elif fault == "name":
        card.registry = "gansu"
    elif fault == "signature":
        card.signature = card.signature[:-1] + bytes([card.signature[-1] ^ 1])
    elif fault == "authority":
        other = Rig(tmp_path / "other")
        with_card = other.registry("sichuan")
        content = json.loads(must(with_card, "keys", "card"))
        card.certificate_chain = _decoded(content["certificate_chain"])
        card.signature = _decoded(content["signature"])
        card.agreement_public_key = _decoded(content["agreement_public_key"])
    else:
        card = left.card
    with refused(Reason.CARD_INVALID, ForbiddenError):
        left.seal(dataclasses.replace(met.to_left, card=card))


def _decoded(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


def test_a_genuine_card_of_a_registry_that_proved_nothing_gets_nothing(tmp_path: Path) -> None:
    with two_registries(tmp_path) as (rig, left, right):
        third = rig.registry("yunnan")
        rig.share(left.node.home.root, third, epoch="2026-12")
        met = meet(left, right)
        with rig.linker(third) as other, refused(Reason.PROOF_REFUSED):
            left.seal(dataclasses.replace(met.to_left, card=other.card))


def test_a_pair_of_records_is_disclosed_once_and_again_the_same(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    met, other = meet(left, right, 0), meet(left, right, 1)
    subjects, _ = disclosed_both(met)
    assert len({row.tobytes() for row in subjects}) == 20
    again, _ = disclosed_both(met)
    assert (again == subjects).all()
    tags = right.sieve(other.to_right, tags=True).record_tag
    twice = left.disclose(right.card, other.to_left.own, other.to_left.theirs, tags)
    assert twice.refusal.tolist() == [Refusal.SUPERSEDED] * 20
    assert not twice.subjects.any()


def test_a_record_that_changed_is_disclosed_again_as_the_same_subject(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = federation
    before = {row.tobytes() for row in disclosed_both(meet(left, right))[0]}
    rig.fill(left.node.home.root, [{**person(15), "postcode": "1"}])
    rig.fill(right.node.home.root, [{**person(16), "postcode": "2"}])
    after = {row.tobytes() for row in disclosed_both(meet(left, right))[0]}
    assert after == before


def test_a_record_with_two_partners_keeps_one_subject(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    homes = rig.pair()
    rig.fill(homes[0], people(1))
    rig.fill(homes[1], [{**person(1), "record_id": "x"}, {**person(1), "record_id": "y"}])
    with rig.linker(homes[0]) as left, rig.linker(homes[1]) as right:
        ours, theirs = left.feed().added(0), right.feed().added(0)
        (token,) = ours.keys() & theirs.keys()
        tokens, own = ids([token]), ids(ours[token] * 2)
        proof = right.prove(tokens, 0, left.card)
        ours_proof = left.prove(tokens, 0, right.card)
        to_right = Asked(
            left.card, 0, tokens, ours_proof.counts, ours_proof.proofs,
            ids(theirs[token]), own, left, np.zeros(2),
        )  # fmt: skip
        tags = right.sieve(to_right, tags=True).record_tag
        answer = left.disclose(right.card, own, ids(theirs[token]), tags)
        assert proof.counts.tolist() == [2]
        assert not answer.refusal.any()
        assert answer.subjects[0].tobytes() == answer.subjects[1].tobytes()


def test_a_record_tag_of_another_pair_discloses_nothing(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    met = meet(left, right)
    tags = right.sieve(met.to_right, tags=True).record_tag
    with refused(Reason.PROOF_REFUSED):
        left.disclose(right.card, met.to_left.own, met.to_left.theirs, np.roll(tags, 1, axis=0))


def test_a_weight_below_the_registrys_own_floor_is_withheld(tmp_path: Path) -> None:
    with two_registries(tmp_path, toml="[policy]\ndisclosure_weight_min = 4.0\n") as (
        _,
        left,
        right,
    ):
        met = meet(left, right)
        tags = right.sieve(met.to_right, tags=True).record_tag
        low = left.disclose(right.card, met.to_left.own, met.to_left.theirs, tags, weight=3.9)
        assert low.refusal.tolist() == [Refusal.WITHHELD] * 20
        high = left.disclose(right.card, met.to_left.own, met.to_left.theirs, tags, weight=4.0)
        assert not high.refusal.any()


def test_disclosures_of_a_day_end_at_their_limit(tmp_path: Path) -> None:
    toml = "[policy]\ndisclosures_per_day_max = 5\n"
    with two_registries(tmp_path, toml=toml) as (_, left, right):
        met = meet(left, right)
        tags = right.sieve(met.to_right, tags=True).record_tag
        answer = left.disclose(right.card, met.to_left.own, met.to_left.theirs, tags)
        assert answer.refusal.tolist() == [Refusal.ANSWERED] * 5 + [Refusal.OVER_QUOTA] * 15
        with refused(Reason.QUOTA_EXCEEDED, QuotaError):
            left.disclose(right.card, met.to_left.own[5:], met.to_left.theirs[5:], tags[5:])
        again = left.disclose(right.card, met.to_left.own[:5], met.to_left.theirs[:5], tags[:5])
        assert (again.subjects == answer.subjects[:5]).all()


def test_the_share_of_records_sealed_towards_a_partner_is_bounded(tmp_path: Path) -> None:
    with two_registries(tmp_path, toml="[policy]\npartner_share_max = 0.1\n") as (_, left, right):
        met = meet(left, right)
        for _ in range(2):
            refusal = left.sieve(met.to_left, tags=True).refusal
            assert refusal.tolist() == [Refusal.ANSWERED] * 3 + [Refusal.OVER_QUOTA] * 17
            sealed = left.seal(met.to_left).refusal == Refusal.ANSWERED
            assert not sealed[3:].any()
        with refused(Reason.QUOTA_EXCEEDED, QuotaError):
            left.sieve(only(met.to_left, 4, 5), tags=True)


def test_pairs_of_an_epoch_end_at_their_limit(tmp_path: Path) -> None:
    toml = "[policy]\nsealed_pairs_per_epoch_max = 25\n"
    with two_registries(tmp_path, toml=toml) as (_, left, right):
        met = meet(left, right)
        assert not left.seal(met.to_left).refusal.any()
        refusal = left.seal(met.to_left).refusal
        assert (refusal == Refusal.OVER_QUOTA).sum() == 15
        with refused(Reason.QUOTA_EXCEEDED, QuotaError):
            left.seal(met.to_left)


def published(
    met: Meeting, subjects: tuple[np.ndarray, np.ndarray], row: int = 0
) -> pb.PublishedLink:
    return pb.PublishedLink(
        link_id=f"link-{row}",
        subject=subjects[0][row].tobytes(),
        partner="sichuan",
        partner_subject=subjects[1][row].tobytes(),
        match_weight=12.5,
        match_probability=0.99,
        person_id="person-1",
        own_handle=met.to_left.own[row].tobytes(),
        partner_handle=met.to_left.theirs[row].tobytes(),
    )


@pytest.mark.parametrize("verdict", [pb.VERDICT_CONFIRMED, pb.VERDICT_REJECTED])
def test_a_decided_pair_is_never_sealed_again(
    federation: tuple[Rig, Linker, Linker], verdict: pb.Verdict
) -> None:
    _, left, right = federation
    met, other = meet(left, right, 0), meet(left, right, 1)
    link = published(met, disclosed_both(met))
    assert left.publish(link).accepted == 1
    assert not left.seal(met.to_left).refusal.any()
    # The linker asked for the other pass as well, so this registry knows those handles too.
    tags = right.sieve(other.to_right, tags=True).record_tag
    left.disclose(right.card, other.to_left.own, other.to_left.theirs, tags)
    link.verdict = verdict
    link.own_handle = link.partner_handle = b""
    left.publish(link)
    assert left.seal(met.to_left).refusal.tolist() == [Refusal.DECIDED] + [0] * 19
    assert (left.seal(other.to_left).refusal == Refusal.DECIDED).sum() == 1
    link.verdict = pb.VERDICT_UNSURE
    left.publish(link)
    assert not left.seal(met.to_left).refusal.any()


def test_a_pair_decided_in_one_epoch_is_not_disclosed_in_the_next(tmp_path: Path) -> None:
    with two_registries(tmp_path) as (rig, left, right):
        met = meet(left, right)
        link = published(met, disclosed_both(met))
        link.verdict = pb.VERDICT_CONFIRMED
        rig.share(left.node.home.root, right.node.home.root, epoch="2026-12")
        for linker in (left, right):
            linker.node.epochs.sync()
            linker.epoch = "2026-12"
        assert [p.epoch for p in left.profile().profiles] == ["2026-12", "2026-11"]
        met = meet(left, right)
        # Sealed before the verdict: after it neither side answers for the pair.
        tags = right.sieve(met.to_right, tags=True).record_tag
        left.epoch = "2026-11"
        left.publish(link)
        left.epoch = "2026-12"
        answer = left.disclose(right.card, met.to_left.own, met.to_left.theirs, tags)
        assert (answer.refusal == Refusal.DECIDED).sum() == 1


def test_the_office_sees_links_by_its_own_ids(federation: tuple[Rig, Linker, Linker]) -> None:
    _, left, right = federation
    met = meet(left, right)
    subjects = disclosed_both(met)
    links = [published(met, subjects, row) for row in range(20)]
    stranger = published(met, subjects)
    stranger.subject = os.urandom(16)
    answer = left.publish(*links, stranger)
    assert (answer.accepted, answer.unknown_subjects) == (20, 1)
    home = left.node.home.root
    everyone = json.loads(must(home, "links", "--json"))
    assert sorted(link["id"] for link in everyone) == sorted(f"p{n}" for n in range(10, 30))
    mine = json.loads(must(home, "links", "--json", "--id", "p17"))
    assert len(mine) == 1
    assert json.loads(must(home, "links", "--json", "--id", "nobody")) == []
    links[0].removed = True
    assert left.publish(links[0]).accepted == 1
    assert len(json.loads(must(home, "links", "--json"))) == 19


def test_a_verdict_survives_a_later_publication_without_one(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    met = meet(left, right)
    link = published(met, disclosed_both(met))
    link.verdict = pb.VERDICT_REJECTED
    left.publish(link)
    link.verdict = pb.VERDICT_UNSPECIFIED
    left.publish(link)
    (found,) = json.loads(must(left.node.home.root, "links", "--json"))
    assert found["verdict"] == "rejected"


def test_a_verdict_without_a_linkage_leaves_the_link_to_the_one_that_found_it(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    link = published(meet(left, right), disclosed_both(meet(left, right)))
    left.publish(link, linkage_id="partial", missing=["qinghai"])
    link.verdict = pb.VERDICT_CONFIRMED
    left.publish(link, linkage_id="")
    (found,) = json.loads(must(left.node.home.root, "links", "--json"))
    assert (found["verdict"], found["linkage_id"]) == ("confirmed", "partial")
    assert found["missing_registries"] == ["qinghai"]


def test_a_deleted_person_leaves_the_feed_the_links_and_every_answer(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    met = meet(left, right)
    subjects = disclosed_both(met)
    left.publish(*(published(met, subjects, row) for row in range(20)))
    before = left.feed()
    home = left.node.home.root
    must(home, "ingest", "--delete", write_csv(home / "gone.csv", [person(17)]))
    news = left.feed(before.header.feed_id, before.header.last_sequence)
    assert not news.header.reset
    assert sorted(news.column("event").tolist()) == [2, 2, 3]
    assert news.handles(2) <= before.handles()
    assert news.handles(3) <= {row.tobytes() for row in subjects[0]}
    assert len(left.feed().handles()) == len(before.handles()) - 2
    assert json.loads(must(home, "links", "--json", "--id", "p17")) == []
    assert (left.seal(met.to_left).refusal == Refusal.RETIRED_HANDLE).sum() == 1


def test_a_feed_that_is_not_continued_starts_anew(federation: tuple[Rig, Linker, Linker]) -> None:
    _, left, _ = federation
    first = left.feed()
    known = first.header.feed_id, first.header.last_sequence
    assert first.header.reset
    assert left.feed(*known).column("event").size == 0
    for feed_id, after in ((known[0], known[1] + 1), ("another", known[1])):
        again = left.feed(feed_id, after)
        assert again.header.reset
        assert again.handles() == first.handles()


def test_a_malformed_request_is_refused_before_anything_is_looked_up(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    met = meet(left, right)
    wrong = (
        lambda: left.prove(np.zeros(17, np.uint8), 0, right.card),
        lambda: left.prove(np.zeros((1, 16), np.uint8), 2, right.card),
        lambda: left.sieve(dataclasses.replace(met.to_left, island=np.full(20, 20))),
        lambda: left.seal(dataclasses.replace(met.to_left, theirs=met.to_left.theirs[:5])),
        lambda: left.publish(pb.PublishedLink(link_id="x", subject=b"short")),
        lambda: left.publish(pb.PublishedLink(link_id="x" * 500, subject=bytes(16))),
    )
    for call in wrong:
        with refused(Reason.REQUEST_MALFORMED, InvalidInputError):
            call()


def test_a_request_above_the_frame_limit_is_refused(federation: tuple[Rig, Linker, Linker]) -> None:
    _, left, right = federation
    with pytest.raises((QuotaError, InvalidInputError)):
        left.prove(np.zeros((80_000, 16), np.uint8), 0, right.card)


@pytest.mark.parametrize("role", ["registry", "gateway", "operator", "keyserver"])
def test_only_the_linker_reads_the_feed(tmp_path: Path, role: str) -> None:
    rig = Rig(tmp_path)
    home = rig.registry("anhui")
    with rig.linker(home, role, "someone") as peer, refused(Reason.ROLE_FORBIDDEN, ForbiddenError):
        peer.feed()


def test_every_request_is_in_the_audit_and_no_value_is(
    federation: tuple[Rig, Linker, Linker],
) -> None:
    _, left, right = federation
    met = meet(left, right)
    left.sieve(met.to_left)
    left.seal(met.to_left)
    left.chance(right.card, 30)
    left.refine(met.to_left.tokens, 0)
    left.publish(published(met, disclosed_both(met)))
    home = left.node.home
    text = home.audit.read_text()
    actions = {json.loads(line)["action"] for line in text.splitlines()}
    assert actions >= {
        "GetRegistry", "StreamTokens", "ProveMembership", "RefineTokens", "StreamSieve",
        "StreamSealedPairs", "StreamChancePairs", "DiscloseSubjects", "PublishLinks", "ingest",
    }  # fmt: skip
    for row in people(*LEFT):
        assert not any(row[name] in text for name in ("record_id", "family", "dob"))
    for handle in met.left_handles:
        assert handle.hex() not in text
    assert "The audit holds" in must(home.root, "audit", "verify")


def test_answered_and_refused_rows_are_counted(federation: tuple[Rig, Linker, Linker]) -> None:
    _, left, right = federation
    met = meet(left, right)
    proofs = met.to_left.proofs.copy()
    proofs[0] ^= 1
    left.seal(dataclasses.replace(met.to_left, proofs=proofs))
    metrics = left.node.instruments.registry.registry
    sample = metrics.get_sample_value
    assert (
        sample("kinlink_registry_answered_rows_total", {"stage": "seal", "partner": "sichuan"})
        == 19
    )
    labels = {"stage": "seal", "partner": "sichuan", "refusal": "proof_refused"}
    assert sample("kinlink_registry_refused_rows_total", labels) == 1


def test_nothing_on_the_disk_of_a_registry_shows_a_value(tmp_path: Path) -> None:
    with two_registries(tmp_path) as (_, left, _):
        home = Home(left.node.home.root)
        must(home.root, "backup", home.root / "copy.duckdb")
    (home.root / "input.csv").unlink()
    content = b"".join(path.read_bytes() for path in home.root.rglob("*") if path.is_file())
    for row in people(*LEFT):
        assert row["family"].encode() not in content
        assert row["dob"].replace("-", "").encode() not in content


def test_a_stream_that_is_cut_is_noticed(federation: tuple[Rig, Linker, Linker]) -> None:
    _, left, _ = federation
    from kinlink_core.wire import TokenRows, read_stream

    request = pb.StreamTokensRequest(epoch=left.epoch)
    messages = list(left.stub.StreamTokens(request))
    with refused(Reason.STREAM_CUT, BrokenStreamError):
        list(read_stream(messages[:-1], TokenRows.read))
