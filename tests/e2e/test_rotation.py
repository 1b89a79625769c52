"""A federation changes its epoch and puts a registry out: real processes, a real gateway.

One story, told in order: link, decide, rotate with an overlap, link in the new epoch, destroy the
old one, delete a person, revoke a registry. Persons, links and verdicts last through all of it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from kinlink_local.federation import Federation
from kinlink_local.linker_client import LinkerClient
from kinlink_local.population import make_population
from kinlink_local.processes import Supervisor
from kinlink_local.running import Started, link, start
from kinlink_local.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDS = 200
NEW = "2999-02"
NAMES = ("henan", "shaanxi", "sichuan")
OUT = "henan"
WAIT_SECONDS_MAX = 60.0
ENVIRONMENT = {
    "KINLINK_LINKER_POLICY__SYNC_SECONDS": "1",
    "KINLINK_REGISTRY_EPOCH_POLL_SECONDS": "1",
}
SCHEMA = Path(str(files("kinlink_local").joinpath("data/demo.yaml")))


@dataclass
class Story:
    """A federation with its gateway, and what an analyst saw of it first."""

    federation: Federation
    supervisor: Supervisor
    started: Started
    gateway: httpx.Client
    stopwatch: Stopwatch

    @property
    def old(self) -> str:
        return f"{self.federation.status('shaanxi')['epochs'][-1]['epoch']}"

    def link(self) -> dict[str, Any]:
        """Run a linkage; it as the gateway tells it."""
        with LinkerClient(self.started.linker.api, self.started.operator) as client:
            view = link(client, self.stopwatch, threshold=None, purpose="rotation")
        found: dict[str, Any] = self.gateway.get(f"/api/v1/linkages/{view.id}").json()
        return found

    def links(self, **query: str) -> dict[str, dict[str, Any]]:
        """The links that stand, by id."""
        page = self.gateway.get("/api/v1/links", params={"page_size": "500", **query}).json()
        assert not page["next_page_token"]
        return {each["id"]: each for each in page["links"]}

    def decide(self, link_id: str, verdict: str) -> None:
        body = {"verdict": verdict, "reason": "seen", "seen": None}
        answer = self.gateway.post(f"/api/v1/links/{link_id}/verdict", json=body)
        assert answer.status_code == 200, answer.text

    def refused(self, name: str, linkage: str) -> dict[str, int]:
        """Pairs that a registry left unsealed and unsieved in a linkage, by why, as it audited."""
        counts: dict[str, int] = {}
        for line in (self.federation.home(name) / "audit.jsonl").read_text().splitlines():
            fields = json.loads(line)["fields"]
            if fields.get("linkage_id") == linkage:
                for key, amount in fields.items():
                    if key.startswith("refused_"):
                        counts[key] = counts.get(key, 0) + amount
        return counts


def wait_for(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.2)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("rotation")
    paths = make_population(RECORDS, 5).write(folder / "data")
    stopwatch = Stopwatch()
    with Supervisor(ENVIRONMENT) as supervisor:
        federation = Federation(folder / "f", "rotation", SCHEMA, supervisor)
        started = start(
            federation, supervisor, paths, stopwatch, with_gateway=True, with_key_server=False
        )
        assert started.gateway is not None
        headers = {"Authorization": f"Bearer {started.analyst_token}"}
        base = f"http://{started.gateway.api}"
        with httpx.Client(base_url=base, headers=headers, timeout=60) as gateway:
            yield Story(federation, supervisor, started, gateway, stopwatch)


def between(found: dict[str, dict[str, Any]], *names: str) -> list[str]:
    return [
        each["id"]
        for each in found.values()
        if (each["registry_l"], each["registry_r"]) == names and each["linked"]
    ]


def test_a_rotation_a_deletion_and_a_revocation_leave_every_other_link_and_person_as_they_were(
    story: Story,
) -> None:
    federation, old = story.federation, story.old
    assert story.link()["epoch"] == old
    before = story.links(include_disclosed="true", state="all")
    confirmed, rejected, *others = between(before, "shaanxi", "sichuan")
    story.decide(confirmed, "confirmed")
    story.decide(rejected, "rejected")

    federation.share_secret(NEW, NAMES)
    wait_for(
        lambda: all(
            federation.status(name)["epochs"][0] | {"epoch": NEW, "served": True}
            == federation.status(name)["epochs"][0]
            for name in NAMES
        ),
        "a registry does not serve the new epoch",
    )
    assert f"Keep {old}" in federation.office("henan").run("keys", "status")
    linkage = story.link()
    assert (linkage["state"], linkage["epoch"]) == ("succeeded", NEW)
    after = story.links(include_disclosed="true", state="all")
    _lasts(before, after, confirmed, rejected)
    for name in ("shaanxi", "sichuan"):
        refused = story.refused(name, linkage["id"])
        assert refused["refused_decided"] >= 2
        assert "refused_withheld" not in refused

    _retire(story, old)
    assert story.links(include_disclosed="true", state="all").keys() == after.keys()
    # A verdict on a link of the old epoch reaches offices that no longer serve it.
    story.decide(others[0], "confirmed")
    wait_for(lambda: _verdict(federation, "sichuan", others[0]) == "confirmed", "it was not told")

    _delete(story, others[1], after)
    _revoke(story)


def _lasts(
    before: dict[str, dict[str, Any]],
    after: dict[str, dict[str, Any]],
    confirmed: str,
    rejected: str,
) -> None:
    assert (after[confirmed]["verdict"], after[confirmed]["linked"]) == ("confirmed", True)
    assert (after[rejected]["verdict"], after[rejected]["linked"]) == ("rejected", False)
    assert after[confirmed]["person_id"] == before[confirmed]["person_id"]
    linked = {each for each in before if before[each]["linked"]}
    kept = {each for each in linked if each in after and after[each]["linked"]}
    assert len(kept) > 0.8 * len(linked)
    assert all(after[each]["person_id"] == before[each]["person_id"] for each in kept)


def _retire(story: Story, old: str) -> None:
    federation = story.federation
    for name in NAMES:
        office = federation.office(name)
        assert f"Epoch {old} can be destroyed" in office.run("keys", "status")
        office.run("keys", "retire", old, "--yes")
    wait_for(
        lambda: all(
            [each["epoch"] for each in federation.status(name)["epochs"]] == [NEW] for name in NAMES
        ),
        "a registry still serves the old epoch",
    )
    tokens = federation.home("linker") / f"tokens-{old}.duckdb"
    wait_for(lambda: not tokens.exists(), "the linker keeps tokens of the old epoch")


def _verdict(federation: Federation, name: str, link_id: str) -> str:
    return next(e["verdict"] for e in federation.links_of(name) if e["link_id"] == link_id)


def _delete(story: Story, link_id: str, after: dict[str, dict[str, Any]]) -> None:
    federation = story.federation
    (person,) = [each for each in federation.links_of("sichuan") if each["link_id"] == link_id]
    doomed = {e["link_id"] for e in federation.links_of("sichuan", person["id"])}
    path = federation.root / "delete.csv"
    path.write_text(f"record_id\n{person['id']}\n", encoding="utf-8")
    federation.office("sichuan").run("ingest", str(path), "--delete")
    wait_for(
        lambda: not doomed & story.links(include_disclosed="true", state="all").keys(),
        "the links of a deleted person stand",
    )
    assert story.links(include_disclosed="true", state="all").keys() == after.keys() - doomed


def _revoke(story: Story) -> None:
    federation, supervisor = story.federation, story.supervisor
    before = story.links(include_disclosed="true", state="all")
    for name in NAMES:
        if name != OUT:
            federation.office(name).run("revoke", OUT)
    # Until the centre knows, the two refuse it and still link with each other.
    linkage = story.link()
    assert linkage["state"] == "succeeded"
    assert {each for each in story.links() if before[each]["linked"]} >= {
        each for each in before if OUT in _ends(before[each]) and before[each]["linked"]
    }
    settings = federation.home("linker") / "linker.toml"
    text = settings.read_text().replace('"127.0.0.1:0"', f'"{story.started.linker.api}"', 1)
    settings.write_text(f'revoked = ["{OUT}"]\n{text}')
    service = supervisor.services["linker"]
    service.process.terminate()
    service.process.wait(WAIT_SECONDS_MAX)
    restarted = supervisor.start("linker", "kinlink_linker.cli", federation.home("linker"), "serve")
    supervisor.wait_ready(restarted)
    story.link()
    found = story.links(include_disclosed="true", state="all")
    for each in found.values():
        assert each["revoked_registries"] == ([OUT] if OUT in _ends(each) else [])
    marked = {each for each in found if found[each]["revoked_registries"]}
    assert marked == {each for each in before if OUT in _ends(before[each])}
    states = {e["name"]: e["state"] for e in story.gateway.get("/api/v1/registries").json()
              ["registries"]}  # fmt: skip
    assert states[OUT] == "revoked"
    home = ["--home", str(federation.home("linker"))]
    assert f"{OUT} (revoked)" in _linker_cli([*home, "links", "list"])


def _ends(each: dict[str, Any]) -> set[str]:
    return {each["registry_l"], each["registry_r"]}


def _linker_cli(words: list[str]) -> str:
    from click.testing import CliRunner
    from kinlink_linker.cli import main

    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, words)
    assert result.exit_code == 0, result.output
    return result.output
