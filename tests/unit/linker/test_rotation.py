"""What lasts over a change of the epoch, and what becomes of a registry that is revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest
from kinlink_core.errors import InvalidInputError
from kinlink_linker.domain import Link, LinkageState, PairState, RegistryState, Threshold, Verdict
from kinlink_linker.link_query import LinkFilter, LinkOrder
from unit.linker.centre import Centre, centre, person, registries
from unit.linker.fake_registry import EPOCH, FakeRegistry

if TYPE_CHECKING:
    from pathlib import Path

NEW = "2026-12"


def links(made: Centre, **chosen: object) -> dict[str, Link]:
    page = made.node.links.page(LinkFilter(**chosen), LinkOrder.WEIGHT_DESC, 1000, "")
    return {link.id: link for link in page.links}


def sync(made: Centre) -> None:
    peers = {name: made.dial(name) for name in made.fakes}
    made.node.sync.round(peers, made.node._stopping)


def rotate(fakes: list[FakeRegistry]) -> None:
    for fake in fakes:
        fake.epochs = [NEW, EPOCH]


def test_links_verdicts_and_persons_last_over_a_rotation(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(6))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        before = links(made)
        confirmed, rejected = list(before)[:2]
        made.node.decide(confirmed, Verdict.CONFIRMED, "", "officer")
        made.node.decide(rejected, Verdict.REJECTED, "", "officer")
        rotate(fakes)
        linkage = made.succeed(threshold=Threshold(weight=-5.0))
        assert (linkage.epoch, linkage.links) == (NEW, 5)
        after = links(made, include_disclosed=True, states=tuple(PairState))
        assert after.keys() == before.keys()
        assert after[rejected].state is PairState.RULED_OUT
        assert all(after[each].person_id == before[each].person_id for each in after
                   if each != rejected)  # fmt: skip
        assert after[confirmed].verdict is Verdict.CONFIRMED
        assert (after[rejected].verdict, after[rejected].linked) == (Verdict.REJECTED, False)
        # Both decided pairs were refused, not sealed again; the rest of each pass was.
        assert sum(each.refused for each in linkage.passes) == 2
        assert made.node.explain(confirmed).evidence
        # Carried over, they are told under the epoch that registries serve.
        for fake in fakes:
            fake.epochs = [NEW]
        made.node.decide(confirmed, Verdict.UNSURE, "", "officer")
        assert fakes[0].published[confirmed].verdict == "UNSURE"


def test_links_of_the_old_epoch_stand_until_one_of_the_new_covers_their_registries(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", "c", people=range(4))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        before = links(made)
        rotate(fakes)
        fakes[2].fail("seal")
        linkage = made.link()
        assert (linkage.state, linkage.epoch) == (LinkageState.PARTIAL, NEW)
        after = links(made)
        assert after.keys() == before.keys()
        stale = {each.id for each in after.values() if each.linkage_id != linkage.id}
        assert {each.id for each in after.values() if "c" in _ends(each)} == stale
        assert {each.person_id for each in after.values()} == {
            each.person_id for each in before.values()
        }


def test_a_person_deleted_after_a_rotation_is_erased_in_one_sync(tmp_path: Path) -> None:
    fakes = registries("a", "b", people=range(4))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        doomed = next(iter(links(made)))
        made.node.decide(doomed, Verdict.CONFIRMED, "", "officer")
        rotate(fakes)
        made.succeed()
        subject = links(made)[doomed].subject_l
        fakes[0].delete(next(k for k, v in fakes[0].subjects.items() if v == subject))
        sync(made)
        assert doomed not in links(made, include_disclosed=True)
        made.succeed()
        assert doomed not in links(made, include_disclosed=True)


def test_two_registries_of_which_one_refuses_the_other_keep_their_links_and_link_with_the_rest(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", "c", people=range(4))
    with centre(tmp_path, fakes) as made:
        first = made.succeed()
        before = links(made)
        fakes[0].revoked = {"b"}
        fakes[0].add("a-late", person(50))
        fakes[2].add("c-late", person(50))
        linkage = made.succeed()
        after = links(made)
        apart = {each.id for each in before.values() if _ends(each) == {"a", "b"}}
        assert {each.id for each in after.values() if each.linkage_id == first.id} == apart
        assert len(after) == len(before) + 1
        assert linkage.links == 2 * 4 + 1


def test_a_revoked_registry_is_not_asked_its_tokens_go_and_its_links_stay_marked(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", "c", people=range(4))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        before = links(made)
    path = tmp_path / f"tokens-{EPOCH}.duckdb"
    # A half, as a column of whole numbers holds it.
    handles = [handle[:8] for handle in fakes[2].handles]
    assert sum(low in path.read_bytes() for low in handles) > 0
    with centre(tmp_path, fakes[:2]) as made:
        sync(made)
        after = links(made)
        assert after.keys() == before.keys()
        for each in after.values():
            assert each.revoked == (("c",) if "c" in _ends(each) else ())
            assert each.person_id == before[each.id].person_id
        states = {each.name: each.state for each in made.node.watch.all()}
        assert states["c"] is RegistryState.REVOKED
        assert states["a"] is RegistryState.READY
        # Linkages among the others leave what it had alone.
        made.succeed()
        assert links(made).keys() == before.keys()
        with pytest.raises(InvalidInputError):
            made.start(registries=("a", "c"))
        # A person who is deleted still takes the links with the revoked registry along.
        fakes[0].delete("a-1")
        sync(made)
        assert sum("c" in _ends(each) for each in links(made).values()) == 2 * 4 - 1
    assert not any(low in path.read_bytes() for low in handles)
    with duckdb.connect(str(path)) as file:
        assert file.execute("SELECT name FROM registry ORDER BY 1").fetchall() == [("a",), ("b",)]
        assert file.execute("SELECT count(*) FROM token").fetchall() == [(2 * 8 - 2,)]


def test_a_registry_that_retired_an_epoch_leaves_no_token_of_it(tmp_path: Path) -> None:
    fakes = registries("a", "b", "c", people=range(4))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        rotate(fakes)
        made.succeed()
        fakes[0].epochs = [NEW]
        sync(made)
        with made.node._files.borrowed(EPOCH) as file:
            assert file.registries() == ["b", "c"]
        fakes[1].epochs = [NEW]
        sync(made)
        assert made.node._files.epochs() == [NEW]


def _ends(link: Link) -> set[str]:
    return {link.registry_l, link.registry_r}
