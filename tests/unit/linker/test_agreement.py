"""Registries that differ are refused by name and reason; the others agree on an epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from kinlink_linker.conformity import encoding_faults
from kinlink_linker.domain import LinkageState, RegistryState
from kinlink_linker.peer import PeerProfile
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


@pytest.mark.parametrize(
    ("parts", "reason", "said"),
    [
        ({"pinyin": "0.56", "sketch/name": "2"}, "ENCODING_DIFFERS",
         "in: the pinyin table, the sketch of field name."),
        ({"unicode": "15.1"}, "ENCODING_DIFFERS", "in: Unicode data."),
        ({"blocking/name": "2"}, "ENCODING_DIFFERS", "in: blocking pass name."),
        ({"key-server/name": "2"}, "ENCODING_DIFFERS", "the same key server"),
    ],
)  # fmt: skip
def test_a_registry_that_encodes_otherwise_is_refused_with_the_name_of_the_part(
    tmp_path: Path, parts: dict[str, str], reason: str, said: str
) -> None:
    fakes = registries("a", "b", "c", people=range(4))
    if "key-server/name" in parts:
        for fake in fakes:
            fake.parts["key-server/name"] = "1"
    fakes[1].parts |= parts
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert [(each.name, each.reason) for each in linkage.missing] == [("b", reason)]
        assert "between b and a, c" in linkage.missing[0].detail
        assert said in linkage.missing[0].detail
        status = {each.name: each for each in made.node.watch.all()}
        assert (status["b"].reason, status["b"].detail) == (reason, linkage.missing[0].detail)
        assert status["a"].detail == ""
        assert fakes[1].calls["feed"] == 0


def test_a_registry_of_another_schema_is_told_in_which_parts_it_differs(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c", people=range(4))
    fakes[1].fingerprint = "0" * 64
    fakes[1].parts["blocking/name"] = "another transform"
    with centre(tmp_path, fakes) as made:
        (missing,) = made.link().missing
        assert (missing.name, missing.reason) == ("b", "SCHEMA_DIFFERS")
        assert missing.detail.endswith("It differs from a in: blocking pass name.")


def test_two_that_encode_differently_are_both_refused_and_the_part_is_named(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", people=range(3))
    fakes[1].parts["pinyin"] = "0.56"
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert {each.reason for each in linkage.missing} == {"ENCODING_DIFFERS"}
        assert "the pinyin table" in linkage.missing[0].detail
        assert "Neither side has a majority" in linkage.missing[0].detail


def test_a_registry_of_an_older_release_that_names_no_parts_links_by_its_canary() -> None:
    profile = PeerProfile("f", "s", "v1", "plain", "e", b"canary", (("secret", b"1"),))
    older = replace(profile, parts=())
    assert encoding_faults({"a": profile, "b": older, "c": profile}, "e") == {}
    faults = encoding_faults({"a": profile, "b": replace(older, canary=b"x"), "c": profile}, "e")
    assert list(faults) == ["b"]
    assert faults["b"].reason == "SECRET_DIFFERS"


def test_a_registry_that_does_not_allow_the_purpose_is_missing_but_not_refused_as_such(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", "c", people=range(4))
    fakes[1].purposes = ("family-search",)
    with centre(tmp_path, fakes) as made:
        linkage = made.link(purpose="statistics")
        assert [(each.name, each.reason) for each in linkage.missing] == [("b", "PURPOSE_REFUSED")]
        assert fakes[1].calls["feed"] == 0
        assert made.succeed(purpose="family-search").missing == ()
        errand = fakes[1].asked["describe"][-1]
        assert errand.purpose == "family-search"
        made.link(purpose="statistics")
        status = {each.name: each for each in made.node.watch.all()}
        assert status["b"].state is RegistryState.READY


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
