"""The linker over mutual TLS: the only module of the gateway that knows protobuf.

Python gRPC clients cannot reload certificates, so the channel is opened anew when the files change.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from kinlink.linker.v1 import linker_pb2, linker_pb2_grpc
from kinlink.registry.v1 import registry_pb2
from kinlink_core.errors import (
    ForbiddenError,
    KinlinkError,
    NotFoundError,
    Reason,
    UnauthenticatedError,
    UnavailableError,
)
from kinlink_core.runtime.channel import open_channel, translated
from kinlink_core.runtime.identity import Role

from kinlink_gateway.case_client import (
    RULED_OUT_BY,
    RULED_OUT_BY_BACK,
    SEEKERS_BACK,
    STATES,
    STATES_BACK,
    candidate_page_of,
    case_page_of,
    case_request,
)
from kinlink_gateway.linker import (
    Evidence,
    ExplainedLink,
    Link,
    Linkage,
    LinkagePage,
    LinkageState,
    LinkFilter,
    LinkOrder,
    LinkPage,
    MissingRegistry,
    PairState,
    PassCounts,
    Registry,
    RegistryState,
    Stage,
    Verdict,
)
from kinlink_gateway.quality_client import quality_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc
    from google.protobuf.timestamp_pb2 import Timestamp
    from kinlink_core.runtime.metrics import RuntimeMetrics
    from kinlink_core.runtime.tls import TlsFiles

    from kinlink_gateway.cases import CandidatePage, CaseFilter, CaseKey, CasePage
    from kinlink_gateway.linkage_quality import LinkageQuality
    from kinlink_gateway.linker import RuledOutBy

CALL_SECONDS_MAX: Final = 15.0
STREAM_SECONDS_MAX: Final = 900.0
# Every page asks whether there are cases; the schema changes with a restart of the linker.
SIDES_SECONDS_MAX: Final = 2.0
SIDES_KEPT_SECONDS: Final = 30.0

_REGISTRY_STATES: Final = {
    linker_pb2.REGISTRY_STATE_READY: RegistryState.READY,
    linker_pb2.REGISTRY_STATE_UNREACHABLE: RegistryState.UNREACHABLE,
    linker_pb2.REGISTRY_STATE_REFUSED: RegistryState.REFUSED,
    linker_pb2.REGISTRY_STATE_REVOKED: RegistryState.REVOKED,
}
_LINKAGE_STATES: Final = {
    linker_pb2.LINKAGE_STATE_PENDING: LinkageState.PENDING,
    linker_pb2.LINKAGE_STATE_RUNNING: LinkageState.RUNNING,
    linker_pb2.LINKAGE_STATE_SUCCEEDED: LinkageState.SUCCEEDED,
    linker_pb2.LINKAGE_STATE_PARTIAL: LinkageState.PARTIAL,
    linker_pb2.LINKAGE_STATE_FAILED: LinkageState.FAILED,
    linker_pb2.LINKAGE_STATE_CANCELLED: LinkageState.CANCELLED,
}
_VERDICTS: Final = {
    Verdict.CONFIRMED: registry_pb2.VERDICT_CONFIRMED,
    Verdict.REJECTED: registry_pb2.VERDICT_REJECTED,
    Verdict.UNSURE: registry_pb2.VERDICT_UNSURE,
}
_VERDICTS_BACK: Final = {number: verdict for verdict, number in _VERDICTS.items()}
_ORDERS: Final = {
    LinkOrder.WEIGHT_DESC: linker_pb2.LINK_ORDER_WEIGHT_DESC,
    LinkOrder.WEIGHT_ASC: linker_pb2.LINK_ORDER_WEIGHT_ASC,
    LinkOrder.CREATED_DESC: linker_pb2.LINK_ORDER_CREATED_DESC,
}


class GrpcLinker:
    """Implements `linker.Linker`."""

    def __init__(
        self, address: str, tls: TlsFiles, *, name: str = "linker", metrics: RuntimeMetrics
    ) -> None:
        self._address = address
        self._tls = tls
        self._name = name
        self._metrics = metrics
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._stamp: tuple[tuple[int, int, int], ...] = ()
        self._two_sided = (False, 0.0)  # as last heard, and until when it is believed

    def list_registries(self) -> tuple[Registry, ...]:
        """See `Linker`."""
        with self._call() as stub:
            answer = stub.ListRegistries(
                linker_pb2.ListRegistriesRequest(), timeout=CALL_SECONDS_MAX
            )
        return tuple(_registry(item) for item in answer.registries)

    def create_linkage(
        self,
        *,
        threshold_probability: float | None,
        registries: tuple[str, ...],
        purpose: str,
        requested_by: str,
    ) -> Linkage:
        """See `Linker`."""
        request = linker_pb2.CreateLinkageRequest(
            registries=registries, purpose=purpose, requested_by=requested_by
        )
        if threshold_probability is not None:
            request.threshold_probability = threshold_probability
        with self._call() as stub:
            return _linkage(stub.CreateLinkage(request, timeout=CALL_SECONDS_MAX).linkage)

    def get_linkage(self, linkage_id: str) -> Linkage:
        """See `Linker`."""
        request = linker_pb2.GetLinkageRequest(id=linkage_id)
        with self._call() as stub:
            return _linkage(stub.GetLinkage(request, timeout=CALL_SECONDS_MAX).linkage)

    def linkage_quality(self, linkage_id: str) -> LinkageQuality | None:
        """See `Linker`."""
        request = linker_pb2.GetLinkageQualityRequest(linkage_id=linkage_id)
        with self._call() as stub:
            answer = stub.GetLinkageQuality(request, timeout=CALL_SECONDS_MAX)
        return quality_of(answer.quality) if answer.HasField("quality") else None

    def list_linkages(self, *, page_size: int, page_token: str) -> LinkagePage:
        """See `Linker`."""
        request = linker_pb2.ListLinkagesRequest(page_size=page_size, page_token=page_token)
        with self._call() as stub:
            answer = stub.ListLinkages(request, timeout=CALL_SECONDS_MAX)
        return LinkagePage(
            tuple(_linkage(item) for item in answer.linkages), answer.next_page_token
        )

    def cancel_linkage(self, linkage_id: str) -> Linkage:
        """See `Linker`."""
        request = linker_pb2.CancelLinkageRequest(id=linkage_id)
        with self._call() as stub:
            return _linkage(stub.CancelLinkage(request, timeout=CALL_SECONDS_MAX).linkage)

    def list_links(
        self, link_filter: LinkFilter, *, order: LinkOrder, page_size: int, page_token: str
    ) -> LinkPage:
        """See `Linker`."""
        request = linker_pb2.ListLinksRequest(
            filter=_filter(link_filter),
            order=_ORDERS[order],
            page_size=page_size,
            page_token=page_token,
        )
        with self._call() as stub:
            answer = stub.ListLinks(request, timeout=CALL_SECONDS_MAX)
        return LinkPage(
            tuple(_link(item) for item in answer.links), answer.next_page_token, answer.total
        )

    def stream_links(self, link_filter: LinkFilter) -> Iterator[tuple[Link, ...]]:
        """See `Linker`; leaving the iterator early cancels the call."""
        request = linker_pb2.StreamLinksRequest(filter=_filter(link_filter))
        with self._call() as stub:
            call: Any = stub.StreamLinks(request, timeout=STREAM_SECONDS_MAX)
            try:
                for part in call:
                    yield tuple(_link(item) for item in part.links)
            finally:
                call.cancel()

    def get_link(self, link_id: str) -> ExplainedLink:
        """See `Linker`."""
        request = linker_pb2.GetLinkRequest(id=link_id)
        with self._call() as stub:
            return _explained(stub.GetLink(request, timeout=CALL_SECONDS_MAX))

    def two_sided(self) -> bool:
        """See `Linker`."""
        with self._lock:
            known, until = self._two_sided
        if time.monotonic() < until:
            return known
        try:
            with self._call() as stub:
                request = linker_pb2.ListRegistriesRequest()
                known = stub.ListRegistries(request, timeout=SIDES_SECONDS_MAX).two_sided
        except KinlinkError:
            # Who reads the page is told by what else it asks for.
            pass
        with self._lock:
            self._two_sided = known, time.monotonic() + SIDES_KEPT_SECONDS
        return known

    def list_cases(
        self, case_filter: CaseFilter, *, order: LinkOrder, page_size: int, page_token: str
    ) -> CasePage:
        """See `Linker`."""
        request = linker_pb2.ListCasesRequest(
            touching=case_filter.touching,
            registry=case_filter.registry,
            include_confirmed=case_filter.include_confirmed,
            order=_ORDERS[order],
            page_size=page_size,
            page_token=page_token,
        )
        with self._call() as stub:
            return case_page_of(stub.ListCases(request, timeout=CALL_SECONDS_MAX))

    def get_case(self, key: CaseKey, *, page_size: int, page_token: str) -> CandidatePage:
        """See `Linker`."""
        request = case_request(key, page_size=page_size, page_token=page_token)
        with self._call() as stub:
            return candidate_page_of(stub.GetCase(request, timeout=CALL_SECONDS_MAX), _explained)

    def decide_link(
        self,
        link_id: str,
        *,
        verdict: Verdict,
        reason: str,
        by: str,
        ruled_out_by: RuledOutBy | None = None,
    ) -> Link:
        """See `Linker`."""
        request = linker_pb2.DecideLinkRequest(
            id=link_id, verdict=_VERDICTS[verdict], reason=reason, decided_by=by
        )
        if ruled_out_by is not None:
            request.ruled_out_by = RULED_OUT_BY[ruled_out_by]
        with self._call() as stub:
            return _link(stub.DecideLink(request, timeout=CALL_SECONDS_MAX).link)

    def close(self) -> None:
        """Close the channel; calls that run are cancelled."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    @contextmanager
    def _call(self) -> Iterator[linker_pb2_grpc.LinkerServiceStub]:
        try:
            with translated(self._name):
                yield linker_pb2_grpc.LinkerServiceStub(self._open())
        except UnavailableError as error:
            raise UnavailableError(
                error.reason,
                "The linker cannot be reached now. Try again; if it stays so, tell the operator.",
                detail=error.detail,
            ) from error
        except (UnauthenticatedError, ForbiddenError) as error:
            raise UnavailableError(
                Reason.UNREACHABLE,
                "The linker refuses this gateway: the operator must look at its certificate.",
                detail=error.detail or error.public,
            ) from error

    def _open(self) -> grpc.Channel:
        with self._lock:
            stamp = self._stamp_of_files()
            if self._channel is None or stamp != self._stamp:
                # The old channel closes with its last call, when nobody holds it any more.
                self._channel = open_channel(
                    self._address,
                    self._tls,
                    role=Role.LINKER,
                    name=self._name,
                    metrics=self._metrics,
                )
                self._stamp = stamp
            return self._channel

    def _stamp_of_files(self) -> tuple[tuple[int, int, int], ...]:
        try:
            return self._tls.stamp()
        except OSError as error:
            raise UnavailableError(
                Reason.FILE_UNREADABLE, detail=f"tls files: {error.strerror}"
            ) from error


