"""Starting and stopping: health, probes, reflection, drains, and streams that are cut."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from kinlink.registry.v1 import control_pb2, control_pb2_grpc, registry_pb2_grpc
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink_core import wire
from kinlink_core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    KinlinkError,
    UnavailableError,
    UnsupportedError,
)
from kinlink_core.runtime.channel import open_local_channel, translated
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.interceptor import caller
from kinlink_core.runtime.resume import resumed
from kinlink_core.runtime.server import Service, local_socket_server
from support.pki import Federation
from support.servers import LOOPBACK, Server, dialling, http_get, new_metrics, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 10
REGISTRY = "kinlink.registry.v1.RegistryService"
TESTS = Path(__file__).parents[1]

# A registry whose feed has 40 frames of one event, slow enough to be stopped in the middle.
FEED = """
import sys, time
from pathlib import Path
import numpy as np
from prometheus_client import CollectorRegistry
from kinlink.registry.v1 import registry_pb2 as pb, registry_pb2_grpc
from kinlink.type.v1 import stream_pb2
from kinlink_core import wire
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.logging import configure_logging
from kinlink_core.runtime.metrics import RuntimeMetrics
from kinlink_core.runtime.server import ServerSettings, Service, start_server
from kinlink_core.runtime.tls import TlsFiles

home, listen, frame_seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])

class Feed(registry_pb2_grpc.RegistryServiceServicer):
    def StreamTokens(self, request, context):
        first = request.after_sequence + 1
        header = pb.TokensHeader(stream=stream_pb2.StreamHeader(rows=41 - first))
        yield from wire.write_stream(pb.StreamTokensResponse, header, map(frame, range(first, 41)))

def frame(sequence):
    time.sleep(frame_seconds)
    ids = np.zeros((1, 16), np.uint8)
    one = np.ones(1)
    return wire.TokenRows(np.array([sequence]), one, one, ids, ids)

configure_logging("feed")
service = Service(registry_pb2_grpc.add_RegistryServiceServicer_to_server, Feed(),
                  "kinlink.registry.v1.RegistryService", {"StreamTokens": frozenset({Role.LINKER})})
loopback = "127.0.0.1:0"
settings = ServerSettings(listen, loopback, loopback, TlsFiles.in_dir(home), grace_seconds=5,
                          drain_seconds=0.5)
