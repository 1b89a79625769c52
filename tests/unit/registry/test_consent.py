"""Withdrawn consent: out of the feed at once, and for good until it is granted again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from unit.registry.rig import EPOCH, Rig, must, people, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    home = made.registry("anhui")
    must(home, "keys", "create", EPOCH)
    made.fill(home, people(1, 2, 3))
    return made


def counts(home: Path) -> tuple[int, int, int]:
    """Live and withdrawn records, and handles in the feed."""
    state = json.loads(must(home, "status", "--json"))
    return state["records"]["live"], state["records"]["withdrawn"], state["epochs"][0]["handles"]


def test_whoever_withdraws_leaves_the_feed_and_comes_back_when_they_grant(rig: Rig) -> None:
    home = rig.homes["anhui"]
    assert "Changed 1; 0 of the ids" in must(home, "consent", "withdraw", "p2")
    assert counts(home) == (2, 1, 4)
    assert "Changed 0" in must(home, "consent", "withdraw", "p2")
    assert "Changed 1" in must(home, "consent", "grant", "p2")
    assert counts(home) == (3, 0, 6)


def test_a_withdrawal_outlives_an_update_and_a_deletion(rig: Rig) -> None:
    home = rig.homes["anhui"]
    must(home, "consent", "withdraw", "p2")
    changed = people(2)
    changed[0]["given"] = "quentin"
    rig.fill(home, changed)
    assert counts(home) == (2, 1, 4)
    must(home, "ingest", "--delete", home / "input.csv")
    rig.fill(home, people(2))
    assert counts(home) == (2, 1, 4)


def test_a_withdrawal_may_come_before_the_record(rig: Rig) -> None:
    home = rig.homes["anhui"]
    assert "Changed 1; 1 of the ids have no record" in must(home, "consent", "withdraw", "p9")
    rig.fill(home, people(9))
    assert counts(home) == (3, 1, 6)
    must(home, "consent", "grant", "p9")
    assert counts(home) == (4, 0, 8)


def test_a_new_epoch_leaves_the_withdrawn_out(rig: Rig) -> None:
    home = rig.homes["anhui"]
    must(home, "consent", "withdraw", "p2")
    must(home, "keys", "create", "2026-12")
    epochs = json.loads(must(home, "status", "--json"))["epochs"]
    assert [epoch["records"] for epoch in epochs] == [2, 2]


def test_ids_may_come_from_a_file(rig: Rig, tmp_path: Path) -> None:
    home = rig.homes["anhui"]
    listed = tmp_path / "ids.txt"
    listed.write_text("p1\n\n p3 \n")
    assert "Changed 2" in must(home, "consent", "withdraw", "--file", listed)
    assert counts(home) == (1, 2, 2)
    assert run(home, "consent", "withdraw").exit_code == 2
