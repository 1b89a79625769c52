"""What happens to a call on a real server: its kinds, limits, errors, counts and log lines."""

from __future__ import annotations

import io
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import structlog
from google.protobuf import descriptor_pb2, descriptor_pool, wrappers_pb2
from kinlink_core.errors import (
    BrokenStreamError,
    DeadlineError,
    ForbiddenError,
    InvalidInputError,
    KinlinkError,
    NotFoundError,
    QuotaError,
    Reason,
    UnavailableError,
    UnsupportedError,
)
from kinlink_core.runtime.channel import translated
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.interceptor import caller
from kinlink_core.runtime.limits import MESSAGE_BYTES_MAX, TRANSPORT_MESSAGE_BYTES_MAX
from kinlink_core.runtime.logging import configure_logging
from kinlink_core.runtime.server import Service
from kinlink_core.runtime.status import MESSAGE_CHARS_MAX
from support.pki import Federation
from support.servers import Server, dialling, new_metrics, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kinlink_core.runtime.tls import TlsFiles

SERVICE = "kinlink.test.v1.KindsService"
PLANTED = "王小明-19880503-planted"
SECONDS = 5
Text = wrappers_pb2.StringValue
Blob = wrappers_pb2.BytesValue
Handler = Any


def _declare_service() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="kinlink/test/v1/kinds.proto",
        package="kinlink.test.v1",
        dependency=["google/protobuf/wrappers.proto"],
    )
    service = file.service.add(name="KindsService")
    for name in ("One", "Many", "Gather", "Talk", "Forgotten"):
        service.method.add(
            name=name,
            input_type=".google.protobuf.BytesValue",
            output_type=".google.protobuf.BytesValue",
        )
    descriptor_pool.Default().Add(file)  # type: ignore[no-untyped-call]


_declare_service()


class Kinds:
    """A servicer of all four kinds; tests replace what a method does."""

    def __init__(self) -> None:
        self.one: Handler = lambda request, _context: Blob(value=request.value[::-1])
        self.many: Handler = lambda request, _context: iter([request] * 3)

    def add_to(self, _servicer: object, server: grpc.Server) -> None:
        def handler(make: Callable[..., Any], behavior: Handler) -> Any:
            return make(
                behavior,
                request_deserializer=Blob.FromString,
                response_serializer=Blob.SerializeToString,
            )

        def one(request: Any, context: object) -> Any:
            return self.one(request, context)

        def many(request: Any, context: object) -> Any:
            return self.many(request, context)

        def gather(requests: Iterator[Any], _context: object) -> Any:
            return Blob(value=b"".join(request.value for request in requests))

        def talk(requests: Iterator[Any], _context: object) -> Iterator[Any]:
            return (Blob(value=request.value * 2) for request in requests)

        kinds = {
            "One": handler(grpc.unary_unary_rpc_method_handler, one),
            "Many": handler(grpc.unary_stream_rpc_method_handler, many),
            "Gather": handler(grpc.stream_unary_rpc_method_handler, gather),
            "Talk": handler(grpc.stream_stream_rpc_method_handler, talk),
            "Forgotten": handler(grpc.unary_unary_rpc_method_handler, lambda r, _c: r),
        }
        generic = grpc.method_handlers_generic_handler(SERVICE, kinds)
        server.add_generic_rpc_handlers((generic,))


class Client:
    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def call(self, kind: str, method: str, argument: Any, **options: Any) -> Any:
        make = getattr(self._channel, kind)
        call = make(
            f"/{SERVICE}/{method}",
            request_serializer=Blob.SerializeToString,
            response_deserializer=Blob.FromString,
        )
        return call(argument, **{"timeout": SECONDS, **options})

    def one(self, value: bytes = b"ab", **options: Any) -> bytes:
        with translated("peer"):
            return bytes(self.call("unary_unary", "One", Blob(value=value), **options).value)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path / "pki")


@pytest.fixture
def linker_tls(federation: Federation) -> TlsFiles:
    return federation.tls("linker", "linker")