running = start_server(settings, [service], RuntimeMetrics(CollectorRegistry(), "feed", "0"))
running.run_until_signal(home)
"""


class Status(control_pb2_grpc.ControlServiceServicer):
    def GetStatus(  # noqa: N802 - gRPC's name
        self, request: control_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> control_pb2.GetStatusResponse:
        del request, context
        return control_pb2.GetStatusResponse(status_json=json.dumps(str(caller())))


def registry_service() -> Service:
    servicer = registry_pb2_grpc.RegistryServiceServicer()
    add = registry_pb2_grpc.add_RegistryServiceServicer_to_server
    return Service(add, servicer, REGISTRY, {"GetRegistry": frozenset({Role.LINKER})})


def control_service() -> Service:
    add = control_pb2_grpc.add_ControlServiceServicer_to_server
    policy = {"GetStatus": frozenset({Role.OPERATOR})}
    return Service(add, Status(), "kinlink.registry.v1.ControlService", policy)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path / "pki")


@contextmanager
def feed_process(home: Path, listen: str, frame_seconds: float) -> Iterator[Any]:
    command = [sys.executable, "-c", textwrap.dedent(FEED), home, listen, str(frame_seconds)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def addresses_of(home: Path) -> dict[str, Any]:
    def ready() -> bool:
        return (home / "ready.json").exists()

    assert eventually(ready)
    content: dict[str, Any] = json.loads((home / "ready.json").read_text())
    return content


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and not condition():
        time.sleep(0.02)
    return condition()


def sequences(channel: grpc.Channel, after: int = 0) -> Iterator[int]:
    stub = registry_pb2_grpc.RegistryServiceStub(channel)
    request = pb.StreamTokensRequest(after_sequence=after)
    stream = wire.read_stream(stub.StreamTokens(request, timeout=30), wire.TokenRows.read)
    return (int(rows.sequence[0]) for rows in stream)


def health_of(target: str, service: str = "") -> int:
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        return int(answer.status)


def test_health_and_probes_follow_readiness(federation: Federation) -> None:
    with serving(federation.tls("registry", "sichuan"), [registry_service()]) as server:
        target = server.running.addresses["health"]
        serving_status = health_pb2.HealthCheckResponse.SERVING
        assert health_of(target) == health_of(target, REGISTRY) == serving_status
        assert server.http("/readyz") == (200, "ready\n")
        assert server.sample("kinlink_ready") == 1
        server.running.set_ready(ready=False)
        assert health_of(target) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert server.http("/readyz") == (503, "not ready\n")
        assert server.http("/healthz") == (200, "ok\n")
        assert server.sample("kinlink_ready") == 0


def test_metrics_are_served_and_nothing_else_is(federation: Federation) -> None:
    with serving(federation.tls("registry", "sichuan"), [registry_service()]) as server:
        status, text = server.http("/metrics")
        assert status == 200
        assert "kinlink_build_info{" in text
        assert "kinlink_certificate_days_left 2" in text
        assert server.http("/")[0] == server.http("/metrics/../etc")[0] == 404


def test_a_certificate_that_vanished_does_not_stop_the_scrape(federation: Federation) -> None:
    files = federation.tls("registry", "sichuan")
    with serving(files, [registry_service()]) as server:
        files.cert.unlink()
        status, text = server.http("/metrics")
    assert status == 200
    assert "kinlink_certificate_days_left NaN" in text


def reflected(server: Server, federation: Federation, role: str) -> Any:
    name = server.running.identity.name
    with dialling(server.target, federation.tls(role, "caller"), "registry", name) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with translated():
            return next(stub.ServerReflectionInfo(iter([request]), timeout=SECONDS))


def test_reflection_is_off_by_default(federation: Federation) -> None:
    files = federation.tls("registry", "sichuan")
    with (
        serving(files, [registry_service()]) as server,
        pytest.raises(UnsupportedError),
    ):
        reflected(server, federation, "operator")


def test_reflection_when_on_answers_operators_only(federation: Federation) -> None:
    files = federation.tls("registry", "sichuan")
    with serving(files, [registry_service()], reflection=True) as server:
        listed = reflected(server, federation, "operator").list_services_response.service
        assert REGISTRY in [service.name for service in listed]
        with pytest.raises(ForbiddenError):
            reflected(server, federation, "linker")


@pytest.mark.parametrize("listener", ["api", "health", "metrics"])
def test_an_address_in_use_is_a_clear_error_and_leaves_nothing_open(
    federation: Federation, listener: str
) -> None:
    files = federation.tls("registry", "sichuan")
    key = "listen" if listener == "api" else f"{listener}_listen"
    with ExitStack() as stack:
        used = stack.enter_context(serving(files, [])).running.addresses[listener]
        threads = threading.active_count()
        with pytest.raises(UnavailableError, match="Cannot listen on"):
            stack.enter_context(serving(files, [], **{key: used}))
        assert eventually(lambda: threading.active_count() <= threads)


def test_a_key_that_others_may_read_stops_the_start(federation: Federation) -> None:
    files = federation.tls("registry", "sichuan")
    files.key.chmod(0o644)
    with ExitStack() as stack, pytest.raises(InvalidInputError, match="chmod it to 0600"):
        stack.enter_context(serving(files, []))


def test_sigterm_turns_health_off_then_lets_a_running_stream_end_and_exits_with_zero(
    federation: Federation,
) -> None:
    files = federation.tls("registry", "sichuan")
    linker = federation.tls("linker", "linker")
    home = files.key.parent
    with feed_process(home, LOOPBACK, 0.05) as process:
        addresses = addresses_of(home)
        with dialling(addresses["api"], linker, "registry", "sichuan") as channel:
            stream = sequences(channel)
            got = [next(stream)]
            os.kill(addresses["pid"], signal.SIGTERM)
            probe = f"http://{addresses['metrics']}/readyz"
            assert eventually(lambda: http_get(probe)[0] == 503)
            os.kill(addresses["pid"], signal.SIGTERM)
            assert health_of(addresses["health"]) == health_pb2.HealthCheckResponse.NOT_SERVING
            got.extend(stream)
        assert got == list(range(1, 41))
        assert process.wait(SECONDS) == 0
        assert not (home / "ready.json").exists()
        log = [json.loads(line) for line in process.stderr if line.startswith("{")]
    assert [line["event"] for line in log][-2:] == ["call", "server_stopped"]


def test_a_stream_that_outlives_the_grace_is_cut_and_its_reader_knows(
    federation: Federation,
) -> None:
    ended = threading.Event()

    class Endless(registry_pb2_grpc.RegistryServiceServicer):
        def StreamTokens(  # noqa: N802 - gRPC's name
            self, request: pb.StreamTokensRequest, context: grpc.ServicerContext
        ) -> Iterator[pb.StreamTokensResponse]:
            del request
            yield pb.StreamTokensResponse(header=pb.TokensHeader())
            while context.is_active():
                time.sleep(0.01)
            ended.set()

    add = registry_pb2_grpc.add_RegistryServiceServicer_to_server
    service = Service(add, Endless(), REGISTRY, {"StreamTokens": frozenset({Role.LINKER})})
    linker = federation.tls("linker", "linker")
    with serving(federation.tls("registry", "sichuan"), [service]) as server:
        with dialling(server.target, linker, "registry", "sichuan") as channel:
            stub = registry_pb2_grpc.RegistryServiceStub(channel)
            stream = stub.StreamTokens(pb.StreamTokensRequest(), timeout=SECONDS)
            next(stream)
            server.running.stop(grace=0.2)
            with pytest.raises(KinlinkError) as caught, translated("sichuan"):
                next(stream)
        assert caught.value.code in {"CANCELLED", "UNAVAILABLE"}
        assert ended.wait(SECONDS)
        assert server.running.stopping.is_set()


def test_a_feed_goes_on_where_it_stood_after_its_registry_was_killed(
    federation: Federation,
) -> None:
    files = federation.tls("registry", "sichuan")
    linker = federation.tls("linker", "linker")
    home = files.key.parent
    with feed_process(home, LOOPBACK, 0.02) as first:
        address = addresses_of(home)["api"]
        with dialling(address, linker, "registry", "sichuan") as channel:
            opened: list[int] = []

            def open_from(after: int) -> Iterator[int]:
                opened.append(after)
                return sequences(channel, after)

            feed = resumed(open_from, start=0, position_of=int, peer="sichuan", attempts=20)
            got = [next(feed) for _ in range(5)]
            first.kill()
            first.wait()
            (home / "ready.json").unlink()
            with feed_process(home, address, 0):
                got.extend(feed)
    assert got == list(range(1, 41))
    assert opened[0] == 0
    assert opened[-1] >= 5


def test_the_local_socket_is_for_its_owner_who_counts_as_an_operator(tmp_path: Path) -> None:
    path = tmp_path / "registry.sock"
    listener = local_socket_server(path, [control_service()], new_metrics(), federation="demo")
    try:
        assert path.stat().st_mode & 0o777 == 0o600
        with open_local_channel(path) as channel:
            stub = control_pb2_grpc.ControlServiceStub(channel)
            answer = stub.GetStatus(control_pb2.GetStatusRequest(), timeout=SECONDS)
            assert json.loads(answer.status_json) == "operator/local"
            with pytest.raises(ForbiddenError), translated():
                stub.Backup(control_pb2.BackupRequest(), timeout=SECONDS)
        with pytest.raises(ConflictError):
            local_socket_server(path, [control_service()], new_metrics(), federation="demo")
    finally:
        listener.stop(0)


def test_a_socket_left_by_a_killed_process_does_not_stop_the_next(tmp_path: Path) -> None:
    path = tmp_path / "registry.sock"
    code = (
        "import socket, sys, os; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
        " s.listen(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
    assert path.exists()
    listener = local_socket_server(path, [control_service()], new_metrics(), federation="demo")
    listener.stop(0)


def test_a_socket_path_the_system_cannot_hold_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(InvalidInputError, match="longer than 107 bytes"):
        local_socket_server(path, [control_service()], new_metrics(), federation="demo")
