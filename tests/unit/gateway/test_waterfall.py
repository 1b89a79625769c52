from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinlink_gateway.linker import Evidence, ExplainedLink, Link
from kinlink_gateway.waterfall import NARROW, WIDE, Shape, draw, terms_of, threshold_weight

bits = st.floats(-60, 60)


def explained(prior: float, weights: list[float], total: float | None = None) -> ExplainedLink:
    stored = prior + sum(weights) if total is None else total
    link = Link("l", "k", "a", "0", "b", "1", stored, 0.5, linked=True)
    evidence = tuple(Evidence(f"f{n}", "same", w, 0.5, 0.5) for n, w in enumerate(weights))
    return ExplainedLink(link, evidence, prior)


def test_terms_run_from_the_prior_over_the_fields_to_the_total() -> None:
    terms = terms_of(explained(-10, [8, -2, 6]))
    assert [(t.kind, t.start, t.end) for t in terms] == [
        ("prior", 0, -10),
        ("field", -10, -2),
        ("field", -2, -4),
        ("field", -4, 2),
        ("total", 0, 2),
    ]


def test_what_the_evidence_does_not_explain_is_shown_and_not_hidden() -> None:
    terms = terms_of(explained(-10, [8], total=-1))
    assert [(t.kind, t.weight) for t in terms][-2:] == [("rest", 1), ("total", -1)]


@given(prior=bits, weights=st.lists(bits, max_size=12), shape=st.sampled_from([WIDE, NARROW]))
def test_every_bar_lies_inside_the_chart(prior: float, weights: list[float], shape: Shape) -> None:
    chart = draw(terms_of(explained(prior, weights)), shape, threshold=0.0)
    for bar in chart.bars:
        assert shape.label_width - 0.1 <= bar.x
        assert bar.x + bar.width <= shape.width - shape.value_width + 1.1
        assert bar.y + shape.bar_top + shape.bar_height <= chart.axis_y
    assert all(shape.label_width <= tick.x <= shape.width for tick in chart.ticks)
    assert len(chart.ticks) <= 10


def test_a_bar_begins_where_the_one_before_it_ended() -> None:
    chart = draw(terms_of(explained(-10, [8, 6])), WIDE)
    assert chart.bars[0].next_x == chart.bars[1].x
    assert chart.bars[1].x + chart.bars[1].width == pytest.approx(chart.bars[2].x, abs=0.02)


def test_colour_follows_the_sign_except_for_prior_and_total() -> None:
    chart = draw(terms_of(explained(-10, [8, -2])), WIDE)
    assert [bar.sign for bar in chart.bars] == ["total", "for", "against", "total"]


def test_a_threshold_is_log_odds_in_bits() -> None:
    assert threshold_weight(0.5) == 0
    assert threshold_weight(0.99) == pytest.approx(math.log2(99))
    assert threshold_weight(0) is None
    assert threshold_weight(1) is None
