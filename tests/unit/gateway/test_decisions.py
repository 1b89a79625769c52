from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import Reason, UnavailableError
from kinlink_gateway.decisions import forget_removed
from kinlink_gateway.linker import Verdict
from kinlink_gateway.serve import forget_deleted
from unit.gateway.office import Office, open_office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = open_office(tmp_path)
    yield office
    office.close()


def decide(office: Office, verdict: str = "confirmed", reason: str = "") -> str:
    link_id = office.link().id
    answer = office.api("Li Wei").post(
        f"/api/v1/links/{link_id}/verdict", json={"verdict": verdict, "reason": reason}
    )
    assert answer.status_code == 200, answer.text
    return link_id


def test_every_verdict_on_a_link_stays_in_its_history(office: Office) -> None:
    link_id = decide(office, "unsure")
    office.clock.pass_seconds(60)
    decide(office, "rejected", "two brothers")
    history = office.gateway.decisions.history(link_id)
    assert [(d.verdict, d.reason, d.decided_by) for d in history] == [
        (Verdict.REJECTED, "two brothers", "Li Wei (analyst)"),
        (Verdict.UNSURE, "", "Li Wei (analyst)"),
    ]


def test_a_history_ends_with_its_link_and_the_audit_keeps_only_that(office: Office) -> None:
    link_id = decide(office, "rejected", "two brothers")
    del office.linker.links[link_id]
    office.clock.pass_seconds(1)
    forget_deleted(office.gateway)
    assert office.gateway.decisions.history(link_id) == ()
    assert office.audited("decision.forget") == [("gateway", "decision.forget", link_id, 200)]
    database = (office.home / "gateway.db").read_bytes() + (
        office.home / "gateway.db-wal"
    ).read_bytes()
    assert b"two brothers" not in database


def test_a_history_whose_link_stands_is_kept(office: Office) -> None:
    link_id = decide(office)
    office.clock.pass_seconds(1)
    forget_deleted(office.gateway)
    assert len(office.gateway.decisions.history(link_id)) == 1


def test_a_verdict_given_while_the_linker_is_asked_is_kept(office: Office) -> None:
    link_id = decide(office)
    del office.linker.links[link_id]
    earlier = office.clock.now
    assert (
        forget_removed(office.gateway.decisions, office.linker, clock=lambda: earlier)
        == frozenset()
    )
    assert len(office.gateway.decisions.history(link_id)) == 1


def test_nothing_is_forgotten_when_the_linkers_answer_breaks_off(office: Office) -> None:
    link_id = decide(office)
    office.clock.pass_seconds(1)
    office.linker.fail_stream_after = 0
    with pytest.raises(RuntimeError):
        forget_deleted(office.gateway)
    assert len(office.gateway.decisions.history(link_id)) == 1


def test_a_verdict_the_linker_refused_is_not_in_the_history(office: Office) -> None:
    link_id = office.link().id
    office.linker.fail = UnavailableError(Reason.UNREACHABLE)
    answer = office.api("Li Wei").post(
        f"/api/v1/links/{link_id}/verdict", json={"verdict": "confirmed"}
    )
    assert answer.status_code == 503
    assert office.gateway.decisions.history(link_id) == ()
