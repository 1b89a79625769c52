"""`kinlink suggest`: predictions hold where the answer is known, and what is written is used."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import floor, log2
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from kinlink_core.encoding.schema import (
    Part,
    Schema,
    load_fields,
    load_schema,
    packaged_schema,
    parse_schema,
)
from kinlink_core.planning.candidates import candidates, parts_of, text_of
from kinlink_core.planning.statistics_file import (
    BINS,
    SIZES,
    FieldStatistics,
    PassStatistics,
    Statistics,
)
from kinlink_local.cli import main
from kinlink_local.errors import BadInputError
from kinlink_local.suggestion.choice import Budget, best_under, frontier, judge
from kinlink_local.suggestion.duplicates import learn
from kinlink_local.suggestion.errors import (
    POINTS_LOG2,
    agreement,
    assumed_levels,
    both_present,
    errors_of,
    learned_errors,
    learned_levels,
    with_same,
)
from kinlink_local.suggestion.islands import forecast, rates
from kinlink_local.suggestion.prediction import Prediction, predict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIELDS = """\
name: clinic
fields:
  - {name: family, kind: name}
  - {name: given, kind: name}
  - {name: born, kind: date}
  - name: town
    kind: code
    normalise: {values: {A: ["1", yes], B: ["2", no]}}
