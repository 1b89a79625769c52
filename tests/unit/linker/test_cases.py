"""Cases are a family's notice with its candidates; a pair that was ruled out stays out of them.

Unless its evidence changes: then it comes back, marked with the fields that changed.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import InvalidInputError, NotFoundError, Reason
from kinlink_core.wire import Side
from kinlink_linker.case_table import CANDIDATES_PAGE_MAX, CaseFilter
from kinlink_linker.domain import Case, Link, PairState, RuledOutBy, Seeker, Verdict
from kinlink_linker.link_query import LinkFilter, LinkOrder
from unit.linker.centre import Centre, centre, person, registries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unit.linker.fake_registry import FakeRegistry


def two_sides(*names: str, people: range, seeking: str = "a") -> list[FakeRegistry]:
    """Registries of which one holds the families' notices."""
    fakes = registries(*names, people=people)
    for fake in fakes:
        fake.side = Side.WANTS if fake.name == seeking else Side.SHOWS
    return fakes


def links(made: Centre, **chosen: object) -> list[Link]:
    chosen.setdefault("include_disclosed", True)
    return made.node.links.page(LinkFilter(**chosen), LinkOrder.WEIGHT_DESC, 1000, "").links


def cases(made: Centre, **chosen: object) -> list[Case]:
    return made.node.cases.page(CaseFilter(**chosen), LinkOrder.WEIGHT_DESC, 0, "").cases


def reject(made: Centre, link: Link) -> Link:
    return made.node.decide(link.id, Verdict.REJECTED, "", "officer", RuledOutBy.BIRTH)


