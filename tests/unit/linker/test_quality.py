"""Quality without truth: recapture, expected precision and recall, advice, fairness, rounding."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_linker import quality
from kinlink_linker.assess import MATCHES_MIN, Linked, assess
from kinlink_linker.calibration import wilson
from kinlink_linker.domain import LinkageState, PassCounts
from kinlink_linker.expected import Curve, curve_of
from kinlink_linker.fairness import Served, worse_served
from kinlink_linker.links import FoundLinks
from kinlink_linker.patterns import Patterns, patterns_of
from kinlink_linker.recapture import (
    captured_by_count,
    missed_at_least,
    missed_beta_binomial,
)
from kinlink_linker.score import train as train_model
from kinlink_linker.seal import ComparedPairs
from unit.linker.centre import centre, registries
from unit.linker.fake_registry import as_ids, digest
from unit.linker.scored_pairs import RECORDS, SCHEMA, M, U, draw, pairs

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PASSES = len(SCHEMA.passes)
ONE_PAIR = (("a", "b"),)
# Bits, of probability 0.01.
FLOOR = -6.6
SAMPLED_ONE_IN = 16


def patterns(
    levels: NDArray[np.uint8],
    pass_index: NDArray[np.int64],
    sampled: NDArray[np.bool_],
    probability: NDArray[np.float64],
) -> Patterns:
    count = len(levels)
    return Patterns(
        ONE_PAIR,
        np.zeros(count, np.int64),
        pass_index,
        sampled,
        levels,
        np.ones(count, np.int64),
        np.log2(probability / (1 - probability)),
        probability,
    )


def sealed_once(
    rng: np.random.Generator, levels: NDArray[np.uint8], captures: NDArray[np.bool_]
) -> tuple[Patterns, list[int]]:
    """What a linker holds of matches that passes capture: each is compared in one pass.

    A random sample of every pass comes first, then the passes in their order.
    """
    drawn = captures & (rng.integers(0, SAMPLED_ONE_IN, captures.shape) == 0)
    sampled = drawn.any(axis=1)
    first = np.where(sampled, np.argmax(drawn, axis=1), np.argmax(captures, axis=1))
    compared = captures.any(axis=1)
    found = patterns(
        levels[compared], first[compared], sampled[compared], np.full(compared.sum(), 0.999999)
    )
    return found, captures.sum(axis=0).tolist()


def agreeing(levels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The passes of `SCHEMA` that capture pairs of these levels, one column each."""
    family, given_name, dob = (levels[:, i] for i in range(3))
    return np.column_stack(
        [
            (family == 0) & (given_name == 0),
            (given_name <= 1) & (dob == 0),
            (family == 0) & (dob == 0),
        ]
    )


def beta_captures(
    rng: np.random.Generator, count: int, passes: int, alpha: float, beta: float
) -> NDArray[np.float64]:
    """Of so many matches, how many 0, 1, ... passes captured."""
    caught = rng.binomial(passes, rng.beta(alpha, beta, count))
    return np.bincount(caught, minlength=passes + 1).astype(float)


def test_how_many_passes_capture_a_match_is_told_though_each_pair_was_compared_in_one() -> None:
    rng = np.random.default_rng(3)
    levels = draw(rng, 40_000, M)
    captures = agreeing(levels)
    found, met = sealed_once(rng, levels, captures)
    truth = np.bincount(captures.sum(axis=1), minlength=PASSES + 1)
    estimated = captured_by_count(SCHEMA, found, met)[0]
    assert estimated[0] == 0
    assert estimated[1:] == pytest.approx(truth[1:], abs=0.015 * truth[1:].sum())


def test_captures_are_told_where_only_some_pairs_of_equal_levels_meet() -> None:
    rng = np.random.default_rng(4)
    levels = draw(rng, 60_000, M)
    captures = agreeing(levels) & (rng.random((60_000, PASSES)) < (0.9, 0.5, 0.7))
    found, met = sealed_once(rng, levels, captures)
    truth = np.bincount(captures.sum(axis=1), minlength=PASSES + 1)
    assert captured_by_count(SCHEMA, found, met)[0][1:] == pytest.approx(
        truth[1:], abs=0.015 * truth[1:].sum()
    )


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 400))
def test_captured_matches_add_up_to_the_compared_ones(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    levels = draw(rng, count, U)
    found = patterns(
        levels,
        rng.integers(0, PASSES, count),
        rng.random(count) < 0.3,
        rng.uniform(0.001, 0.999, count),
    )
    captured = captured_by_count(SCHEMA, found, rng.integers(0, 1_000, PASSES).tolist())
    assert captured.min(initial=0) >= 0
    assert captured.sum() == pytest.approx(found.matches.sum())


def test_where_all_matches_are_caught_alike_both_estimates_find_them_all() -> None:
    rng = np.random.default_rng(5)
    caught = rng.binomial(6, 0.4, 100_000)
    captured = np.bincount(caught, minlength=7).astype(float)
    missed = captured[0]
    captured[0] = 0
    assert missed_at_least(captured) == pytest.approx(missed, rel=0.05)
    assert missed_beta_binomial(captured) == pytest.approx(missed, rel=0.1)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (2.0, 3.0), (4.0, 1.5)])
