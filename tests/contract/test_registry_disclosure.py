"""What a registry gives away of whom, to whom and for what: its own policy, whatever is asked."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink_core.errors import PreconditionError, QuotaError, Reason
from kinlink_core.wire import FeedEvent, Refusal
from unit.registry.rig import Linker, Meeting, Rig, meet, must, people, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_core.wire import DisclosedRows

SHARED = range(8)


@contextmanager
def two_registries(
    directory: Path, *, toml: str = "", shared: range = SHARED
) -> Iterator[tuple[Rig, Linker, Linker]]:
    """Two serving registries with the same people; the first one's policy is `toml`."""
    rig = Rig(directory)
    homes = rig.registry("anhui", toml=toml), rig.registry("sichuan")
    rig.share(*homes)
    with ExitStack() as stack:
        linkers = []
        for home in homes:
            rig.fill(home, people(*shared))
            linkers.append(stack.enter_context(rig.linker(home)))
        yield rig, linkers[0], linkers[1]


def asked(met: Meeting, *, weight: float = 9.0, rows: slice = slice(None)) -> DisclosedRows:
    """Ask the left registry for subjects of pairs."""
    tags = met.right.sieve(met.to_right, tags=True).record_tag
    ask = met.to_left
    return met.left.disclose(ask.card, ask.own[rows], ask.theirs[rows], tags[rows], weight)


