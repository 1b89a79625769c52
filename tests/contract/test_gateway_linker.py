"""The gateway's client against a `LinkerService` on a real server with real mutual TLS."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from kinlink.linker.v1 import linker_pb2 as pb
from kinlink.linker.v1 import linker_pb2_grpc
from kinlink.registry.v1 import registry_pb2
from kinlink_core.errors import BrokenStreamError, NotFoundError, Reason, UnavailableError
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.server import Service
from kinlink_gateway.cases import CaseFilter, CaseKey
from kinlink_gateway.linkage_quality import BlockingLoss, Expected, WeightBin
from kinlink_gateway.linker import (
    LinkageState,
    LinkFilter,
    LinkOrder,
    MissingRegistry,
    PairState,
    PassCounts,
    RegistryState,
    RuledOutBy,
    Stage,
    Verdict,
)
from kinlink_gateway.linker_client import GrpcLinker
from support.pki import FEDERATION, Federation, other_federation
from support.servers import new_metrics, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
METHODS = (
    "ListRegistries",
    "CreateLinkage",
    "GetLinkage",
    "ListLinkages",
    "CancelLinkage",
    "ListLinks",
    "GetLink",
    "StreamLinks",
    "DecideLink",
    "ListCases",
    "GetCase",
    "GetLinkageQuality",
)


def stamp() -> Timestamp:
    message = Timestamp()
    message.FromDatetime(NOON)
    return message


def linkage(state: int = pb.LINKAGE_STATE_PARTIAL) -> pb.Linkage:
    return pb.Linkage(
        id="ghjkmnpqrstv",
        state=state,  # type: ignore[arg-type]
        epoch="2026-11",
        threshold_probability=0.5,
        stages=[pb.Stage(name="seal", seconds=1.5, done=2, total=3)],
        passes=[pb.PassCounts(**{"pass": "name_birth"}, tokens=9, sealed=4)],  # type: ignore[arg-type]
        missing_registries=[pb.MissingRegistry(name="henan", reason="UNREACHABLE", detail="gone")],
        candidate_pairs=7,
        links=3,
        created_at=stamp(),
        created_by="gateway/gateway",
        bytes_received={"sichuan": 12},
    )


def link(number: int = 1) -> pb.Link:
    return pb.Link(
        id=f"{number:032x}",
        linkage_id="ghjkmnpqrstv",
        registry_l="shaanxi",
        subject_l="aa" * 16,
        registry_r="sichuan",
        subject_r="bb" * 16,
        match_weight=9.5,
        match_probability=0.998,
        linked=True,
        person_id="p1",
        verdict=registry_pb2.VERDICT_REJECTED,
        verdict_reason="why",
        verdict_by="Li Wei (analyst)",
        created_at=stamp(),
        missing_registries=["henan"],
        revoked_registries=["sichuan"],
        **{"pass": "name_birth"},  # type: ignore[arg-type]
        seeker=pb.SEEKER_RIGHT,
        state=pb.PAIR_STATE_RETURNED,
        ruled_out_by=pb.RULED_OUT_BY_BIRTH,
        verdict_at=stamp(),
        changed_fields=["dob"],
    )


class Linker(linker_pb2_grpc.LinkerServiceServicer):
    """Answers with fixed messages and keeps the last request of each method."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.cut = False

    def ListRegistries(self, request: Any, context: Any) -> pb.ListRegistriesResponse:  # noqa: ARG002, N802
        ready, strange = pb.REGISTRY_STATE_READY, pb.REGISTRY_STATE_UNSPECIFIED
        return pb.ListRegistriesResponse(
            registries=[
                pb.Registry(name="shaanxi", state=ready, records=5, synced_at=stamp()),
                pb.Registry(name="sichuan", state=strange),
            ],
            two_sided=True,
        )

    def ListCases(self, request: Any, context: Any) -> pb.ListCasesResponse:  # noqa: ARG002, N802
        self.seen["ListCases"] = request
        case = pb.Case(registry="henan", subject="cc" * 16, candidates=3, newest_at=stamp())
        return pb.ListCasesResponse(cases=[case], next_page_token="more", total=9)  # noqa: S106

    def GetCase(self, request: Any, context: Any) -> pb.GetCaseResponse:  # noqa: ARG002, N802
        self.seen["GetCase"] = request
        if request.subject == "0" * 32:
            raise NotFoundError(Reason.CASE_NOT_FOUND)
        evidence = pb.Evidence(field="dob", level="same", weight=4.0)
        candidate = pb.Candidate(rank=4, link=link(), evidence=[evidence], prior_weight=-9.0)
        return pb.GetCaseResponse(
            case=pb.Case(registry="henan", subject=request.subject, ruled_out=2),
            candidates=[candidate],
            total=4,
        )

    def CreateLinkage(self, request: Any, context: Any) -> pb.CreateLinkageResponse:  # noqa: ARG002, N802
        self.seen["CreateLinkage"] = request
        return pb.CreateLinkageResponse(linkage=linkage(pb.LINKAGE_STATE_PENDING))

    def GetLinkage(self, request: Any, context: Any) -> pb.GetLinkageResponse:  # noqa: ARG002, N802
        if request.id == "none":
            raise NotFoundError(Reason.LINKAGE_NOT_FOUND)
        return pb.GetLinkageResponse(linkage=linkage())

    def GetLinkageQuality(self, request: Any, context: Any) -> pb.GetLinkageQualityResponse:  # noqa: ARG002, N802
        if request.linkage_id == "running":
            return pb.GetLinkageQualityResponse()
        return pb.GetLinkageQualityResponse(
            quality=pb.LinkageQuality(
                linked=pb.Expected(weight=1.5, links=900, precision=0.97, recall_high=0.8),
                blocking=pb.BlockingLoss(compared_matches=950, by_passes=[100, 250], loss_low=0.02),
                advice=[pb.ThresholdAdvice(aim="f1", expected=pb.Expected(weight=-0.4, f1=0.9))],
                weights=[pb.WeightBin(low=-1, high=0, pairs=40, matches=10)],
                registries=[pb.RegistryQuality(registry="henan", links=300, worse=["recall"])],
                registry_pairs=[pb.RegistryQuality(registry="henan", partner="sichuan")],
                calibration=[pb.CalibrationBand(low=0.9, high=0.99, decided=40, confirmed=30)],
            )
        )

    def ListLinkages(self, request: Any, context: Any) -> pb.ListLinkagesResponse:  # noqa: ARG002, N802
        self.seen["ListLinkages"] = request
        return pb.ListLinkagesResponse(linkages=[linkage()], next_page_token="more")  # noqa: S106

    def CancelLinkage(self, request: Any, context: Any) -> pb.CancelLinkageResponse:  # noqa: ARG002, N802
        return pb.CancelLinkageResponse(linkage=linkage(pb.LINKAGE_STATE_CANCELLED))

    def ListLinks(self, request: Any, context: Any) -> pb.ListLinksResponse:  # noqa: ARG002, N802
        self.seen["ListLinks"] = request
        return pb.ListLinksResponse(links=[link()], next_page_token="more", total=40)  # noqa: S106

    def GetLink(self, request: Any, context: Any) -> pb.GetLinkResponse:  # noqa: ARG002, N802
        if request.id == "none":
            raise NotFoundError(Reason.LINK_NOT_FOUND)
        evidence = pb.Evidence(
            field="sex", level="same", weight=0.9, m_probability=0.99, u_probability=0.5
        )
        return pb.GetLinkResponse(link=link(), evidence=[evidence], prior_weight=-11.5)

    def StreamLinks(self, request: Any, context: Any) -> Iterator[pb.StreamLinksResponse]:  # noqa: ARG002, N802
        self.seen["StreamLinks"] = request
        yield pb.StreamLinksResponse(links=[link(1), link(2)])
        if self.cut:
            raise BrokenStreamError(Reason.STREAM_CUT)
        yield pb.StreamLinksResponse(links=[link(3)])

    def DecideLink(self, request: Any, context: Any) -> pb.DecideLinkResponse:  # noqa: ARG002, N802
        self.seen["DecideLink"] = request
        return pb.DecideLinkResponse(link=link())


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path)


