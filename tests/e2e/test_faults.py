"""A linkage while things go wrong: real processes, a real kill, a real wrong secret."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from e2e.watched import Watched, watched_federation
from kinlink_local.clerk import COLUMNS
from kinlink_local.errors import LocalError, ProcessFailedError
from kinlink_local.inputs import RECORD_ID
from kinlink_local.running import link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.relay import Message
    from kinlink_local.linker_client import LinkageView

RECORDS = 240
WAIT_SECONDS_MAX = 60.0
LATE_EPOCH = "2999-02"
VICTIM = "henan"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched_federation(tmp_path_factory.mktemp("faults"), RECORDS) as made:
        yield made


def run_linkage(watched: Watched, purpose: str) -> LinkageView:
    return link(watched.client, watched.stopwatch, threshold=None, purpose=purpose)


def wait_for(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.2)


def test_ingest_delete_and_status_work_during_a_linkage(watched: Watched, tmp_path: Path) -> None:
    federation = watched.federation
    file = tmp_path / "late.csv"
    blank = "," * (len(COLUMNS) - 1)
    lines = [",".join(("record_id", *COLUMNS)), f"LATE-1,卓明川{blank}", f"LATE-2,苗知远{blank}"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    gone = tmp_path / "gone.csv"
    gone.write_text("record_id\nLATE-1\n", encoding="utf-8")
    before = federation.status(VICTIM)["records"]["live"]
    told: list[str] = []
    sealing = threading.Event()

    def note(message: Message) -> None:
        if message.method == "StreamChancePairs":
            sealing.set()

    def work() -> None:
        sealing.wait(WAIT_SECONDS_MAX)
        told.append(str(federation.ingest(VICTIM, file, RECORD_ID).added))
        told.append(federation.office(VICTIM).run("ingest", str(gone), "--delete", "--json"))
        told.append(str(federation.status(VICTIM)["records"]["live"]))

    federation.record.on_message = note
    officer = threading.Thread(target=work)
    officer.start()
    view = run_linkage(watched, "officer-at-work")
    officer.join(WAIT_SECONDS_MAX)
    federation.record.on_message = lambda _message: None
    assert view.state == "SUCCEEDED"
    assert view.links > 0
    assert told[0] == "2"
    assert '"deleted": 1' in told[1]
    assert int(told[2]) == before + 1
    # What was taken in meanwhile is part of the next linkage, what was deleted is not.
    assert run_linkage(watched, "after-the-officer").state == "SUCCEEDED"


def test_links_of_a_deleted_person_disappear_at_once_here_and_within_a_sync_there(
    watched: Watched, tmp_path: Path
) -> None:
    federation = watched.federation
    view = run_linkage(watched, "before-a-deletion")
    chosen = federation.links_of("sichuan")[0]
    file = tmp_path / "delete.csv"
    file.write_text(f"record_id\n{chosen['id']}\n", encoding="utf-8")
    federation.office("sichuan").run("ingest", str(file), "--delete", "--json")
    assert federation.links_of("sichuan", chosen["id"]) == []

    def linked() -> bool:
        return any(each.id == chosen["link_id"] for each in watched.client.links(view.id))

    wait_for(lambda: not linked(), "the linker keeps the link of a deleted person")

    def partner_sees_it() -> bool:
        links = federation.links_of(chosen["partner"])
        return any(each["link_id"] == chosen["link_id"] for each in links)

    wait_for(lambda: not partner_sees_it(), "the partner keeps the link of a deleted person")


def test_a_registry_killed_mid_stream_leaves_a_partial_linkage_that_names_it(
    watched: Watched,
) -> None:
    service = watched.supervisor.services[VICTIM]

    def kill(message: Message) -> None:
        is_data = message.method == "StreamChancePairs" and message.from_registry
        if is_data and message.registry == VICTIM and service.process.poll() is None:
            os.kill(service.pid, signal.SIGKILL)

    watched.federation.record.on_message = kill
    try:
        view = run_linkage(watched, "registry-dies")
    finally:
        watched.federation.record.on_message = lambda _message: None
    assert service.process.poll() == -signal.SIGKILL
    assert view.state == "PARTIAL"
    assert set(view.missing) == {VICTIM}
    assert view.links > 0
    links = watched.client.links(view.id)
    assert links
    assert all(VICTIM not in {each.registry_l, each.registry_r} for each in links)
    # The others' officers read it beside their links.
    seen = watched.federation.links_of("shaanxi")
    assert any(each["missing_registries"] == [VICTIM] for each in seen)

    # Started again, it opens its vault as it was and takes part.
    address = watched.federation.proxies[VICTIM]
    restarted = watched.federation.start_registry(VICTIM)
    address.redirect(watched.supervisor.wait_ready(restarted).api)
    assert run_linkage(watched, "all-here-again").state == "SUCCEEDED"


def test_a_registry_with_another_secret_is_refused_by_name_and_the_others_link(
    watched: Watched,
) -> None:
    federation = watched.federation
    federation.share_secret(LATE_EPOCH, ["shaanxi", "sichuan"])
    federation.office(VICTIM).run("keys", "create", LATE_EPOCH)
    names = sorted(watched.population.records)

    def all_serve() -> bool:
        states = [federation.status(name)["epochs"] for name in names]
        return all(any(e["epoch"] == LATE_EPOCH and e["served"] for e in each) for each in states)

    wait_for(all_serve, "a registry does not serve the new epoch")
    view = run_linkage(watched, "wrong-secret")
    assert view.state == "PARTIAL"
    assert view.missing == {VICTIM: "SECRET_DIFFERS"}
    assert view.links > 0


def test_with_one_registry_left_a_linkage_fails_and_says_why(watched: Watched) -> None:
    for name in ("shaanxi", "sichuan"):
        watched.federation.proxies[name].stop()
    with pytest.raises(LocalError, match="TOO_FEW_REGISTRIES"):
        run_linkage(watched, "nobody-to-link-with")


def test_a_wrong_certificate_or_a_wrong_card_is_refused_with_the_reason(
    watched: Watched, tmp_path: Path
) -> None:
    office = watched.federation.office("shaanxi")
    other = watched.federation.root / "sichuan.cert.pem"
    with pytest.raises(ProcessFailedError, match=r"status 2(.|\n)*(key|name)"):
        office.run("install-cert", str(other), "--ca", str(watched.federation.root / "ca.pem"))
    forged = tmp_path / "card.json"
    forged.write_text("{}", encoding="utf-8")
    with pytest.raises(ProcessFailedError, match=r"status [12]"):
        office.run("keys", "seal", LATE_EPOCH, "--to", str(forged))
