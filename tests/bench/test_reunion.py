"""The benches of the search for missing children: what they count, on cases done by hand."""

from __future__ import annotations

import numpy as np
import plots
import pytest
from kinlink_core.encoding.encode import PassInputs
from kinlink_core.encoding.schema import Schema, load_schema, packaged_schema
from kinlink_local.reunion.columns import SCHEMA_COLUMNS, Columns
from kinlink_local.reunion.offline import canonical_columns, encoder_of, pairs_of_pass
from reunion import Scored, burden, expected_calibration_error, judge, ranks_of_pairs, summarise
from reunion_levels import NULL_LEVEL, PlainComparison


def scored(*pairs: tuple[int, int, float, float]) -> Scored:
    """Pairs of family, found, weight and probability."""
    family, found, weight, probability = zip(*pairs, strict=True)
    return Scored(*map(np.array, (family, found, weight, probability)))


def notices(kind: str, *lines: dict[str, str]) -> Columns:
    """Columns of notices of one kind."""
    return {
        name: [{"kind": kind, **line}.get(name, "") for line in lines] for name in SCHEMA_COLUMNS
    }


def test_a_child_that_is_no_candidate_has_no_rank_and_ties_count_half() -> None:
    partner = np.array([0, 1, -1, 2])
    pairs = scored(
        (0, 0, 3.0, 0.5), (0, 1, 3.0, 0.5), (0, 2, 4.0, 0.6), (1, 0, 9.0, 0.9), (3, 2, 1, 0)
    )
    assert ranks_of_pairs(pairs, partner).tolist() == [2.5, np.inf, 1.0]
    assert ranks_of_pairs(pairs.at_least(0.1), partner).tolist() == [2.5, np.inf, np.inf]


def test_the_burden_is_the_false_leads_before_half_of_the_children() -> None:
    right = np.array([True, False, False, True, True])
    weight = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    assert burden(weight, right, true=4, share=0.5) == 1.0
    assert burden(weight, right, true=7, share=0.5) is None


def test_calibration_is_the_mean_distance_of_promise_and_truth() -> None:
    probability = np.array([0.95, 0.95, 0.15, 0.15])
    assert expected_calibration_error(probability, np.array([1, 1, 0, 0])) == pytest.approx(0.1)
    assert expected_calibration_error(probability, np.array([1, 0, 1, 0])) == pytest.approx(0.4)


def test_a_linkage_is_judged_by_all_true_pairs() -> None:
    found = judge(np.array([1, 0, -1]), scored((0, 1, 1.0, 0.9), (2, 2, 0.0, 0.001)), floor=0.01)
    assert (found["true_pairs"], found["pairs"], found["listed_pairs"]) == (2, 2, 1)
    assert found["pair_completeness"] == found["listed_completeness"] == 0.5
    assert found["reduction"] == pytest.approx(1 - 2 / 9)
    assert found["false_leads_per_true"] == {"0.5": 0.0, "0.6": None}


def test_pairs_of_a_pass_meet_in_islands_up_to_the_cap() -> None:
    # Rows 0 to 2 are families, 3 to 5 found; value 0 holds four records, value 1 two.
    inputs = PassInputs(
        "any", [b"a", b"b"], np.array([0, 1, 3, 4, 0, 5]), np.array([0, 0, 0, 0, 1, 1])
    )
    every, lost = pairs_of_pass(inputs, families=3, cap=4)
    assert [divmod(pair, 3) for pair in every.tolist()] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert lost == 0.0
    few, lost = pairs_of_pass(inputs, families=3, cap=3)
    assert [divmod(pair, 3) for pair in few.tolist()] == [(0, 2)]
    assert lost == pytest.approx(4 / 5)


@pytest.fixture(scope="module")
def schema() -> Schema:
    return load_schema(packaged_schema("reunion"))


def test_plain_levels_are_those_that_the_schema_lists(schema: Schema) -> None:
    family = notices(
        "seeking_child",
        {
            "sex": "M", "born": "19860223", "parted": "19881017", "arrival": "61",
            "place": "610100", "nickname": "毛毛", "blood": "OOX", "siblings": "2",
            "marks": "左 肩 胎记,中 额 疤痕",
        },
    )  # fmt: skip
    found = notices(
        "found",
        {
            "sex": "M", "born": "19860301", "parted": "19890601", "arrival": "41", "place": "6104",
            "nickname": "毛毛", "blood": "A", "siblings": "3", "marks": "中 额 疤痕",
        },
    )  # fmt: skip
    columns = canonical_columns(schema, family, found)
    compared = PlainComparison(schema, encoder_of(schema), columns, 1)
    levels = compared.levels(np.array([0]), np.array([0]))
    told = dict(zip([field.name for field in schema.fields], levels[0].tolist(), strict=True))
    assert told == {
        "role": 1, "sex": 0, "born": 1, "parted": 1, "arrival": 1, "place": 2, "nickname": 0,
        "surname": NULL_LEVEL, "kin": NULL_LEVEL, "siblings": 1, "marks": 1, "memories": NULL_LEVEL,
        "blood": 4, "category": NULL_LEVEL, "height": NULL_LEVEL,
        "face_near": NULL_LEVEL, "face_mid": NULL_LEVEL, "face_far": NULL_LEVEL,
    }  # fmt: skip


def test_runs_become_medians_and_a_plot() -> None:
    runs = [
        {
            "regime": "hard",
            "notices": 100,
            "photos": 0.6,
            "recall": {"kinlink": (at, at, 1.0), "ideal": (1, 1, 1)},
        }
        for at in (0.2, 0.4, 0.9)
    ]
    kinlink, ideal = summarise(runs)
    assert (kinlink["median"], kinlink["least"], kinlink["most"]) == (
        [0.4, 0.4, 1.0],
        [0.2, 0.2, 1.0],
        [0.9, 0.9, 1.0],
    )
    svg = plots.DRAWN["reunion"]({"summary": [kinlink, ideal]})
    assert "Kinlink: hard, 100, with faces" in svg
    assert "0.400" in svg