@pytest.fixture
def servicer() -> Linker:
    return Linker()


@pytest.fixture
def target(federation: Federation, servicer: Linker) -> Iterator[str]:
    policy = {method: frozenset({Role.GATEWAY}) for method in METHODS}
    add = linker_pb2_grpc.add_LinkerServiceServicer_to_server
    service = Service(add, servicer, "kinlink.linker.v1.LinkerService", policy)
    with serving(federation.tls("linker", "linker"), [service]) as server:
        yield server.target


@pytest.fixture
def linker(federation: Federation, target: str) -> Iterator[GrpcLinker]:
    linker = GrpcLinker(target, federation.tls("gateway", "gateway"), metrics=new_metrics())
    yield linker
    linker.close()


def test_registries_become_plain_values(linker: GrpcLinker) -> None:
    ready, strange = linker.list_registries()
    assert (ready.name, ready.state, ready.records) == ("shaanxi", RegistryState.READY, 5)
    assert ready.synced_at == NOON
    assert (strange.state, strange.synced_at) == (RegistryState.UNKNOWN, None)


def test_a_linkage_becomes_a_plain_value(linker: GrpcLinker) -> None:
    found = linker.get_linkage("ghjkmnpqrstv")
    assert found.state is LinkageState.PARTIAL
    assert found.stages == (Stage("seal", 1.5, 2, 3),)
    assert found.passes == (PassCounts("name_birth", tokens=9, sealed=4),)
    assert found.missing_registries == (MissingRegistry("henan", "UNREACHABLE", "gone"),)
    assert (found.created_at, found.ended_at) == (NOON, None)
    assert found.bytes_received == {"sichuan": 12}


