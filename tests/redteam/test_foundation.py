"""The red team's ground is firm: people, view and report are what they say, baselines fall."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.normalize import normalize_column

from redteam import report
from redteam.attacks import colours, graphs, ranks
from redteam.attributes import read
from redteam.baselines import clk, dice, estimated_dice, estimated_sizes, record_tokens
from redteam.encoded import encode
from redteam.matching import match
from redteam.meetings import MISSING, near
from redteam.population import make
from redteam.results import Result
from redteam.setting import Setting
from redteam.view import build, shipped_schema

if TYPE_CHECKING:
    from pathlib import Path

    from redteam.view import View

SETTING = Setting("3k", 3, correlated=True, seed=1, quick=True)


@pytest.fixture(scope="module")
def view() -> View:
    return build(make(800, 3, 1, correlated=True), trained=False)


def test_values_of_the_population_are_canonical() -> None:
    population = make(500, 31, 1, correlated=True)
    for field in shipped_schema().fields:
        for values in (population.values[field.name], population.people[field.name]):
            found = normalize_column(field, values)
            assert found.faults == []
            assert found.values == values


def test_a_population_follows_from_its_arguments_and_errors_change_no_one() -> None:
    one, again, clean = (make(300, 3, 1, correlated=True, errors=e) for e in (1.0, 1.0, 0.0))
    assert one.values == again.values
    assert one.people == clean.people
    assert one.person.tolist() == clean.person.tolist()
    assert clean.values["name"] == [clean.people["name"][i] for i in clean.person]
    assert make(300, 3, 2, correlated=True).people["name"] != one.people["name"]


def test_provinces_tell_of_the_person_only_where_they_are_correlated() -> None:
    def agreeing(*, correlated: bool) -> float:
        population = make(2_000, 3, 1, correlated=correlated, overlap=0)
        heads = [("" if place is None else place[:2]) for place in population.values["place"]]
        by_registry = [
            np.unique(np.array(heads)[population.registry == number], return_counts=True)[1].max()
            for number in range(3)
        ]
        return float(sum(by_registry) / population.records)

    assert agreeing(correlated=True) > 0.9
    assert agreeing(correlated=False) < 0.5


def test_tokens_cut_pass_by_pass_are_those_of_the_whole_schema() -> None:
    schema = shipped_schema()
    population = make(60, 3, 1, correlated=True)
    found = encode(schema, population.names, population.registry, population.values)
    whole = Encoder(schema, found.secrets.schedule).encode(population.values)
    blocking = whole.blocking
    expected = sorted(
        zip(
            blocking.pass_index.tolist(),
            blocking.level.tolist(),
            blocking.row.tolist(),
            map(bytes, blocking.token),
            strict=True,
        )
    )
    rows, secrets = found.rows, found.secrets
    assert expected == sorted(
        zip(
            rows.pass_index.tolist(),
            rows.level.tolist(),
            secrets.record.tolist(),
            map(bytes, secrets.token_bytes[rows.token]),
            strict=True,
        )
    )
    assert secrets.fixed is not None
    assert (secrets.fixed == whole.fixed).all()


def test_a_view_holds_what_a_linker_may_have(view: View) -> None:
    sizes = np.bincount(view.islands.island)
    caps = np.array([each.cap for each in view.schema.passes])
    assert (sizes <= caps[view.islands.pass_index]).all()
    registry = view.rows.registry
    assert (registry[view.sieved.left] < registry[view.sieved.right]).all()
    assert (view.rows.token[view.sieved.left] == view.rows.token[view.sieved.right]).all()
    assert view.pairs.count + view.repeated.count == int(near(view.schema, view.sieved).sum())
    record = view.secrets.record
    left, right = record[view.pairs.left], record[view.pairs.right]
    for index, field in enumerate(view.schema.fields):
        values = view.population.values[field.name]
        both = [
            values[i] is not None and values[j] is not None
            for i, j in zip(left.tolist(), right.tolist(), strict=True)
        ]
        # A tag of two bytes may be equal by chance.
        assert (view.pairs.present[:, index] == both).mean() > 0.999
    assert (view.pairs.distance[view.pairs.distance != MISSING] <= 256).all()
    found = view.disclosed
    assert found is not None
    one, other = record[view.pairs.left[found.pair]], record[view.pairs.right[found.pair]]
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    assert len(pairs) == found.count, "a pair of records is disclosed once"


def test_similarity_survives_a_bloom_filter() -> None:
    people = make(200, 3, 1, correlated=True, errors=0).people
    filters = clk(people, b"key")
    tokens = record_tokens(people)
    sizes = np.array([len(each) for each in tokens])
    assert np.abs(estimated_sizes(filters, 15) - sizes).mean() < 3
    assert (np.diag(dice(filters, filters)) == 1).all()
    assert (
        np.corrcoef(estimated_dice(filters, 15)[0, 1:], dice(filters, filters)[0, 1:])[0, 1] > 0.9
    )


def test_a_graph_is_matched_with_itself_under_noise() -> None:
    rng = np.random.default_rng(1)
    graph = rng.random((120, 120))
    graph = (graph + graph.T) / 2
    noisy = graph + rng.normal(0, 0.02, graph.shape)
    order = rng.permutation(120)
    assert (match(((noisy + noisy.T) / 2)[np.ix_(order, order)], graph) == order).mean() > 0.95


def test_clks_fall_to_graph_matching_and_the_linkers_graphs_do_not() -> None:
    clean, real = (
        make(300, 3, 1, correlated=True, overlap=1.0, errors=errors) for errors in (0.0, 1.0)
    )
    assert graphs.clk_share(clean) >= graphs.BASELINE_MIN
    shares = graphs.named(build(real, disclosing=False), build(clean, disclosing=False))
    assert max(shares.values()) < 0.1


def test_surnames_fall_to_ranks_of_filters_and_not_of_tokens() -> None:
    target, public = (make(20_000, 3, seed, correlated=True) for seed in (1, 1001))
    assert ranks.baseline(target, public)["surname"] > 0.2
    value, surname, _ = ranks.run(replace(SETTING, size="1k"))
    assert max(value.value, surname.value) < 0.05


def test_a_record_with_one_id_under_usual_keys_is_named_by_colours(view: View) -> None:
    people = view.population.persons
    usual = [colours.one_id_graph(view.population) for _ in range(2)]
    one_id, _ = colours.named(usual[0], usual[1], people)
    known = build(view.population, trained=False)
    ours, _ = colours.named(colours.linker_graph(view), colours.linker_graph(known), people)
    assert one_id > 0.5
    assert ours < one_id / 10


def test_attributes_of_two_populations_are_numbered_alike() -> None:
    one, other = (make(200, 3, seed, correlated=True) for seed in (1, 2))
    first, second = read((one, other))
    assert first.texts == second.texts
    codes = first.codes["surname"]
    assert [first.texts["surname"][code] for code in codes] == [
        name[: len(first.texts["surname"][code])]
        for name, code in zip(one.values["name"], codes, strict=True)
        if name is not None
    ]


def test_the_exported_graph_names_nodes_edges_and_their_truth(tmp_path: Path) -> None:
    out = tmp_path / "graph.tsv"
    nodes, edges = graphs.export(out, 60, 1, trained=False)
    lines = [line.split("\t") for line in out.read_text("utf-8").splitlines()]
    truth = dict(
        line.split("\t") for line in (tmp_path / "graph.truth.tsv").read_text().splitlines()
    )
    assert len(lines) == edges
    assert len(truth) == nodes
    assert {name for line in lines for name in line[:2]} == set(truth)
    assert (tmp_path / "graph.plaintext.tsv").read_text().startswith("p0\tp")


def test_a_run_replaces_only_its_own_rows_and_the_table_shows_the_worse_seed() -> None:
    def one(seed: int, value: float, target: float | None = 0.1) -> Result:
        return Result("R1", "attack", "10k", seed, "share", value, target)

    old = [one(2, 0.05), one(3, 0.02), Result("T1", "other", "10k", 2, "share", 0.3)]
    results = report.merged(old, [one(3, 0.2)])
    assert [each.value for each in results] == [0.3, 0.05, 0.2]
    page = report.with_table(f"# Page\n{report.BEGIN}\nold\n{report.END}\nrest\n", results)
    assert "old" not in page
    assert "| R1 | attack | 10k (2 seeds) | share |  | 20.0 % | ≤ 10.0 % | **missed** |" in page
    assert page.endswith("\nrest\n")
    assert Result.from_json(json.loads(json.dumps(results[0].to_json()))) == results[0]
    assert all(text.startswith("<svg") for text in report.plots(results).values())


def test_a_result_passes_only_if_its_baseline_fell() -> None:
    assert not Result("T1", "", "", 1, "", 0.0, 0.1, classical=0.2, classical_min=0.5).passed
    assert not Result("T1", "", "", 1, "", 0.2, 0.1, classical=0.9, classical_min=0.5).passed
    assert Result("T1", "", "", 1, "", 0.0, 0.1, classical=0.9, classical_min=0.5).passed