def _time(message: Timestamp, *, present: bool) -> datetime | None:
    return message.ToDatetime(tzinfo=UTC) if present else None


def _registry(message: linker_pb2.Registry) -> Registry:
    return Registry(
        name=message.name,
        state=_REGISTRY_STATES.get(message.state, RegistryState.UNKNOWN),
        reason=message.reason,
        epoch=message.epoch,
        records=message.records,
        tokens=message.tokens,
        lag=message.lag,
        synced_at=_time(message.synced_at, present=message.HasField("synced_at")),
        detail=message.detail,
    )


def _linkage(message: linker_pb2.Linkage) -> Linkage:
    return Linkage(
        id=message.id,
        state=_LINKAGE_STATES.get(message.state, LinkageState.UNKNOWN),
        epoch=message.epoch,
        threshold_probability=message.threshold_probability,
        created_at=_time(message.created_at, present=message.HasField("created_at")),
        ended_at=_time(message.ended_at, present=message.HasField("ended_at")),
        created_by=message.created_by,
        purpose=message.purpose,
        requested_by=message.requested_by,
        stages=tuple(Stage(s.name, s.seconds, s.done, s.total) for s in message.stages),
        passes=tuple(_pass(counts) for counts in message.passes),
        missing_registries=tuple(
            MissingRegistry(m.name, m.reason, m.detail) for m in message.missing_registries
        ),
        candidate_pairs=message.candidate_pairs,
        disclosed_pairs=message.disclosed_pairs,
        links=message.links,
        persons=message.persons,
        em_iterations=message.em_iterations,
        error_reason=message.error_reason,
        error_detail=message.error_detail,
        bytes_received=dict(sorted(message.bytes_received.items())),
    )