def test_estimates_become_plain_values_and_what_is_unset_is_none(linker: GrpcLinker) -> None:
    found = linker.linkage_quality("ghjkmnpqrstv")
    assert found is not None
    assert found.linked == Expected(1.5, 0.0, 900, 0, precision=0.97, recall_high=0.8)
    assert found.blocking == BlockingLoss(950, (100, 250), loss_low=0.02)
    assert [(each.aim, each.expected.f1) for each in found.advice] == [("f1", 0.9)]
    assert found.weights == (WeightBin(-1.0, 0.0, 40, 10),)
    assert [(each.links, each.worse, each.precision) for each in found.registries] == [
        (300, ("recall",), None)
    ]
    assert [each.partner for each in found.registry_pairs] == ["sichuan"]
    assert [(each.decided, each.confirmed) for each in found.calibration] == [(40, 30)]
    assert linker.linkage_quality("running") is None


def test_a_linkage_is_ordered_with_or_without_a_threshold(
    linker: GrpcLinker, servicer: Linker
) -> None:
    started = linker.create_linkage(
        threshold_probability=0.7, registries=("a", "b"), purpose="x", requested_by="Chen"
    )
    assert started.state is LinkageState.PENDING
    request = servicer.seen["CreateLinkage"]
    assert request.threshold_probability == pytest.approx(0.7)
    assert list(request.registries) == ["a", "b"]
    assert (request.purpose, request.requested_by) == ("x", "Chen")
    linker.create_linkage(
        threshold_probability=None, registries=(), purpose="general", requested_by=""
    )
    assert servicer.seen["CreateLinkage"].WhichOneof("threshold") is None