def approvals(home: Path, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(must(home, "approvals", "list", "--json", *options))
    return found


def actions(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]


def pinned(linker: Linker) -> list[tuple[int, int, int, int]]:
    """What was drawn at random with partners: round, place, record and version."""
    with linker.node.vault.reading() as session:
        return session.rows("SELECT round_rows, position, ref, version FROM chance ORDER BY ALL")


def link_of(met: Meeting, subject: bytes, row: int) -> pb.PublishedLink:
    return pb.PublishedLink(
        link_id=f"link-{row}",
        subject=subject,
        partner="sichuan",
        partner_subject=bytes(16),
        match_weight=12.5,
        match_probability=0.99,
        person_id=f"person-{row}",
        own_handle=met.to_left.own[row].tobytes(),
        partner_handle=met.to_left.theirs[row].tobytes(),
    )


def test_a_hidden_person_is_in_no_feed_and_comes_back_with_nothing_known(tmp_path: Path) -> None:
    with two_registries(tmp_path) as (rig, left, right):
        home = left.node.home.root
        met = meet(left, right)
        subjects = asked(met).subjects
        for row, subject in enumerate(subjects):
            left.publish(link_of(met, subject.tobytes(), row))
        before = left.feed()
        (seen,) = json.loads(must(home, "links", "--id", "p3", "--json"))
        assert "Changed 1; 0 of the ids" in must(home, "protect", "p3", "--hidden")
        after = left.feed()
        gone = before.handles() - after.handles()
        assert gone == after.handles(FeedEvent.HANDLE_RETIRED)
        assert len(after.handles(FeedEvent.SUBJECT_RETIRED)) == 1
        assert must(home, "links", "--id", "p3").strip() == "No links of this person."
        assert max(left.seal(met.to_left).refusal.tolist()) == Refusal.RETIRED_HANDLE
        assert left.profile().records == len(SHARED) - 1
        # Loaded again, withdrawn and granted: hidden all the same.
        rig.fill(home, [{**people(3)[0], "postcode": "9999"}])
        must(home, "consent", "withdraw", "p3")
        must(home, "consent", "grant", "p3")
        assert left.feed().handles() == after.handles()
        must(home, "consent", "withdraw", "p3")
        must(home, "unprotect", "p3")
        assert left.feed().handles() == after.handles()
        must(home, "consent", "grant", "p3")
        assert len(left.feed().handles()) == len(before.handles())
        again = asked(meet(left, right))
        assert not again.refusal.any()
        assert seen["link_id"].removeprefix("link-").isdigit()
        old = {row.tobytes() for row in subjects}
        assert len(old - {row.tobytes() for row in again.subjects}) == 1


def test_what_waits_for_an_officer_is_answered_like_a_weight_that_is_too_low(
    tmp_path: Path,
) -> None:
    toml = "[policy]\ndisclosure_weight_min = 4.0\n"
    with two_registries(tmp_path, toml=toml) as (_, left, right):
        home = left.node.home.root
        left.purpose = "family-search"
        must(home, "protect", "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "--approval")
        met = meet(left, right)
        protected = asked(met)
        must(home, "unprotect", *(f"p{number}" for number in SHARED))
        too_low = asked(met, weight=3.9)
        assert protected.message() == too_low.message()
        assert set(protected.refusal.tolist()) == {Refusal.WITHHELD}
        assert not protected.subjects.any()
        assert approvals(home) == []
        assert not asked(met).refusal.any()


def test_an_officer_approves_one_pair_and_the_next_ask_gets_it(tmp_path: Path) -> None:
    with two_registries(tmp_path) as (_, left, right):
        home = left.node.home.root
        left.purpose = "family-search"
        assert "Changed 2; 1 of the ids have no record" in must(
            home, "protect", "p3", "stranger", "--approval"
        )
        met = meet(left, right)
        first = asked(met, weight=11.0)
        (row,) = np.flatnonzero(first.refusal == Refusal.WITHHELD)
        assert asked(met, weight=11.0).refusal[row] == Refusal.WITHHELD
        (waiting,) = approvals(home)
        assert (waiting["local_id"], waiting["partner"]) == ("p3", "sichuan")
        assert (waiting["purpose"], waiting["linker"]) == ("family-search", "linker")
        assert (waiting["state"], waiting["match_weight"]) == ("waiting", 11.0)
        assert "p3" in must(home, "approvals", "list")
        assert "1 disclosures wait" in must(home, "status")
        must(home, "approvals", "deny", waiting["id"])
        assert asked(met).refusal[row] == Refusal.WITHHELD
        assert approvals(home) == []
        must(home, "approvals", "approve", waiting["id"])
        granted = asked(met)
        assert not granted.refusal.any()
        assert [each["state"] for each in approvals(home, "--all")] == ["approved"]
        # Denied after all: the subject and its link are withdrawn, and not given again.
        left.publish(link_of(met, granted.subjects[row].tobytes(), int(row)))
        must(home, "approvals", "deny", waiting["id"])
        assert left.feed().handles(FeedEvent.SUBJECT_RETIRED) == {granted.subjects[row].tobytes()}
        assert must(home, "links", "--id", "p3").strip() == "No links of this person."
        assert asked(met).refusal[row] == Refusal.WITHHELD
        unknown = run(home, "approvals", "approve", "00000000")
        assert unknown.exit_code == 1
        assert "1 of the ids are no approval" in unknown.stderr
        written = [each["action"] for each in actions(home)]
        assert written.count("deny") == 2
        assert "approve" in written
        assert "protect" in written


def test_protecting_somebody_who_was_disclosed_takes_it_back_until_an_officer_approves(
    tmp_path: Path,
) -> None:
    with two_registries(tmp_path) as (_, left, right):
        home = left.node.home.root
        met = meet(left, right)
        before = asked(met)
        assert not before.refusal.any()
        must(home, "protect", "p3", "--approval")
        after = asked(met)
        (row,) = np.flatnonzero(after.refusal == Refusal.WITHHELD)
        assert left.feed().handles(FeedEvent.SUBJECT_RETIRED) == {before.subjects[row].tobytes()}
        (waiting,) = approvals(home)
        must(home, "approvals", "approve", waiting["id"])
        assert asked(met).subjects[row].tobytes() != before.subjects[row].tobytes()


def test_a_spent_budget_answers_alike_for_those_who_need_approval(tmp_path: Path) -> None:
    toml = "[policy]\ndisclosures_per_day_max = 3\n"
    with two_registries(tmp_path, toml=toml) as (_, left, right):
        home = left.node.home.root
        met = meet(left, right)
        assert sorted(asked(met).refusal.tolist()) == [0] * 3 + [Refusal.OVER_QUOTA] * 5
        must(home, "protect", "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "--approval")
        with pytest.raises(QuotaError):
            asked(met)


def test_each_linker_has_a_budget_of_its_own_a_day(tmp_path: Path) -> None:
    toml = "[policy]\ndisclosures_per_day_max = 3\n"
    rig = Rig(tmp_path)
    homes = rig.registry("anhui", toml=toml), rig.registry("sichuan")
    rig.share(*homes)
    for home in homes:
        rig.fill(home, people(*SHARED))
    with rig.linker(homes[1]) as right:
        for name in ("linker", "second"):
            with rig.linker(homes[0], name=name) as left:
                met = meet(left, right)
                rows = slice(0, 4) if name == "linker" else slice(4, 8)
                assert asked(met, rows=rows).refusal.tolist() == [0, 0, 0, Refusal.OVER_QUOTA]
                budgets = json.loads(must(homes[0], "status", "--json"))["budgets"]
                assert budgets["disclosures"] == 1.0
        must(homes[0], "keys", "retire", "2026-11", "--yes")
        # An epoch that is retired gives nothing of the day's budget back.
        assert json.loads(must(homes[0], "status", "--json"))["budgets"]["disclosures"] == 1.0


def test_consent_withdrawn_in_the_middle_of_a_linkage_takes_effect_at_once(tmp_path: Path) -> None:
    with two_registries(tmp_path) as (_, left, right):
        home = left.node.home.root
        met = meet(left, right)
        left.sieve(met.to_left)
        left.seal(met.to_left)
        must(home, "consent", "withdraw", "p1")
        found = asked(met)
        assert sorted(found.refusal.tolist()) == [0] * 7 + [Refusal.RETIRED_HANDLE]
        (row,) = np.flatnonzero(found.refusal)
        assert not found.subjects[row].any()
        # Disclosed a moment ago, gone before the linker publishes.
        must(home, "consent", "withdraw", "p2")
        again = asked(met)
        rows = np.flatnonzero(again.refusal)
        assert len(rows) == 2
        (second,) = set(rows.tolist()) - {int(row)}
        withdrawn = found.subjects[second].tobytes()
        assert withdrawn in left.feed().handles(FeedEvent.SUBJECT_RETIRED)
        published = left.publish(link_of(met, withdrawn, second))
        assert (published.accepted, published.unknown_subjects) == (0, 1)
        assert must(home, "links", "--id", "p2").strip() == "No links of this person."
        retired = left.feed().handles(FeedEvent.HANDLE_RETIRED)
        assert {met.to_left.own[each].tobytes() for each in rows} <= retired


def test_a_purpose_that_is_not_listed_is_refused_with_a_reason_and_in_the_audit(
    tmp_path: Path,
) -> None:
    toml = '[policy]\npurposes = ["family-search", "rehearsal"]\n'
    with two_registries(tmp_path, toml=toml) as (_, left, right):
        met = meet(left, right)
        card = right.card
        tags = np.zeros((8, 32), np.uint8)
        calls = (
            left.profile,
            lambda: left.sieve(met.to_left),
            lambda: left.seal(met.to_left),
            lambda: left.chance(card, 8),
            lambda: left.disclose(card, met.to_left.own, met.to_left.theirs, tags),
        )
        left.purpose = "statistics"
        for call in calls:
            with pytest.raises(PreconditionError, match="only: family-search, rehearsal") as caught:
                call()
            assert caught.value.reason is Reason.PURPOSE_REFUSED
        # One that declares none is refused wherever something is sealed or disclosed.
        left.purpose = ""
        assert left.profile().registry == "anhui"
        with pytest.raises(PreconditionError):
            left.seal(met.to_left)
        left.purpose = "family-search"
        assert not left.seal(met.to_left).refusal.any()
        left.purpose = "Not a code word"
        with pytest.raises(Exception, match="A purpose is a code word"):
            left.seal(met.to_left)
        entries = actions(left.node.home.root)
        refused = [each for each in entries if each["action"] == "purpose-refused"]
        assert {each["fields"]["purpose"] for each in refused} == {"statistics", ""}
        assert {each["actor"] for each in refused} == {"linker/linker"}
        (sealed,) = [each for each in entries if each["action"] == "StreamSealedPairs"]
        assert sealed["fields"]["purpose"] == "family-search"


def test_a_restore_of_an_older_backup_gives_nothing_back_that_was_spent_or_taken(
    tmp_path: Path,
) -> None:
    toml = "[policy]\ndisclosures_per_day_max = 6\nsealed_pairs_per_epoch_max = 30\n"
    with two_registries(tmp_path, toml=toml, shared=range(12)) as (_, left, right):
        home, copy = left.node.home.root, tmp_path / "copy.duckdb"
        must(home, "backup", copy)
        met = meet(left, right)
        assert not left.seal(met.to_left).refusal.any()
        left.chance(right.card, 12)
        drawn = pinned(left)
        assert drawn
        assert sorted(asked(met).refusal.tolist()) == [0] * 6 + [Refusal.OVER_QUOTA] * 6
        must(home, "consent", "withdraw", "p1")
        must(home, "protect", "p2", "--hidden")
        must(home, "protect", "p3", "--approval")
        before = json.loads(must(home, "status", "--json"))
        must(home, "restore", copy, "--yes")
        after = json.loads(must(home, "status", "--json"))
        assert after["budgets"] == before["budgets"] == {"disclosures": 1.0, "sealed_pairs": 0.4}
        assert after["quotas"] == before["quotas"]
        assert after["records"] == {"live": 10, "withdrawn": 1, "hidden": 1}
        assert after["approval"]["records"] == 1
        assert len(left.feed().added(0)) == 10
        met = meet(left, right)
        with pytest.raises(QuotaError):
            asked(met)
        # The pinned draw stands, so it cannot be repeated over other records.
        left.chance(right.card, 12)
        assert pinned(left) == drawn
        # Restored once more, or the newer state over the older: still nothing is given back.
        newer = tmp_path / "newer.duckdb"
        must(home, "backup", newer)
        must(home, "restore", copy, "--yes")
        must(home, "restore", newer, "--yes")
        assert json.loads(must(home, "status", "--json"))["budgets"] == before["budgets"]
