"""A real linker and real registries over mutual TLS: link, look, decide, delete, lose one."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from kinlink.linker.v1 import linker_pb2 as pb
from kinlink.linker.v1 import linker_pb2_grpc
from kinlink.registry.v1 import registry_pb2
from support.servers import dialling
from unit.linker.federation import (
    RealFederation,
    federation,
    serve_registry,
    serving_linker,
    write_linker_home,
)
from unit.registry.rig import must, person, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHARES = {"anhui": range(60), "gansu": range(30, 90), "sichuan": range(50, 110)}
# How many people two registries share: anhui-gansu, anhui-sichuan, gansu-sichuan.
SHARED = 30 + 10 + 40


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFederation]:
    with federation(tmp_path_factory.mktemp("federation"), SHARES) as made:
        linkage = made.link("--purpose", "rehearsal")
        assert linkage["state"] == "LINKAGE_STATE_SUCCEEDED", linkage
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Iterator[RealFederation]:
    with federation(
        tmp_path, {"anhui": range(40), "gansu": range(40), "sichuan": range(40)}
    ) as made:
        yield made


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def links(made: RealFederation, *arguments: str) -> list[dict[str, Any]]:
    return documents(made.must("links", "list", "--all", *arguments))


def decide(made: RealFederation, link: str, verdict: int) -> pb.Link:
    tls = made.rig.federation.tls("gateway", "gateway")
    with dialling(made.address, tls, "linker", "linker") as channel:
        stub = linker_pb2_grpc.LinkerServiceStub(channel)
        request = pb.DecideLinkRequest(id=link, verdict=verdict, decided_by="li", reason="why")
        return stub.DecideLink(request, timeout=60).link


def local_links(made: RealFederation, name: str) -> str:
    return must(made.rig.homes[name], "links", "--json")


def test_everyone_two_registries_share_is_found_and_nobody_else(linked: RealFederation) -> None:
    found = links(linked)
    assert len(found) == SHARED
    assert len({link["person_id"] for link in found}) == 60
    (linkage,) = documents(linked.must("linkages", "--json"))
    assert int(linkage["links"]) == SHARED
    assert int(linkage["em_iterations"]) > 0
    assert set(linkage["bytes_received"]) == set(SHARES)
    assert all(int(count) > 0 for count in linkage["bytes_received"].values())
    assert [each["name"] for each in linkage["stages"]][-1] == "publish"


def test_a_registry_finds_its_own_people_in_the_links_it_was_told(linked: RealFederation) -> None:
    for name, expected in (("anhui", 40), ("gansu", 70), ("sichuan", 50)):
        text = local_links(linked, name)
        assert text.count('"link_id"') == expected or len(text.splitlines()) >= expected


def test_an_operator_reads_links_evidence_models_and_registries(linked: RealFederation) -> None:
    table = linked.must("links", "list", "--limit", "3")
    assert f"3 of {SHARED}" in table
    best = links(linked)[0]
    shown = linked.must("links", "show", best["id"])
    assert "(prior)" in shown
    assert "= weight" in shown
    evidence = json.loads(linked.must("links", "show", best["id"], "--json"))
    total = evidence["prior_weight"] + sum(each["weight"] for each in evidence["evidence"])
    assert total == pytest.approx(best["match_weight"])
    model = linked.must("model", "show")
    assert "name_birth" in model
    states = documents(linked.must("registries", "--json"))
    assert {each["state"] for each in states} == {"REGISTRY_STATE_READY"}
    assert all(int(each["lag"]) == 0 for each in states)
    assert "ready" in linked.must("registries")
    assert "succeeded" in linked.must("linkages")


def test_an_operator_reads_what_a_linkage_is_expected_to_be_worth(linked: RealFederation) -> None:
    (linkage,) = documents(linked.must("linkages", "--json"))
    found = json.loads(linked.must("quality", linkage["id"], "--json"))
    assert int(found["linked"]["links"]) == pytest.approx(SHARED, abs=5)
    assert [each["registry"] for each in found["registries"]] == sorted(SHARES)
    # So few that no share is said.
    assert "precision" not in found["linked"]
    shown = linked.must("quality", linkage["id"])
    assert "Too few matches were compared to say what the passes missed." in shown
    assert "Registries with each partner" in shown


def test_a_saved_model_is_loaded_and_scores_alike(linked: RealFederation, tmp_path: Path) -> None:
    before = {link["id"]: link["match_weight"] for link in links(linked)}
    file = tmp_path / "kept.json"
    linked.must("model", "save", str(file))
    assert "kept" in linked.must("model", "load", str(file))
    linkage = linked.link("--model", "kept", "--threshold", "0.9")
    assert linkage["threshold_probability"] == pytest.approx(0.9)
    after = {link["id"]: link["match_weight"] for link in links(linked)}
    assert after == pytest.approx(before)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["link", "--threshold", "0.5", "--weight", "3"], 2, "not both"),
        (["link", "--threshold", "7"], 2, "range"),
        (["link", "--registry", "nowhere"], 2, "nowhere"),
        (["link", "--model", "nobody"], 1, "no model"),
        (["links", "show", "nothing"], 1, "no link"),
        (["cancel", "nothing"], 1, "no linkage"),
        (["model", "load", "/nonexistent"], 2, "cannot be read"),
    ],
)
def test_commands_say_what_is_wrong_in_one_line(
    linked: RealFederation, arguments: list[str], code: int, told: str
) -> None:
    result = linked.cli(*arguments)
    assert result.exit_code == code, result.output
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_a_verdict_keeps_its_pair_from_being_sealed_again(small: RealFederation) -> None:
    assert int(small.link()["links"]) == 120
    rejected, confirmed = links(small)[:2]
    assert not decide(small, rejected["id"], registry_pb2.VERDICT_REJECTED).linked
    assert decide(small, confirmed["id"], registry_pb2.VERDICT_CONFIRMED).linked
    assert "rejected" in local_links(small, rejected["registry_l"]).lower()
    again = small.link("--threshold", "0.9")
    assert int(again["links"]) == 119
    # Both passes of both pairs were refused, by both registries.
    assert sum(int(each["refused"]) for each in again["passes"]) == 4
    shown = {link["id"]: link for link in links(small, "--include-disclosed")}
    assert rejected["id"] not in shown
    shown |= {link["id"]: link for link in links(small, "--state", "ruled_out")}
    assert shown[rejected["id"]]["verdict"] == "VERDICT_REJECTED"
    assert shown[rejected["id"]]["linked"] is False
    assert shown[confirmed["id"]]["match_weight"] == confirmed["match_weight"]


def test_people_deleted_or_withdrawn_leave_links_persons_and_the_partners(
    small: RealFederation,
) -> None:
    small.link()
    gone = write_csv(small.rig.directory / "gone.csv", [person(7)])
    must(small.rig.homes["anhui"], "ingest", "--delete", gone)
    linkage = small.link()
    assert (int(linkage["links"]), int(linkage["persons"])) == (118, 40)
    assert len(links(small)) == 118
    for name, expected in (("anhui", 78), ("gansu", 79), ("sichuan", 79)):
        assert count_links(local_links(small, name)) == expected


def count_links(text: str) -> int:
    try:
        return len(json.loads(text))
    except json.JSONDecodeError:
        return len(documents(text))


def test_a_changed_record_is_linked_by_what_it_is_now(small: RealFederation) -> None:
    small.link()
    before = {link["id"] for link in links(small)}
    small.rig.fill(small.rig.homes["anhui"], [{**person(3), "postcode": "1"}])
    linkage = small.link()
    assert int(linkage["links"]) == 120
    assert {link["id"] for link in links(small)} == before


def test_a_registry_with_another_secret_is_refused_by_name_and_the_others_link(
    tmp_path: Path,
) -> None:
    shares = {"anhui": range(20), "gansu": range(20)}
    with federation(tmp_path, shares, serve=False) as made:
        stranger = made.rig.registry("sichuan")
        must(stranger, "keys", "create", "2026-11")
        made.rig.fill(stranger, [person(number) for number in range(20)])
        with ExitStack() as stack:
            made.served["sichuan"] = serve_registry(stack, stranger)
            write_linker_home(made)
            made.linker = stack.enter_context(serving_linker(made.linker_home))
            linkage = made.link()
            assert linkage["state"] == "LINKAGE_STATE_PARTIAL"
            (missing,) = linkage["missing_registries"]
            assert (missing["name"], missing["reason"]) == ("sichuan", "SECRET_DIFFERS")
            assert int(linkage["links"]) == 20
            states = {each["name"]: each for each in documents(made.must("registries", "--json"))}
            assert states["sichuan"]["state"] == "REGISTRY_STATE_REFUSED"
            # With only the stranger left to link with, it fails, and says so on stderr too.
            result = made.cli("link", "--registry", "anhui", "--registry", "sichuan")
            assert result.exit_code == 1
            assert "SECRET_DIFFERS" in result.output


def test_a_linker_that_was_restarted_goes_on_with_its_tokens_and_links(tmp_path: Path) -> None:
    shares = {"anhui": range(20), "gansu": range(20)}
    with federation(tmp_path, shares, serve=False) as made:
        with serving_linker(made.linker_home) as made.linker:
            first = made.link()
            assert int(first["links"]) == 20
        with serving_linker(made.linker_home) as made.linker:
            assert len(links(made)) == 20
            again = made.link()
            assert int(again["links"]) == 20
