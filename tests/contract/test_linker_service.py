"""LinkerService as the gateway and operators meet it: real mutual TLS, fake registries behind."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from kinlink.linker.v1 import linker_pb2 as pb
from kinlink.linker.v1 import linker_pb2_grpc
from kinlink.registry.v1 import registry_pb2
from kinlink_core.errors import KinlinkError, Reason
from kinlink_core.runtime.audit import verify
from kinlink_core.runtime.channel import translated
from kinlink_core.wire import Side
from kinlink_linker.servicer import POLICY, SERVICE_NAME, LinkerServicer, service
from support.pki import Federation
from support.servers import Server, dialling, serving
from unit.linker.centre import MODEL, Centre, centre, given_model, registries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PEOPLE = 8
LINKS = 3 * PEOPLE
NOT_GIVEN_OUT = "nonsense"


class Desk:
    """A served linker, and stubs of any role."""

    def __init__(self, made: Centre, server: Server, pki: Federation, audit: Path) -> None:
        self.made = made
        self.server = server
        self.pki = pki
        self.audit = audit

    @contextmanager
    def stub(self, role: str = "operator") -> Iterator[Any]:
        tls = self.pki.tls(role, "me")
        with (
            dialling(self.server.target, tls, "linker", "linker") as channel,
            translated("linker"),
        ):
            yield linker_pb2_grpc.LinkerServiceStub(channel)

    def linked(self) -> pb.Linkage:
        return self.follow(pb.CreateLinkageRequest(model=MODEL, purpose="test"))

    def follow(self, request: pb.CreateLinkageRequest) -> pb.Linkage:
        with self.stub() as stub:
            begun = stub.CreateLinkage(request).linkage
            *_, last = stub.WatchLinkage(pb.WatchLinkageRequest(id=begun.id))
            return last.linkage


@contextmanager
def opened_desk(directory: Path, watchers: int = 4, people: int = PEOPLE) -> Iterator[Desk]:
    pki = Federation(directory / "pki")
    home = directory / "home"
    home.mkdir()
    audit = home / "audit.jsonl"
    with centre(home, registries("a", "b", "c", people=range(people))) as made:
        servicer = LinkerServicer(made.node, made.journal, watchers_max=watchers)
        with serving(pki.tls("linker", "linker"), [service(servicer)]) as server:
            servicer.stop_with(server.running.stopping)
            yield Desk(made, server, pki, audit)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened_desk(tmp_path) as opened:
        yield opened


def refused(reason: Reason) -> pytest.RaisesExc[KinlinkError]:
    return pytest.RaisesExc(KinlinkError, check=lambda error: error.reason is reason)


def test_every_method_has_a_policy_and_only_gateways_and_operators_may_call(desk: Desk) -> None:
    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["LinkerService"].methods}
    assert set(POLICY) == methods
    assert pb.DESCRIPTOR.services_by_name["LinkerService"].full_name == SERVICE_NAME
    for role in ("registry", "linker", "keyserver"):
        with refused(Reason.ROLE_FORBIDDEN), desk.stub(role) as stub:
            stub.ListRegistries(pb.ListRegistriesRequest())


def test_only_the_gateway_decides_and_only_an_operator_sets_models(desk: Desk) -> None:
    with refused(Reason.ROLE_FORBIDDEN), desk.stub("operator") as stub:
        stub.DecideLink(pb.DecideLinkRequest(id="x", verdict=1, decided_by="me"))
    with refused(Reason.ROLE_FORBIDDEN), desk.stub("gateway") as stub:
        stub.SetModel(pb.SetModelRequest(name="x", model_json="{}"))


def test_a_linkage_is_followed_to_its_end_and_listed(desk: Desk) -> None:
    with desk.stub() as stub:
        begun = stub.CreateLinkage(
            pb.CreateLinkageRequest(
                model=MODEL,
                threshold_weight=1.0,
                purpose="family-search",
                requested_by="Chen (operator)",
            )
        ).linkage
        assert begun.state == pb.LINKAGE_STATE_PENDING
        steps = [step.linkage for step in stub.WatchLinkage(pb.WatchLinkageRequest(id=begun.id))]
        last = steps[-1]
        assert last.state == pb.LINKAGE_STATE_SUCCEEDED
        assert last.links == LINKS
        assert last.persons == PEOPLE
        assert last.created_by == "operator/me"
        assert (last.purpose, last.requested_by) == ("family-search", "Chen (operator)")
        assert last.threshold_probability == pytest.approx(2 / 3)
        assert last.created_at.ToDatetime() < last.ended_at.ToDatetime()
        assert stub.GetLinkage(pb.GetLinkageRequest(id=begun.id)).linkage == last
        assert sum(each.sealed for each in last.passes) > 0
        listed = stub.ListLinkages(pb.ListLinkagesRequest(page_size=1))
        assert [each.id for each in listed.linkages] == [begun.id]
    actions = [json.loads(line) for line in desk.audit.read_text().splitlines()]
    assert [each["action"] for each in actions] == ["linkage-created", "linkage-ended"]
    assert actions[0]["actor"] == "operator/me"
    assert actions[0]["fields"]["requested_by"] == "Chen (operator)"
    ended = actions[1]["fields"]
    assert {each["fields"]["purpose"] for each in actions} == {"family-search"}
    assert (ended["state"], ended["links"], ended["persons"]) == ("SUCCEEDED", LINKS, PEOPLE)
    assert verify(desk.audit).ok


def test_linkages_are_paged_newest_first(desk: Desk) -> None:
    ids = [desk.linked().id for _ in range(3)]
    with desk.stub() as stub:
        found, token = [], ""
        while True:
            page = stub.ListLinkages(pb.ListLinkagesRequest(page_size=2, page_token=token))
            found += [each.id for each in page.linkages]
            token = page.next_page_token
            if not token:
                break
        assert found == ids[::-1]
        with refused(Reason.REQUEST_MALFORMED), translated("linker"):
            stub.ListLinkages(pb.ListLinkagesRequest(page_token=NOT_GIVEN_OUT))


def test_a_partial_linkage_names_what_it_missed_wherever_its_links_are_shown(desk: Desk) -> None:
    desk.made.fakes["b"].fail("seal")
    linkage = desk.linked()
    assert linkage.state == pb.LINKAGE_STATE_PARTIAL
    (missing,) = linkage.missing_registries
    assert (missing.name, missing.reason) == ("b", "UNREACHABLE")
    assert missing.detail
    with desk.stub() as stub:
        for link in stub.ListLinks(pb.ListLinksRequest()).links:
            assert list(link.missing_registries) == ["b"]
            shown = stub.GetLink(pb.GetLinkRequest(id=link.id)).link
            assert list(shown.missing_registries) == ["b"]
        for batch in stub.StreamLinks(pb.StreamLinksRequest()):
            assert all(list(link.missing_registries) == ["b"] for link in batch.links)


def test_a_failed_linkage_says_why(desk: Desk) -> None:
    for fake in desk.made.fakes.values():
        fake.fail("describe")
    linkage = desk.linked()
    assert linkage.state == pb.LINKAGE_STATE_FAILED
    assert linkage.error_reason == "TOO_FEW_REGISTRIES"
    with desk.stub() as stub:
        states = stub.ListRegistries(pb.ListRegistriesRequest()).registries
    assert {(each.name, each.state) for each in states} == {
        (name, pb.REGISTRY_STATE_UNREACHABLE) for name in "abc"
    }


def test_registries_are_shown_as_they_were_last_seen(desk: Desk) -> None:
    desk.made.fakes["c"].secret = "another"  # noqa: S105 - a made-up one
    desk.linked()
    with desk.stub() as stub:
        a, _, c = stub.ListRegistries(pb.ListRegistriesRequest()).registries
    assert (a.state, a.records, a.tokens, a.lag) == (pb.REGISTRY_STATE_READY, PEOPLE, 2 * PEOPLE, 0)
    assert a.HasField("synced_at")
    assert (c.state, c.reason) == (pb.REGISTRY_STATE_REFUSED, "SECRET_DIFFERS")
    assert not c.HasField("synced_at")


def test_estimates_come_with_the_linkage_and_rounded(tmp_path: Path) -> None:
    with opened_desk(tmp_path, people=150) as desk:
        linkage = desk.linked()
        with desk.stub("gateway") as stub:
            request = pb.GetLinkageQualityRequest(linkage_id=linkage.id)
            found = stub.GetLinkageQuality(request).quality
        assert (found.linked.links, found.linked.HasField("precision")) == (450, True)
        assert not found.blocking.HasField("loss_low")
        assert [each.registry for each in found.registries] == ["a", "b", "c"]
        counts = [each.pairs for each in found.weights]
        assert sum(counts) >= 450
        assert all(count % 10 == 0 for count in counts)


def test_a_linkage_that_failed_has_no_estimates(desk: Desk) -> None:
    for fake in desk.made.fakes.values():
        fake.fail("seal")
    linkage = desk.linked()
    with desk.stub() as stub:
        answer = stub.GetLinkageQuality(pb.GetLinkageQualityRequest(linkage_id=linkage.id))
    assert not answer.HasField("quality")


def test_verdicts_are_held_against_probabilities_once_there_are_enough(tmp_path: Path) -> None:
    with opened_desk(tmp_path, people=30) as desk:
        linkage = desk.linked()
        request = pb.GetLinkageQualityRequest(linkage_id=linkage.id)
        with desk.stub("gateway") as stub:
            links = stub.ListLinks(pb.ListLinksRequest(page_size=100)).links
            for number, link in enumerate(links[:40]):
                if number == 19:
                    assert not stub.GetLinkageQuality(request).quality.calibration
                wrong, right = registry_pb2.VERDICT_REJECTED, registry_pb2.VERDICT_CONFIRMED
                verdict = wrong if number < 10 else right
                stub.DecideLink(
                    pb.DecideLinkRequest(id=link.id, verdict=verdict, decided_by="analyst li")
                )
            (band,) = stub.GetLinkageQuality(request).quality.calibration
        assert (band.decided, band.confirmed) == (40, 30)
        assert band.found_low < 0.75 < band.found_high < band.expected


def test_a_linkage_is_cancelled_once(desk: Desk) -> None:
    inside, release = threading.Event(), threading.Event()

    def wait(_call: int) -> None:
        inside.set()
        release.wait(20)

    desk.made.fakes["a"].before["seal"] = wait
    with desk.stub() as stub:
        begun = stub.CreateLinkage(pb.CreateLinkageRequest(model=MODEL)).linkage
        assert inside.wait(20)
        stub.CancelLinkage(pb.CancelLinkageRequest(id=begun.id))
        release.set()
        *_, last = stub.WatchLinkage(pb.WatchLinkageRequest(id=begun.id))
        assert last.linkage.state == pb.LINKAGE_STATE_CANCELLED
        with refused(Reason.LINKAGE_ENDED), translated("linker"):
            stub.CancelLinkage(pb.CancelLinkageRequest(id=begun.id))


def test_a_link_is_shown_with_evidence_that_adds_up(desk: Desk) -> None:
    desk.linked()
    with desk.stub("gateway") as stub:
        page = stub.ListLinks(pb.ListLinksRequest(page_size=1))
        assert page.total == LINKS
        link = page.links[0]
        assert link.registry_l < link.registry_r
        assert len(bytes.fromhex(link.subject_l)) == 16
        found = stub.GetLink(pb.GetLinkRequest(id=link.id))
        assert found.link == link
        total = found.prior_weight + sum(each.weight for each in found.evidence)
        assert total == pytest.approx(link.match_weight)
        assert [each.field for each in found.evidence] == ["name", "dob", "place"]


def test_links_are_paged_filtered_and_streamed(desk: Desk) -> None:
    linkage = desk.linked()
    with desk.stub() as stub:
        chosen = pb.LinkFilter(linkage_id=linkage.id, registry="a")
        found, token = [], ""
        while True:
            page = stub.ListLinks(
                pb.ListLinksRequest(
                    filter=chosen, page_size=3, page_token=token, order=pb.LINK_ORDER_WEIGHT_ASC
                )
            )
            assert page.total == 2 * PEOPLE
            found += [link.id for link in page.links]
            token = page.next_page_token
            if not token:
                break
        streamed = [
            link.id
            for batch in stub.StreamLinks(pb.StreamLinksRequest(filter=chosen))
            for link in batch.links
        ]
        assert len(found) == len(set(found)) == 2 * PEOPLE
        assert set(found) == set(streamed)
    written = [json.loads(line) for line in desk.audit.read_text().splitlines()]
    (exported,) = [each for each in written if each["action"] == "links-exported"]
    assert exported["fields"] == {"linkage": linkage.id, "links": 2 * PEOPLE}
    assert {each["actor"] for each in written if each["action"] == "links-read"} == {"operator/me"}


def test_a_linkage_that_is_cancelled_and_people_who_leave_are_in_the_audit(desk: Desk) -> None:
    desk.linked()
    desk.made.fakes["a"].delete("a-1")
    peers = {name: desk.made.dial(name) for name in desk.made.fakes}
    desk.made.node.sync.round(peers, threading.Event())
    desk.made.fakes["a"].before["feed"] = lambda _call: time.sleep(5)
    with desk.stub() as stub:
        begun = stub.CreateLinkage(pb.CreateLinkageRequest(model=MODEL)).linkage
        assert begun.purpose == "general"
        stub.CancelLinkage(pb.CancelLinkageRequest(id=begun.id))
        *_, last = stub.WatchLinkage(pb.WatchLinkageRequest(id=begun.id))
    assert last.linkage.state == pb.LINKAGE_STATE_CANCELLED
    written = [json.loads(line) for line in desk.audit.read_text().splitlines()]
    (erased,) = [each for each in written if each["action"] == "people-erased"]
    assert erased["fields"] == {"registry": "a", "people": 1, "links": 2}
    actions = [(each["action"], each["fields"].get("state")) for each in written]
    assert actions[-2:] == [("linkage-cancelled", None), ("linkage-ended", "CANCELLED")]


def test_a_verdict_is_recorded_published_and_audited(desk: Desk) -> None:
    desk.linked()
    with desk.stub("gateway") as stub:
        link = stub.ListLinks(pb.ListLinksRequest(page_size=1)).links[0]
        decided = stub.DecideLink(
            pb.DecideLinkRequest(
                id=link.id,
                verdict=registry_pb2.VERDICT_REJECTED,
                reason="other mother",
                decided_by="analyst li",
            )
        ).link
        assert decided.verdict == registry_pb2.VERDICT_REJECTED
        assert (decided.verdict_reason, decided.verdict_by) == ("other mother", "analyst li")
        assert not decided.linked
        rejected = pb.LinkFilter(verdicts=[registry_pb2.VERDICT_REJECTED])
        assert stub.ListLinks(pb.ListLinksRequest(filter=rejected)).total == 1
    assert desk.made.fakes[link.registry_l].published[link.id].verdict == "REJECTED"
    last = json.loads(desk.audit.read_text().splitlines()[-1])
    assert (last["action"], last["actor"]) == ("link-decided", "gateway/me")


def test_cases_are_listed_and_read_with_their_evidence_and_an_operators_reading_is_noted(
    desk: Desk,
) -> None:
    for name, fake in desk.made.fakes.items():
        fake.side = Side.WANTS if name == "b" else Side.SHOWS
    desk.linked()
    with desk.stub("gateway") as stub:
        assert not stub.ListRegistries(pb.ListRegistriesRequest()).two_sided
        page = stub.ListCases(pb.ListCasesRequest(page_size=5))
        rest = stub.ListCases(pb.ListCasesRequest(page_size=5, page_token=page.next_page_token))
        cases = [*page.cases, *rest.cases]
        assert (len(cases), page.total, rest.next_page_token) == (PEOPLE, PEOPLE, "")
        assert {(case.registry, case.candidates) for case in cases} == {("b", 2)}
        asked = pb.GetCaseRequest(registry="b", subject=cases[0].subject, page_size=1)
        found = stub.GetCase(asked)
        assert found.case == cases[0]
        (best,) = found.candidates
        assert (best.rank, found.total, best.link.state) == (1, 2, pb.PAIR_STATE_OPEN)
        assert best.link == stub.GetLink(pb.GetLinkRequest(id=best.link.id)).link
        assert sum(each.weight for each in best.evidence) + best.prior_weight == pytest.approx(
            best.link.match_weight
        )
        asked.page_token = found.next_page_token
        assert [each.rank for each in stub.GetCase(asked).candidates] == [2]
        out = pb.DecideLinkRequest(
            id=best.link.id,
            verdict=registry_pb2.VERDICT_REJECTED,
            decided_by="li",
            ruled_out_by=pb.RULED_OUT_BY_DNA,
        )
        decided = stub.DecideLink(out).link
        assert (decided.state, decided.ruled_out_by) == (
            pb.PAIR_STATE_RULED_OUT,
            pb.RULED_OUT_BY_DNA,
        )
        ruled_out = pb.GetCaseRequest(
            registry="b", subject=cases[0].subject, states=[pb.PAIR_STATE_RULED_OUT]
        )
        assert [each.link.id for each in stub.GetCase(ruled_out).candidates] == [best.link.id]
        # Whoever says nothing more rejects by something else.
        out.ClearField("ruled_out_by")
        assert stub.DecideLink(out).link.ruled_out_by == pb.RULED_OUT_BY_OTHER
    with desk.stub() as stub:
        stub.GetCase(ruled_out)
    last = json.loads(desk.audit.read_text().splitlines()[-1])
    assert (last["action"], last["actor"], last["fields"]["links"]) == (
        "links-read",
        "operator/me",
        1,
    )
    metrics = desk.made.metrics
    assert metrics.pairs.labels("ruled_out")._value.get() == 1
    assert metrics.cases.labels("open")._value.get() == PEOPLE


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ListCases", pb.ListCasesRequest(order=9)),
        ("ListCases", pb.ListCasesRequest(touching="x" * 129)),
        ("ListCases", pb.ListCasesRequest(page_token=NOT_GIVEN_OUT)),
        ("GetCase", pb.GetCaseRequest(registry="b", subject="zz")),
        ("GetCase", pb.GetCaseRequest(registry="b", subject="00")),
        ("GetCase", pb.GetCaseRequest(registry="x" * 129, subject="0" * 32)),
        ("GetCase", pb.GetCaseRequest(registry="b", subject="0" * 32, states=[9])),
        ("ListLinks", pb.ListLinksRequest(filter=pb.LinkFilter(states=[9]))),
        (
            "DecideLink",
            pb.DecideLinkRequest(id="x", verdict=2, decided_by="li", ruled_out_by=99),
        ),
        ("DecideLink", pb.DecideLinkRequest(id="x", verdict=1, decided_by="li", ruled_out_by=1)),
    ],
)
def test_what_asks_for_a_case_wrongly_is_refused(desk: Desk, method: str, request_: Any) -> None:
    with refused(Reason.REQUEST_MALFORMED), desk.stub("gateway") as stub:
        getattr(stub, method)(request_)


def test_models_are_shown_set_and_used(desk: Desk) -> None:
    body = given_model().to_json()
    with desk.stub() as stub:
        assert stub.SetModel(pb.SetModelRequest(name="mine", model_json=body)).name == "mine"
        assert stub.GetModel(pb.GetModelRequest(name="mine")).model_json == body
        linkage = desk.follow(pb.CreateLinkageRequest(model="mine"))
        assert linkage.em_iterations == 7
        assert stub.GetModel(pb.GetModelRequest()).name == linkage.id
        with refused(Reason.REQUEST_MALFORMED), translated("linker"):
            stub.SetModel(pb.SetModelRequest(name=linkage.id, model_json=body))


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("GetLinkage", pb.GetLinkageRequest(id="none"), Reason.LINKAGE_NOT_FOUND),
        ("CancelLinkage", pb.CancelLinkageRequest(id="none"), Reason.LINKAGE_NOT_FOUND),
        ("GetLink", pb.GetLinkRequest(id="none"), Reason.LINK_NOT_FOUND),
        (
            "GetLinkageQuality",
            pb.GetLinkageQualityRequest(linkage_id="none"),
            Reason.LINKAGE_NOT_FOUND,
        ),
        ("GetCase", pb.GetCaseRequest(registry="a", subject="0" * 32), Reason.CASE_NOT_FOUND),
        ("GetModel", pb.GetModelRequest(name="none"), Reason.MODEL_NOT_FOUND),
        ("CreateLinkage", pb.CreateLinkageRequest(model="none"), Reason.MODEL_NOT_FOUND),
        ("CreateLinkage", pb.CreateLinkageRequest(registries=["x"]), Reason.PEER_UNKNOWN),
        ("CreateLinkage", pb.CreateLinkageRequest(registries=["a"]), Reason.TOO_FEW_REGISTRIES),
        (
            "CreateLinkage",
            pb.CreateLinkageRequest(threshold_probability=0.0),
            Reason.REQUEST_MALFORMED,
        ),
        (
            "CreateLinkage",
            pb.CreateLinkageRequest(threshold_probability=float("nan")),
            Reason.REQUEST_MALFORMED,
        ),
        (
            "CreateLinkage",
            pb.CreateLinkageRequest(threshold_weight=float("inf")),
            Reason.REQUEST_MALFORMED,
        ),
        ("CreateLinkage", pb.CreateLinkageRequest(purpose="x" * 9_999), Reason.REQUEST_MALFORMED),
        ("CreateLinkage", pb.CreateLinkageRequest(purpose="two words"), Reason.REQUEST_MALFORMED),
        (
            "CreateLinkage",
            pb.CreateLinkageRequest(registries=["a"] * 999),
            Reason.REQUEST_MALFORMED,
        ),
        ("ListLinks", pb.ListLinksRequest(order=77), Reason.REQUEST_MALFORMED),
        ("ListLinks", pb.ListLinksRequest(page_token=NOT_GIVEN_OUT), Reason.REQUEST_MALFORMED),
        (
            "ListLinks",
            pb.ListLinksRequest(filter=pb.LinkFilter(probability_min=2)),
            Reason.REQUEST_MALFORMED,
        ),
        (
            "ListLinks",
            pb.ListLinksRequest(filter=pb.LinkFilter(probability_max=float("nan"))),
            Reason.REQUEST_MALFORMED,
        ),
        (
            "ListLinks",
            pb.ListLinksRequest(filter=pb.LinkFilter(verdicts=[9])),
            Reason.REQUEST_MALFORMED,
        ),
        (
            "ListLinks",
            pb.ListLinksRequest(filter=pb.LinkFilter(registry="x" * 999)),
            Reason.REQUEST_MALFORMED,
        ),
        ("SetModel", pb.SetModelRequest(name="../x", model_json="{}"), Reason.REQUEST_MALFORMED),
        ("SetModel", pb.SetModelRequest(name="x", model_json="{}"), Reason.MODEL_INVALID),
        ("SetModel", pb.SetModelRequest(name="x", model_json="no"), Reason.MODEL_INVALID),
    ],
)
def test_what_cannot_be_done_is_refused_by_reason(
    desk: Desk, method: str, request_: Any, reason: Reason
) -> None:
    with refused(reason), desk.stub() as stub:
        getattr(stub, method)(request_)


@pytest.mark.parametrize(
    "request_",
    [
        pb.DecideLinkRequest(id="x", decided_by="me"),
        pb.DecideLinkRequest(id="x", verdict=9, decided_by="me"),
        pb.DecideLinkRequest(id="x", verdict=1),
        pb.DecideLinkRequest(id="x", verdict=1, decided_by="m" * 999),
        pb.DecideLinkRequest(id="x", verdict=1, decided_by="me", reason="r" * 9_999),
    ],
)
def test_a_verdict_without_all_it_needs_is_refused(
    desk: Desk, request_: pb.DecideLinkRequest
) -> None:
    with refused(Reason.REQUEST_MALFORMED), desk.stub("gateway") as stub:
        stub.DecideLink(request_)


def test_a_verdict_on_a_link_that_does_not_exist_is_refused(desk: Desk) -> None:
    with refused(Reason.LINK_NOT_FOUND), desk.stub("gateway") as stub:
        stub.DecideLink(pb.DecideLinkRequest(id="none", verdict=1, decided_by="me"))


def test_watchers_are_limited_and_give_their_place_back(tmp_path: Path) -> None:
    with opened_desk(tmp_path, watchers=1) as desk:
        hold = threading.Event()
        desk.made.fakes["a"].before["seal"] = lambda _call: hold.wait(20)
        with desk.stub() as stub:
            begun = stub.CreateLinkage(pb.CreateLinkageRequest(model=MODEL)).linkage
            first = stub.WatchLinkage(pb.WatchLinkageRequest(id=begun.id))
            next(first)
            with refused(Reason.TOO_MANY_REQUESTS), translated("linker"):
                list(stub.WatchLinkage(pb.WatchLinkageRequest(id=begun.id)))
            hold.set()
            *_, last = first
            assert last.linkage.state == pb.LINKAGE_STATE_SUCCEEDED
            list(stub.WatchLinkage(pb.WatchLinkageRequest(id=begun.id)))


def test_a_stopping_server_ends_its_watchers_in_order(desk: Desk) -> None:
    hold = threading.Event()
    desk.made.fakes["a"].before["seal"] = lambda _call: hold.wait(20)
    with desk.stub() as stub:
        begun = stub.CreateLinkage(pb.CreateLinkageRequest(model=MODEL)).linkage
        watching = stub.WatchLinkage(pb.WatchLinkageRequest(id=begun.id))
        next(watching)
        stopper = threading.Thread(target=desk.server.running.stop, args=(10,))
        stopper.start()
        for _ in watching:
            pass
        stopper.join(20)
        hold.set()
        assert not stopper.is_alive()
