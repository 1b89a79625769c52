"""A linkage has two records sealed once; what is remembered for that has an end."""

from __future__ import annotations

import numpy as np
from kinlink_core.wire import Refusal
from kinlink_registry.meetings import TALKS_MAX, Meetings
from kinlink_registry.sealing import PairRows

TALK = ("linkage", "mark", "sichuan")


def rows(refs: list[int], handles: int = 0) -> PairRows:
    """Pairs of some own records, under handles that follow from a number."""
    ids = np.random.default_rng(handles).integers(0, 256, (len(refs), 16), np.uint8)
    return PairRows(
        np.array(refs, np.int32), ids, ids, np.zeros(len(refs), np.uint32),
        np.zeros(len(refs), np.uint8),
    )  # fmt: skip


def asked(
    known: Meetings, pairs: PairRows, tag: int = 1, talk: tuple[str, str, str] = TALK
) -> list[int]:
    known.refuse_known(talk, pairs, np.full((len(pairs.refs), 16), tag, np.uint8))
    return pairs.refusal.tolist()


def test_the_first_handles_of_two_records_stand_and_others_are_refused() -> None:
    known = Meetings()
    assert asked(known, rows([1, 2])) == [Refusal.ANSWERED] * 2
    assert asked(known, rows([1, 2], handles=1)) == [Refusal.SUPERSEDED] * 2
    assert asked(known, rows([1, 2])) == [Refusal.ANSWERED] * 2
    assert asked(known, rows([1, 2], handles=1), tag=2) == [Refusal.ANSWERED] * 2


def test_of_two_meetings_in_one_request_the_first_stands() -> None:
    assert asked(Meetings(), rows([7, 7])) == [Refusal.ANSWERED, Refusal.SUPERSEDED]


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
    assert asked(known, rows([2], handles=1)) == [Refusal.SUPERSEDED]
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