def test_where_catchability_is_beta_distributed_one_estimate_is_low_and_one_right(
    alpha: float, beta: float
) -> None:
    captured = beta_captures(np.random.default_rng(6), 200_000, 9, alpha, beta)
    missed = captured[0]
    captured[0] = 0
    assert missed_at_least(captured) < missed
    assert missed_beta_binomial(captured) == pytest.approx(missed, rel=0.15)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=12))
def test_estimates_of_what_was_missed_are_finite_and_never_negative(counts: list[float]) -> None:
    captured = np.array([0.0, *counts])
    for missed in (missed_at_least(captured), missed_beta_binomial(captured)):
        assert missed is None or (np.isfinite(missed) and missed >= 0)


def test_one_pass_alone_tells_nothing_about_what_it_missed() -> None:
    assert missed_at_least(np.array([0.0, 900.0])) is None
    assert missed_beta_binomial(np.array([0.0, 600.0, 300.0])) is None


def test_expected_precision_and_recall_are_those_of_matches_drawn_from_the_probabilities() -> None:
    rng = np.random.default_rng(7)
    weight = rng.normal(0, 6, 200_000)
    probability = 1 / (1 + 2.0**-weight)
    match = rng.random(len(weight)) < probability
    curve = weight_curve(weight)
    for bits in (-2.0, 0.0, 3.5):
        above = weight >= bits
        expected = curve.at(round(bits * 10))
        assert expected.precision == pytest.approx(match[above].mean(), abs=0.005)
        assert expected.recall_compared == pytest.approx(
            match[above].sum() / match.sum(), abs=0.005
        )


def test_the_threshold_of_highest_expected_f1_is_half_that_f1() -> None:
    # Lipton, Elkan and Naryanaswamy 2014, for decisions that do not depend on each other.
    weight = np.random.default_rng(8).normal(-1, 4, 100_000)
    curve = weight_curve(weight, missed=9_000)
    best = next(each.expected for each in curve.advise(FLOOR) if each.aim == "f1")
    assert best.f1 is not None
    assert best.probability == pytest.approx(best.f1 / 2, abs=0.02)
    assert all(best.f1 >= (curve.at(step).f1 or 0) for step in range(-60, 61))


def test_an_advised_precision_is_reached_and_no_lower_step_reaches_it() -> None:
    weight = np.random.default_rng(9).normal(-2, 5, 100_000)
    curve = weight_curve(weight)
    advised = {each.aim: each.expected for each in curve.advise(FLOOR)}
    for wanted in (0.9, 0.95, 0.99):
        found = advised[f"precision_{wanted}"]
        assert found.precision == pytest.approx(wanted, abs=0.01)
        below = curve.at(round(found.weight * 10) - 5).precision
        assert below is not None
        assert below < wanted + 0.001


def test_no_threshold_below_the_floor_is_advised() -> None:
    sure = np.random.default_rng(17).normal(25, 3, 10_000)
    advised = weight_curve(np.concatenate([sure, np.full(50, -15.0)])).advise(FLOOR)
    assert {each.aim for each in advised} == {
        "f1",
        "precision_0.9",
        "precision_0.95",
        "precision_0.99",
    }
    assert all(each.expected.weight >= FLOOR for each in advised)


def test_a_linkage_without_pairs_has_no_advice_and_no_shares() -> None:
    curve = weight_curve(np.empty(0))
    assert curve.advise(FLOOR) == ()
    assert curve.bins() == ()
    assert curve.at(0).precision is None