def becomes(check: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not check():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("seeking", ["a", "b"])
def test_a_case_is_the_familys_notice_on_whichever_side_of_the_link_it_is(
    tmp_path: Path, seeking: str
) -> None:
    fakes = two_sides("a", "b", people=range(4), seeking=seeking)
    with centre(tmp_path, fakes) as made:
        made.succeed()
        family = next(fake for fake in fakes if fake.name == seeking)
        found = cases(made)
        assert {each.registry for each in found} == {seeking}
        assert {each.subject for each in found} == set(family.subjects.values())
        assert [each.candidates for each in found] == [1] * 4
        wanted = Seeker.LEFT if seeking == "a" else Seeker.RIGHT
        assert {link.seeker for link in links(made)} == {wanted}
        page = made.node.cases.get(seeking, found[0].subject)
        assert page.case == found[0]
        assert page.candidates[0].link.weight == found[0].best_weight
        assert found[0].newest_at == page.candidates[0].link.created_at


def test_without_sides_and_where_registries_contradict_each_other_there_is_no_case(
    tmp_path: Path,
) -> None:
    fakes = registries("a", "b", "c", people=range(3))
    fakes[0].side = fakes[1].side = Side.WANTS
    with centre(tmp_path, fakes) as made:
        made.succeed()
        assert len(links(made)) == 9
        assert cases(made) == []
        assert made.node.cases.count() == (0, 0)


def test_candidates_of_a_case_are_ranked_and_paged_and_a_page_is_bounded(tmp_path: Path) -> None:
    fakes = two_sides("a", "b", "c", "d", people=range(2))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        first, second = cases(made)
        assert first.candidates == second.candidates == 3
        one = made.node.explain_case("a", first.subject, size=2)
        rest = made.node.explain_case("a", first.subject, size=2, token=one.page.next_token)
        assert (one.page.first_rank, rest.page.first_rank, one.page.total) == (1, 3, 3)
        assert rest.page.next_token == ""
        shown = [each.link for each in (*one.candidates, *rest.candidates)]
        assert [each.weight for each in shown] == sorted(
            (each.weight for each in shown), reverse=True
        )
        assert {each.registry_r for each in shown} == {"b", "c", "d"}
        assert all(each.evidence for each in one.candidates)
        # A token is for the list it was given out for.
        with pytest.raises(InvalidInputError):
            made.node.cases.get("a", second.subject, token=one.page.next_token)
        for token in ("nonsense", "x" * 5_000):
            with pytest.raises(InvalidInputError):
                made.node.cases.get("a", first.subject, token=token)
        assert CANDIDATES_PAGE_MAX == 50
        page = made.node.cases.page(CaseFilter(), LinkOrder.WEIGHT_DESC, 1, "")
        assert (len(page.cases), page.total) == (1, 2)
        again = made.node.cases.page(CaseFilter(), LinkOrder.WEIGHT_DESC, 1, page.next_token)
        assert [*page.cases, *again.cases] == [first, second]
        assert again.next_token == ""


def test_a_registry_is_shown_its_own_pairs_of_a_case_and_no_others(tmp_path: Path) -> None:
    fakes = two_sides("a", "b", "c", people=range(2))
    with centre(tmp_path, fakes) as made:
        made.succeed()
        assert [each.candidates for each in cases(made, touching="b")] == [1, 1]
        (case, _) = cases(made)
        page = made.node.cases.get("a", case.subject, touching="c")
        assert [each.link.registry_r for each in page.candidates] == ["c"]
        assert page.case.candidates == 1
        with pytest.raises(NotFoundError) as caught:
            made.node.cases.get("a", case.subject, touching="d")
        assert caught.value.reason is Reason.CASE_NOT_FOUND
        # The found notice of a pair is nobody's case.
        with pytest.raises(NotFoundError):
            made.node.cases.get("b", page.candidates[0].link.subject_r)
        assert cases(made, registry="b") == []


def test_a_case_closes_with_a_confirmed_pair_and_goes_with_its_last_candidate(
    tmp_path: Path,
) -> None:
    with centre(tmp_path, two_sides("a", "b", people=range(3))) as made:
        made.succeed()
        one, other, _ = links(made)
        made.node.decide(one.id, Verdict.CONFIRMED, "", "officer")
        reject(made, other)
        assert one.subject_l not in {each.subject for each in cases(made)}
        kept = cases(made, include_confirmed=True)
        assert {each.subject: each.confirmed for each in kept}[one.subject_l] == 1
        assert other.subject_l not in {each.subject for each in kept}
        page = made.node.cases.get("a", other.subject_l, states=(PairState.RULED_OUT,))
        assert (page.case.candidates, page.case.ruled_out, page.total) == (0, 1, 1)
        assert made.node.cases.count() == (1, 1)


def test_a_pair_that_was_ruled_out_is_shown_to_who_asks_with_its_code_who_and_when(
    tmp_path: Path,
) -> None:
    with centre(tmp_path, two_sides("a", "b", people=range(3))) as made:
        made.succeed()
        link = links(made)[0]
        reject(made, link)
        assert link.id not in {each.id for each in links(made)}
        for chosen in ({"states": (PairState.RULED_OUT,)}, {"verdicts": (Verdict.REJECTED,)}):
            (shown,) = links(made, **chosen)
            assert (shown.id, shown.state) == (link.id, PairState.RULED_OUT)
            assert (shown.ruled_out_by, shown.verdict_by) == (RuledOutBy.BIRTH, "officer")
            assert shown.verdict_at is not None
            assert shown.changed_fields == ()
        assert made.node.links.states() == {
            PairState.OPEN: 2, PairState.UNSURE: 0, PairState.CONFIRMED: 0,
            PairState.RULED_OUT: 1, PairState.RETURNED: 0,
        }  # fmt: skip


def moved(who: int) -> object:
    """The same person in another place."""
    return replace(person(who), place="zz")


@pytest.mark.parametrize("standing", [0, 1], ids=["linkage", "standing"])
def test_a_ruled_out_pair_comes_back_when_its_evidence_changed_and_only_then(
    tmp_path: Path, standing: int
) -> None:
    fakes = two_sides("a", "b", people=range(4))
    with centre(tmp_path, fakes, standing=standing) as made:
        if standing:
            made.node.start(3600)
        made.succeed()
        link = next(each for each in links(made) if each.subject_l == fakes[0].subjects["a-1"])
        reject(made, link)

        def again() -> Link:
            return made.node.links.get(link.id).link

        def look(done: Callable[[], bool]) -> None:
            becomes(done) if standing else made.succeed()
            assert done()

        # A record that says the same in another version is compared anew, and the pair stays out.
        told = len(fakes[0].publications)
        fakes[0].add("a-1", person(1))
        look(lambda: len(fakes[0].publications) > told)
        assert again().state is PairState.RULED_OUT
        assert not again().linked
        assert fakes[0].published[link.id].verdict == "REJECTED"
        # Another place: it is back, marked, with the verdict as its history.
        fakes[1].add("b-1", moved(1))
        look(lambda: again().state is PairState.RETURNED)
        back = again()
        assert back.changed_fields == ("place",)
        assert (back.verdict, back.ruled_out_by) == (Verdict.REJECTED, RuledOutBy.BIRTH)
        assert back.linked
        assert back.person_id
        assert back.id in {each.id for each in links(made)}
        assert back.id in {each.id for each in links(made, undecided_only=True)}
        for fake in fakes:
            becomes(lambda fake=fake: fake.published[link.id].verdict == "UNSURE")
        case = made.node.cases.get("a", link.subject_l).case
        assert (case.candidates, case.returned, case.ruled_out) == (1, 1, 0)
        # As it was decided on once more: out again.
        fakes[1].add("b-1", person(1))
        look(lambda: again().state is PairState.RULED_OUT)
        assert not again().linked
        # Back, and ruled out on what it is now.
        fakes[1].add("b-1", moved(1))
        look(lambda: again().state is PairState.RETURNED)
        assert reject(made, again()).state is PairState.RULED_OUT
        assert fakes[1].published[link.id].verdict == "REJECTED"


def test_a_returned_pair_that_is_no_longer_found_falls_and_is_still_known_when_it_comes_again(
    tmp_path: Path,
) -> None:
    fakes = two_sides("a", "b", people=range(3))
    with centre(tmp_path, fakes, linkages_kept=1) as made:
        made.succeed()
        link = next(each for each in links(made) if each.subject_l == fakes[0].subjects["a-1"])
        reject(made, link)
        fakes[1].add("b-1", moved(1))
        made.succeed()
        assert made.node.links.get(link.id).link.state is PairState.RETURNED
        fakes[1].add("b-1", person(77))
        for _ in range(3):
            made.succeed()
        assert link.id not in {each.id for each in links(made, states=tuple(PairState))}
        fakes[1].add("b-1", person(1))
        made.succeed()
        known = made.node.links.get(link.id).link
        assert (known.state, known.ruled_out_by) == (PairState.RULED_OUT, RuledOutBy.BIRTH)
        assert link.id not in {each.id for each in links(made)}
        fakes[0].delete("a-1")
        made.succeed()
        with made.node._store.reading() as cursor:
            assert cursor.execute("SELECT count(*) FROM verdict").fetchall() == [(0,)]
