"""The protocol attacks fall where they must: baselines give way, the targets hold.

Two registries with real mutual TLS serve for the whole module; what needs processes or many worlds
is left to `make redteam`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_core.wire import Refusal

from redteam.asker import Asker, meet
from redteam.attacks import bits, chance, members, reading, spread, versions
from redteam.attacks.chance import auc
from redteam.attacks.curious import fast_auc
from redteam.attacks.forgery import _answered as answered
from redteam.population import make
from redteam.registries import rows_of, twins
from redteam.setting import Setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redteam.results import Result

SETTING = Setting("3k", 3, correlated=False, seed=1, quick=True)
TOML = "[policy]\npartner_share_max = 0.25\n"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Asker, Asker]]:
    rows = rows_of(make(120, 2, 1, correlated=False, errors=0), 0)
    with twins(rows, 2, toml=TOML) as lab, lab.serving() as askers:
        left, right = askers.values()
        yield left, right


def check(results: list[Result]) -> None:
    assert [each.title for each in results if not each.passed] == []


def test_the_order_of_sealed_bits_reads_no_name() -> None:
    check(bits.run(SETTING))


def test_the_distance_at_one_cosine_does_not_tell_the_size() -> None:
    check(spread.run(SETTING))


def test_a_partner_opens_no_person_of_the_chance_pairs() -> None:
    check(reading.run(SETTING))


def test_eleven_known_words_under_one_key_tell_the_twelfth_and_under_pair_keys_do_not() -> None:
    by_sieve, _ = members.run(SETTING)
    assert by_sieve.fell
    # Of 30 islands; one in 50 is right by luck.
    assert by_sieve.value < 0.2


def test_an_area_under_the_curve_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, 200) + 1.0, rng.integers(0, 9, 300) * 1.0
    above = np.subtract.outer(one, other)
    expected = ((above > 0) + (above == 0) / 2).mean()
    assert fast_auc(one, other) == pytest.approx(expected)
    assert auc(one.tolist(), other.tolist()) == pytest.approx(expected)


def test_repeated_chance_draws_are_the_same_draw(pair: tuple[Asker, Asker]) -> None:
    left, right = pair
    first, again = (left.chance(right.card, 500) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        for mine, yours in zip(one.batch.fields, other.batch.fields, strict=True):
            assert (mine.presence == yours.presence).all()
            assert mine.sketch is None or (mine.sketch == yours.sketch).all()
    assert chance.round_rows(5_000, 10) == 0


def test_forged_presence_size_and_partner_are_not_answered(pair: tuple[Asker, Asker]) -> None:
    left, right = pair
    asked = meet(left, right, left.schema.pass_index("birth_place")).to_left
    own = left.prove(asked.tokens, asked.pass_index, asked.card).proofs
    for lie in (
        replace(asked, proofs=own),
        replace(asked, proofs=np.roll(asked.proofs, 1, axis=0)),
        replace(asked, counts=asked.counts.astype(np.int64) + 1),
        replace(asked, card=left.card),
        replace(asked, own=asked.theirs),
    ):
        assert answered(left, lie) == 0
    assert left.sieve(asked).refusal.tolist() == [Refusal.ANSWERED] * len(asked.own)


def test_sealed_rows_and_sieve_words_of_one_record_do_not_join(pair: tuple[Asker, Asker]) -> None:
    left, right = pair
    asked = left.near(meet(left, right, left.schema.pass_index("name_birth")).to_left)
    few = asked.only(np.arange(12))
    assert versions._nearest(left.seal(few), left.seal(few)) == 1
    # Partner handles of the linker's own making: each row is noise to every other.
    assert versions._joined(left, few, few, repeats=8) < 0.2


def test_a_full_quota_answers_no_other_handle_of_a_booked_record(
    pair: tuple[Asker, Asker],
) -> None:
    left, right = pair
    first, other = (
        meet(left, right, left.schema.pass_index(name)).to_left
        for name in ("name_birth", "given_birth")
    )
    booked = left.seal(first).refusal == Refusal.ANSWERED
    assert 0 < booked.sum() < len(booked)
    assert answered(left, replace(other, card=right.card)) == 1  # words alone cost no quota
    with pytest.raises(Exception, match="quota"):
        left.tagged(other)
    assert set(left.seal(other).refusal.tolist()) == {Refusal.SIEVE_REFUSED}
    assert (left.seal(first).refusal == Refusal.ANSWERED).tolist() == booked.tolist()