def test_linkages_are_paged_and_cancelled(linker: GrpcLinker, servicer: Linker) -> None:
    page = linker.list_linkages(page_size=5, page_token="there")  # noqa: S106
    assert (len(page.linkages), page.next_page_token) == (1, "more")
    assert servicer.seen["ListLinkages"].page_size == 5
    assert linker.cancel_linkage("ghjkmnpqrstv").state is LinkageState.CANCELLED


def test_a_filter_reaches_the_linker_whole(linker: GrpcLinker, servicer: Linker) -> None:
    link_filter = LinkFilter(
        linkage_id="k",
        registry="henan",
        probability_min=0.2,
        probability_max=0.9,
        person_id="p",
        verdicts=(Verdict.UNSURE, Verdict.CONFIRMED),
        undecided_only=True,
        include_disclosed=True,
        states=(PairState.RETURNED, PairState.RULED_OUT),
    )
    page = linker.list_links(link_filter, order=LinkOrder.CREATED_DESC, page_size=7, page_token="")
    assert (len(page.links), page.total) == (1, 40)
    request = servicer.seen["ListLinks"]
    assert request.order == pb.LINK_ORDER_CREATED_DESC
    sent = request.filter
    assert (sent.linkage_id, sent.registry, sent.person_id) == ("k", "henan", "p")
    assert (sent.probability_min, sent.probability_max) == (0.2, 0.9)
    assert list(sent.verdicts) == [registry_pb2.VERDICT_UNSURE, registry_pb2.VERDICT_CONFIRMED]
    assert sent.undecided_only
    assert sent.include_disclosed
    assert list(sent.states) == [pb.PAIR_STATE_RETURNED, pb.PAIR_STATE_RULED_OUT]


def test_cases_and_their_candidates_become_plain_values(
    linker: GrpcLinker, servicer: Linker
) -> None:
    chosen = CaseFilter(touching="sichuan", registry="henan", include_confirmed=True)
    page = linker.list_cases(chosen, order=LinkOrder.CREATED_DESC, page_size=7, page_token="at")  # noqa: S106
    assert (page.cases[0].candidates, page.cases[0].newest_at) == (3, NOON)
    assert (page.next_page_token, page.total) == ("more", 9)
    sent = servicer.seen["ListCases"]
    assert (sent.touching, sent.registry, sent.include_confirmed) == ("sichuan", "henan", True)
    assert (sent.order, sent.page_size, sent.page_token) == (pb.LINK_ORDER_CREATED_DESC, 7, "at")
    key = CaseKey("henan", "cc" * 16, "sichuan", (PairState.OPEN, PairState.RULED_OUT))
    found = linker.get_case(key, page_size=5, page_token="at")  # noqa: S106
    assert (found.case.ruled_out, found.case.newest_at, found.total) == (2, None, 4)
    (candidate,) = found.candidates
    assert (candidate.rank, candidate.explained.prior_weight) == (4, -9.0)
    assert [each.field for each in candidate.explained.evidence] == ["dob"]
    sent = servicer.seen["GetCase"]
    assert (sent.registry, sent.subject, sent.touching) == ("henan", "cc" * 16, "sichuan")
    assert list(sent.states) == [pb.PAIR_STATE_OPEN, pb.PAIR_STATE_RULED_OUT]
    with pytest.raises(NotFoundError):
        linker.get_case(CaseKey("henan", "0" * 32), page_size=5, page_token="")


def test_whether_there_are_two_sides_is_asked_now_and_then_and_never_fails(
    linker: GrpcLinker, federation: Federation
) -> None:
    assert linker.two_sided()
    assert linker.two_sided()
    away = GrpcLinker("127.0.0.1:1", federation.tls("gateway", "gateway"), metrics=new_metrics())
    assert not away.two_sided()
    away.close()


