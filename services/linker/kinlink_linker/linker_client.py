"""The linker as an operator's command calls it, over mutual TLS; answers are plain dictionaries.

They are the messages in proto3 JSON with the field names of the `.proto` files; `--json` prints the
same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from google.protobuf.json_format import MessageToDict
from kinlink.linker.v1 import linker_pb2 as pb
from kinlink.linker.v1 import linker_pb2_grpc
from kinlink_core.runtime.channel import open_channel, translated
from kinlink_core.runtime.identity import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from kinlink_core.runtime.tls import TlsFiles

LINKER_NAME: Final = "linker"
CALL_SECONDS: Final = 30.0
STREAM_SECONDS: Final = 900.0
WATCH_SECONDS: Final = 86_000.0
PAGE_SIZE: Final = 500

Document = dict[str, Any]


class LinkerClient:
    """Calls `LinkerService`; close it after use."""

    def __init__(self, address: str, tls: TlsFiles, name: str = LINKER_NAME) -> None:
        self._channel = open_channel(address, tls, role=Role.LINKER, name=name)
        self._stub = linker_pb2_grpc.LinkerServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def registries(self) -> list[Document]:
        """All configured registries."""
        answer = self._call(self._stub.ListRegistries, pb.ListRegistriesRequest())
        found: list[Document] = answer["registries"]
        return found

    def create(
        self,
        *,
        probability: float | None,
        weight: float | None,
        registries: Sequence[str],
        model: str,
        purpose: str,
    ) -> Document:
        """Start a linkage."""
        request = pb.CreateLinkageRequest(registries=registries, model=model, purpose=purpose)
        if probability is not None:
            request.threshold_probability = probability
        if weight is not None:
            request.threshold_weight = weight
        return self._linkage(self._stub.CreateLinkage, request)

    def linkage(self, linkage_id: str) -> Document:
        """One linkage."""
        return self._linkage(self._stub.GetLinkage, pb.GetLinkageRequest(id=linkage_id))

    def quality(self, linkage_id: str) -> Document | None:
        """What a linkage is expected to be worth; None if it did not come so far."""
        request = pb.GetLinkageQualityRequest(linkage_id=linkage_id)
        found: Document | None = self._call(self._stub.GetLinkageQuality, request).get("quality")
        return found

    def linkages(self, limit: int) -> list[Document]:
        """The newest linkages."""
        request = pb.ListLinkagesRequest(page_size=limit)
        found: list[Document] = self._call(self._stub.ListLinkages, request)["linkages"]
        return found

    def cancel(self, linkage_id: str) -> Document:
        """Ask a linkage to end."""
        request = pb.CancelLinkageRequest(id=linkage_id)
        return self._linkage(self._stub.CancelLinkage, request)

    def watch(self, linkage_id: str) -> Iterator[Document]:
        """A linkage each time it changes, until it ends."""
        request = pb.WatchLinkageRequest(id=linkage_id)
        with translated(LINKER_NAME):
            for message in self._stub.WatchLinkage(request, timeout=WATCH_SECONDS):
                yield _document(message)["linkage"]

    def links(self, filters: Document, order: str, limit: int) -> tuple[list[Document], int]:
        """Up to `limit` links in an order, and how many there are in all."""
        found: list[Document] = []
        token, total = "", 0
        while len(found) < limit:
            request = pb.ListLinksRequest(
                filter=pb.LinkFilter(**filters),
                order=pb.LinkOrder.Value(f"LINK_ORDER_{order.upper()}"),
                page_size=min(PAGE_SIZE, limit - len(found)),
                page_token=token,
            )
            page = self._call(self._stub.ListLinks, request)
            found += page["links"]
            token, total = page["next_page_token"], int(page["total"])
            if not token:
                break
        return found, total

    def all_links(self, filters: Document) -> Iterator[Document]:
        """Every link of a filter, best first."""
        request = pb.StreamLinksRequest(filter=pb.LinkFilter(**filters))
        with translated(LINKER_NAME):
            for message in self._stub.StreamLinks(request, timeout=STREAM_SECONDS):
                yield from _document(message)["links"]

    def link(self, link_id: str) -> Document:
        """One link with its evidence."""
        return self._call(self._stub.GetLink, pb.GetLinkRequest(id=link_id))

    def standing(self) -> Document:
        """How far standing search is."""
        return self._call(self._stub.GetStanding, pb.GetStandingRequest())

    def person_history(self, person_id: str) -> list[Document]:
        """What happened to a person, oldest first."""
        request = pb.ListPersonHistoryRequest(person_id=person_id)
        found: list[Document] = self._call(self._stub.ListPersonHistory, request)["changes"]
        return found

    def model(self, name: str) -> Document:
        """A model by name, or the newest."""
        return self._call(self._stub.GetModel, pb.GetModelRequest(name=name))

    def set_model(self, name: str, body: str) -> Document:
        """Keep a model under a name."""
        return self._call(self._stub.SetModel, pb.SetModelRequest(name=name, model_json=body))

    def _linkage(self, method: Any, request: Any) -> Document:
        linkage: Document = self._call(method, request)["linkage"]
        return linkage

    def _call(self, method: Any, request: Any) -> Document:
        with translated(LINKER_NAME):
            return _document(method(request, timeout=CALL_SECONDS))


def state_number(name: str) -> int:
    """The number of a state of a pair by its name, as a filter holds it."""
    return int(pb.PairState.Value(f"PAIR_STATE_{name.upper()}"))


def verdict_number(name: str) -> int:
    """The number of a verdict's name, as a filter holds it."""
    from kinlink.registry.v1 import registry_pb2

    return int(registry_pb2.Verdict.Value(f"VERDICT_{name.upper()}"))


def _document(message: Any) -> Document:
    document: Document = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document