@pytest.fixture
def kinds() -> Kinds:
    return Kinds()


def service_of(kinds: Kinds) -> Service:
    allowed = frozenset({Role.LINKER})
    policy = dict.fromkeys(("One", "Many", "Gather", "Talk"), allowed)
    return Service(kinds.add_to, kinds, SERVICE, policy)


@pytest.fixture
def server(federation: Federation, kinds: Kinds) -> Iterator[Server]:
    files = federation.tls("registry", "sichuan")
    with serving(files, [service_of(kinds)], workers=4, max_concurrent_rpcs=4) as running:
        yield running


@pytest.fixture
def client(server: Server, linker_tls: TlsFiles) -> Iterator[Client]:
    with dialling(server.target, linker_tls, "registry", "sichuan") as channel:
        yield Client(channel)


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("test", stream=stream)
    yield stream
    structlog.reset_defaults()


def counted(server: Server, method: str, code: str) -> float:
    return server.sample(
        "kinlink_rpc_requests_total", rpc_service=SERVICE, method=method, code=code
    )


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and not condition():
        time.sleep(0.01)
    return condition()


def test_all_four_kinds_of_calls_pass_the_interceptor(server: Server, client: Client) -> None:
    assert client.one(b"abc") == b"cba"
    many = client.call("unary_stream", "Many", Blob(value=b"x"))
    assert [item.value for item in many] == [b"x"] * 3
    parts = [Blob(value=b"a"), Blob(value=b""), Blob(value=b"b")]
    assert client.call("stream_unary", "Gather", iter(parts)).value == b"ab"
    talk = client.call("stream_stream", "Talk", iter(parts))
    assert [item.value for item in talk] == [b"aa", b"", b"bb"]
    for method in ("One", "Many", "Gather", "Talk"):
        assert eventually(lambda method=method: counted(server, method, "OK") == 1)  # type: ignore[misc]


def test_bytes_in_and_out_are_counted(server: Server, client: Client) -> None:
    client.one(b"x" * 1000)
    labels = {"rpc_service": SERVICE, "method": "One"}
    assert server.sample("kinlink_rpc_received_bytes_total", **labels) == 1003
    assert server.sample("kinlink_rpc_sent_bytes_total", **labels) == 1003


def test_an_unknown_method_is_refused_and_counted_under_one_label(
    server: Server, client: Client
) -> None:
    for name in ("Nothing", "NothingElse"):
        with pytest.raises(UnsupportedError) as caught, translated():
            client.call("unary_unary", name, Blob())
        assert caught.value.reason is Reason.METHOD_UNKNOWN
    unknown = {"rpc_service": "unknown", "method": "unknown", "code": "UNIMPLEMENTED"}
    assert eventually(lambda: server.sample("kinlink_rpc_requests_total", **unknown) == 2)
    assert "Nothing" not in server.http("/metrics")[1]


def test_a_method_without_a_policy_row_is_refused_to_everyone(client: Client) -> None:
    with pytest.raises(ForbiddenError), translated():
        client.call("unary_unary", "Forgotten", Blob())


def test_a_policy_row_for_a_method_that_does_not_exist_stops_the_start(
    federation: Federation, kinds: Kinds
) -> None:
    service = Service(kinds.add_to, kinds, SERVICE, {"Onne": frozenset({Role.LINKER})})
    files = federation.tls("registry", "sichuan")
    with pytest.raises(ValueError, match="no method Onne"), serving(files, [service]):
        pass


def test_a_call_without_a_deadline_is_refused(server: Server, linker_tls: TlsFiles) -> None:
    material = linker_tls.load()
    credentials = grpc.ssl_channel_credentials(material.ca_pem, material.key_pem, material.cert_pem)
    options = [("grpc.ssl_target_name_override", server.running.identity.dns_name)]
    with grpc.secure_channel(server.target, credentials, options) as channel:
        with pytest.raises(InvalidInputError) as caught:
            Client(channel).one(timeout=None)
        assert Client(channel).one(timeout=60) == b"ba"
    assert caught.value.reason is Reason.DEADLINE_MISSING


