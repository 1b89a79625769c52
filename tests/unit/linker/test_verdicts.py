"""Verdicts outlive linkages; erased people leave no trace; registries are told, now or later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest
from kinlink_core.errors import KinlinkError, NotFoundError, PreconditionError, Reason
from kinlink_linker.domain import Link, LinkageState, Threshold, Verdict
from kinlink_linker.link_query import LinkFilter, LinkOrder
from unit.linker.centre import Centre, centre, person, registries

if TYPE_CHECKING:
    from pathlib import Path


def links(made: Centre, **chosen: object) -> list[Link]:
    page = made.node.links.page(LinkFilter(**chosen), LinkOrder.WEIGHT_DESC, 1000, "")
    return page.links


def sync(made: Centre) -> None:
    made.node.sync.round({name: made.dial(name) for name in made.fakes}, made.node._stopping)


def test_a_rejected_link_leaves_its_person_at_once_and_never_comes_back(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b", people=range(5))) as made:
        made.succeed()
        link = links(made)[0]
        decided = made.node.decide(link.id, Verdict.REJECTED, "not him", "officer")
        assert (decided.linked, decided.person_id, decided.verdict) == (False, "", "REJECTED")
        assert made.node.persons.count() == 4
        for _ in range(2):
            linkage = made.succeed()
            assert (linkage.links, linkage.persons) == (4, 4)
        again = made.node.links.get(link.id).link
        assert again.linkage_id == linkage.id
        assert (again.verdict, again.verdict_reason, again.linked) == (
            Verdict.REJECTED,
            "not him",
            False,
        )


def test_a_decided_pair_is_not_sealed_again_and_its_link_is_carried_over(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(5))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        link = links(made)[0]
        made.node.decide(link.id, Verdict.CONFIRMED, "", "officer")
        assert len(fakes[0].decided_handles()) == 1
        linkage = made.succeed(threshold=Threshold(weight=1_000.0))
        assert sum(each.refused for each in linkage.passes) == 1
        assert linkage.links == 1
        (kept,) = links(made)
        assert (kept.id, kept.verdict, kept.weight) == (link.id, Verdict.CONFIRMED, link.weight)
        assert made.node.explain(link.id).evidence


def test_a_confirmed_pair_below_the_threshold_becomes_a_link(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b", people=range(5))) as made:
        made.succeed(threshold=Threshold(weight=1_000.0))
        link = links(made, include_disclosed=True)[0]
        decided = made.node.decide(link.id, Verdict.CONFIRMED, "", "officer")
        assert decided.linked
        assert decided.person_id
        undone = made.node.decide(link.id, Verdict.UNSURE, "", "officer")
        assert not undone.linked
        assert made.node.persons.count() == 0


def test_a_rejection_that_cuts_nothing_apart_leaves_the_person_whole(tmp_path: Path) -> None:
    with centre(tmp_path, registries("a", "b", "c", people=range(3))) as made:
        made.succeed()
        link = links(made)[0]
        made.node.decide(link.id, Verdict.REJECTED, "", "officer")
        assert made.node.persons.count() == 3
        assert len(links(made, person_id=link.person_id)) == 2


def test_both_registries_are_told_a_verdict(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(3))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        link = links(made)[0]
        made.node.decide(link.id, Verdict.REJECTED, "", "officer")
        for fake in fakes:
            assert fake.published[link.id].verdict == "REJECTED"
            assert fake.published[link.id].person_id == ""


def test_a_registry_that_is_away_is_told_a_verdict_when_it_returns(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(3))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        link = links(made)[0]
        fakes[1].fail("publish")
        made.node.decide(link.id, Verdict.CONFIRMED, "", "officer")
        assert fakes[1].published[link.id].verdict == ""
        fakes[1].before.clear()
        sync(made)
        assert fakes[1].published[link.id].verdict == "CONFIRMED"
        told = fakes[1].calls["publish"]
        sync(made)
        assert fakes[1].calls["publish"] == told


def test_a_notice_that_a_registry_will_not_take_does_not_keep_it_from_linking(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", people=range(3))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        fakes[1].fail("publish", KinlinkError(Reason.INTERNAL))
        made.node.decide(links(made)[0].id, Verdict.CONFIRMED, "", "officer")
        sync(made)
        assert made.node._outbox.waiting("b") == 1
        fakes[1].fail("publish", KinlinkError(Reason.INTERNAL), after=fakes[1].calls["publish"] + 2)
        assert made.succeed().links == 3


def test_notices_of_an_epoch_nobody_serves_any_more_are_dropped(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(3))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        fakes[1].fail("publish", PreconditionError(Reason.EPOCH_UNKNOWN))
        made.node.decide(links(made)[0].id, Verdict.CONFIRMED, "", "officer")
        assert made.node._outbox.waiting("b") == 0


def test_a_link_that_is_not_found_again_no_longer_stands_and_both_sides_learn_it(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", people=range(3))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        gone = next(x for x in links(made) if x.subject_l == fakes[0].subjects["a-1"])
        fakes[0].add("a-1", person(99))
        linkage = made.succeed()
        assert linkage.links == 2
        assert {each.id for each in links(made)} & {gone.id} == set()
        sync(made)
        assert all(gone.id not in fake.published for fake in fakes)
        assert all(any(p.removed for p in fake.publications) for fake in fakes)


def test_deleting_a_record_erases_its_links_evidence_verdicts_and_membership_in_one_sync(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", "c", people=range(3))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        subject = fakes[0].subjects["a-1"]
        doomed = [link for link in links(made) if subject in {link.subject_l, link.subject_r}]
        assert len(doomed) == 2
        made.node.decide(doomed[0].id, Verdict.CONFIRMED, "", "officer")
        fakes[0].delete("a-1")
        sync(made)
        for link in doomed:
            with pytest.raises(NotFoundError):
                made.node.links.get(link.id)
        assert len(links(made)) == 7
        assert made.node.persons.count() == 3
        assert all(link.id not in fakes[1].published for link in doomed[:1])
        store = made.node._store
    with duckdb.connect(str(tmp_path / "linker.duckdb")) as file:
        for table in ("link", "member", "verdict", "outbox"):
            text = str(file.execute(f"SELECT * FROM {table}").fetchall())
            assert str(subject)[2:-1] not in text
            assert doomed[0].id not in text
    assert store.size_bytes > 0


def test_erasing_the_person_in_the_middle_splits_what_it_held_together(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c", people=range(1))
    fakes[0].add("a-0", person(0))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        # Only the middle holds the three together: reject the direct link of the outer two.
        outer = next(x for x in links(made) if (x.registry_l, x.registry_r) == ("a", "c"))
        made.node.decide(outer.id, Verdict.REJECTED, "", "officer")
        assert made.node.persons.count() == 1
        fakes[1].delete("b-0")
        sync(made)
        assert links(made) == []
        assert made.node.persons.count() == 0


def test_a_linkage_under_way_cannot_bring_an_erased_person_back(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(3))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        subject = fakes[0].subjects["a-1"]
        # The subject is erased after this linkage read the feed, while it discloses.
        fakes[1].before["disclose"] = lambda _call: made.node.sync.eraser.erase("a", [subject])
        assert made.succeed().links == 2
        assert all(link.subject_l != subject for link in links(made))


def test_linkages_that_are_no_longer_kept_lose_the_links_that_do_not_stand(
    tmp_path: Path,
) -> None:
    with centre(tmp_path, registries("a", "b", people=range(3)), linkages_kept=2) as made:
        first = made.succeed()
        for _ in range(2):
            made.succeed()
        assert links(made, linkage_id=first.id) == []
        assert len(links(made)) == 3
        assert made.node.linkages.get(first.id).state is LinkageState.SUCCEEDED


def test_a_person_keeps_its_id_over_linkages_and_new_members(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(10))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        before = {link.subject_l: link.person_id for link in links(made)}
        fakes[0].add("late", person(4))
        made.succeed()
        after = {link.subject_l: link.person_id for link in links(made)}
        assert {subject: after[subject] for subject in before} == before
        assert len(set(after.values())) == 10