def test_a_link_comes_with_its_evidence(linker: GrpcLinker) -> None:
    explained = linker.get_link("1")
    found = explained.link
    assert (found.registry_l, found.subject_l, found.blocking_pass) == (
        "shaanxi",
        "aa" * 16,
        "name_birth",
    )
    assert (found.verdict, found.verdict_by) == (Verdict.REJECTED, "Li Wei (analyst)")
    assert found.missing_registries == ("henan",)
    assert found.revoked_registries == ("sichuan",)
    assert (found.family, found.found) == (("sichuan", "bb" * 16), ("shaanxi", "aa" * 16))
    assert (found.state, found.ruled_out_by) == (PairState.RETURNED, RuledOutBy.BIRTH)
    assert (found.verdict_at, found.changed_fields) == (NOON, ("dob",))
    assert explained.prior_weight == -11.5
    assert [(item.field, item.level) for item in explained.evidence] == [("sex", "same")]


def test_links_stream_in_batches(linker: GrpcLinker) -> None:
    batches = list(linker.stream_links(LinkFilter()))
    assert [len(batch) for batch in batches] == [2, 1]


def test_a_stream_may_be_left_early(linker: GrpcLinker) -> None:
    batches = linker.stream_links(LinkFilter())
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert linker.list_registries()


def test_a_stream_that_breaks_off_raises(linker: GrpcLinker, servicer: Linker) -> None:
    servicer.cut = True
    with pytest.raises(BrokenStreamError):
        list(linker.stream_links(LinkFilter()))


def test_a_verdict_carries_reason_and_analyst(linker: GrpcLinker, servicer: Linker) -> None:
    linker.decide_link("1", verdict=Verdict.REJECTED, reason="why", by="Li Wei (analyst)")
    request = servicer.seen["DecideLink"]
    assert request.verdict == registry_pb2.VERDICT_REJECTED
    assert (request.reason, request.decided_by) == ("why", "Li Wei (analyst)")
    assert request.ruled_out_by == pb.RULED_OUT_BY_UNSPECIFIED
    linker.decide_link(
        "1", verdict=Verdict.REJECTED, reason="", by="Li Wei", ruled_out_by=RuledOutBy.DNA
    )
    assert servicer.seen["DecideLink"].ruled_out_by == pb.RULED_OUT_BY_DNA


def test_what_does_not_exist_is_not_found(linker: GrpcLinker) -> None:
    with pytest.raises(NotFoundError):
        linker.get_link("none")
    with pytest.raises(NotFoundError):
        linker.get_linkage("none")


def test_a_linker_that_is_away_is_unavailable(federation: Federation) -> None:
    tls = federation.tls("gateway", "gateway")
    linker = GrpcLinker("127.0.0.1:1", tls, metrics=new_metrics())
    with pytest.raises(UnavailableError, match="linker cannot be reached"):
        linker.list_registries()
    linker.close()


def test_a_linker_that_refuses_our_role_tells_the_operator(
    federation: Federation, target: str
) -> None:
    tls = federation.tls("registry", "henan")
    linker = GrpcLinker(target, tls, metrics=new_metrics())
    with pytest.raises(UnavailableError, match="certificate"):
        linker.list_registries()
    linker.close()


def test_a_linker_of_another_authority_is_not_spoken_to(tmp_path: Path, target: str) -> None:
    (tmp_path / "other").mkdir()
    tls = other_federation(tmp_path / "other", FEDERATION).tls("gateway", "gateway")
    linker = GrpcLinker(target, tls, metrics=new_metrics())
    with pytest.raises(UnavailableError):
        linker.list_registries()
    linker.close()


def test_a_rotated_certificate_is_used_without_a_restart(
    federation: Federation, target: str
) -> None:
    tls = federation.tls("gateway", "gateway")
    linker = GrpcLinker(target, tls, metrics=new_metrics())
    assert linker.list_registries()
    first = linker._channel
    federation.issue_into(tls, "gateway", "gateway")
    assert linker.list_registries()
    assert linker._channel is not first
    linker.close()