def test_our_own_channel_gives_each_call_a_deadline(client: Client, kinds: Kinds) -> None:
    remaining: list[float] = []

    def note(request: Any, context: grpc.ServicerContext) -> Any:
        remaining.append(context.time_remaining())
        return request

    kinds.one = note
    client.one(timeout=None)
    assert 50 < remaining[0] <= 60


def test_an_error_of_the_domain_arrives_as_it_was_raised(client: Client, kinds: Kinds) -> None:
    def fail(_request: Any, _context: object) -> Any:
        raise NotFoundError(Reason.LINK_NOT_FOUND, detail=PLANTED, store="links")

    kinds.one = fail
    with pytest.raises(NotFoundError) as caught:
        client.one()
    error = caught.value
    assert (error.reason, error.public) == (
        Reason.LINK_NOT_FOUND,
        "There is no link with this id.",
    )
    assert error.metadata == {"store": "links", "peer": "peer"}
    assert error.detail == ""


def test_the_longest_message_fits_into_the_trailers(client: Client, kinds: Kinds) -> None:
    def fail(_request: Any, _context: object) -> Any:
        raise NotFoundError(Reason.LINK_NOT_FOUND, "省" * 100_000, registry="省" * 100_000)

    kinds.one = fail
    with pytest.raises(NotFoundError) as caught:
        client.one()
    assert caught.value.public == "省" * MESSAGE_CHARS_MAX


def test_the_text_of_an_unexpected_exception_reaches_neither_peer_nor_log_nor_metrics(
    server: Server, client: Client, kinds: Kinds, log: io.StringIO
) -> None:
    def fail(_request: Any, _context: object) -> Any:
        raise ValueError(PLANTED)

    def fail_later(request: Any, _context: object) -> Iterator[Any]:
        yield request
        raise ValueError(PLANTED)

    kinds.one, kinds.many = fail, fail_later
    with pytest.raises(KinlinkError) as caught:
        client.one()
    assert (caught.value.code, caught.value.reason) == ("INTERNAL", Reason.INTERNAL)
    with pytest.raises(grpc.RpcError) as failed:
        list(client.call("unary_stream", "Many", Blob()))
    call: Any = failed.value
    assert eventually(lambda: counted(server, "Many", "INTERNAL") == 1)
    seen = [repr(call), str(call.trailing_metadata()), str(caught.value.__cause__), log.getvalue()]
    assert PLANTED not in "".join([*seen, server.http("/metrics")[1]])
    assert "planted" not in "".join(seen)
    assert '"exception": "ValueError"' in log.getvalue()
    assert "in fail_later" in log.getvalue()


def test_each_call_leaves_one_log_line_with_who_what_how_and_how_long(
    server: Server, client: Client, kinds: Kinds, log: io.StringIO
) -> None:
    def refuse(_request: Any, _context: object) -> Any:
        raise QuotaError(Reason.QUOTA_EXCEEDED, detail="sealed pairs")

    client.one(PLANTED.encode())
    kinds.one = refuse
    with pytest.raises(QuotaError):
        client.one(PLANTED.encode())
    assert eventually(lambda: counted(server, "One", "RESOURCE_EXHAUSTED") == 1)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    good, bad = [line for line in lines if line["event"] == "call"]
    assert good["method"] == bad["method"] == f"/{SERVICE}/One"
    assert good["peer"] == "linker/linker"
    assert (good["code"], bad["code"]) == ("OK", "RESOURCE_EXHAUSTED")
    assert (bad["reason"], bad["detail"]) == ("QUOTA_EXCEEDED", "sealed pairs")
    assert good["request_id"] != bad["request_id"]
    assert 0 <= good["seconds"] < SECONDS
    assert PLANTED not in log.getvalue()


