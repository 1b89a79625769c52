"""The attacks on islands work where they must, and get less from Kinlink than from what it was."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.schema import packaged_schema, parse_schema
from kinlink_core.encoding.sieve import open_bits

from redteam.attacks import categories, colluders, fingerprints, harvest, notices, repeats
from redteam.attacks.beliefs import Edges, beliefs
from redteam.attacks.colourings import marginals
from redteam.attacks.likeness import Items, claims
from redteam.attacks.namelists import PublicList
from redteam.attacks.surnames import _first_design
from redteam.setting import Setting
from redteam.view import build, shipped_schema

if TYPE_CHECKING:
    from redteam.view import View

SETTING = Setting("3k", 3, correlated=False, seed=1, quick=True)


@pytest.fixture(scope="module")
def view() -> View:
    return SETTING.view()


def test_beliefs_on_a_tree_are_the_exact_marginals() -> None:
    rng = np.random.default_rng(0)
    prior = rng.dirichlet(np.ones(3), 4)
    edges = Edges(np.array([0, 1, 1]), np.array([1, 2, 3]), np.array([0, 1, 0]))
    tables = rng.random((2, 3, 3))
    tables += np.swapaxes(tables, 1, 2)
    exact = np.zeros((4, 3))
    for labels in product(range(3), repeat=4):
        weight = np.prod([prior[node, label] for node, label in enumerate(labels)])
        for one, other, kind in zip(edges.left, edges.right, edges.kind, strict=True):
            weight *= tables[kind, labels[one], labels[other]]
        for node, label in enumerate(labels):
            exact[node, label] += weight
    exact /= exact.sum(axis=1, keepdims=True)
    assert np.allclose(beliefs(prior, edges, tables), exact, atol=0.01)


def test_groups_that_differ_get_exact_marginals() -> None:
    prior = np.array([[0.5, 0.3, 0.2], [0.6, 0.2, 0.2], [0.2, 0.4, 0.4], [0.1, 0.1, 0.8]])
    left, right = np.array([0, 0, 1]), np.array([1, 2, 2])
    exact = np.zeros((4, 3))
    for labels in product(range(3), repeat=4):
        if all(labels[i] != labels[j] for i, j in zip(left, right, strict=True)):
            for group, label in enumerate(labels):
                exact[group, label] += np.prod([prior[g, at] for g, at in enumerate(labels)])
    assert np.allclose(marginals(prior, left, right), exact / exact.sum(axis=1, keepdims=True))


def test_noisy_copies_are_found_and_twins_are_not_named() -> None:
    rng = np.random.default_rng(0)
    fraction = rng.uniform(0.1, 0.4, (200, 5))
    fraction[100:] = fraction[0]
    seen = Items(np.zeros((200, 1), np.uint8), rng.binomial(256, fraction).astype(float))
    expected = Items(np.zeros((200, 1), np.uint8), fraction)
    found = claims(seen, expected, 256, known=1.0, sure_min=0.8)
    assert len(found.seen) > 20
    assert (found.seen == found.expected).mean() > 0.8
    assert not np.isin(found.expected, np.arange(101, 200)).any()


def test_surnames_fall_where_whole_islands_are_seen() -> None:
    public = PublicList.of(SETTING.public())
    assert _first_design(shipped_schema().field("name"), public, 1, islands=12) >= 0.08


def test_blood_groups_fall_where_whole_islands_are_seen() -> None:
    assert categories._first_design(1) >= categories.FIRST_DESIGN_GAIN_MIN


def test_fingerprints_say_less_than_those_of_the_first_design(view: View) -> None:
    everyone = np.ones(view.population.persons, bool)
    now = fingerprints._locate(view, everyone, 1.0)
    before = fingerprints._locate(view, everyone, 1.0, first_design=True)
    assert before.share > 0.3
    assert before.precision > 0.9
    assert now.share < before.share


def test_a_pair_is_hardly_recognised_in_another_pass_and_on_filters_it_is(view: View) -> None:
    ours, theirs = np.zeros(2), np.zeros(2)
    for seen in repeats.sightings(view):
        ours += repeats._counted(*repeats.found(view, seen))
        theirs += repeats._counted(*repeats._by_filters(view, seen))
    assert ours[1] == theirs[1] > 100
    assert theirs[0] / theirs[1] > 0.9
    assert ours[0] / ours[1] < 0.1


def test_two_records_are_sealed_once_and_their_other_meetings_are_known(view: View) -> None:
    record = view.secrets.record
    names = [
        record[pairs.left] * view.population.records + record[pairs.right]
        for pairs in (view.pairs, view.repeated)
    ]
    assert len(np.unique(names[0])) == len(names[0])
    assert np.isin(names[1], names[0]).all()
    assert len(names[1]) > len(names[0])


def test_chaining_reaches_further_than_the_colluder_s_own_islands() -> None:
    # A coarser last pass joins strangers; the shipped one hardly does in so small a population.
    coarser = packaged_schema("person").read_text().replace("name: phonetic\n", "name: family\n")
    schema = parse_schema(coarser, source="coarser")
    view = build(SETTING.population(), schema=schema, disclosing=False)
    direct = colluders.reach(view, chained=False)
    chained = colluders.reach(view, chained=True)
    assert 0 < direct.share < chained.share
    assert chained.within(view, 0.01) < chained.share


def test_invented_handles_show_an_island_s_bits_and_no_more(view: View) -> None:
    opened = colluders.reach(view, chained=False).tokens
    row = np.flatnonzero(opened[view.rows.token] & (view.rows.registry != colluders.COLLUDER))[:1]
    truth = split_fixed(view.schema, view.secrets.fixed[view.secrets.record[row]]).record_sketch  # type: ignore[index]
    # How many bits there are to see depends on what the row's pass leaves open.
    opened_bits = len(open_bits(view.schema, view.schema.passes[view.rows.pass_index[row[0]]]))
    for anew, least, most in ((False, 64, 64), (True, 0.8 * opened_bits, opened_bits)):
        rng = np.random.default_rng(0)
        bits, seen = harvest._harvest(view, row, colluders.COLLUDER, rng, drawn_anew=anew)
        assert least <= seen.sum() <= most
        assert (bits[seen] == np.unpackbits(truth, axis=1)[0, seen]).all()


def test_counts_that_no_other_value_has_single_it_out() -> None:
    counts = np.array([[1, 0], [0, 1], [2, 0], [1, 0], [0, 0], [0, 0]])
    assert notices.alone(counts).tolist() == [False, True, True, False, False, False]


def test_published_notices_tell_more_of_tokens_of_one_field_and_levels_tell_blood_groups() -> None:
    # A small quick run: what is read off islands is less than off single fields, and reported.
    in_a_pass, in_any, blood = notices.run(SETTING)
    assert 0 < in_a_pass.value < in_any.value < in_any.classical
    # Who knows the families knows the groups; docs/explanation/privacy.md says so.
    assert blood.value > 0.5