"""
RECORDS = 20_000
# Chance that two strangers agree in a part, and that two records of one person do.
STRANGERS = {
    "family: exact": 2.0**-9, "family: phonetic": 2.0**-8, "family: prefix(3)": 2.0**-7,
    "family: initial": 2.0**-4, "given: exact": 2.0**-8, "given: phonetic": 2.0**-7.5,
    "given: prefix(3)": 2.0**-7, "given: initial": 2.0**-4, "born: exact": 2.0**-14,
    "born: year_month": 2.0**-9.5, "born: month_day": 2.0**-8.5, "born: year": 2.0**-6,
    "born: year_window(2)": 2.0**-5, "town: exact": 2.0**-3, "town: prefix(3)": 2.0**-3,
}  # fmt: skip
PERSON = {
    "family: exact": 0.8, "family: phonetic": 0.85, "family: prefix(3)": 0.9,
    "family: initial": 0.95, "given: exact": 0.7, "given: phonetic": 0.75,
    "given: prefix(3)": 0.85, "given: initial": 0.9, "born: exact": 0.85,
    "born: year_month": 0.9, "born: month_day": 0.87, "born: year": 0.95,
    "born: year_window(2)": 0.97, "town: exact": 0.9, "town: prefix(3)": 0.9,
}  # fmt: skip


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    return load_fields(written(tmp_path_factory.mktemp("fields")))


def written(folder: Path) -> Path:
    path = folder / "clinic.yaml"
    path.write_text(FIELDS, "utf-8")
    return path


def office(schema: Schema, *, density: float = 0.0, records: int = RECORDS) -> Statistics:
    """What an office would tell whose groups are those of strangers, and of duplicates."""
    passes = {}
    for parts in candidates(schema):
        names = [str(part) for part in parts]
        chance = float(np.prod([STRANGERS[name] for name in names]))
        chance += density * float(np.prod([PERSON[name] for name in names]))
        mean = chance * records  # others in a group, Poisson
        bits = floor(-log2(chance) * 10) / 10
        passes[text_of(parts)] = PassStatistics(records, bits, sizes_of(mean, records))
    fields = {
        each.name: FieldStatistics(1.0, -log2(STRANGERS[f"{each.name}: exact"]))
        for each in schema.fields
    }
    return Statistics(schema.fingerprint(), records, fields, passes)


def sizes_of(mean: float, records: int) -> tuple[int, ...]:
    from scipy.stats import poisson

    edges = np.array([-1, *(size - 1 for size in SIZES), np.inf])
    shares = np.diff(poisson.cdf(edges, mean))
    return tuple(round(share * records) for share in shares.tolist())


def offices(schema: Schema, *, density: float = 0.0) -> dict[str, Statistics]:
    return {name: office(schema, density=density) for name in ("north", "south")}


def predicted(schema: Schema, *, density: float = 0.0, overlap: float | None = 0.5) -> Prediction:
    return predict(schema, offices(schema, density=density), caps=(6, 12), overlap=overlap)


# Errors


def test_assumed_levels_are_probabilities_and_a_known_share_keeps_proportions(
    schema: Schema,
) -> None:
    for field in schema.fields:
        levels = assumed_levels(field)
        assert len(levels) == len(field.levels) + 1
        assert sum(levels) == pytest.approx(1)
        assert min(levels) >= 0
        other = with_same(levels, 0.5)
        assert sum(other) == pytest.approx(1)
        assert other[0] == 0.5
        assert other[1:] == pytest.approx([each * 0.5 / (1 - levels[0]) for each in levels[1:]])


def test_drawn_agreement_has_the_shares_of_the_states(schema: Schema) -> None:
    errors = [
        errors_of(field, parts_of(field), assumed_levels(field), both_present=0.9)
        for field in schema.fields
    ]
    drawn = agreement([(1.0, errors)])
    assert len(drawn) == 2**POINTS_LOG2
    exact = np.concatenate([each.weights @ each.agrees for each in errors])
    assert drawn.mean(axis=0) == pytest.approx(exact, abs=2e-3)
    # Fields err independently: two exact parts agree together as often as their product.
    assert (drawn[:, 0] & drawn[:, 4]).mean() == pytest.approx(exact[0] * exact[4], abs=3e-3)


def test_a_finer_part_never_agrees_where_a_coarser_one_does_not(schema: Schema) -> None:
    field = schema.field("born")
    parts = parts_of(field)
    states = errors_of(field, parts, assumed_levels(field), both_present=1.0)
    at = {part.transform: number for number, part in enumerate(parts)}
    for fine, coarse in (("exact", "year_month"), ("exact", "month_day"), ("year_month", "year")):
        assert not (states.agrees[:, at[fine]] & ~states.agrees[:, at[coarse]]).any()


def test_learned_shares_come_out_as_they_went_in(schema: Schema) -> None:
    field = schema.field("given")
    parts = parts_of(field)
    states = learned_errors(parts, {part: PERSON[str(part)] for part in parts}, 0.8)
    assert states.weights.sum() == pytest.approx(1)
    assert (states.weights @ states.agrees).tolist() == pytest.approx(
        [0.8 * PERSON[str(part)] for part in parts]
    )


def test_presence_is_that_of_two_different_offices() -> None:
    assert both_present({"a": 1.0, "b": 0.5}, {"a": 10, "b": 10}) == 0.5
    assert both_present({"a": 1.0, "b": 0.0, "c": 1.0}, {"a": 1, "b": 1, "c": 1}) == (
        pytest.approx(1 / 3)
    )


def test_a_trained_model_gives_its_m_and_another_is_refused(schema: Schema, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    levels = ", ".join('{"label": "x", "m": 0.2, "u": 0.1}' for _ in range(5))
    path.write_text(f'{{"passes": {{"p": {{"fields": {{"family": [{levels}]}}}}}}}}', "utf-8")
    assert learned_levels(path, schema) == {"family": pytest.approx((0.2,) * 5)}
    path.write_text(path.read_text("utf-8").replace("family", "born"), "utf-8")
    with pytest.raises(BadInputError, match="other levels of born"):
        learned_levels(path, schema)
    path.write_text("[]", "utf-8")
    with pytest.raises(BadInputError, match="kinlink-linker model save"):
        learned_levels(path, schema)


# Islands


@given(st.floats(0.02, 40.0), st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_pairs_across_offices_are_those_of_equal_values(mean: float, count: int) -> None:
    records = 100_000
    told = PassStatistics(records, None, sizes_of(mean, records))
    found = forecast([records] * count, rates([told] * count), (12,), tables=1)
    # Every record meets `mean` records in each other office.
    assert found.pairs_in_all == pytest.approx(records * count * (count - 1) / 2 * mean, rel=0.12)
    assert 0 <= found.pairs[12] <= found.pairs_in_all * 1.001
    from scipy.stats import poisson

    assert found.within[12] == pytest.approx(poisson.cdf(10, mean * count), abs=0.06)


def test_where_nobody_shares_a_value_nobody_meets() -> None:
    alone = PassStatistics(500, None, (500, *[0] * (BINS - 1)))
    found = forecast([500, 500], rates([alone, alone]), (12,), tables=1)
    assert found.pairs[12] < 5
    assert found.within[12] > 0.99


# Duplicates


def test_error_rates_are_recovered_from_duplicates_inside_offices(schema: Schema) -> None:
    density = 0.3 / RECORDS  # three records of ten have another of the same person
    found_by = offices(schema, density=density).values()
    told = {
        parts: [each.passes[text_of(parts)] for each in found_by] for parts in candidates(schema)
    }
    found = learn(told, records_a_person=2.0)
    assert found is not None
    assert sum(kind.density for kind in found.kinds) == pytest.approx(density, rel=0.15)
    weights = [kind.density for kind in found.kinds]
    for name in ("family: exact", "given: exact", "born: exact", "born: year", "town: exact"):
        part = next(p for p in found.kinds[0].agreement if str(p) == name)
        mean = np.average([kind.agreement[part] for kind in found.kinds], weights=weights)
        assert mean == pytest.approx(PERSON[name], abs=0.1)


def test_offices_without_duplicates_teach_nothing(schema: Schema) -> None:
    found_by = offices(schema, density=1e-9).values()
    told = {
        parts: [each.passes[text_of(parts)] for each in found_by] for parts in candidates(schema)
    }
    assert learn(told, records_a_person=1.0) is None
    found = learn(told, records_a_person=2.0)
    assert found is None or sum(kind.density for kind in found.kinds) * RECORDS < 0.02


# Choice


def test_a_set_finds_what_counting_states_says(schema: Schema) -> None:
    prediction = predicted(schema)
    pair = [each for each in prediction.candidates if each.declared_bits >= 16][:2]
    found = judge(prediction, pair)
    one, two = (prediction.agrees[:, each.column] * each.within for each in pair)
    assert found.completeness == pytest.approx(float((1 - (1 - one) * (1 - two)).mean()), abs=1e-5)
    assert found.completeness >= max(each.completeness for each in pair) - 1e-5
    assert found.own[0] == pytest.approx(found.completeness - pair[1].completeness, abs=1e-4)


def test_the_frontier_rises_and_every_set_keeps_the_limits(schema: Schema) -> None:
    prediction = predicted(schema)
    budget = Budget(pairs_max=20_000, passes_max=3, bits_min=16)
    found = frontier(prediction, budget)
    assert len(found) > 2
    assert all(a.pairs < b.pairs and a.completeness < b.completeness
               for a, b in pairwise(found))  # fmt: skip
    for choice in found:
        assert len(choice.passes) <= 3
        assert all(each.declared_bits >= 16 for each in choice.passes)
        assert min(choice.own) > 0
    best = best_under(found, budget)
    assert best is not None
    assert best.pairs <= 20_000
    assert best.completeness == max(e.completeness for e in found if e.pairs <= 20_000)


def test_the_greedy_choice_comes_near_the_best_of_all_sets_of_two(schema: Schema) -> None:
    prediction = predicted(schema)
    allowed = [e for e in prediction.candidates if e.declared_bits >= 20 and e.cap == 12][::4]
    small = Prediction(
        prediction.schema,
        prediction.records,
        prediction.matches,
        None,
        tuple(allowed),
        prediction.agrees,
    )
    best = max(judge(small, pair).completeness for pair in combinations(allowed, 2))
    found = frontier(small, Budget(1e12, 2, bits_min=20))
    assert max(each.completeness for each in found) >= 0.97 * best


def test_nothing_is_chosen_where_nothing_is_fine_enough(schema: Schema) -> None:
    assert frontier(predicted(schema), Budget(1e9, 8, bits_min=60)) == ()


def test_overlap_sets_how_many_matches_are_expected(schema: Schema) -> None:
    assert predicted(schema, overlap=0.25).matches == pytest.approx(0.25 * RECORDS)
    learned = predicted(schema, overlap=None, density=0.3 / RECORDS)
    assert learned.matches == pytest.approx(0.3 * RECORDS, rel=0.15)


# The command


@pytest.fixture
def files(schema: Schema, tmp_path: Path) -> Mapping[str, str]:
    paths = {"schema": str(written(tmp_path))}
    for name, each in offices(schema).items():
        (tmp_path / f"{name}.json").write_text(each.to_json(), "utf-8")
        paths[name] = str(tmp_path / f"{name}.json")
    return paths


def test_what_is_written_is_a_schema_that_means_the_same_fields(
    files: Mapping[str, str], tmp_path: Path, schema: Schema
) -> None:
    out = tmp_path / "suggested.yaml"
    done = CliRunner().invoke(
        main,
        ["suggest", files["schema"], files["north"], files["south"], "--overlap", "0.3",
         "--out", str(out)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = load_schema(out)
    assert [(e.name, e.kind, e.options) for e in found.fields] == [
        (e.name, e.kind, e.options) for e in schema.fields
    ]
    assert found.field("born").entropy_bits == 14.0
    assert found.field("town").entropy_bits == 3.0
    assert found.passes
    assert all(each.exposure is None for each in found.passes)
    for each in found.passes:
        assert ", ".join(map(str, each.parts)) in done.output.replace("\n", " ")


def test_passes_beyond_the_defaults_declare_their_exposure(
    files: Mapping[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "suggested.yaml"
    done = CliRunner().invoke(
        main,
        ["suggest", files["schema"], files["north"], files["south"], "--overlap", "0.3",
         "--bits-min", "12", "--cap-max", "24", "--pairs-max", "1e9", "--out", str(out), "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    beyond = [each for each in load_schema(out).passes if each.cap > 12 or each.exposure]
    assert beyond
    assert all("accepted" in (each.exposure or "") for each in beyond)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--pairs-max", "1", "--overlap", "0.5"], "raise it to that"),
        (["--bits-min", "60"], "the finest tells"),
        (["--same", "family=2"], "FIELD=SHARE"),
        (["--same", "nobody=0.5"], "no field of the schema"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    files: Mapping[str, str], options: list[str], reason: str
) -> None:
    done = CliRunner().invoke(
        main, ["suggest", files["schema"], files["north"], files["south"], *options]
    )
    assert done.exit_code == 2
    assert reason in " ".join(done.output.split())


def test_one_office_is_not_enough(files: Mapping[str, str]) -> None:
    done = CliRunner().invoke(main, ["suggest", files["schema"], files["north"]])
    assert done.exit_code == 2
    assert "two offices" in done.output


def test_a_schema_with_two_sides_is_refused(files: Mapping[str, str]) -> None:
    path = str(packaged_schema("reunion"))
    done = CliRunner().invoke(main, ["suggest", path, files["north"], files["south"]])
    assert done.exit_code == 2
    assert "has two sides" in done.output


def test_a_schema_without_passes_is_read_for_its_fields_only(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert load_fields(path).passes == ()
    assert load_fields(path).field("town").entropy_bits == 0
    with pytest.raises(ValueError, match="passes"):
        parse_schema(FIELDS, source="clinic.yaml")
    assert Part("town", "exact") in parts_of(load_fields(path).field("town"))
