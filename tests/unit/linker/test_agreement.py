"""Registries that differ are refused by name and reason; the others agree on an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kinlink_linker.domain import LinkageState, RegistryState
from unit.linker.centre import centre, registries

if TYPE_CHECKING:
    from pathlib import Path

    from unit.linker.fake_registry import FakeRegistry


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("federation", "elsewhere", "FEDERATION_DIFFERS"),
        ("fingerprint", "0" * 64, "SCHEMA_DIFFERS"),
        ("encoding_version", "v2", "ENCODING_VERSION_DIFFERS"),
        ("mode", "key-server", "MODE_DIFFERS"),
        ("secret", "another", "SECRET_DIFFERS"),
        ("epochs", ["2026-12"], "EPOCH_UNKNOWN"),
        ("epochs", [], "EPOCH_UNKNOWN"),
    ],
)
def test_a_registry_that_differs_is_refused_by_reason_and_the_others_link(
    tmp_path: Path, attribute: str, value: object, reason: str
) -> None:
    fakes = registries("a", "b", "c", people=range(10))
    setattr(fakes[1], attribute, value)
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert linkage.state is LinkageState.PARTIAL
        assert [(each.name, each.reason) for each in linkage.missing] == [("b", reason)]
        assert linkage.missing[0].detail
        assert linkage.links == 10
        status = {each.name: each for each in made.node.watch.all()}
        assert (status["b"].state, status["b"].reason) == (RegistryState.REFUSED, reason)
        assert status["a"].state is RegistryState.READY
        assert fakes[1].calls["feed"] == 0


def test_secrets_that_differ_without_a_majority_refuse_both_sides_by_name(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(3))
    fakes[1].secret = "another"  # noqa: S105 - a made-up one
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert linkage.state is LinkageState.FAILED
        assert linkage.error_reason == "TOO_FEW_REGISTRIES"
        assert {each.reason for each in linkage.missing} == {"SECRET_DIFFERS"}
        assert "between a and b" in linkage.missing[0].detail


def both(fakes: list[FakeRegistry], *epochs: list[str]) -> None:
    for fake, served in zip(fakes, epochs, strict=True):
        fake.epochs = served


def test_in_an_overlap_the_newest_epoch_that_all_serve_is_used(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c", people=range(3))
    both(fakes, ["new", "old"], ["new", "old"], ["new", "old"])
    with centre(tmp_path, fakes) as made:
        assert made.succeed().epoch == "new"


def test_an_epoch_that_more_registries_serve_is_preferred_to_a_newer_one(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c", people=range(3))
    both(fakes, ["new", "old"], ["new", "old"], ["old"])
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed()
        assert linkage.epoch == "old"


def test_a_round_deletes_the_tokens_of_an_epoch_that_is_over(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(3))
    both(fakes, ["old"], ["old"])
    with centre(tmp_path, fakes) as made:
        made.succeed()
        both(fakes, ["new", "old"], ["new", "old"])
        made.node.sync.round({n: made.dial(n) for n in made.fakes}, made.node._stopping)
        assert sorted(p.name for p in tmp_path.glob("tokens-*")) == [
            "tokens-new.duckdb",
            "tokens-new.duckdb.wal",
            "tokens-old.duckdb",
            "tokens-old.duckdb.wal",
        ]
        both(fakes, ["new"], ["new"])
        made.node.sync.round({n: made.dial(n) for n in made.fakes}, made.node._stopping)
        assert not list(tmp_path.glob("tokens-old*"))


def test_a_registry_that_is_away_does_not_retire_an_epoch(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c", people=range(3))
    both(fakes, ["old"], ["old"], ["old"])
    with centre(tmp_path, fakes) as made:
        made.succeed()
        fakes[0].fail("describe")
        fakes[1].fail("describe")
        made.node.sync.round({n: made.dial(n) for n in made.fakes}, made.node._stopping)
        assert list(tmp_path.glob("tokens-old*"))
        status = {each.name: each.state for each in made.node.watch.all()}
        assert status["a"] is RegistryState.UNREACHABLE
