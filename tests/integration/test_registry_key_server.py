"""Registries in key-server mode, with the real key server, real certificates and real commands."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from kinlink.keyserver.v1 import keyserver_pb2 as pb
from kinlink_core.encoding.keys import MODE_KEY_SERVER
from kinlink_core.errors import Reason
from kinlink_linker.agreement import OwnProfile, agree
from kinlink_linker.registry_client import GrpcRegistryPeer
from kinlink_registry import app
from kinlink_registry.home import Home
from support import key_server
from unit.registry.rig import EPOCH, Rig, must, people, person, run, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_linker.peer import Description
    from kinlink_registry.node import Node

HASTE = "epoch_poll_seconds = 0.1\n"
PATIENCE_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Offices:
    """A federation with a key server that may be started and stopped at one address."""

    rig: Rig
    key_server: Path
    address: str

    def registry(self, name: str) -> Path:
        """A registry that looks again at once after the key server failed it."""
        home = self.rig.registry(name, key_server=self.address)
        settings = home / "registry.toml"
        text = settings.read_text().replace(
            f'address = "{self.address}"', f'address = "{self.address}"\nretry_seconds = 0.2'
        )
        settings.write_text(HASTE + text)
        return home

    def declare(self, registry: str, records: int) -> None:
        """What the key server's officers do to a budget; it holds from the next start on."""
        settings = self.key_server / "keyserver.toml"
        head, _, tail = settings.read_text().partition(f'name = "{registry}"\nrecords = ')
        rest = tail.partition("\n")[2]
        settings.write_text(f'{head}name = "{registry}"\nrecords = {records}\n{rest}')

    @contextmanager
    def evaluating(self, home: Path | None = None) -> Iterator[None]:
        """The key server, as a process of its own."""
        with key_server.serving(home or self.key_server) as (_, addresses):
            assert addresses["api"] == self.address
            yield

    def spent(self, name: str) -> dict[str, int]:
        """What the key server booked for a registry, by pass."""
        with key_server.calling(self.rig.federation, {"api": self.address}, name) as stub:
            (epoch,) = stub.GetKeyServer(pb.GetKeyServerRequest()).epochs
        return {each.pass_id: each.budget - each.budget_left for each in epoch.passes}


def found_key_server(rig: Rig, home: Path, port: int) -> Path:
    """A key server with keys of its own, to be served on a port."""
    declared = {"anhui": 100, "sichuan": 100}
    key_server.make_home(rig.federation, home, declared, rig.schema_path)
    settings = home / "keyserver.toml"
    listen = '\nlisten = "127.0.0.1:{}"'
    settings.write_text(settings.read_text().replace(listen.format(0), listen.format(port)))
    return home


@pytest.fixture
def offices(tmp_path: Path) -> Offices:
    rig, port = Rig(tmp_path), free_port()
    return Offices(rig, found_key_server(rig, tmp_path / "ks", port), f"127.0.0.1:{port}")


