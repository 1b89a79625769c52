"""Precision, recall and F1 over cross-registry pairs, against counting by hand."""

from __future__ import annotations

import itertools
import random

import duckdb
import pyarrow as pa
import pytest
from kinlink_local.quality import PAIR_COLUMNS, count_true_pairs, measure

KINDS = [*[pa.string()] * 4, pa.float64(), pa.float64(), pa.bool_()]
Truth = list[tuple[str, str, str]]  # registry, record id, person
Pairs = list[tuple[str, str, str, str, float]]  # both records, probability


def connect(truth: Truth, pairs: Pairs, threshold: float = 0.5) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    people = {
        name: pa.array([row[i] for row in truth], pa.string())
        for i, name in enumerate(("registry", "record_id", "person"))
    }
    rows = [(a, i, b, j, p * 10, p, p >= threshold) for a, i, b, j, p in pairs]
    columns = {
        name: pa.array([row[i] for row in rows], KINDS[i]) for i, name in enumerate(PAIR_COLUMNS)
    }
    connection.register("truth_rows", pa.table(people))
    connection.register("pair_rows", pa.table(columns))
    connection.execute("create table truth as from truth_rows")
    connection.execute("create table pairs as from pair_rows")
    return connection


def test_true_pairs_are_those_of_one_person_in_two_registries() -> None:
    truth = [("a", "1", "P"), ("a", "2", "P"), ("b", "3", "P"), ("c", "4", "P"), ("a", "5", "Q")]
    # Within a, 1 and 2 are one person too, which no linkage between registries can say.
    assert count_true_pairs(connect(truth, [])) == 5


def test_records_of_one_id_in_two_registries_are_two_records() -> None:
    truth = [("a", "1", "P"), ("b", "1", "Q"), ("c", "1", "P")]
    quality = measure(
        connect(truth, [("a", "1", "c", "1", 0.9), ("a", "1", "b", "1", 0.8)], 0.85), 0.85
    )
    assert quality.true_pairs == 1
    assert quality.at_threshold.f1 == 1.0


def test_a_record_that_the_truth_does_not_know_is_a_wrong_partner() -> None:
    quality = measure(connect([("a", "1", "P")], [("a", "1", "b", "9", 0.9)]), 0.5)
    assert quality.at_threshold.precision == 0.0


def test_the_best_threshold_is_found_among_all_pairs() -> None:
    truth = [(r, str(i), f"P{i}") for r in "ab" for i in range(10)]
    right: Pairs = [("a", str(i), "b", str(i), 0.3 + i / 100) for i in range(10)]
    wrong: Pairs = [("a", str(i), "b", str(i + 1), 0.1 + i / 100) for i in range(9)]
    quality = measure(connect(truth, right + wrong), 0.5)
    assert quality.at_threshold.recall == 0.0
    assert quality.at_threshold.pairs == 0
    assert quality.best.f1 == 1.0
    assert quality.best.threshold == pytest.approx(0.3)


def test_nothing_to_find_and_nothing_found_is_no_error() -> None:
    quality = measure(connect([("a", "1", "P")], []), 0.5)
    assert quality.true_pairs == 0
    assert quality.best.recall == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_measures_agree_with_counting_by_hand(seed: int) -> None:
    rng = random.Random(seed)
    truth = [(r, f"{r}{i}", f"P{rng.randrange(12)}") for r in "abc" for i in range(10)]
    person = {(r, i): p for r, i, p in truth}
    everything = [(one, two) for one, two in itertools.combinations(person, 2) if one[0] != two[0]]
    real = {(one, two) for one, two in everything if person[one] == person[two]}
    pairs = [(*one, *two, round(rng.random(), 1)) for one, two in rng.sample(everything, 60)]
    quality = measure(connect(truth, pairs), 0.5)
    found = {((a, i), (b, j)) for a, i, b, j, p in pairs if p >= 0.5}
    hits = len(found & real)
    assert quality.true_pairs == len(real)
    assert quality.at_threshold.pairs == len(found)
    assert quality.at_threshold.precision == pytest.approx(hits / len(found))
    assert quality.at_threshold.recall == pytest.approx(hits / len(real))
    assert quality.best.f1 >= quality.at_threshold.f1
