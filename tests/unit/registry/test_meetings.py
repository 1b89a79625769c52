"""A linkage has two records sealed once; what is remembered for that has an end."""

from __future__ import annotations

import numpy as np
import pytest
from kinlink_core.meetings import places
from kinlink_core.wire import Refusal
from kinlink_registry.meetings import TALKS_MAX, Meetings
from kinlink_registry.sealing import PairRows

TALK = ("linkage", "mark", "sichuan")


def rows(refs: list[int], handles: int = 0) -> PairRows:
    """Pairs of some own records, under handles that follow from a number."""
    source = np.random.default_rng(handles)
    own, others = source.integers(0, 256, (2, len(refs), 16), np.uint8)
    return PairRows(
        np.array(refs, np.int32), own, others, np.zeros(len(refs), np.uint32),
        np.zeros(len(refs), np.uint8),
    )  # fmt: skip


def asked(
    known: Meetings,
    pairs: PairRows,
    tag: int = 1,
    talk: tuple[str, str, str] = TALK,
    *,
    pass_index: int = 0,
    version: int = 1,
) -> list[int]:
    count = len(pairs.refs)
    known.refuse_known(
        talk,
        pairs,
        np.full((count, 16), tag, np.uint8),
        pass_index=pass_index,
        versions=np.full(count, version, np.int32),
    )
    return pairs.refusal.tolist()


def sampled(pairs: PairRows) -> PairRows:
    """The same pairs under handles of the sample, which counts before all passes."""
    pairs.partner_handles[:, :8] = pairs.own_handles[:, :8]
    return pairs


def unsampled(pairs: PairRows) -> PairRows:
    """The same pairs under handles that are not of the sample."""
    pairs.partner_handles[:, :8] = pairs.own_handles[:, :8]
    pairs.partner_handles[:, 0] ^= 1
    return pairs


def test_a_pair_is_sealed_under_one_meeting_and_refused_under_those_that_count_later() -> None:
    known = Meetings()
    assert asked(known, unsampled(rows([1, 2]))) == [Refusal.ANSWERED] * 2
    later = unsampled(rows([1, 2], handles=1))
    assert asked(known, later, pass_index=3) == [Refusal.SUPERSEDED] * 2
    assert asked(known, unsampled(rows([1, 2]))) == [Refusal.ANSWERED] * 2
    assert asked(known, rows([1, 2], handles=1), tag=2) == [Refusal.ANSWERED] * 2


def test_a_meeting_that_counts_before_takes_the_place_of_the_sealed_one() -> None:
    known, by_pass, of_sample = Meetings(), rows([1], handles=1), rows([1], handles=2)
    asked(known, unsampled(rows([1])), pass_index=5)
    assert asked(known, unsampled(by_pass), pass_index=4) == [Refusal.ANSWERED]
    assert asked(known, sampled(of_sample), pass_index=9) == [Refusal.ANSWERED]
    assert asked(known, unsampled(by_pass), pass_index=4) == [Refusal.SUPERSEDED]
    assert asked(known, unsampled(rows([1])), pass_index=5) == [Refusal.SUPERSEDED]


def test_what_stands_in_the_end_does_not_depend_on_the_order_of_requests() -> None:
    meetings = [(index, number) for index in range(3) for number in range(4)]
    standing = set()
    for seed in range(5):
        known = Meetings()
        for place in np.random.default_rng(seed).permutation(len(meetings)).tolist():
            index, number = meetings[place]
            asked(known, rows([1], handles=number), pass_index=index)
        answered = [
            (index, number)
            for index, number in meetings
            if asked(known, rows([1], handles=number), pass_index=index) == [Refusal.ANSWERED]
        ]
        standing.add(tuple(answered))
    assert [len(each) for each in standing] == [1]


def test_of_two_meetings_in_one_request_one_stands() -> None:
    assert sorted(asked(Meetings(), rows([7, 7]))) == [Refusal.ANSWERED, Refusal.SUPERSEDED]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_pairs_are_told_apart_as_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, first = Meetings(), {}
    for number in range(20):
        pairs = rows(rng.integers(0, 30, 40).tolist(), handles=seed * 100 + number)
        index = int(rng.integers(0, 3))
        tags = rng.integers(0, 3, (40, 1), np.uint8).repeat(16, axis=1)
        names = list(zip(pairs.refs.tolist(), tags[:, 0].tolist(), strict=True))
        met = list(map(tuple, places(index, pairs.own_handles, pairs.partner_handles).tolist()))
        for name, place in zip(names, met, strict=True):
            first[name] = min(first.get(name, place), place)
        versions = np.ones(40, np.int32)
        known.refuse_known(TALK, pairs, tags, pass_index=index, versions=versions)
        sealed = [first[name] == place for name, place in zip(names, met, strict=True)]
        assert (pairs.refusal == Refusal.ANSWERED).tolist() == sealed
        assert set(pairs.refusal.tolist()) <= {Refusal.ANSWERED, Refusal.SUPERSEDED}


def test_a_changed_record_has_met_nobody() -> None:
    known = Meetings()
    asked(known, sampled(rows([1])))
    later = unsampled(rows([1], handles=1))
    assert asked(known, later, pass_index=2, version=2) == [Refusal.ANSWERED]


def test_linkages_epochs_and_partners_know_nothing_of_each_other() -> None:
    known = Meetings()
    asked(known, rows([1]))
    for talk in (("other", *TALK[1:]), (TALK[0], "other", TALK[2]), (*TALK[:2], "other")):
        assert asked(known, rows([1], handles=1), talk=talk) == [Refusal.ANSWERED]


def test_what_was_refused_already_is_not_remembered() -> None:
    known, refused = Meetings(), rows([1])
    refused.refusal[:] = Refusal.SIEVE_REFUSED
    assert asked(known, refused) == [Refusal.SIEVE_REFUSED]
    assert asked(known, rows([1], handles=1)) == [Refusal.ANSWERED]


def test_old_linkages_make_room_and_one_that_is_too_large_gets_no_more() -> None:
    known = Meetings(pairs_max=3)
    asked(known, rows([1]), talk=("old", *TALK[1:]))
    assert asked(known, rows([1, 2, 3, 4])) == [Refusal.ANSWERED] * 3 + [Refusal.OVER_QUOTA]
    assert asked(known, unsampled(rows([2], handles=1)), pass_index=9) == [Refusal.SUPERSEDED]
    assert asked(known, rows([1], handles=1), talk=("old", *TALK[1:])) == [Refusal.ANSWERED]
    many = Meetings()
    for number in range(TALKS_MAX + 1):
        asked(many, rows([1]), talk=(str(number), *TALK[1:]))
    assert asked(many, rows([1], handles=1), talk=("0", *TALK[1:])) == [Refusal.ANSWERED]


def test_another_vault_starts_anew() -> None:
    known = Meetings()
    asked(known, rows([1]))
    known.clear()
    assert asked(known, rows([1], handles=1)) == [Refusal.ANSWERED]
