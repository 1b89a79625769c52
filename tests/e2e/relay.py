"""What stands between a linker and a registry in these tests, and writes down what passes.

`Proxy` is a man in the middle with the federation's own certificates: it sees every message as the
linker decrypts it. `Wire` passes bytes on as they are and keeps them: what an eavesdropper sees.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from kinlink_core.runtime.channel import open_channel
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.pki import make_csr, make_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kinlink_core.runtime.pki import CertificateAuthority
    from kinlink_core.runtime.tls import TlsFiles

MESSAGE_BYTES_MAX = 8 << 20
WORKERS = 24
SERVICE = "/kinlink.registry.v1.RegistryService/"


@dataclass(frozen=True)
class Message:
    """One message between the linker and a registry, in the clear."""

    registry: str
    method: str
    from_registry: bool
    content: bytes


@dataclass
class Record:
    """Everything that passed, in order of arrival."""

    messages: list[Message] = field(default_factory=list)
    on_message: Callable[[Message], None] = lambda _message: None

    def add(self, message: Message) -> None:
        self.messages.append(message)
        self.on_message(message)

    def of(self, method: str) -> list[bytes]:
        """Contents that registries sent in answer to a method."""
        return [
            message.content
            for message in self.messages
            if message.method == method and message.from_registry
        ]


class Proxy:
    """Poses as a registry to the linker, and as the linker to the registry."""

    def __init__(
        self, registry: str, target: str, ca: CertificateAuthority, tls: TlsFiles, record: Record
    ) -> None:
        key = make_key()
        request = make_csr(key, ca.federation, Role.REGISTRY, registry, hosts=["127.0.0.1"])
        certificate = ca.issue(request, Role.REGISTRY, registry, hosts=["127.0.0.1"])
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=ca.cert_pem, require_client_auth=True
        )
        self._registry, self._tls = registry, tls
        self._handler = _Handler(registry, record)
        self._channel: grpc.Channel | None = None
        self.redirect(target)
        self._pool = ThreadPoolExecutor(WORKERS)
        self._server = grpc.server(
            self._pool, options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
        )
        self._server.add_generic_rpc_handlers((self._handler,))
        port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def redirect(self, target: str) -> None:
        """Pass on to another address: the registry was started again."""
        if self._channel is not None:
            self._channel.close()
        self._channel = open_channel(target, self._tls, role=Role.REGISTRY, name=self._registry)
        self._handler.channel = self._channel

    def stop(self) -> None:
        self._server.stop(0).wait()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._pool.shutdown(wait=False)


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    channel: grpc.Channel

    def __init__(self, registry: str, record: Record) -> None:
        self._registry = registry
        self._record = record

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method

        # A single answer is a stream of one: the bytes on the wire are the same.
        def passes_on(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            name = method.removeprefix(SERVICE)
            self._record.add(Message(self._registry, name, from_registry=False, content=request))
            call = self.channel.unary_stream(method)(request, timeout=context.time_remaining())
            context.add_callback(call.cancel)
            try:
                for answer in call:
                    self._record.add(Message(self._registry, name, True, answer))  # noqa: FBT003
                    yield answer
            except grpc.RpcError as error:
                context.set_trailing_metadata(error.trailing_metadata() or ())
                context.abort(error.code(), error.details() or "")

        return grpc.unary_stream_rpc_method_handler(passes_on)


class Wire:
    """A TCP relay that keeps every byte of both directions, a stream a connection."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.streams: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._connect(self._listener.accept()[0])

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        self._sockets += [client, server]
        for source, sink in ((client, server), (server, client)):
            kept = bytearray()
            self.streams.append(kept)
            threading.Thread(target=_pump, args=(source, sink, kept), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(1 << 16):
            kept += part
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
