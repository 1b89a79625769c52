"""What the demo and the rehearsal ask of the linker, over mutual TLS as its operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from kinlink.linker.v1 import linker_pb2, linker_pb2_grpc
from kinlink_core.runtime.channel import open_channel, translated
from kinlink_core.runtime.identity import Role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from google.protobuf.message import Message
    from kinlink_core.runtime.tls import TlsFiles

LINKER: Final = "linker"
CALL_SECONDS_MAX: Final = 60.0
LINKAGE_SECONDS_MAX: Final = 4 * 3_600.0
ENDED: Final = frozenset({"SUCCEEDED", "PARTIAL", "FAILED", "CANCELLED"})
GOOD: Final = frozenset({"SUCCEEDED", "PARTIAL"})


@dataclass(frozen=True)
class StageView:
    """One stage of a linkage and how far it is."""

    name: str
    seconds: float
    done: int
    total: int


@dataclass(frozen=True)
class LinkageView:
    """A linkage as the linker last told it."""

    id: str
    state: str
    stages: tuple[StageView, ...]
    dropped: dict[str, int]  # reason → islands or pairs
    missing: dict[str, str]  # registry → reason
    candidate_pairs: int
    disclosed_pairs: int
    links: int
    persons: int
    em_iterations: int
    bytes_received: dict[str, int]
    error: str

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED

    @property
    def succeeded(self) -> bool:
        """Whether it ended with links, of all registries or of some."""
        return self.state in GOOD


@dataclass(frozen=True)
class LinkView:
    """A disclosed pair of subjects."""

    id: str
    registry_l: str
    subject_l: str
    registry_r: str
    subject_r: str
    weight: float
    probability: float
    linked: bool
    person_id: str
    pass_id: str


@dataclass(frozen=True)
class EvidenceView:
    """What one field says about a link, in bits."""

    field: str
    level: str
    weight: float


class LinkerClient:
    """A connection to the linker; use as a context."""

    def __init__(self, target: str, tls: TlsFiles) -> None:
        self._channel = open_channel(target, tls, role=Role.LINKER, name=LINKER)
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

    def create_linkage(self, *, threshold: float | None, purpose: str) -> str:
        """Start a linkage of all registries; its id."""
        request = linker_pb2.CreateLinkageRequest(purpose=purpose)
        if threshold is not None:
            request.threshold_probability = threshold
        with translated(LINKER):
            created = self._stub.CreateLinkage(request, timeout=CALL_SECONDS_MAX)
        return created.linkage.id

    def watch(self, linkage_id: str) -> Iterator[LinkageView]:
        """The linkage each time it changes, until it has ended."""
        request = linker_pb2.WatchLinkageRequest(id=linkage_id)
        with translated(LINKER):
            for response in self._stub.WatchLinkage(request, timeout=LINKAGE_SECONDS_MAX):
                yield _linkage(response.linkage)

    def quality(self, linkage_id: str) -> dict[str, Any] | None:
        """What the linkage is expected to be worth, with the protocol's names."""
        request = linker_pb2.GetLinkageQualityRequest(linkage_id=linkage_id)
        with translated(LINKER):
            answer = self._stub.GetLinkageQuality(request, timeout=CALL_SECONDS_MAX)
        return plain(answer.quality) if answer.HasField("quality") else None

    def standing_waits(self) -> bool:
        """Whether standing search has changes that it did not look at yet."""
        with translated(LINKER):
            answer = self._stub.GetStanding(
                linker_pb2.GetStandingRequest(), timeout=CALL_SECONDS_MAX
            )
        return bool(answer.behind or answer.waiting_changes)

    def links(self, linkage_id: str) -> list[LinkView]:
        """Every pair that the linkage disclosed, linked or not."""
        chosen = linker_pb2.LinkFilter(linkage_id=linkage_id, include_disclosed=True)
        request = linker_pb2.StreamLinksRequest(filter=chosen)
        with translated(LINKER):
            return [
                _link(link)
                for response in self._stub.StreamLinks(request, timeout=LINKAGE_SECONDS_MAX)
                for link in response.links
            ]

    def evidence(self, link_id: str) -> tuple[float, tuple[EvidenceView, ...]]:
        """The prior weight of a link and what each field adds to it."""
        request = linker_pb2.GetLinkRequest(id=link_id)
        with translated(LINKER):
            response = self._stub.GetLink(request, timeout=CALL_SECONDS_MAX)
        fields = (EvidenceView(each.field, each.level, each.weight) for each in response.evidence)
        return response.prior_weight, tuple(fields)


def _linkage(linkage: linker_pb2.Linkage) -> LinkageView:
    dropped = {
        "over_cap": sum(each.dropped_over_cap for each in linkage.passes),
        "proof": sum(each.dropped_proof for each in linkage.passes),
        "sieved_out": sum(each.sieved_out for each in linkage.passes),
        "repeated": sum(each.repeated for each in linkage.passes),
        "refused": sum(each.refused for each in linkage.passes),
    }
    state = linker_pb2.LinkageState.Name(linkage.state).removeprefix("LINKAGE_STATE_")
    return LinkageView(
        id=linkage.id,
        state=state,
        stages=tuple(
            StageView(each.name, each.seconds, each.done, each.total) for each in linkage.stages
        ),
        dropped=dropped,
        missing={each.name: each.reason for each in linkage.missing_registries},
        candidate_pairs=linkage.candidate_pairs,
        disclosed_pairs=linkage.disclosed_pairs,
        links=linkage.links,
        persons=linkage.persons,
        em_iterations=linkage.em_iterations,
        bytes_received=dict(linkage.bytes_received),
        error=f"{linkage.error_reason}: {linkage.error_detail}" if linkage.error_reason else "",
    )


def _link(link: linker_pb2.Link) -> LinkView:
    return LinkView(
        id=link.id,
        registry_l=link.registry_l,
        subject_l=link.subject_l,
        registry_r=link.registry_r,
        subject_r=link.subject_r,
        weight=link.match_weight,
        probability=link.match_probability,
        linked=link.linked,
        person_id=link.person_id,
        pass_id=getattr(link, "pass"),
    )


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON has it; what is unset is None, and integers stay integers."""
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def _value(message: Message, field: Any) -> Any:
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    if field.is_repeated:
        return [plain(each) if field.message_type else each for each in value]
    return plain(value) if field.message_type else value
