"""Distances are proven to the registries that seal: once for each near pair, and for no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kinlink_linker.sieve import FIRST_PAIRS
from unit.linker.centre import centre, person, registries
from unit.linker.fake_registry import SCHEMA, as_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_core.encoding.schema import Schema
    from unit.linker.fake_registry import FakeRegistry


def sieved(share: float, *, pass_index: int = 0) -> Schema:
    passes = list(SCHEMA.passes)
    passes[pass_index] = replace(passes[pass_index], sieve_max=share)
    return replace(SCHEMA, passes=tuple(passes))


def asked(fake: FakeRegistry, call: str, pass_index: int) -> list[bytes]:
    """Handle pairs that a registry was asked about in some calls, sorted."""
    return sorted(
        own + other
        for request in fake.asked[call]
        if request.pass_index == pass_index
        for own, other in zip(as_bytes(request.own), as_bytes(request.others), strict=True)
    )


def crowded(*fakes: FakeRegistry) -> None:
    """Let strangers meet in the pass of dates and places."""
    for fake in fakes:
        fake.add("stranger", replace(person(3), who=1_000 + len(fake.name), name=fake.name))


def test_tags_are_asked_for_the_near_pairs_and_each_is_sealed_with_its_proof(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "bb", "ccc", people=range(12))
    crowded(*fakes)
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed()
        assert linkage.links == 36
        assert sum(each.sieved_out for each in linkage.passes) > 0
        assert sum(each.refused for each in linkage.passes) == 0
    for fake in fakes:
        for index in range(len(SCHEMA.passes)):
            sealed = asked(fake, "seal", index)
            assert asked(fake, "tags", index) == sealed
            assert len(set(sealed)) == len(sealed)
        assert len(asked(fake, "tags", 1)) < len(asked(fake, "sieve", 1))


def test_a_pass_without_a_sieve_asks_for_tags_alone(tmp_path: Path) -> None:
    fakes = registries("a", "bb", people=range(12))
    for fake in fakes:
        fake.schema = sieved(1.0)
    with centre(tmp_path, fakes) as made:
        assert made.succeed().links == 12
    for fake in fakes:
        assert not asked(fake, "sieve", 0)
        assert len(asked(fake, "tags", 0)) == len(asked(fake, "seal", 0)) == 12
        assert len(asked(fake, "tags", 1)) == 12


def test_pairs_a_registry_does_not_tag_are_counted_as_refused(tmp_path: Path) -> None:
    fakes = registries("a", "bb", people=range(12))

    def retire(_call: int) -> None:
        for handle, held in list(fakes[1].handles.items()):
            if held.record == "bb-5":
                del fakes[1].handles[handle]

    fakes[1].before["tags"] = retire
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed()
        assert linkage.links == 11
        assert linkage.candidate_pairs == 24
        for counts in linkage.passes:
            assert counts.pairs == counts.repeated + counts.sealed + counts.refused
            assert counts.refused == 1
        assert sum(each.sealed for each in linkage.passes) == 11


def test_a_registry_with_a_narrower_sieve_seals_less_and_says_so(tmp_path: Path) -> None:
    fakes = registries("a", "bb", people=range(12))
    crowded(*fakes)
    for fake in fakes:
        fake.schema = sieved(0.9, pass_index=1)
    fakes[1].schema = SCHEMA
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed()
        assert linkage.links == 12
        far = linkage.passes[1].refused
        assert far > 0
        sample = made.metrics.registry.get_sample_value
        labels = {"registry": "bb", "stage": "seal", "refusal": "sieve_refused"}
        assert sample("kinlink_linker_refused_pairs_total", labels) == far


def test_where_nearly_all_are_near_words_are_asked_for_the_first_pairs_alone(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "bb", people=range(400))
    fakes[1].add("stranger", replace(person(3), who=1_000, name="stranger"))
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed()
        assert linkage.links == 400
        far = linkage.passes[1]
        assert (far.pairs, far.sieved_out) == (401, 1)
        assert far.repeated + far.sealed == 400
    for index, pairs in ((0, 400), (1, 401)):
        assert len(asked(fakes[0], "sieve", index)) == FIRST_PAIRS
        assert len(asked(fakes[0], "tags", index)) >= pairs - 1


def test_pairs_are_sealed_in_the_same_order_in_every_linkage(tmp_path: Path) -> None:
    fakes = registries("a", "bb", people=range(60))
    with centre(tmp_path, fakes) as made:
        first = made.succeed()
        order = _sealed_in_order(fakes[0])
        again = made.succeed()
    assert first.links == again.links == 60
    assert _sealed_in_order(fakes[0]) == order + order
    assert len(order) == 120
    assert order != sorted(order)


def _sealed_in_order(fake: FakeRegistry) -> list[bytes]:
    return [
        own + other
        for request in fake.asked["seal"]
        for own, other in zip(as_bytes(request.own), as_bytes(request.others), strict=True)
    ]