def test_calls_made_while_handling_one_carry_its_request_id(
    server: Server, client: Client, kinds: Kinds, log: io.StringIO
) -> None:
    def relay(request: Any, _context: object) -> Any:
        if request.value:
            client.one(b"")
        return request

    kinds.one = relay
    client.one(b"x")
    assert eventually(lambda: counted(server, "One", "OK") == 2)
    ids = [json.loads(line).get("request_id") for line in log.getvalue().splitlines()[-2:]]
    assert ids[0] == ids[1]


def test_a_request_id_is_taken_over_only_in_our_own_form(
    server: Server, client: Client, log: io.StringIO
) -> None:
    material = "x-request-id"
    client.one(metadata=((material, PLANTED.encode().hex()),))
    assert eventually(lambda: counted(server, "One", "OK") == 1)
    assert PLANTED.encode().hex() not in log.getvalue()


@pytest.mark.parametrize("size", [MESSAGE_BYTES_MAX, TRANSPORT_MESSAGE_BYTES_MAX])
def test_a_request_over_a_limit_is_refused_and_counted(
    server: Server, linker_tls: TlsFiles, size: int
) -> None:
    material = linker_tls.load()
    credentials = grpc.ssl_channel_credentials(material.ca_pem, material.key_pem, material.cert_pem)
    options = [
        ("grpc.ssl_target_name_override", server.running.identity.dns_name),
        ("grpc.max_send_message_length", -1),
    ]
    with grpc.secure_channel(server.target, credentials, options) as channel:
        with pytest.raises(QuotaError) as caught:
            Client(channel).one(bytes(size))
        assert Client(channel).one() == b"ba"
    assert caught.value.reason is Reason.MESSAGE_TOO_LARGE
    assert eventually(lambda: counted(server, "One", "RESOURCE_EXHAUSTED") == 1)
    labels = {"rpc_service": SERVICE, "method": "One", "reason": "MESSAGE_TOO_LARGE"}
    assert server.sample("kinlink_rpc_errors_total", **labels) == 1


def test_our_own_channel_does_not_send_a_message_over_the_limit(
    client: Client,
) -> None:
    with pytest.raises(QuotaError) as caught:
        client.one(bytes(TRANSPORT_MESSAGE_BYTES_MAX))
    assert caught.value.reason is Reason.MESSAGE_TOO_LARGE


def test_a_response_over_the_limit_is_refused(client: Client, kinds: Kinds) -> None:
    kinds.one = lambda _request, _context: Blob(value=bytes(MESSAGE_BYTES_MAX))
    with pytest.raises(QuotaError) as caught:
        client.one()
    assert caught.value.reason is Reason.MESSAGE_TOO_LARGE


def test_bytes_that_are_no_message_are_an_invalid_argument(
    server: Server, linker_tls: TlsFiles
) -> None:
    with dialling(server.target, linker_tls, "registry", "sichuan") as channel:
        call = channel.unary_unary(f"/{SERVICE}/One")
        with pytest.raises(InvalidInputError) as caught, translated():
            call(b"\xff\xff\xff", timeout=SECONDS)
    assert caught.value.reason is Reason.REQUEST_MALFORMED
    assert eventually(lambda: counted(server, "One", "INVALID_ARGUMENT") == 1)


def test_a_call_that_carries_no_request_is_an_invalid_argument(client: Client) -> None:
    with pytest.raises(InvalidInputError) as caught, translated():
        client.call("stream_unary", "One", iter(()))
    assert caught.value.public == "The call carried no request."


def test_an_error_in_the_middle_of_a_stream_follows_what_was_sent(
    client: Client, kinds: Kinds
) -> None:
    def cut(request: Any, _context: object) -> Iterator[Any]:
        yield request
        raise BrokenStreamError(Reason.STREAM_CUT)

    kinds.many = cut
    got = []
    with pytest.raises(BrokenStreamError), translated():
        got.extend(client.call("unary_stream", "Many", Blob(value=b"1")))
    stream = client.call("unary_stream", "Many", Blob(value=b"1"))
    assert next(stream).value == b"1"


