"""Who gets in: identities, authorities, roles and dates, with real handshakes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink.registry.v1 import registry_pb2_grpc
from kinlink_core.errors import ForbiddenError, KinlinkError, Reason, UnauthenticatedError
from kinlink_core.runtime.channel import translated, wait_until_ready
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.interceptor import caller
from kinlink_core.runtime.server import Service
from kinlink_core.runtime.tls import TlsFiles, certificate_days_left
from support.pki import Federation, other_federation
from support.servers import Server, dialling, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 5


class EchoRegistry(registry_pb2_grpc.RegistryServiceServicer):
    def GetRegistry(  # noqa: N802 - gRPC's name
        self, request: pb.GetRegistryRequest, context: grpc.ServicerContext
    ) -> pb.GetRegistryResponse:
        del request, context
        return pb.GetRegistryResponse(registry=str(caller()))


def registry_service() -> Service:
    return Service(
        registry_pb2_grpc.add_RegistryServiceServicer_to_server,
        EchoRegistry(),
        "kinlink.registry.v1.RegistryService",
        {"GetRegistry": frozenset({Role.LINKER})},
    )


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path / "pki")


@pytest.fixture
def server(federation: Federation) -> Iterator[Server]:
    with serving(federation.tls("registry", "sichuan"), [registry_service()]) as running:
        yield running


def ask(server: Server, tls: TlsFiles, role: str = "registry", name: str = "sichuan") -> str:
    with dialling(server.target, tls, role, name) as channel, translated(name):
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        return str(stub.GetRegistry(pb.GetRegistryRequest(), timeout=SECONDS).registry)


def test_a_linker_of_the_federation_is_answered_and_named(
    server: Server, federation: Federation
) -> None:
    assert ask(server, federation.tls("linker", "linker")) == "linker/linker"


def test_a_client_without_a_certificate_gets_no_answer(
    server: Server, federation: Federation
) -> None:
    credentials = grpc.ssl_channel_credentials(federation.authority.cert_pem)
    with grpc.secure_channel(server.target, credentials) as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetRegistry(pb.GetRegistryRequest(), timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_without_tls_gets_no_answer(server: Server) -> None:
    with grpc.insecure_channel(server.target) as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetRegistry(pb.GetRegistryRequest(), timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_of_another_authority_gets_no_answer(
    server: Server, federation: Federation, tmp_path: Path
) -> None:
    stranger = other_federation(tmp_path / "other").tls("linker", "linker")
    mixed = TlsFiles(stranger.key, stranger.cert, federation.tls("linker", "real").ca)
    with pytest.raises(KinlinkError) as caught:
        ask(server, mixed)
    assert caught.value.code == "UNAVAILABLE"


def test_a_server_of_another_authority_is_refused_in_the_handshake(
    federation: Federation, tmp_path: Path
) -> None:
    stranger = other_federation(tmp_path / "other").tls("registry", "sichuan")
    with (
        serving(stranger, [registry_service()]) as server,
        pytest.raises(UnauthenticatedError) as caught,
    ):
        ask(server, federation.tls("linker", "linker"))
    assert caught.value.reason is Reason.HANDSHAKE_FAILED


def test_an_expired_client_certificate_gets_no_answer(
    server: Server, federation: Federation
) -> None:
    expired = federation.tls("linker", "linker", days=1, ago_days=2)
    assert certificate_days_left(expired.cert) < 0
    with pytest.raises(KinlinkError) as caught:
        ask(server, expired)
    assert caught.value.code == "UNAVAILABLE"


def test_an_expired_server_certificate_is_refused_in_the_handshake(
    federation: Federation,
) -> None:
    expired = federation.tls("registry", "sichuan", days=1, ago_days=2)
    with (
        serving(expired, [registry_service()]) as server,
        pytest.raises(UnauthenticatedError) as caught,
    ):
        ask(server, federation.tls("linker", "linker"))
    assert caught.value.reason is Reason.HANDSHAKE_FAILED


def test_the_wrong_role_is_forbidden_and_counted(server: Server, federation: Federation) -> None:
    with pytest.raises(ForbiddenError) as caught:
        ask(server, federation.tls("gateway", "gateway"))
    assert caught.value.reason is Reason.ROLE_FORBIDDEN
    labels = {"rpc_service": "kinlink.registry.v1.RegistryService", "method": "GetRegistry"}
    assert server.sample("kinlink_rpc_requests_total", code="PERMISSION_DENIED", **labels) == 1
    assert server.sample("kinlink_rpc_errors_total", reason="ROLE_FORBIDDEN", **labels) == 1


def test_a_certificate_of_another_registry_is_refused_in_the_handshake(
    server: Server, federation: Federation
) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        ask(server, federation.tls("linker", "linker"), name="shaanxi")
    assert caught.value.reason is Reason.HANDSHAKE_FAILED


def test_a_certificate_of_another_role_is_refused_in_the_handshake(
    server: Server, federation: Federation
) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        ask(server, federation.tls("gateway", "gateway"), role="linker")
    assert caught.value.reason is Reason.HANDSHAKE_FAILED


def test_a_member_of_another_federation_under_one_authority_is_forbidden(
    server: Server, federation: Federation, tmp_path: Path
) -> None:
    authority = replace(federation.authority, federation="neighbour")
    files = Federation(tmp_path / "neighbour", "neighbour", authority).tls("linker", "linker")
    ours = federation.tls("linker", "ours")
    credentials = grpc.ssl_channel_credentials(
        ours.ca.read_bytes(), files.key.read_bytes(), files.cert.read_bytes()
    )
    expected = server.running.identity.dns_name
    options = [("grpc.ssl_target_name_override", expected)]
    with grpc.secure_channel(server.target, credentials, options) as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        with pytest.raises(ForbiddenError) as caught, translated():
            stub.GetRegistry(pb.GetRegistryRequest(), timeout=SECONDS)
    assert caught.value.reason is Reason.FEDERATION_DIFFERS


def test_a_rotated_server_certificate_is_used_without_a_restart(federation: Federation) -> None:
    files = federation.tls("registry", "sichuan", days=1)
    client = federation.tls("linker", "linker")
    with serving(files, [registry_service()]) as server:
        ask(server, client)
        assert server.sample("kinlink_certificate_days_left") < 1.1
        federation.issue_into(files, "registry", "sichuan", days=90)
        ask(server, client)
        assert server.sample("kinlink_certificate_days_left") > 80
        assert server.sample("kinlink_certificate_reloads_total", outcome="loaded") == 1


def test_a_half_done_rotation_leaves_the_certificate_in_use(
    server: Server, federation: Federation
) -> None:
    client = federation.tls("linker", "linker")
    key = federation.directory / "registry-sichuan" / "key.pem"
    key.write_bytes(client.key.read_bytes())
    assert ask(server, client) == "linker/linker"
    assert server.sample("kinlink_certificate_reloads_total", outcome="failed") >= 1


def test_waiting_for_a_peer_says_whether_it_came(server: Server, federation: Federation) -> None:
    client = federation.tls("linker", "linker")
    with dialling(server.target, client, "registry", "sichuan") as channel:
        assert wait_until_ready(channel, SECONDS)
    with dialling(server.target, client, "registry", "elsewhere") as channel:
        assert not wait_until_ready(channel, 0.5)