@settings(deadline=None)
@given(st.lists(st.floats(-60, 60), max_size=300))
def test_shown_counts_are_tens_and_no_bin_has_more_matches_than_pairs(weights: list[float]) -> None:
    for each in weight_curve(np.array(weights)).bins():
        assert each.pairs % quality.COUNTS_ROUNDED_TO == 0
        assert each.matches % quality.COUNTS_ROUNDED_TO == 0
        assert 0 <= each.matches <= each.pairs


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_share_is_of_rounded_counts_and_of_a_hundred_at_least(part: float, whole: float) -> None:
    shown = quality.share(part, whole)
    if quality.rounded(whole) < quality.WHOLE_MIN:
        assert shown is None
    else:
        assert shown is not None
        assert 0 <= shown <= 1
        assert shown == quality.share(quality.rounded(part), quality.rounded(whole))


def test_one_more_pair_changes_nothing_that_is_shown_but_where_a_ten_ends() -> None:
    weight = np.random.default_rng(10).normal(0, 4, 5_004)
    before = weight_curve(weight[:-1])
    after = weight_curve(weight)
    changed = [
        (one, other) for one, other in zip(before.bins(), after.bins(), strict=True) if one != other
    ]
    assert len(changed) <= 1


def served(own: tuple[float, float], others: tuple[float, float]) -> Served:
    return Served({"recall": own}, {"recall": others})


def test_a_registry_that_is_served_worse_is_named_with_the_figure() -> None:
    worse = worse_served(
        {"a": served((900, 1_000), (1_900, 2_000)), "b": served((950, 1_000), (1_850, 2_000))}
    )
    assert worse == {"a": ("recall",), "b": ()}


def test_too_small_a_difference_or_too_few_records_name_nobody() -> None:
    assert worse_served({"a": served((98_500, 100_000), (198_000, 200_000))}) == {"a": ()}
    assert worse_served({"a": served((40, 60), (59, 60))}) == {"a": ()}


def test_registries_that_are_served_alike_are_hardly_ever_named() -> None:
    rng = np.random.default_rng(11)
    named = 0
    for _ in range(2_000):
        own, others = rng.binomial(400, 0.8), rng.binomial(800, 0.8)
        named += bool(worse_served({"a": served((own, 400), (others, 800))})["a"])
    assert named <= 40


def weight_curve(weight: NDArray[np.float64], missed: float = 0.0) -> Curve:
    count = len(weight)
    whole = patterns(
        np.zeros((count, len(SCHEMA.fields)), np.uint8),
        np.zeros(count, np.int64),
        np.zeros(count, np.bool_),
        np.full(count, 0.5),
    )
    known = replace(whole, weight=weight, probability=1 / (1 + 2.0**-weight))
    return curve_of(known, missed, missed)


def three_registries(
    rng: np.random.Generator, count: int, share_linked: dict[tuple[str, str], float]
) -> tuple[Patterns, list[PassCounts], Linked]:
    """Compared matches between three registries, of which some are linked."""
    between = tuple(share_linked)
    levels = draw(rng, count * len(between), M, missing=0.0)
    number = np.repeat(np.arange(len(between)), count)
    captures = agreeing(levels)
    kept = captures.any(axis=1)
    one, met = sealed_once(rng, levels, captures)
    whole = replace(one, registry_pairs=between, between=number[kept])
    found = []
    for index, (pair, linked) in enumerate(share_linked.items()):
        here = int((whole.between == index).sum())
        subjects = as_ids([digest("subject", i) for i in range(here)])
        found.append(
            FoundLinks(
                *pair,
                subjects,
                subjects,
                subjects,
                subjects,
                np.zeros(here, np.uint16),
                np.zeros((here, 4), np.uint8),
                np.full(here, 20.0),
                np.full(here, 0.999999),
                rng.random(here) < linked,
                np.zeros(here, np.uint8),
            )
        )
    sealed = np.bincount(whole.pass_index, minlength=PASSES)
    passes = [
        PassCounts(each.id, sealed=int(s), repeated=int(m - s))
        for each, s, m in zip(SCHEMA.passes, sealed, met, strict=True)
    ]
    return whole, passes, Linked(found, 0.0, dict.fromkeys("abc", 3_000))


def test_an_office_that_is_badly_served_sees_it_in_its_own_row() -> None:
    rng = np.random.default_rng(12)
    shares = {("a", "b"): 0.95, ("a", "c"): 0.7, ("b", "c"): 0.7}
    found = assess(SCHEMA, *three_registries(rng, 2_000, shares))
    rows = {each.registry: each for each in found.registries}
    assert "recall" in rows["c"].worse
    assert "recall" not in rows["a"].worse
    assert rows["c"].recall_compared == pytest.approx(0.7, abs=0.03)
    pairs_of_c = {each.partner: each for each in found.registry_pairs if each.registry == "c"}
    assert set(pairs_of_c) == {"a", "b"}
    assert rows["c"].links == pytest.approx(sum(each.links for each in pairs_of_c.values()), abs=10)


