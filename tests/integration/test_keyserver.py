"""A key server as a process: reached over mutual TLS, killed, restarted, out of evaluators."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from kinlink.keyserver.v1 import keyserver_pb2 as pb
from kinlink_core.errors import KinlinkError, Reason
from kinlink_core.runtime import audit
from kinlink_core.runtime.channel import open_channel, translated
from support.key_server import (
    EPOCH,
    NAME,
    PHONE,
    Stub,
    blind,
    calling,
    finalize,
    fingerprint,
    make_home,
    must,
    order,
    public_keys,
    run,
    serving,
)
from support.pki import Federation, other_federation
from support.servers import http_get

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = {"anhui": 100_000, "gansu": 4}
GANSU_PHONES = 14  # four records and eight canaries, times 1.1, rounded up
GONE_SECONDS_MAX = 20.0


class Body:
    """The body that runs a key server, with its federation's authority at hand."""

    def __init__(self, folder: Path) -> None:
        self.federation = Federation(folder / "pki")
        self.home = make_home(self.federation, folder / "home", LARGE)
        self.addresses: dict[str, Any] = {}

    def audited(self) -> list[dict[str, Any]]:
        lines = (self.home / "audit.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def spent(self, registry: str, pass_id: str = PHONE) -> int:
        lines = must(self.home, "budgets", "--epoch", EPOCH, "--json").splitlines()
        rows = [json.loads(line) for line in lines]
        (row,) = [r for r in rows if (r["registry"], r["pass"]) == (registry, pass_id)]
        return int(row["spent"])


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Body:
    return Body(tmp_path_factory.mktemp("body"))


@pytest.fixture(scope="module")
def running(body: Body) -> Iterator[Body]:
    with serving(body.home) as (_, addresses):
        body.addresses = addresses
        yield body


@pytest.fixture
def anhui(running: Body) -> Iterator[Stub]:
    with calling(running.federation, running.addresses, "anhui") as stub:
        yield stub


def reason_of(stub: Stub, request: pb.EvaluateRequest) -> tuple[Reason, dict[str, str]]:
    with pytest.raises(KinlinkError) as raised, translated("keyserver"):
        stub.Evaluate(request)
    return raised.value.reason, raised.value.metadata


def test_two_registries_get_the_same_outputs_which_no_other_pass_gives(
    running: Body, anhui: Stub
) -> None:
    values = [b"one", b"two", b"three"]
    outputs = {}
    with calling(running.federation, running.addresses, "gansu") as gansu:
        for name, stub, pass_id in (
            ("anhui", anhui, "phone"), ("gansu", gansu, "phone"), ("other", anhui, "name_birth"),
        ):  # fmt: skip
            clients, blinded = blind(values)
            answer = stub.Evaluate(order(blinded, pass_id))
            outputs[name] = finalize(clients, answer, public_keys(stub)[pass_id])
    assert outputs["anhui"] == outputs["gansu"]
    assert not set(outputs["anhui"]) & set(outputs["other"])
    assert {len(each) for each in outputs["anhui"]} == {64}


def test_an_answer_does_not_verify_under_another_key(anhui: Stub) -> None:
    clients, blinded = blind([b"one"])
    answer = anhui.Evaluate(order(blinded))
    keys = public_keys(anhui)
    with pytest.raises(BaseException, match=r"(?i)proof|verif"):  # the package panics
        finalize(clients, answer, keys["name_birth"])
    assert len(finalize(clients, answer, keys["phone"])) == 1


def test_a_registry_is_told_epochs_public_keys_and_its_own_budgets(
    running: Body, anhui: Stub
) -> None:
    found = anhui.GetKeyServer(pb.GetKeyServerRequest())
    assert (found.key_server, found.suite) == (NAME, "ristretto255-SHA512")
    assert found.federation == running.federation.name
    assert found.schema_fingerprint == fingerprint()
    assert found.batch_elements_max * 32 < 1 << 20
    with calling(running.federation, running.addresses, "gansu") as gansu:
        other = gansu.GetKeyServer(pb.GetKeyServerRequest())
    mine, theirs = found.epochs[0].passes, other.epochs[0].passes
    assert [each.public_key for each in mine] == [each.public_key for each in theirs]
    assert theirs[mine_index(mine, "phone")].budget == GANSU_PHONES
    assert mine[mine_index(mine, "phone")].budget > 110_000
    assert len({each.public_key for each in mine}) == len(mine)


def mine_index(passes: Any, pass_id: str) -> int:
    return [each.pass_id for each in passes].index(pass_id)


@pytest.mark.parametrize(
    ("role", "name"),
    [("linker", "linker"), ("gateway", "gateway"), ("operator", "li-na"), ("keyserver", NAME)],
)
def test_nobody_but_a_registry_is_answered(running: Body, role: str, name: str) -> None:
    with calling(running.federation, running.addresses, name, role) as stub:
        assert reason_of(stub, order(blind([b"x"])[1]))[0] is Reason.ROLE_FORBIDDEN
        with pytest.raises(KinlinkError) as raised, translated("keyserver"):
            stub.GetKeyServer(pb.GetKeyServerRequest())
        assert raised.value.reason is Reason.ROLE_FORBIDDEN


def test_a_registry_of_another_authority_or_that_nobody_declared_is_refused(
    running: Body, tmp_path: Path
) -> None:
    stranger = calling(other_federation(tmp_path), running.addresses, "anhui")
    with stranger as stub, pytest.raises(grpc.RpcError):
        stub.GetKeyServer(pb.GetKeyServerRequest(), timeout=2)
    with calling(running.federation, running.addresses, "ningxia") as stub:
        assert reason_of(stub, order(blind([b"x"])[1]))[0] is Reason.PEER_UNKNOWN
    tls = running.federation.tls("registry", "anhui")
    wrong = open_channel(running.addresses["api"], tls, role="keyserver", name="other")
    with wrong as channel, pytest.raises(grpc.RpcError):
        Stub(channel).GetKeyServer(pb.GetKeyServerRequest(), timeout=2)


def test_malformed_batches_cost_nothing_and_harm_nobody(running: Body, anhui: Stub) -> None:
    spent = running.spent("anhui", "national_id")
    clients, good = blind([b"a", b"b"])
    for bad in (b"", good[:-1], good[:32] + b"\xff" * 32, bytes(32), good + bytes(32)):
        assert reason_of(anhui, order(bad, "national_id"))[0] is Reason.REQUEST_MALFORMED
    assert reason_of(anhui, order(good * 5_000, "national_id"))[0] is Reason.REQUEST_MALFORMED
    assert reason_of(anhui, order(good * 20_000, "national_id"))[0] is Reason.MESSAGE_TOO_LARGE
    assert reason_of(anhui, order(good, "../phone"))[0] is Reason.REQUEST_MALFORMED
    assert reason_of(anhui, order(good, epoch="../../etc"))[0] is Reason.EPOCH_UNKNOWN
    other = pb.EvaluateRequest(epoch=EPOCH, pass_id=PHONE, blinded=good)
    assert reason_of(anhui, other)[0] is Reason.SCHEMA_DIFFERS
    answer = anhui.Evaluate(order(good, "national_id"))
    assert len(finalize(clients, answer, public_keys(anhui)["national_id"])) == 2
    assert running.spent("anhui", "national_id") == spent + 2


def test_probes_are_answered_while_a_large_batch_is_evaluated(running: Body, anhui: Stub) -> None:
    blinded = blind([b"x"])[1] * 8_192
    started = time.monotonic()
    call = anhui.Evaluate.future(order(blinded, "name_birth"))
    slowest, probes = 0.0, 0
    while not call.done():
        asked = time.monotonic()
        assert http_get(f"http://{running.addresses['metrics']}/readyz")[0] == 200
        slowest, probes = max(slowest, time.monotonic() - asked), probes + 1
    seconds = time.monotonic() - started
    assert len(call.result().evaluated) == len(blinded)
    assert probes > 3
    assert slowest < max(1.0, seconds / 2)


def test_an_epoch_is_served_as_soon_as_it_is_made_and_no_longer_than_it_stands(
    running: Body, anhui: Stub
) -> None:
    blinded = blind([b"x"])[1]
    assert reason_of(anhui, order(blinded, epoch="2026-12"))[0] is Reason.EPOCH_UNKNOWN
    must(running.home, "epochs", "create", "2026-12")
    now, next_one = anhui.Evaluate(order(blinded)), anhui.Evaluate(order(blinded, epoch="2026-12"))
    assert now.evaluated != next_one.evaluated
    must(running.home, "epochs", "retire", "2026-12", "--yes")
    assert reason_of(anhui, order(blinded, epoch="2026-12"))[0] is Reason.EPOCH_UNKNOWN
    assert [each.epoch for each in anhui.GetKeyServer(pb.GetKeyServerRequest()).epochs] == [EPOCH]


def test_everything_that_was_evaluated_stands_in_the_audit_and_in_the_metrics(
    running: Body, anhui: Stub
) -> None:
    anhui.Evaluate(order(blind([b"x"])[1] * 7, "name_place"))
    entry = running.audited()[-1]
    assert (entry["action"], entry["actor"]) == ("evaluate", "registry/anhui")
    assert (entry["fields"]["epoch"], entry["fields"]["pass_id"]) == (EPOCH, "name_place")
    assert entry["fields"]["count"] == 7
    assert audit.verify(running.home / "audit.jsonl").ok
    assert "holds" in run(running.home, "audit", "verify").stderr
    text = http_get(f"http://{running.addresses['metrics']}/metrics")[1]
    line = 'kinlink_keyserver_evaluations_total{pass_id="name_place",registry="anhui"} 7.0'
    assert line in text


def test_dead_evaluators_are_replaced_and_the_batch_is_answered(running: Body, anhui: Stub) -> None:
    for child in evaluators_of(running.addresses["pid"]):
        os.kill(child, signal.SIGKILL)
    clients, blinded = blind([b"x"])
    answer = anhui.Evaluate(order(blinded))
    assert len(finalize(clients, answer, public_keys(anhui)["phone"])) == 1


def evaluators_of(pid: int) -> list[int]:
    """Processes that a key server spawned to evaluate."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            spawned = b"spawn_main" in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and spawned:
            found.append(int(entry.name))
    return found


def test_budgets_outlive_the_process_however_it_ends(tmp_path: Path, body: Body) -> None:
    home = tmp_path / "home"
    shutil.copytree(body.home, home)
    blinded = blind([b"x"])[1]
    left = GANSU_PHONES - body.spent("gansu")
    for how in (signal.SIGKILL, signal.SIGTERM):
        with ExitStack() as stack:
            process, addresses = stack.enter_context(serving(home))
            stub = stack.enter_context(calling(body.federation, addresses, "gansu"))
            children = evaluators_of(addresses["pid"])
            assert stub.Evaluate(order(blinded * 5)).budget_left == left - 5
            process.send_signal(how)
            process.wait(30)
            until = time.monotonic() + GONE_SECONDS_MAX
            while any(Path(f"/proc/{child}").exists() for child in children):
                assert time.monotonic() < until, "evaluators outlive their key server"
                time.sleep(0.05)
        left -= 5
    with serving(home) as (_, addresses), calling(body.federation, addresses, "gansu") as stub:
        found, metadata = reason_of(stub, order(blinded * (left + 1)))
        assert (found, metadata["budget_left"]) == (Reason.QUOTA_EXCEEDED, str(left))
        assert stub.Evaluate(order(blinded * left)).budget_left == 0
        assert reason_of(stub, order(blinded))[1]["budget_left"] == "0"
    assert audit.verify(home / "audit.jsonl").ok


def test_no_file_of_the_key_server_holds_an_element(running: Body, anhui: Stub) -> None:
    blinded = blind([b"x"])[1]
    answer = anhui.Evaluate(order(blinded))
    reason_of(anhui, order(blinded[:31]))
    elements = [blinded, answer.evaluated, answer.proof]
    for path in running.home.rglob("*"):
        if path.is_file() and "tls" not in path.parts:
            content = path.read_bytes()
            for each in elements:
                assert each not in content
                assert each.hex().encode() not in content, path