def status(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(must(home, "status", "--json"))
    return found


def epoch_of(home: Path) -> dict[str, Any]:
    (found,) = status(home)["epochs"]
    return dict(found)


def until_encoded(home: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while epoch_of(home)["unencoded"]:
        assert time.monotonic() < deadline, status(home)
        time.sleep(0.05)


def describe(rig: Rig, home: Path) -> Description:
    """A registry as the linker first meets it."""
    tls = rig.federation.tls("linker", "linker")
    with app.opened(Home(home)) as node, app.serving(node) as running:
        peer = GrpcRegistryPeer(home.name, running.addresses["api"], tls, rig.schema)
        try:
            return peer.describe()
        finally:
            peer.close()


def own_profile(rig: Rig) -> OwnProfile:
    """What a linker of this federation expects."""
    return OwnProfile(
        rig.federation.authority.federation, rig.schema.fingerprint(), "v1", MODE_KEY_SERVER
    )


def unencoded_metric(node: Node, reason: str) -> float:
    labels = {"epoch": EPOCH, "reason": reason}
    registry = node.instruments.runtime.registry
    return registry.get_sample_value("kinlink_registry_unencoded_records", labels) or 0.0


def test_registries_meet_under_the_key_server_and_nobody_of_plain_mode_meets_them(
    offices: Offices,
) -> None:
    rig = offices.rig
    left, right = offices.registry("anhui"), offices.registry("sichuan")
    plain = rig.registry("gansu")
    rig.share(left, right, plain)
    with offices.evaluating():
        for home in (left, right, plain):
            rig.fill(home, people(*range(20)))
        with (
            rig.linker(left) as anhui,
            rig.linker(right) as sichuan,
            rig.linker(plain) as gansu,
        ):
            for number in range(2):
                tokens = set(anhui.feed().added(number))
                assert len(tokens) == 20
                assert tokens == set(sichuan.feed().added(number))
                assert not tokens & set(gansu.feed().added(number))
        described = {home.name: describe(rig, home) for home in (left, right, plain)}
    found = agree(own_profile(rig), described)
    assert found.agreed == ("anhui", "sichuan")
    (refused,) = found.refused
    assert (refused.name, refused.reason) == ("gansu", Reason.MODE_DIFFERS)
    assert "'plain', not 'key-server'" in refused.detail


def test_a_value_is_evaluated_once_as_long_as_somebody_has_it(offices: Offices) -> None:
    rig, home = offices.rig, offices.registry("anhui")
    must(home, "keys", "create", EPOCH)
    with offices.evaluating():
        rig.fill(home, people(*range(10)))
        first = offices.spent("anhui")
        rig.fill(home, people(*range(10)))
        # The postcode stands in no pass: the record is encoded again, its values are not.
        rig.fill(home, [{**person(1), "postcode": "1111"}])
        rig.fill(home, [{**person(1), "postcode": "2222"}])
        rig.fill(home, [{**person(1), "record_id": "twin of p1"}])
        assert offices.spent("anhui") == first
        rig.fill(home, [{**person(1), "given": "zoe"}])
        assert offices.spent("anhui") == {
            "name_birth": first["name_birth"] + 1,  # its refinement
            "given_birth": first["given_birth"] + 1,
        }
        # The twin keeps the old values alive, the last of a value takes its evaluation along.
        rig.fill(home, [person(1)])
        assert sum(offices.spent("anhui").values()) == sum(first.values()) + 2
        must(home, "ingest", "--delete", write_csv(home / "gone.csv", people(2)))
        rig.fill(home, people(2))
        assert sum(offices.spent("anhui").values()) == sum(first.values()) + 5
    assert "canary" not in (home / "audit.jsonl").read_text()


def test_records_beyond_the_budget_wait_and_are_encoded_when_it_is_raised(
    offices: Offices,
) -> None:
    rig, home = offices.rig, offices.registry("anhui")
    must(home, "keys", "create", EPOCH)
    offices.declare("anhui", 2)
    with offices.evaluating():
        result = run(home, "ingest", write_csv(home / "input.csv", people(*range(40))))
        assert result.exit_code == 0
        assert "40 added" in result.output
        assert "not encoded yet" in result.stderr
        assert "QUOTA_EXCEEDED" in result.stderr
        waiting = epoch_of(home)["unencoded"]
        assert 0 < waiting < 40
        with rig.linker(home) as served:
            assert len(served.feed().added(1)) == 40 - waiting
            until = time.monotonic() + PATIENCE_SECONDS
            while unencoded_metric(served.node, "QUOTA_EXCEEDED") != waiting:
                assert time.monotonic() < until
                time.sleep(0.05)
    offices.declare("anhui", 100)
    with offices.evaluating(), rig.linker(home) as served:
        until_encoded(home)
        assert len(served.feed().added(1)) == 40
        assert epoch_of(home)["records"] == 40
    assert status(home)["key_server"]["problem"] is None


def test_ingest_goes_on_while_the_key_server_is_away(offices: Offices) -> None:
    rig, home = offices.rig, offices.registry("anhui")
    must(home, "keys", "create", EPOCH)
    with offices.evaluating():
        rig.fill(home, people(*range(10)))
    with rig.linker(home) as served:
        assert len(served.feed().added(0)) == 10
        changed = {**person(3), "given": "zoe"}
        path = write_csv(home / "more.csv", [*people(*range(10, 15)), changed])
        result = run(home, "ingest", path)
        assert result.exit_code == 0
        assert "5 added, 1 updated" in result.output
        assert "UNREACHABLE" in result.stderr
        # The epoch is served on, without those who wait; the old state of a changed one is gone.
        assert epoch_of(home) | {"served": True, "records": 9, "unencoded": 6} == epoch_of(home)
        assert len(served.feed().added(0)) == 9
        must(home, "consent", "withdraw", "p12")
        assert epoch_of(home)["unencoded"] == 5
        with offices.evaluating():
            until_encoded(home)
            must(home, "consent", "grant", "p12")
            assert len(served.feed().added(0)) == 15


def test_another_key_is_refused_before_anything_is_sent_and_shows_in_the_canaries(
    offices: Offices, tmp_path: Path
) -> None:
    rig, home = offices.rig, offices.registry("anhui")
    other = offices.registry("sichuan")
    rig.share(home, other)
    with offices.evaluating():
        rig.fill(home, people(*range(5)))
    port = int(offices.address.partition(":")[2])
    usurper = found_key_server(rig, tmp_path / "usurper", port)
    with offices.evaluating(usurper):
        result = run(home, "ingest", write_csv(home / "more.csv", people(*range(5, 9))))
        assert result.exit_code == 0
        assert "KEY_CHANGED" in result.stderr
        assert epoch_of(home)["unencoded"] == 4
        assert set(offices.spent("anhui").values()) == {0}
        rig.fill(other, people(*range(5)))
        assert epoch_of(home)["canary"] != epoch_of(other)["canary"]
        described = {each.name: describe(rig, each) for each in (home, other)}
    for refused in agree(own_profile(rig), described).refused:
        assert refused.reason is Reason.ENCODING_DIFFERS
        assert "in: the key server's key of pass name_birth" in refused.detail
        assert "All must use the same key server" in refused.detail


def test_a_new_epoch_is_served_once_all_of_it_was_evaluated(offices: Offices) -> None:
    rig, home = offices.rig, offices.registry("anhui")
    rig.fill(home, people(*range(5)))
    must(home, "keys", "create", EPOCH)
    found = epoch_of(home)
    assert (found["served"], found["unencoded"], found["canary"]) == (False, 5, "")
    assert status(home)["key_server"]["problem"]["reason"] == "UNREACHABLE"
    with rig.linker(home) as served:
        assert not served.profile().profiles
        with offices.evaluating():
            until_encoded(home)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not served.profile().profiles:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert len(served.feed().added(0)) == 5