def test_a_stream_the_caller_leaves_is_closed_and_counted_as_cancelled(
    server: Server, client: Client, kinds: Kinds
) -> None:
    closed = threading.Event()

    def endless(request: Any, _context: object) -> Iterator[Any]:
        try:
            while True:
                yield request
        finally:
            closed.set()

    kinds.many = endless
    stream = client.call("unary_stream", "Many", Blob(value=bytes(10_000)))
    next(stream)
    stream.cancel()
    assert closed.wait(SECONDS)
    assert eventually(lambda: counted(server, "Many", "CANCELLED") == 1)
    assert server.sample("kinlink_rpc_in_flight", rpc_service=SERVICE) == 0


def test_a_call_that_takes_longer_than_its_deadline_is_counted_so(
    server: Server, client: Client, kinds: Kinds
) -> None:
    def slow(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        while context.is_active():
            time.sleep(0.02)
        yield request

    kinds.many = slow
    with pytest.raises(DeadlineError), translated():
        list(client.call("unary_stream", "Many", Blob(), timeout=0.3))
    assert eventually(lambda: counted(server, "Many", "DEADLINE_EXCEEDED") == 1)


def test_calls_above_the_number_served_at_once_are_refused(client: Client, kinds: Kinds) -> None:
    release = threading.Event()
    running = threading.Semaphore(0)

    def wait(request: Any, _context: object) -> Iterator[Any]:
        running.release()
        release.wait(SECONDS)
        yield request

    kinds.many = wait
    streams = [client.call("unary_stream", "Many", Blob()) for _ in range(4)]
    for _ in streams:
        assert running.acquire(timeout=SECONDS)
    with pytest.raises(QuotaError) as caught:
        client.one()
    release.set()
    assert caught.value.reason is Reason.TOO_MANY_REQUESTS
    assert [len(list(stream)) for stream in streams] == [1] * 4


def test_a_call_that_is_unavailable_before_its_first_message_is_retried(
    client: Client, kinds: Kinds
) -> None:
    attempts: list[int] = []

    def recover(request: Any, _context: object) -> Any:
        attempts.append(1)
        if len(attempts) < 3:
            raise UnavailableError(Reason.UNREACHABLE)
        return request

    kinds.one = recover
    assert client.one(bytes(1 << 20)) == bytes(1 << 20)
    assert len(attempts) == 3


def test_a_peer_that_stays_unavailable_is_reported_after_four_attempts(
    client: Client, kinds: Kinds
) -> None:
    attempts: list[int] = []

    def fail(_request: Any, _context: object) -> Any:
        attempts.append(1)
        raise UnavailableError(Reason.STORE_BUSY)

    kinds.one = fail
    with pytest.raises(UnavailableError) as caught:
        client.one()
    assert caught.value.reason is Reason.STORE_BUSY
    assert len(attempts) == 4


def test_calls_made_are_counted_by_peer_method_and_outcome(
    server: Server, linker_tls: TlsFiles, kinds: Kinds
) -> None:
    def fail(_request: Any, _context: object) -> Any:
        raise NotFoundError(Reason.LINK_NOT_FOUND)

    metrics = new_metrics()
    with dialling(server.target, linker_tls, "registry", "sichuan", metrics) as channel:
        client = Client(channel)
        client.one()
        list(client.call("unary_stream", "Many", Blob()))
        kinds.one = fail
        with pytest.raises(NotFoundError):
            client.one()

    def made(method: str, code: str) -> float:
        labels = {"peer": "sichuan", "method": method, "code": code}
        return metrics.registry.get_sample_value("kinlink_rpc_client_requests_total", labels) or 0

    assert eventually(lambda: made("One", "NOT_FOUND") == 1)
    assert eventually(lambda: made("Many", "OK") == 1)
    assert made("One", "OK") == 1


def test_a_handler_is_told_who_calls(client: Client, kinds: Kinds) -> None:
    kinds.one = lambda _request, _context: Blob(value=caller().uri.encode())
    assert client.one() == b"kinlink://test-federation/linker/linker"
