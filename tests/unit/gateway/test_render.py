from __future__ import annotations

import pytest
from kinlink_gateway.linker import Linkage, LinkageState, Stage
from kinlink_gateway.render import bits, count, duration, probability, progress, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "> 99.99 %"),
        (0.999999, "> 99.99 %"),
        (0.9999, "99.99 %"),
        (0.5, "50.00 %"),
        (0.00001, "< 0.01 %"),
        (0.0, "0.00 %"),
    ],
)
def test_a_probability_never_rounds_to_certainty(value: float, text: str) -> None:
    assert probability(value) == text


@pytest.mark.parametrize(
    ("weight", "text"), [(3.14, "+3.1"), (-2.0, "−2.0"), (0.0, "0.0"), (-0.01, "0.0")]
)
def test_bits_carry_their_sign(weight: float, text: str) -> None:
    assert bits(weight) == text


def test_counts_sizes_and_durations_read_well() -> None:
    assert (count(1234567), count(0), count(None)) == ("1,234,567", "0", "–")
    assert (size(12), size(2048), size(3 << 30)) == ("12 B", "2.0 KiB", "3.0 GiB")
    assert (duration(3.21), duration(75), duration(7322)) == ("3.2 s", "1 min 15 s", "2 h 02 min")


def linkage(state: LinkageState) -> Linkage:
    stages = (Stage("connect", 1.0, 3, 3), Stage("seal", 0.5, 1, 9), Stage("score", 0.0, 0, 0))
    return Linkage("k", state, "e", 0.5, None, stages=stages)


@pytest.mark.parametrize(
    ("state", "standings"),
    [
        (LinkageState.RUNNING, ["done", "now", "waiting"]),
        (LinkageState.FAILED, ["done", "stopped", "waiting"]),
        (LinkageState.SUCCEEDED, ["done", "done", "done"]),
        (LinkageState.PARTIAL, ["done", "done", "done"]),
    ],
)
def test_stages_stand_where_the_linkage_is(state: LinkageState, standings: list[str]) -> None:
    assert [row.standing for row in progress(linkage(state))] == standings