def test_alike_registries_are_not_named_and_shares_are_as_drawn() -> None:
    rng = np.random.default_rng(13)
    shares = {("a", "b"): 0.9, ("a", "c"): 0.9, ("b", "c"): 0.9}
    found = assess(SCHEMA, *three_registries(rng, 3_000, shares))
    assert [each.worse for each in found.registries] == [(), (), ()]
    assert found.linked.recall_compared == pytest.approx(0.9, abs=0.01)
    assert found.blocking.loss_low is not None
    assert found.linked.recall_high is not None
    assert found.linked.recall_high < found.linked.recall_compared


def test_of_too_few_matches_nothing_is_said_about_what_blocking_lost() -> None:
    rng = np.random.default_rng(14)
    shares = {("a", "b"): 0.9}
    found = assess(SCHEMA, *three_registries(rng, MATCHES_MIN // 2, shares))
    assert found.blocking.loss_low is None
    assert found.blocking.by_passes == ()
    assert found.linked.recall_high is None
    assert found.linked.recall_compared is not None


def test_all_that_is_estimated_survives_being_written_as_json() -> None:
    rng = np.random.default_rng(15)
    found = assess(SCHEMA, *three_registries(rng, 1_000, {("a", "b"): 0.9}))
    assert quality.from_dict(json.loads(json.dumps(asdict(found)))) == found


def test_patterns_count_every_pair_and_weigh_it_as_scoring_does() -> None:
    rng = np.random.default_rng(16)
    levels, _ = pairs(rng, 3_000, 0.4, U)
    chance = draw(rng, 5_000, U)
    model = train_model(SCHEMA, {each.id: levels for each in SCHEMA.passes}, chance, RECORDS)
    ids = as_ids([digest("handle", i) for i in range(len(levels))])
    tags = np.zeros((len(levels), 32), np.uint8)
    compared = ComparedPairs("a", "b", 0, ids, ids, tags, tags, levels, sampled=True)
    found = patterns_of(SCHEMA, model, [compared, replace(compared, right="z")], ONE_PAIR)
    assert found.count.sum() == len(levels)
    assert len(np.unique(found.levels, axis=0)) == len(found.count)
    assert 0.3 * len(levels) < found.matches.sum() < 0.5 * len(levels)


def test_a_linkage_keeps_its_estimates_and_has_none_before_it_scored(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c", people=range(150))
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed()
        found = linkage.quality
        assert found is not None
        assert found.linked.links == 450
        assert {each.registry for each in found.registries} == {"a", "b", "c"}
        assert len(found.registry_pairs) == 6
        assert all(each.linked_records == 150 for each in found.registries)
        fakes[0].fail("seal")
        fakes[1].fail("seal")
        failed = made.link()
        assert failed.state is LinkageState.FAILED
        assert failed.quality is None
    with centre(tmp_path, registries("a", "b", "c")) as again:
        assert again.node.linkages.get(linkage.id).quality == found


def test_a_linkage_that_is_cancelled_after_it_was_scored_keeps_no_estimates(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", people=range(150))
    inside, release = threading.Event(), threading.Event()

    def wait(_call: int) -> None:
        inside.set()
        release.wait(20)

    with centre(tmp_path, fakes) as made:
        fakes[0].before["publish"] = wait
        begun = made.start()
        assert inside.wait(20)
        assert made.node.linkages.get(begun.id).quality is not None
        made.node.linkages.cancel(begun.id)
        release.set()
        ended = made.ended(begun)
    assert (ended.state, ended.quality) == (LinkageState.CANCELLED, None)


def test_estimates_of_a_partial_linkage_leave_out_the_registry_that_was_lost(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", "c", people=range(150))
    fakes[2].fail("disclose")
    with centre(tmp_path, fakes) as made:
        found = made.link().quality
        assert found is not None
        assert {each.registry for each in found.registries} == {"a", "b"}


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_of_a_share_holds_it_and_lies_between_nought_and_one(
    part: int, whole: int
) -> None:
    low, high = wilson(min(part, whole), whole)
    assert 0 <= low <= min(part, whole) / whole + 1e-9
    assert min(part, whole) / whole - 1e-9 <= high <= 1
