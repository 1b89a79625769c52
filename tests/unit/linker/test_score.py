"""Training recovers what generated the pairs; scoring says what Splink would say."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from kinlink_core.encoding.schema import load_schema, packaged_schema, parse_schema
from kinlink_core.errors import InvalidInputError
from kinlink_linker import score
from kinlink_linker.compare import NULL_LEVEL, Levels
from kinlink_linker.model import Model
from unit.linker.scored_pairs import RECORDS, SCHEMA, SCHEMA_TEXT, U_GIVEN_PART, M, U, draw, pairs


@pytest.fixture(scope="module")
def world() -> tuple[dict[str, Levels], Levels, Model]:
    rng = np.random.default_rng(7)
    names, _ = pairs(rng, 20_000, 0.4, U)
    part, _ = pairs(rng, 20_000, 0.3, [U[0], U_GIVEN_PART, *U[2:]])
    chance = draw(rng, 60_000, U)
    by_pass = {"names": names, "part": part}
    return by_pass, chance, score.train(SCHEMA, by_pass, chance, ((100_000, 100_000),))


def test_chance_pairs_give_u(world: tuple[dict[str, Levels], Levels, Model]) -> None:
    estimated = score.chance_agreement(SCHEMA, world[1])
    for field, u in zip(SCHEMA.fields, U, strict=True):
        assert np.allclose(estimated[field.name], u, atol=5 * np.sqrt(0.25 / 54_000))


def test_em_recovers_m_and_the_share_of_matches(
    world: tuple[dict[str, Levels], Levels, Model],
) -> None:
    model = world[2]
    assert abs(model.passes["names"].probability - 0.4) < 0.02
    assert abs(model.passes["part"].probability - 0.3) < 0.02
    for pass_id, field in (("names", 2), ("part", 0), ("part", 3)):
        estimated = [level.m for level in model.passes[pass_id].fields[SCHEMA.fields[field].name]]
        assert np.allclose(estimated, M[field], atol=0.03)


def test_a_partly_fixed_field_gets_the_u_of_its_pass(
    world: tuple[dict[str, Levels], Levels, Model],
) -> None:
    estimated = [level.u for level in world[2].passes["part"].fields["given"]]
    assert np.allclose(estimated, U_GIVEN_PART, atol=0.03)


def test_a_field_that_a_pass_fixes_takes_no_part_in_it(
    world: tuple[dict[str, Levels], Levels, Model],
) -> None:
    assert set(world[2].passes["names"].fields) == {"dob", "sex"}


def test_a_pass_without_pairs_borrows_m_and_has_the_prior_of_what_it_fixes(
    world: tuple[dict[str, Levels], Levels, Model],
) -> None:
    rare = world[2].passes["rare"]
    assert set(rare.fields) == {"given", "sex"}
    assert np.allclose(sum(level.m for level in rare.fields["sex"]), 1)
    # The others hold 8,000 and 6,000 matches among all pairs; family and birth date are fixed.
    # Family is fixed wherever pairs were learnt from, so its m is where EM starts.
    odds = 14_000 / 100_000**2 * (0.75 / U[0][0]) * (M[2][0] / U[2][0])
    assert rare.prior_weight == pytest.approx(np.log2(odds), abs=0.3)


def test_where_nothing_was_learnt_a_pair_weighs_about_the_same_in_every_pass() -> None:
    chance = draw(np.random.default_rng(5), 60_000, U)
    model = score.train(SCHEMA, {}, chance, RECORDS)
    agree = np.zeros((1, len(SCHEMA.fields)), np.uint8)
    agree[0, SCHEMA.fields.index(SCHEMA.field("given"))] = 3  # else the prior's limit is reached
    weights = [score.score(SCHEMA, model, name, agree).weight[0] for name in ("part", "rare")]
    assert weights[0] == pytest.approx(weights[1], abs=0.01)


def test_no_token_alone_is_taken_for_certain() -> None:
    model = score.train(SCHEMA, {}, draw(np.random.default_rng(5), 60_000, U), ((20, 20),))
    assert model.passes["rare"].probability == score.PROBABILITY_UNTRAINED_MAX


def test_m_that_the_schema_gives_is_kept_and_the_share_of_matches_still_learnt() -> None:
    given = [0.85, 0.05, 0.05, 0.02, 0.01, 0.01, 0.01]
    text = SCHEMA_TEXT.replace("{name: dob, kind: date}", f"{{name: dob, kind: date, m: {given}}}")
    schema = parse_schema(text, source="test")
    rng = np.random.default_rng(13)
    found, _ = pairs(rng, 20_000, 0.1, U)
    model = score.train(schema, {"names": found}, draw(rng, 60_000, U), RECORDS)
    assert [level.m for level in model.passes["names"].fields["dob"]] == pytest.approx(given)
    assert [level.m for level in model.passes["names"].fields["sex"]] == pytest.approx(
        M[3], abs=0.03
    )
    assert abs(model.passes["names"].probability - 0.1) < 0.02


def with_every_m() -> str:
    """The schema with what generates the pairs as m."""
    text = SCHEMA_TEXT
    for field, m in zip(SCHEMA.fields, M, strict=True):
        text = text.replace(f"{{name: {field.name}, ", f"{{name: {field.name}, m: {m.tolist()}, ")
    return text


def test_where_every_m_is_given_a_pair_weighs_the_same_in_every_pass() -> None:
    schema = parse_schema(with_every_m(), source="test")
    assert score.all_m_given(schema)
    assert not score.all_m_given(SCHEMA)
    rng = np.random.default_rng(17)
    # A million pairs of two registries: 270 matches meet in the pass, and 20 strangers.
    found = np.concatenate([draw(rng, 270, M), draw(rng, 20, U)])
    found[:, [0, 2]] = 0
    chance = draw(rng, 60_000, U)
    model = score.train(schema, {"rare": found}, chance, ((1000, 1000),))
    agree = np.zeros((1, len(schema.fields)), np.uint8)
    agree[0, 1] = 3
    weights = [score.score(schema, model, name, agree).weight[0] for name in ("part", "rare")]
    assert weights[0] == pytest.approx(weights[1])
    u = score.chance_agreement(schema, chance)
    expected = score.score(schema, model, "rare", found).probability.sum()
    odds = expected / (1_000_000 - expected)
    fixed = (M[0][0] / u["family"][0]) * (M[2][0] / u["dob"][0])
    assert model.passes["rare"].prior_weight == pytest.approx(np.log2(odds * fixed), abs=0.02)
    assert expected == pytest.approx(270, abs=15)


def test_what_strangers_share_for_one_reason_counts_once() -> None:
    text = with_every_m()
    alone = parse_schema(text, source="test")
    schema = parse_schema(
        text.replace("{name: given, ", "{name: given, u_given: family, "), source="test"
    )
    rng = np.random.default_rng(23)

    def strangers(count: int) -> Levels:
        # Half of those whose family names agree have the same given name too.
        found = draw(rng, count, U)
        same = (found[:, 0] == 0) & (rng.random(count) < 0.5)
        found[same, 1] = 0
        return found

    # Of twenty million pairs one in a thousand has one day of birth: those meet, and 300 matches.
    chance, met = strangers(400_000), np.concatenate([draw(rng, 300, M), strangers(20_000)])
    met[:, 2] = 0
    expected = []
    for each in (alone, schema):
        model = score.train(each, {"part": met}, chance, ((4_472, 4_472),))
        expected.append(score.score(each, model, "part", met).probability.sum())
    # All 300 met here, and of matches only so many would.
    matches = 300 * M[2][0]
    assert expected[1] == pytest.approx(matches, rel=0.15)
    assert expected[0] > 1.3 * matches
    # Evidence adds up, shows u by the other field's level, and the field's own where that misses.
    u = score.chance_agreement(schema, chance)["given"]
    row = np.zeros(len(schema.fields), np.uint8)
    for level, wanted in ((0, 0.5 + U[1][0] / 2), (NULL_LEVEL, u[0])):
        row[0] = level
        found = score.evidence(schema, model, "part", row)
        assert found[1].u == pytest.approx(wanted, rel=0.1)
        total = model.passes["part"].prior_weight + sum(each.weight for each in found)
        assert score.score(schema, model, "part", row[None]).weight[0] == pytest.approx(total)
    assert Model.from_json(model.to_json(), schema) == model
    damaged = model.to_json().replace('"field": "family"', '"field": "other"')
    with pytest.raises(InvalidInputError, match="not compared"):
        Model.from_json(damaged, schema)


def test_a_field_that_a_pass_ignores_weighs_nothing_there() -> None:
    text = SCHEMA_TEXT.replace(
        "family: exact, dob: exact}", "family: exact, dob: exact}, ignores: given"
    )
    schema = parse_schema(text, source="test")
    assert schema.fingerprint() == SCHEMA.fingerprint()
    rng = np.random.default_rng(11)
    found, _ = pairs(rng, 5000, 0.4, U)
    model = score.train(schema, {"names": found, "rare": found}, draw(rng, 60_000, U), RECORDS)
    assert set(model.passes["rare"].fields) == {"sex"}
    assert "given" in model.passes["part"].fields
    told = score.evidence(schema, model, "rare", np.zeros(4, np.uint8))
    assert [each.level for each in told] == [
        "fixed by the pass",
        "ignored by the pass",
        "fixed by the pass",
        "equal",
    ]


def test_probabilities_are_calibrated_on_fresh_pairs(
    world: tuple[dict[str, Levels], Levels, Model],
) -> None:
    fresh, matches = pairs(np.random.default_rng(99), 40_000, 0.4, U)
    probability = score.score(SCHEMA, world[2], "names", fresh).probability
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
        chosen = (probability >= low) & (probability < high)
        if chosen.sum() > 500:
            assert abs(probability[chosen].mean() - matches[chosen].mean()) < 0.05


def test_weights_are_those_that_splink_predicts(
    world: tuple[dict[str, Levels], Levels, Model],
) -> None:
    import splink.comparison_level_library as cll
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    by_pass, _, model = world
    levels, trained = by_pass["part"][:2000], model.passes["part"]
    comparisons = []
    for name, parameters in trained.fields.items():
        column = f"level_{name}_l"
        steps = [cll.CustomLevel(f"{column} = {NULL_LEVEL}").configure(is_null_level=True)]
        steps += [
            cll.CustomLevel(f"{column} = {i}").configure(m_probability=p.m, u_probability=p.u)
            for i, p in enumerate(parameters)
        ]
        comparisons.append(cl.CustomComparison(output_column_name=name, comparison_levels=[*steps]))
    number = np.arange(len(levels))
    columns = {f"level_{f.name}": levels[:, i] for i, f in enumerate(SCHEMA.fields)}
    table = pa.table({"unique_id": number, "pair": number, **columns})
    with duckdb.connect() as connection:
        api = DuckDBAPI(connection=connection)
        linker = Linker(
            [api.register(table, dataset_display_name=side) for side in ("l", "r")],
            SettingsCreator(
                link_type="link_only",
                comparisons=comparisons,
                blocking_rules_to_generate_predictions=[block_on("pair")],
                probability_two_random_records_match=trained.probability,
            ),
            log_level=None,
        )
        predicted = linker.inference.predict().as_pyarrow_table().sort_by("unique_id_l")
    ours = score.score(SCHEMA, model, "part", levels)
    assert np.allclose(predicted["match_weight"].to_numpy(), ours.weight, atol=1e-9)
    assert np.allclose(predicted["match_probability"].to_numpy(), ours.probability, atol=1e-9)


def test_prior_and_evidence_add_up_to_the_weight(
    world: tuple[dict[str, Levels], Levels, Model],
) -> None:
    by_pass, _, model = world
    levels = by_pass["names"][:50]
    weights = score.score(SCHEMA, model, "names", levels).weight
    for row, weight in zip(levels, weights, strict=True):
        found = score.evidence(SCHEMA, model, "names", row)
        assert [each.field for each in found] == [field.name for field in SCHEMA.fields]
        assert found[0].level == "fixed by the pass"
        total = model.passes["names"].prior_weight + sum(each.weight for each in found)
        assert total == pytest.approx(weight)


def test_training_survives_pairs_that_are_all_alike() -> None:
    alike = np.zeros((500, len(SCHEMA.fields)), np.uint8)
    chance = draw(np.random.default_rng(1), 5000, U)
    model = score.train(SCHEMA, {"part": alike, "names": alike}, chance, RECORDS)
    assert (score.score(SCHEMA, model, "part", alike).probability > 0.9).all()


def test_training_without_any_pairs_gives_a_usable_model() -> None:
    model = score.train(SCHEMA, {}, np.empty((0, 4), np.uint8), RECORDS)
    assert model.em_iterations == 0
    assert set(model.passes) == {"names", "part", "rare"}


def test_a_model_survives_its_file(world: tuple[dict[str, Levels], Levels, Model]) -> None:
    assert Model.from_json(world[2].to_json(), SCHEMA) == world[2]


@pytest.mark.parametrize(
    ("find", "put", "says"),
    [
        ('"kinlink-model/1"', '"other/1"', "no Kinlink model"),
        ('"same"', '"nearly"', "levels of field"),
        ('"names": {', '"renamed": {', "no pass names"),
        ('"probability": 0', '"probability": 7', "not between 0 and 1"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_reason(
    world: tuple[dict[str, Levels], Levels, Model], find: str, put: str, says: str
) -> None:
    text = world[2].to_json()
    assert find in text
    with pytest.raises(InvalidInputError, match=says):
        Model.from_json(text.replace(find, put), SCHEMA)


def test_a_bounded_field_says_no_more_than_its_bound_and_the_others_all_they_know() -> None:
    bounded = parse_schema(
        SCHEMA_TEXT.replace("name: dob,", "name: dob, weight_max: 3,"), source="t"
    )
    chance = draw(np.random.default_rng(5), 60_000, U)
    free, held = (score.train(each, {}, chance, RECORDS) for each in (SCHEMA, bounded))
    for name, model in held.passes.items():
        for field, levels in model.fields.items():
            before = [level.weight for level in free.passes[name].fields[field]]
            most = 3.0 if field == "dob" else np.inf
            assert [level.weight for level in levels] == pytest.approx(np.minimum(before, most))
    assert max(level.weight for level in free.passes["names"].fields["dob"]) > 3


def test_a_face_alone_is_no_more_than_a_lead() -> None:
    """At 5,000 a side, with every child on the other side, and nobody who looks alike by chance."""
    schema = load_schema(packaged_schema("reunion"))
    couples = ((2_500, 2_500),) * 4
    names = [field.name for field in schema.fields]
    faces = [names.index(name) for name in ("face_near", "face_mid", "face_far")]
    unlike = np.array([len(field.levels) for field in schema.fields], np.uint8)
    chance = np.tile(unlike, (100_000, 1))
    chance[::2, names.index("sex")] = 0
    sure = np.zeros((5_000, len(names)), np.uint8)
    sure[:, faces[1:]] = NULL_LEVEL  # a found person has one photograph
    model = score.train(schema, {schema.passes[0].id: sure}, chance, couples)
    alone = np.full((3, len(names)), NULL_LEVEL, np.uint8)
    alone[:, names.index("sex")] = 0
    alone[range(3), faces] = 0
    # Where a pass fixes more than sex, more agrees.
    alike = [each for each in schema.passes if each.fixed_fields == {"sex"}]
    assert len(alike) > 10
    for each in alike:
        found = score.score(schema, model, each.id, alone)
        assert (found.probability < 0.5).all()
        assert (found.probability > schema.disclosure_floor_probability).all()  # a lead it may be
        told = score.evidence(schema, model, each.id, alone[0])
        assert max(one.weight for one in told if one.field.startswith("face")) <= 8
