"""`LinkerService`: protobuf in and out, the audit, limits of requests; the rest is `Node`'s."""

from __future__ import annotations

import json
import math
import re
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from kinlink.linker.v1 import linker_pb2 as pb
from kinlink.linker.v1 import linker_pb2_grpc
from kinlink_core.errors import KinlinkError, QuotaError, Reason
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.interceptor import caller
from kinlink_core.runtime.purpose import PURPOSE_DEFAULT, check_purpose
from kinlink_core.runtime.server import Service

from kinlink_linker.case_servicer import (
    case_message,
    cases_message,
    evidence_messages,
    read_filter,
    read_ruled_out_by,
    read_states,
    read_subject,
)
from kinlink_linker.domain import LinkageOrder, Threshold
from kinlink_linker.link_query import (
    LinkFilter,
    LinkOrder,
    decoded,
    encoded,
    page_size,
    token_fault,
)
from kinlink_linker.messages import (
    VERDICTS,
    link_message,
    linkage_message,
    registry_message,
    stamp,
)
from kinlink_linker.model import MODEL_BYTES_MAX, Model
from kinlink_linker.quality_servicer import quality_message
from kinlink_linker.refusals import check_length, malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_linker.journal import Journal
    from kinlink_linker.node import Node

SERVICE_NAME: Final = "kinlink.linker.v1.LinkerService"
REASON_CHARS_MAX: Final = 2_000
REGISTRIES_NAMED_MAX: Final = 256

_READERS: Final = frozenset({Role.GATEWAY, Role.OPERATOR})
POLICY: Final = {
    "ListRegistries": _READERS,
    "CreateLinkage": _READERS,
    "GetLinkage": _READERS,
    "ListLinkages": _READERS,
    "CancelLinkage": _READERS,
    "WatchLinkage": _READERS,
    "ListLinks": _READERS,
    "GetLink": _READERS,
    "StreamLinks": _READERS,
    "GetStanding": _READERS,
    "ListPersonHistory": _READERS,
    # Only the gateway knows which analyst decides.
    "DecideLink": frozenset({Role.GATEWAY}),
    "GetModel": _READERS,
    "SetModel": frozenset({Role.OPERATOR}),
    "GetLinkageQuality": _READERS,
    "ListCases": _READERS,
    "GetCase": _READERS,
}

