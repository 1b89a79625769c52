"""Standing search over real registries: what stands is what a full run would find, at any time."""

from __future__ import annotations

import json
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.servers import http_get
from unit.linker.federation import (
    RealFederation,
    federation,
    serving_linker,
    write_linker_home,
)
from unit.registry.rig import SCHEMA, must, person, write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = ("anhui", "gansu", "sichuan")
# Everyone is in two registries, and the model learns from them.
BASE = {"anhui": range(40), "gansu": range(20, 60), "sichuan": range(30, 70)}
# Arrivals and the tombstones of changes each wait for a moment of their own, here of a second.
ROUNDS = """
[rounds]
spread_hours = 0.0003
records_min = 1
wait_hours = 0
"""
SETTLED_SECONDS = 120.0


@contextmanager
def followed(
    directory: Path, *, toml: str = "", schema_text: str = SCHEMA
) -> Iterator[RealFederation]:
    """A federation that was linked once, and whose links are followed since."""
    with federation(directory, BASE, toml=toml, serve=False, schema_text=schema_text) as made:
        follow(made)
        with serving_linker(made.linker_home) as made.linker:
            linkage = made.link()
            assert linkage["state"] == "LINKAGE_STATE_SUCCEEDED", linkage
            made.must("model", "save", str(directory / "model.json"))
            yield made


def follow(made: RealFederation, *, standing: bool = True) -> None:
    write_linker_home(made)
    settings = made.linker_home / "linker.toml"
    text = settings.read_text().replace("sync_seconds = 86400\nidle_seconds = 2\n", "")
    settings.write_text(
        f"{text}sync_seconds = 86400\nidle_seconds = 20\nstanding = {str(standing).lower()}\n"
    )


Links = dict[tuple[str, ...], tuple[float, bool]]


def links(made: RealFederation) -> Links:
    """Weight of each disclosed pair of subjects, and whether it is a link."""
    text = made.must("links", "list", "--all", "--include-disclosed")
    return {
        (each["registry_l"], each["subject_l"], each["registry_r"], each["subject_r"]): (
            each["match_weight"],
            bool(each.get("linked")),
        )
        for each in map(json.loads, text.splitlines())
    }


def persons(made: RealFederation) -> set[frozenset[tuple[str, str]]]:
    """Who is one person, by subjects."""
    found: dict[str, set[tuple[str, str]]] = {}
    for each in map(json.loads, made.must("links", "list", "--all").splitlines()):
        members = found.setdefault(each["person_id"], set())
        members.add((each["registry_l"], each["subject_l"]))
        members.add((each["registry_r"], each["subject_r"]))
    return {frozenset(members) for members in found.values()}


def metric(made: RealFederation, name: str) -> float:
    assert made.linker is not None
    _, text = http_get(f"http://{made.linker.addresses['metrics']}/metrics")
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith((name + " ", name + "{"))
    )


def told(made: RealFederation) -> None:
    """Wait until nothing waits at the registries for its round."""
    until = time.monotonic() + SETTLED_SECONDS
    untold = 1
    while untold:
        assert time.monotonic() < until
        time.sleep(0.1)
        untold = 0
        for each in made.served.values():
            with each.node.vault.reading() as session:
                untold += session.value("SELECT count(*) FROM waiting")
                untold += session.value("SELECT count(*) FROM tombstone WHERE due > 0")


def becomes(check: Callable[[], bool]) -> None:
    until = time.monotonic() + SETTLED_SECONDS
    while not check():
        assert time.monotonic() < until
        time.sleep(0.1)


def settle(made: RealFederation, wanted: Links) -> Links:
    """The links once they are as wanted and nothing more is to come, or what they are by then."""
    until = time.monotonic() + SETTLED_SECONDS
    while links(made) != wanted and time.monotonic() < until:
        time.sleep(0.3)
    while metric(made, "kinlink_linker_standing_waiting_changes") and time.monotonic() < until:
        time.sleep(0.3)
    return links(made)


@contextmanager
def fresh_linker(made: RealFederation, directory: Path) -> Iterator[RealFederation]:
    """Another linker, which knows nothing, after one full run with the same model."""
    other = RealFederation(made.rig, directory, made.served)
    follow(other, standing=False)
    with serving_linker(directory) as other.linker:
        other.must("model", "load", str(made.rig.directory / "model.json"))
        linkage = other.link("--model", "model")
        assert linkage["state"] == "LINKAGE_STATE_SUCCEEDED", linkage
        yield other


