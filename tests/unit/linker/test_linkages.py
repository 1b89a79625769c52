"""Linkages end to end over fake registries: what they find, and what they survive."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import (
    BrokenStreamError,
    InvalidInputError,
    NotFoundError,
    PreconditionError,
    QuotaError,
    Reason,
    UnavailableError,
)
from kinlink_linker import collect
from kinlink_linker.domain import LinkageOrder, LinkageState, Threshold
from kinlink_linker.link_query import LinkFilter, LinkOrder
from kinlink_linker.progress import STAGES
from structlog.testing import capture_logs
from unit.linker.centre import MODEL, Centre, centre, person, registries
from unit.linker.fake_registry import FakeRegistry

if TYPE_CHECKING:
    from pathlib import Path

# What is asked at each stage that asks registries for something.
METHODS = ("describe", "feed", "feed_frame", "prove", "sieve", "tags", "seal", "disclose")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "CUT_SECONDS", 0)


def standing(made: Centre, **chosen: object) -> list:
    page = made.node.links.page(LinkFilter(**chosen), LinkOrder.WEIGHT_DESC, 1000, "")
    return page.links


def test_a_linkage_finds_every_shared_person_once(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b", "c")) as made:
        linkage = made.succeed()
        assert tuple(stage.name for stage in linkage.stages) == STAGES
        assert (linkage.persons, linkage.links) == (60, 180)
        links = standing(made)
        assert len(links) == 180
        assert all(link.registry_l < link.registry_r for link in links)
        assert len({link.person_id for link in links}) == 60
        assert linkage.bytes_received["a"] > 0


def test_a_trained_linkage_reports_its_em_iterations_and_keeps_its_model(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(200))
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed(model="")
        assert linkage.links == 200
        assert linkage.em_iterations > 0
        name, body = made.node.models.get("")
        assert name == linkage.id
        assert made.node.models.get(linkage.id) == (linkage.id, body)


def test_different_people_are_not_linked(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(30))
    for who in range(100, 130):
        fakes[0].add(f"more-{who}", person(who))
    with centre(tmp_path, fakes) as made:
        assert made.succeed().links == 30


@pytest.mark.parametrize("method", METHODS)
def test_a_registry_lost_at_any_stage_leaves_a_partial_linkage_of_the_others(
    tmp_path: Path, method: str
) -> None:
    fakes = registries("a", "b", "c")
    fakes[1].fail(method)
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert linkage.state is LinkageState.PARTIAL
        assert [(each.name, each.reason) for each in linkage.missing] == [("b", "UNREACHABLE")]
        assert (linkage.links, linkage.persons) == (60, 60)
        assert all(link.missing == ("b",) for link in standing(made))


@pytest.mark.parametrize("method", ["seal", "disclose", "prove"])
def test_a_registry_lost_in_the_middle_of_a_stage_takes_only_its_own_pairs(
    tmp_path: Path, method: str
) -> None:
    fakes = registries("a", "b", "c")
    fakes[2].fail(method, BrokenStreamError(Reason.STREAM_CUT), after=1)
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert linkage.state is LinkageState.PARTIAL
        assert [(each.name, each.reason) for each in linkage.missing] == [("c", "STREAM_CUT")]
        assert linkage.links == 60


def test_a_registry_lost_while_links_are_published_keeps_its_links(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c")
    fakes[0].fail("publish")
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert linkage.state is LinkageState.PARTIAL
        assert linkage.links == 180
        assert len(fakes[1].published) == 120


@pytest.mark.parametrize("method", METHODS)
def test_with_fewer_than_two_registries_left_a_linkage_fails_and_says_so(
    tmp_path: Path, method: str
) -> None:
    fakes = registries("a", "b")
    fakes[0].fail(method)
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert linkage.state is LinkageState.FAILED
        assert linkage.error_reason == Reason.TOO_FEW_REGISTRIES
        assert "a: UNREACHABLE" in linkage.error_detail
        assert standing(made) == []


def test_a_failed_linkage_can_be_run_again_and_does_not_read_the_feed_twice(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b")
    fakes[0].fail("seal")
    with centre(tmp_path, fakes) as made:
        assert made.link().state is LinkageState.FAILED
        fakes[0].before.clear()
        assert made.succeed().links == 60
        first, second = fakes[1].asked["feed"]
        assert first[2] == 0
        assert second[2] == 120


def test_a_cancelled_linkage_ends_at_once_and_leaves_no_links(tmp_path: Path) -> None:
    fakes = registries("a", "b")
    inside, release = threading.Event(), threading.Event()

    def wait(_call: int) -> None:
        inside.set()
        release.wait(20)

    fakes[0].before["seal"] = wait
    with centre(tmp_path, fakes) as made:
        begun = made.start()
        assert inside.wait(20)
        made.node.linkages.cancel(begun.id)
        assert all(peer.closed.is_set() for peer in made.peers)
        release.set()
        assert made.ended(begun).state is LinkageState.CANCELLED
        assert standing(made) == []
        with pytest.raises(PreconditionError):
            made.node.linkages.cancel(begun.id)


def test_a_linker_that_stops_marks_what_ran_as_failed(tmp_path: Path) -> None:
    fakes = registries("a", "b")
    inside = threading.Event()

    def wait(_call: int) -> None:
        inside.set()
        made.peers[0].closed.wait(20)

    fakes[0].before["seal"] = fakes[1].before["seal"] = wait
    with centre(tmp_path, fakes) as made:
        begun = made.start()
        assert inside.wait(20)
    for fake in fakes:
        fake.before.clear()
    with centre(tmp_path, fakes) as again:
        linkage = again.node.linkages.get(begun.id)
        assert linkage.state is LinkageState.FAILED
        assert linkage.error_reason == Reason.INTERRUPTED
        assert "Start it again" in linkage.error_detail
        assert again.succeed().links == 60


def test_a_killed_linker_finds_its_running_linkage_and_marks_it_failed(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b")) as made:
        order = LinkageOrder(Threshold(), ("a", "b"), MODEL)
        linkage = made.succeed()
        table = made.node.linkages._table
        table.save(replace(linkage, id="running", state=LinkageState.RUNNING, order=order))
    with centre(tmp_path, registries("a", "b")) as again:
        again.node.linkages.recover()
        found = again.node.linkages.get("running")
        assert found.state is LinkageState.FAILED
        assert found.error_reason == Reason.INTERRUPTED
        assert again.node.linkages.get(linkage.id).state is LinkageState.SUCCEEDED


def test_two_linkages_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c")
    with centre(tmp_path, fakes) as made:
        both = [made.start(registries=("a", "b")), made.start(registries=("b", "c"))]
        whole = made.start()
        ended = [made.ended(each) for each in (*both, whole)]
        assert [each.state for each in ended] == [LinkageState.SUCCEEDED] * 3
        assert [each.links for each in ended] == [60, 60, 180]
        assert len(standing(made)) == 180
        assert len({link.person_id for link in standing(made)}) == 60


def test_a_linkage_of_some_registries_leaves_the_links_of_the_others_standing(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", "c")
    with centre(tmp_path, fakes) as made:
        made.succeed()
        persons = {link.person_id for link in standing(made)}
        fakes[0].delete("a-0")
        made.succeed(registries=("a", "b"))
        assert len(standing(made)) == 178
        assert {link.person_id for link in standing(made)} == persons


def test_watching_shows_every_stage_and_ends_with_the_linkage(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b")) as made:
        begun = made.start()
        seen = list(made.node.linkages.watch(begun.id, lambda: False))
        assert seen[-1].state is LinkageState.SUCCEEDED
        assert seen[-1] == made.node.linkages.get(begun.id)


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ({"registries": ("a", "nowhere")}, InvalidInputError),
        ({"registries": ("a",)}, PreconditionError),
        ({"model": "nobody"}, NotFoundError),
        ({"threshold": Threshold(probability=1.5)}, InvalidInputError),
        ({"purpose": "x" * 2000}, InvalidInputError),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(
    tmp_path: Path, order: dict, error: type[Exception]
) -> None:
    with centre(tmp_path, registries("a", "b", people=range(2))) as made:
        with pytest.raises(error):
            made.start(**order)
        assert made.node.linkages.page(10, None) == []


def test_too_many_waiting_linkages_are_refused(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(2))
    hold = threading.Event()
    fakes[0].before["describe"] = lambda _call: hold.wait(20)
    with centre(tmp_path, fakes, linkages_at_once=1) as made:
        begun = [made.start() for _ in range(16)]
        with pytest.raises(QuotaError):
            made.start()
        made.node.linkages.cancel(begun[-1].id)
        hold.set()
        assert made.ended(begun[-1]).state is LinkageState.CANCELLED
        assert made.ended(begun[0]).state is LinkageState.SUCCEEDED


def test_more_candidate_pairs_than_allowed_end_a_linkage_before_anything_is_sealed(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b")
    with centre(tmp_path, fakes, sealed_pairs_max=10) as made:
        linkage = made.link()
        assert linkage.error_reason == Reason.QUOTA_EXCEEDED
        assert fakes[0].calls["seal"] == 0


def test_a_bug_in_one_linkage_ends_only_that_linkage(tmp_path: Path) -> None:
    fakes = registries("a", "b")

    def break_down(_call: int) -> None:
        raise ZeroDivisionError

    fakes[0].before["sieve"] = break_down
    with centre(tmp_path, fakes) as made:
        with capture_logs() as logs:
            assert made.link().error_reason == Reason.INTERNAL
        assert "linkage_broke" in {each["event"] for each in logs}
        fakes[0].before.clear()
        assert made.succeed().links == 60


def test_a_full_disk_fails_the_linkage_with_its_reason_and_blames_no_registry(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", "c", people=range(4))

    def full(_call: int) -> None:
        raise UnavailableError(Reason.DISK_FULL, store="tokens")

    fakes[1].before["feed"] = full
    with centre(tmp_path, fakes) as made:
        linkage = made.link()
        assert linkage.state is LinkageState.FAILED
        assert linkage.error_reason == Reason.DISK_FULL
        assert linkage.missing == ()
        fakes[1].before.clear()
        assert made.succeed().links == 12


def test_a_threshold_in_bits_is_the_same_as_its_probability(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b")) as made:
        by_weight = made.succeed(threshold=Threshold(weight=3.0))
        assert by_weight.threshold_probability == pytest.approx(8 / 9)
        assert made.succeed(threshold=Threshold(probability=8 / 9)).links == by_weight.links


def test_pairs_below_the_threshold_are_disclosed_but_no_links(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b")) as made:
        linkage = made.succeed(threshold=Threshold(weight=1_000.0))
        assert (linkage.links, linkage.persons, linkage.disclosed_pairs) == (0, 0, 60)
        assert standing(made) == []
        shown = standing(made, include_disclosed=True)
        assert len(shown) == 60
        assert {link.person_id for link in shown} == {""}


def test_each_registry_is_told_the_links_that_touch_it(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c")
    with centre(tmp_path, fakes) as made:
        made.succeed()
        told = fakes[1].published
        assert len(told) == 120
        link = next(iter(told.values()))
        assert link.subject in fakes[1].subjects.values()
        assert link.partner in {"a", "c"}
        assert link.own_handle in fakes[1].handles
        assert link.person_id


def test_the_audit_of_counts_adds_up(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b", "c")) as made:
        for counts in made.succeed().passes:
            assert counts.pairs == sum(
                (counts.sieved_out, counts.repeated, counts.sealed, counts.refused)
            )
            assert counts.islands > 0
            assert counts.tokens == 180


def test_registries_that_cannot_be_dialled_are_a_failure_with_a_reason(tmp_path: Path) -> None:
    fakes = [FakeRegistry("a"), FakeRegistry("b")]
    with centre(tmp_path, fakes) as made:
        linkage = made.succeed()
        assert (linkage.links, linkage.candidate_pairs) == (0, 0)