_ORDERS: Final = {
    pb.LINK_ORDER_UNSPECIFIED: LinkOrder.WEIGHT_DESC,
    pb.LINK_ORDER_WEIGHT_DESC: LinkOrder.WEIGHT_DESC,
    pb.LINK_ORDER_WEIGHT_ASC: LinkOrder.WEIGHT_ASC,
    pb.LINK_ORDER_CREATED_DESC: LinkOrder.CREATED_DESC,
}
# A linkage's own model is named by its id; other names cannot be mistaken for one.
_MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class LinkerServicer(linker_pb2_grpc.LinkerServiceServicer):
    """Answers the gateway and operators."""

    def __init__(self, node: Node, journal: Journal, *, watchers_max: int) -> None:
        self._node = node
        self._journal = journal
        self._watchers = threading.BoundedSemaphore(watchers_max)
        self._stopping = threading.Event()

    def stop_with(self, stopping: threading.Event) -> None:
        """End streams when this is set."""
        self._stopping = stopping

    def ListRegistries(  # noqa: N802
        self,
        request: pb.ListRegistriesRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> pb.ListRegistriesResponse:
        """All registries as they were last seen."""
        return pb.ListRegistriesResponse(
            registries=[registry_message(status) for status in self._node.watch.all()],
            two_sided=self._node.schema.sides is not None,
        )

    def CreateLinkage(  # noqa: N802
        self,
        request: pb.CreateLinkageRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.CreateLinkageResponse:
        """Start a linkage."""
        actor = str(caller())
        linkage = self._node.linkages.create(_order(request, actor))
        try:
            self._journal.created(actor, linkage)
        except KinlinkError:
            # What the audit cannot hold does not happen.
            self._node.linkages.cancel(linkage.id)
            raise
        return pb.CreateLinkageResponse(linkage=linkage_message(linkage))

    def GetLinkage(  # noqa: N802
        self,
        request: pb.GetLinkageRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.GetLinkageResponse:
        """One linkage as it stands."""
        return pb.GetLinkageResponse(linkage=linkage_message(self._node.linkages.get(request.id)))

    def ListLinkages(  # noqa: N802
        self,
        request: pb.ListLinkagesRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ListLinkagesResponse:
        """Linkages, newest first."""
        size = page_size(request.page_size)
        before = _linkage_position(request.page_token) if request.page_token else None
        found = self._node.linkages.page(size + 1, before)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = encoded(json.dumps([last.created_at.isoformat(), last.id]))
        return pb.ListLinkagesResponse(
            linkages=[linkage_message(each) for each in found[:size]], next_page_token=token
        )

    def CancelLinkage(  # noqa: N802
        self,
        request: pb.CancelLinkageRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.CancelLinkageResponse:
        """Ask a linkage to end."""
        linkage = self._node.linkages.cancel(request.id)
        self._journal.cancelled(str(caller()), linkage.id)
        return pb.CancelLinkageResponse(linkage=linkage_message(linkage))

    def WatchLinkage(  # noqa: N802
        self, request: pb.WatchLinkageRequest, context: Any
    ) -> Iterator[pb.WatchLinkageResponse]:
        """The linkage each time it changes, until it ends."""
        if not self._watchers.acquire(blocking=False):
            raise QuotaError(Reason.TOO_MANY_REQUESTS, "Too many watch already; try again.")
        try:
            for linkage in self._node.linkages.watch(
                request.id, lambda: self._stopping.is_set() or not context.is_active()
            ):
                yield pb.WatchLinkageResponse(linkage=linkage_message(linkage))
        finally:
            self._watchers.release()

    def ListLinks(  # noqa: N802
        self,
        request: pb.ListLinksRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ListLinksResponse:
        """One page of links."""
        if request.order not in _ORDERS:
            raise malformed("order is not one of the known ones.")
        page = self._node.links.page(
            _filter(request.filter), _ORDERS[request.order], request.page_size, request.page_token
        )
        if caller().role is Role.OPERATOR:
            self._journal.read(str(caller()), links=len(page.links))
        return pb.ListLinksResponse(
            links=[link_message(each) for each in page.links],
            next_page_token=page.next_token,
            total=page.total,
        )

    def GetLink(  # noqa: N802
        self,
        request: pb.GetLinkRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.GetLinkResponse:
        """One link with its evidence."""
        explained = self._node.explain(request.id)
        if caller().role is Role.OPERATOR:
            self._journal.read(str(caller()), request.id)
        return pb.GetLinkResponse(
            link=link_message(explained.link),
            evidence=evidence_messages(explained),
            prior_weight=explained.prior_weight,
        )

    def StreamLinks(  # noqa: N802
        self, request: pb.StreamLinksRequest, context: Any
    ) -> Iterator[pb.StreamLinksResponse]:
        """All links of a filter, best first."""
        chosen = _filter(request.filter)
        total = self._node.links.page(chosen, LinkOrder.WEIGHT_DESC, 1, "").total
        self._journal.exported(str(caller()), chosen.linkage_id, total)
        for batch in self._node.links.stream(chosen):
            if self._stopping.is_set() or not context.is_active():
                return
            yield pb.StreamLinksResponse(links=[link_message(each) for each in batch])

    def DecideLink(  # noqa: N802
        self,
        request: pb.DecideLinkRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.DecideLinkResponse:
        """Record a verdict and publish it to both registries."""
        if request.verdict not in VERDICTS:
            raise malformed("verdict must be confirmed, rejected or unsure.")
        if not request.decided_by:
            raise malformed("decided_by must name the analyst.")
        check_length("decided_by", request.decided_by)
        check_length("reason", request.reason, REASON_CHARS_MAX)
        verdict = VERDICTS[request.verdict]
        ruled_out_by = read_ruled_out_by(request.ruled_out_by, verdict)
        self._node.links.get(request.id)
        # Written first: a verdict that the audit cannot hold is not taken.
        self._journal.decided(str(caller()), request.id, verdict, request.decided_by)
        link = self._node.decide(
            request.id, verdict, request.reason, request.decided_by, ruled_out_by
        )
        return pb.DecideLinkResponse(link=link_message(link))

    def ListCases(  # noqa: N802
        self,
        request: pb.ListCasesRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ListCasesResponse:
        """Families' notices that have candidates."""
        if request.order not in _ORDERS:
            raise malformed("order is not one of the known ones.")
        page = self._node.cases.page(
            read_filter(request), _ORDERS[request.order], request.page_size, request.page_token
        )
        if caller().role is Role.OPERATOR:
            self._journal.read(str(caller()), links=sum(each.candidates for each in page.cases))
        return cases_message(page)

    def GetCase(  # noqa: N802
        self,
        request: pb.GetCaseRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.GetCaseResponse:
        """One of them, with a page of its candidates and their evidence."""
        check_length("registry", request.registry)
        check_length("touching", request.touching)
        found = self._node.explain_case(
            request.registry,
            read_subject(request.subject),
            touching=request.touching,
            states=read_states(request.states),
            size=request.page_size,
            token=request.page_token,
        )
        if caller().role is Role.OPERATOR:
            self._journal.read(str(caller()), links=len(found.candidates))
        return case_message(found)

    def GetStanding(  # noqa: N802
        self,
        request: pb.GetStandingRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> pb.GetStandingResponse:
        """How far standing search is."""
        status = self._node.standing.status()
        return pb.GetStandingResponse(
            enabled=self._node.standing.enabled,
            linkage_id=status.linkage_id,
            behind=status.behind,
            waiting_changes=status.waiting,
            oldest_change_seconds=status.oldest_seconds,
            missing_registries=status.missing,
        )

    def ListPersonHistory(  # noqa: N802
        self,
        request: pb.ListPersonHistoryRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ListPersonHistoryResponse:
        """What happened to a person id, oldest first; nothing of an id that never was."""
        check_length("person_id", request.person_id)
        return pb.ListPersonHistoryResponse(
            changes=[
                pb.PersonChange(
                    at=stamp(each.at),
                    change=each.change.value,
                    person_id=each.person_id,
                    other_id=each.other_id,
                    members=each.members,
                    cause=each.cause,
                )
                for each in self._node.persons.history(request.person_id)
            ]
        )

    def GetModel(  # noqa: N802
        self,
        request: pb.GetModelRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.GetModelResponse:
        """A model by name, or the newest."""
        name, body = self._node.models.get(request.name)
        return pb.GetModelResponse(name=name, model_json=body)

    def SetModel(  # noqa: N802
        self,
        request: pb.SetModelRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.SetModelResponse:
        """Keep a model under a name."""
        if not _MODEL_NAME.fullmatch(request.name):
            raise malformed("A model's name has 1 to 64 of a-z, 0-9, ., _ and -.")
        if self._node.is_linkage(request.name):
            raise malformed("This is the name of a linkage's own model, which never changes.")
        check_length("model_json", request.model_json, MODEL_BYTES_MAX)
        model = Model.from_json(request.model_json, self._node.schema)
        self._node.models.save(request.name, model.to_json())
        self._journal.model_set(str(caller()), request.name)
        return pb.SetModelResponse(name=request.name)

    def GetLinkageQuality(  # noqa: N802
        self,
        request: pb.GetLinkageQualityRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.GetLinkageQualityResponse:
        """What a linkage is expected to be worth, and what verdicts say of its probabilities."""
        found = self._node.linkages.get(request.linkage_id).quality
        if found is None:
            return pb.GetLinkageQualityResponse()
        bands = self._node.calibration(request.linkage_id)
        return pb.GetLinkageQualityResponse(quality=quality_message(found, bands))


def service(servicer: LinkerServicer) -> Service:
    """The service, with who may call what."""
    return Service(
        linker_pb2_grpc.add_LinkerServiceServicer_to_server, servicer, SERVICE_NAME, POLICY
    )


def _order(request: pb.CreateLinkageRequest, actor: str) -> LinkageOrder:
    if len(request.registries) > REGISTRIES_NAMED_MAX:
        raise malformed(f"registries names more than {REGISTRIES_NAMED_MAX}.")
    threshold = Threshold()
    match request.WhichOneof("threshold"):
        case "threshold_probability":
            threshold = Threshold(probability=request.threshold_probability)
        case "threshold_weight":
            if not math.isfinite(request.threshold_weight):
                raise malformed("threshold_weight must be a finite number of bits.")
            threshold = Threshold(weight=request.threshold_weight)
    check_length("requested_by", request.requested_by)
    return LinkageOrder(
        threshold,
        tuple(request.registries),
        request.model,
        check_purpose(request.purpose or PURPOSE_DEFAULT),
        created_by=actor,
        requested_by=request.requested_by,
    )


def _filter(message: pb.LinkFilter) -> LinkFilter:
    for name in ("probability_min", "probability_max"):
        value = getattr(message, name)
        if not 0 <= value <= 1:
            raise malformed(f"filter.{name} must be between 0 and 1.")
    for name in ("linkage_id", "registry", "person_id"):
        check_length(f"filter.{name}", getattr(message, name))
    strangers = set(message.verdicts) - set(VERDICTS)
    if strangers:
        raise malformed("filter.verdicts holds one that is not known.")
    return LinkFilter(
        linkage_id=message.linkage_id,
        registry=message.registry,
        probability_min=message.probability_min,
        probability_max=message.probability_max,
        person_id=message.person_id,
        verdicts=tuple(sorted({VERDICTS[each] for each in message.verdicts})),
        undecided_only=message.undecided_only,
        include_disclosed=message.include_disclosed,
        states=read_states(message.states),
    )


def _linkage_position(token: str) -> tuple[datetime, str]:
    try:
        created_at, linkage_id = json.loads(decoded(token))
        return datetime.fromisoformat(created_at), str(linkage_id)
    except (ValueError, TypeError) as error:
        raise token_fault() from error