class Crowd:
    """Random people of few families and days, so that islands fill up and empty."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.held: dict[str, dict[str, int]] = {name: {} for name in NAMES}

    def row(self, number: int) -> dict[str, str]:
        """A made-up person; people of a dozen numbers share family and day of birth."""
        kin = person(1_000 + number // 12)
        return {
            **person(200 + number % 5),
            "family": kin["family"],
            "dob": kin["dob"],
            "postcode": str(1_000 + number % 3),
            "record_id": f"c{number}",
        }

    def act(self, made: RealFederation) -> str:
        """Load, change or delete someone somewhere."""
        name = self.chance.choice(NAMES)
        home, held = made.rig.homes[name], self.held[name]
        kind = self.chance.choices(("add", "change", "delete"), (6, 3, 2))[0]
        if kind == "add" or not held:
            number = 100 + self.chance.randrange(25)
            rows = [self.changed(number)]
            held[rows[0]["record_id"]] = number
        else:
            local_id = self.chance.choice(sorted(held))
            rows = [self.changed(held[local_id])]
            if kind == "delete":
                del held[local_id]
                gone = write_csv(made.rig.directory / "gone.csv", rows)
                must(home, "ingest", "--delete", gone)
                return kind
        made.rig.fill(home, rows)
        return kind

    def changed(self, number: int) -> dict[str, str]:
        row = self.row(number)
        if self.chance.random() < 0.5:
            row["postcode"] = str(self.chance.randint(1000, 1003))
        if self.chance.random() < 0.3:
            row["given"] = person(200 + self.chance.randrange(4))["given"]
        if self.chance.random() < 0.2:
            row["dob"] = person(1_000 + self.chance.randrange(5))["dob"]
        return row


ONE_TO_ONE = SCHEMA.replace("name: small\n", "name: small\nlink_type: one_to_one\n")


@pytest.mark.parametrize(
    ("seed", "rounds", "schema_text"),
    [(1, "", SCHEMA), (2, ROUNDS, SCHEMA), (3, ROUNDS, ONE_TO_ONE)],
    ids=["at-once", "in-rounds", "one-to-one"],
)
def test_after_any_arrivals_changes_and_deletions_the_links_are_those_of_a_full_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, rounds: str, schema_text: str
) -> None:
    monkeypatch.setenv("KINLINK_REGISTRY_EPOCH_POLL_SECONDS", "0.1")
    with followed(tmp_path, toml=rounds, schema_text=schema_text) as made:
        crowd, before = Crowd(seed), links(made)
        done = [crowd.act(made) for _ in range(50)]
        assert {"add", "change", "delete"} <= set(done)
        told(made)
        with fresh_linker(made, tmp_path / "fresh") as other:
            wanted, people = links(other), persons(other)
        assert wanted != before
        assert settle(made, wanted) == wanted
        assert persons(made) == people


def test_an_urgent_record_is_linked_by_one_pass_and_its_others_wait(tmp_path: Path) -> None:
    with followed(tmp_path, toml="[rounds]\nspread_hours = 24\n") as made:
        before = links(made)
        home = made.rig.homes["sichuan"]
        made.rig.fill(home, [{**person(3), "record_id": "child"}])
        time.sleep(1)
        assert links(made) == before
        must(home, "urgent", "child", "--pass", "given_birth", "--reason", "case 4711")
        # Linked at the centre, and told to the registry.
        becomes(lambda: len(links(made)) == len(before) + 1)
        becomes(lambda: '"partner": "anhui"' in must(home, "links", "--id", "child", "--json"))
        assert '"left-at-once"' in (home / "audit.jsonl").read_text()
        status = json.loads(made.must("standing", "--json"))
        assert status["enabled"]
        assert "follows linkage" in made.must("standing")
        shown = json.loads(made.must("links", "list", "--all").splitlines()[0])
        assert made.must("person", shown["person_id"], "--json") == ""
        gone = write_csv(made.rig.directory / "gone.csv", [{**person(3), "record_id": "child"}])
        must(home, "ingest", "--delete", gone)
        becomes(lambda: links(made) == before)
