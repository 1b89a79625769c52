"""Islands: which tokens two registries share, what a cap drops, what refinement saves."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinlink_linker import candidates, disclose, prove, publish, sieve
from kinlink_linker.domain import Linkage, PassCounts, packed
from kinlink_linker.duck import DuckLimits
from kinlink_linker.islands import Split, TokenRows, split_rows
from unit.linker.centre import centre, person, registries
from unit.linker.fake_registry import SCHEMA, FakeRegistry, Person, as_ids, digest

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = DuckLimits("128MB", 1)
CAPS = [3, 5]


def token_rows(rows: list[tuple[int, int, int]]) -> TokenRows:
    """Rows of (registry, pass, value); each has a handle of its own."""
    return TokenRows(
        np.array([row[0] for row in rows], np.uint8),
        np.array([row[1] for row in rows], np.uint16),
        as_ids([digest("handle", number) for number in range(len(rows))]),
        as_ids([digest("token", row[2]) for row in rows]),
    )


def found_islands(split: Split) -> dict[tuple[int, bytes], list[int]]:
    islands = defaultdict(list)
    tokens = packed(split.islands.token)
    for island, registry in zip(split.islands.island, split.islands.registry, strict=True):
        key = (int(split.islands.pass_index[island]), tokens[island].tobytes())
        islands[key].append(int(registry))
    return {key: sorted(members) for key, members in islands.items()}


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 8)), min_size=1, max_size=80
    ),
    st.sets(st.integers(0, 3), min_size=2),
)
def test_islands_are_the_tokens_of_two_linking_registries_within_the_cap(
    rows: list[tuple[int, int, int]], linking: set[int]
) -> None:
    expected = defaultdict(list)
    for registry, pass_index, value in rows:
        if registry in linking:
            expected[pass_index, digest("token", value)].append(registry)
    shared = {key: sorted(held) for key, held in expected.items() if len(set(held)) > 1}
    split = split_rows(token_rows(rows), LIMITS, sorted(linking), CAPS)

    within = {key: held for key, held in shared.items() if len(held) <= CAPS[key[0]]}
    assert found_islands(split) == within

    above = {key: Counter(held) for key, held in shared.items() if len(held) > CAPS[key[0]]}
    tokens = packed(split.crowded.token)
    assert {
        (int(index), tokens[row].tobytes()): Counter(
            {code: int(count) for code, count in enumerate(held) if count}
        )
        for row, (index, held) in enumerate(
            zip(split.crowded.pass_index, split.crowded.holders, strict=True)
        )
    } == above


def test_members_are_sorted_by_island_and_registry() -> None:
    rng = np.random.default_rng(3)
    rows = [(int(rng.integers(3)), 0, int(rng.integers(30))) for _ in range(60)]
    islands = split_rows(token_rows(rows), LIMITS, [0, 1, 2], CAPS).islands
    order = islands.island.astype(np.int64) * 3 + islands.registry
    assert (np.diff(order) >= 0).all()
    assert islands.holders(3).sum() == len(islands.island)


def crowd(name: str, places: dict[str, int]) -> FakeRegistry:
    """A registry of people who share one name and live in some places."""
    registry = FakeRegistry(name)
    for place, count in places.items():
        for number in range(count):
            registry.add(f"{name}-{place}-{number}", Person(number, "wang", "", place))
    return registry


def counts(linkage: Linkage) -> PassCounts:
    return {each.pass_id: each for each in linkage.passes}["name"]


def test_an_island_above_its_cap_is_refined_and_what_fits_then_is_compared(
    tmp_path: Path,
) -> None:
    fakes = [crowd("a", {"aa": 2, "bb": 2, "cc": 1}), crowd("b", {"aa": 2, "bb": 1, "dd": 1})]
    with centre(tmp_path, fakes) as made:
        found = counts(made.succeed())
        assert (found.refined, found.islands, found.dropped_over_cap) == (1, 2, 0)
        assert found.pairs == 2 * 2 + 2 * 1


def test_what_stays_above_the_cap_after_refinement_is_dropped_and_counted(
    tmp_path: Path,
) -> None:
    fakes = [crowd("a", {"aa": 3, "bb": 1}), crowd("b", {"aa": 2, "bb": 1})]
    with centre(tmp_path, fakes) as made:
        found = counts(made.succeed())
        assert (found.refined, found.islands, found.dropped_over_cap) == (1, 1, 1)
        assert found.pairs == 1


def test_a_pass_without_refinement_drops_its_crowded_islands(tmp_path: Path) -> None:
    fakes = [FakeRegistry("a"), FakeRegistry("b")]
    for fake in fakes:
        for number in range(7):
            fake.add(str(number), Person(number, f"{fake.name}{number}", "19800101", "aa"))
    with centre(tmp_path, fakes) as made:
        found = {each.pass_id: each for each in made.succeed().passes}["dob_place"]
        assert (found.refined, found.islands, found.dropped_over_cap) == (0, 0, 1)


def test_a_registry_lost_while_it_refines_takes_only_its_own_islands(tmp_path: Path) -> None:
    fakes = [crowd(name, {"aa": 1, "bb": 2}) for name in "abc"]
    fakes[0].fail("refine")
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert [each.name for each in linkage.missing] == ["a"]
        assert counts(linkage).pairs == 1 + 4


def test_islands_whose_holder_cannot_prove_them_are_dropped_and_counted(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(10))
    fakes[1].before["prove"] = lambda _call: fakes[1].handles.pop(
        next(h for h, held in fakes[1].handles.items() if held.record == "b-3" and not held.level),
        None,
    )
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed()
        assert sum(each.dropped_proof for each in linkage.passes) == 2
        assert linkage.links == 9


def test_the_linker_relays_the_partners_proofs_and_no_others(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(5))
    with centre(tmp_path, fakes) as made:
        made.succeed()
    for own, partner in (fakes, fakes[::-1]):
        for request in own.asked["sieve"]:
            assert request.partner.registry == partner.name
            for proof, token, count in zip(
                packed(request.islands.proof),
                packed(request.islands.token),
                request.islands.partner_count,
                strict=True,
            ):
                expected = digest("proof", partner.name, token.tobytes(), int(count))
                assert proof.tobytes() == expected


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_requests_of_any_size_find_the_same_islands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    for module, name in (
        (candidates, "TOKENS_PROVED_A_REQUEST"),
        (candidates, "TOKENS_REFINED_A_REQUEST"),
        (sieve, "PAIRS_A_REQUEST"),
        (sieve, "PAIRS_EXPANDED_AT_ONCE"),
        (prove, "PAIRS_A_REQUEST"),
        (disclose, "PAIRS_A_REQUEST"),
        (publish, "PUBLICATIONS_A_REQUEST"),
    ):
        monkeypatch.setattr(module, name, chunk)
    fakes = registries("a", "b", "c", people=range(12))
    for fake in fakes:
        fake.add("twin", person(3))
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed()
        assert linkage.links == 3 * (11 + 4)
        assert len(SCHEMA.passes) == 2