def _pass(message: linker_pb2.PassCounts) -> PassCounts:
    return PassCounts(
        name=getattr(message, "pass"),
        tokens=message.tokens,
        islands=message.islands,
        refined=message.refined,
        dropped_over_cap=message.dropped_over_cap,
        dropped_proof=message.dropped_proof,
        pairs=message.pairs,
        sieved_out=message.sieved_out,
        repeated=message.repeated,
        sealed=message.sealed,
        refused=message.refused,
    )


def _link(message: linker_pb2.Link) -> Link:
    if not message.id:
        raise NotFoundError(Reason.LINK_NOT_FOUND)
    return Link(
        id=message.id,
        linkage_id=message.linkage_id,
        registry_l=message.registry_l,
        subject_l=message.subject_l,
        registry_r=message.registry_r,
        subject_r=message.subject_r,
        match_weight=message.match_weight,
        match_probability=message.match_probability,
        linked=message.linked,
        person_id=message.person_id,
        blocking_pass=getattr(message, "pass"),
        verdict=_VERDICTS_BACK.get(message.verdict),
        verdict_reason=message.verdict_reason,
        verdict_by=message.verdict_by,
        created_at=_time(message.created_at, present=message.HasField("created_at")),
        missing_registries=tuple(message.missing_registries),
        revoked_registries=tuple(message.revoked_registries),
        seeker=SEEKERS_BACK.get(message.seeker),
        state=STATES_BACK.get(message.state, PairState.OPEN),
        ruled_out_by=RULED_OUT_BY_BACK.get(message.ruled_out_by),
        verdict_at=_time(message.verdict_at, present=message.HasField("verdict_at")),
        changed_fields=tuple(message.changed_fields),
    )


def _explained(message: linker_pb2.GetLinkResponse | linker_pb2.Candidate) -> ExplainedLink:
    return ExplainedLink(
        _link(message.link),
        tuple(
            Evidence(item.field, item.level, item.weight, item.m_probability, item.u_probability)
            for item in message.evidence
        ),
        message.prior_weight,
    )


def _filter(link_filter: LinkFilter) -> linker_pb2.LinkFilter:
    return linker_pb2.LinkFilter(
        linkage_id=link_filter.linkage_id,
        registry=link_filter.registry,
        probability_min=link_filter.probability_min,
        probability_max=link_filter.probability_max or 0.0,
        person_id=link_filter.person_id,
        verdicts=[_VERDICTS[verdict] for verdict in link_filter.verdicts],
        undecided_only=link_filter.undecided_only,
        include_disclosed=link_filter.include_disclosed,
        states=[STATES[state] for state in link_filter.states],
    )
