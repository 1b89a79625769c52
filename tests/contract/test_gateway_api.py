"""The JSON API: what each role gets, what is refused, and what the audit says of it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from fastapi.routing import APIRoute
from kinlink_core.errors import Reason, UnavailableError
from kinlink_gateway import api, pages, pages_cases, pages_links, pages_session, probes
from kinlink_gateway.access import Allow, check_same_origin, form_guard
from kinlink_gateway.audit import AuditQuery
from kinlink_gateway.limits import REQUEST_BODY_BYTES_MAX
from kinlink_gateway.linker import LinkageState
from kinlink_gateway.roles import POLICY, Action, Role
from unit.gateway.office import Office, open_office

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi.json"
PEOPLE = {"Li Wei": Role.ANALYST, "Chen": Role.OPERATOR, "Shaanxi": Role.PROVINCE}
# Routes that let anyone in: signing in, probes, the API's description and static files.
OPEN_ROUTES = {"/sign-in", "/healthz", "/readyz", "/api/v1/openapi.json", "/static"}
ROUTERS = (
    api.router,
    pages.router,
    pages.forms,
    pages_cases.router,
    pages_cases.forms,
    pages_links.router,
    pages_links.forms,
    pages_session.router,
    pages_session.forms,
    probes.router,
)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = open_office(tmp_path)
    yield office
    office.close()


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["reason"]


def all_routes(office: Office) -> list[Any]:
    """Routes of all routers, and those the application has of itself."""
    own = [route for route in office.app.routes if hasattr(route, "path")]  # type: ignore[attr-defined]
    return [*own, *(route for router in ROUTERS for route in router.routes)]


def actions_of(route: Any) -> list[Action]:
    guards = [dependency.call for dependency in route.dependant.dependencies]
    return [guard.action for guard in guards if isinstance(guard, Allow)]


def test_the_list_of_routers_is_the_applications(office: Office) -> None:
    nested = [route for route in office.app.routes if not hasattr(route, "path")]  # type: ignore[attr-defined]
    assert len(nested) in {0, len(ROUTERS)}


def test_estimates_are_shown_to_analysts_and_operators_and_are_null_before_there_are_any(
    office: Office,
) -> None:
    for who in ("Li Wei", "Chen"):
        found = office.api(who).get("/api/v1/linkages/lk-first/quality").json()
        assert found["quality"]["linked"]["precision"] == pytest.approx(0.972)
        assert {row["registry"] for row in found["quality"]["registries"]} == {
            "shaanxi",
            "sichuan",
            "henan",
        }
    running = office.api("Chen").get("/api/v1/linkages/lk-running/quality").json()
    assert running == {"linkage_id": "lk-running", "quality": None}
    assert office.api("Chen").get("/api/v1/linkages/none/quality").status_code == 404


def test_the_openapi_document_is_the_golden_one(office: Office, tmp_path: Path) -> None:
    document = office.nobody().get("/api/v1/openapi.json").json()
    text = json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    fresh = tmp_path / "openapi.json"
    fresh.write_text(text, "utf-8")
    assert text == GOLDEN.read_text("utf-8"), f"read `diff {GOLDEN} {fresh}`, then copy it over"


def test_every_route_but_the_open_ones_names_the_action_it_needs(office: Office) -> None:
    for route in all_routes(office):
        if route.path not in OPEN_ROUTES:
            assert isinstance(route, APIRoute), route.path
            assert len(actions_of(route)) == 1, route.path


def test_every_form_is_guarded_against_other_sites(office: Office) -> None:
    for route in all_routes(office):
        if isinstance(route, APIRoute) and route.methods & {"POST", "PUT", "PATCH", "DELETE"}:
            calls = {dependency.call for dependency in route.dependant.dependencies}
            api_route = route.path.startswith("/api/v1/")
            assert api_route or calls & {form_guard, check_same_origin}, route.path


def test_every_route_answers_each_role_as_the_table_says(office: Office) -> None:
    link_id = office.link(touching="shaanxi").id
    office.linker.add_cases()
    registry, subject = office.linker.links_of(0)[0].family
    body = {"verdict": "unsure"}
    for route in all_routes(office):
        if route.path in OPEN_ROUTES or not route.path.startswith("/api/v1/"):
            continue
        [action] = actions_of(route)
        path = route.path.format(
            linkage_id="lk-running", link_id=link_id, registry=registry, subject=subject
        )
        if path.endswith("/events"):
            path = path.replace("lk-running", "lk-first")
        for who, role in PEOPLE.items():
            answer = office.api(who).request(
                min(route.methods), path, json=body if "verdict" in path else {}
            )
            if action in POLICY[role]:
                assert answer.status_code < 300, (who, path, answer.text)
            else:
                assert problem(answer) == (403, "ROLE_FORBIDDEN"), (who, path)
        assert problem(office.nobody().request(min(route.methods), path)) == (401, "PEER_UNKNOWN")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer kinlink_wrong", "Bearer ÿ", "token"],
)
def test_a_bad_authorization_header_is_nobody(office: Office, header: str) -> None:
    headers = {"Authorization": header.encode("latin-1")}
    answer = office.nobody().get("/api/v1/me", headers=headers)  # type: ignore[arg-type]
    assert problem(answer) == (401, "PEER_UNKNOWN")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_twin_of_sign_in_says_who_you_are(office: Office) -> None:
    assert office.api("Shaanxi").get("/api/v1/me").json() == {
        "name": "Shaanxi",
        "role": "province",
        "registry": "shaanxi",
        "may": sorted(action.value for action in POLICY[Role.PROVINCE]),
    }


def test_registries_come_with_their_states(office: Office) -> None:
    registries = office.api("Chen").get("/api/v1/registries").json()["registries"]
    assert [(r["name"], r["state"]) for r in registries] == [
        ("henan", "unreachable"),
        ("shaanxi", "ready"),
        ("sichuan", "ready"),
    ]
    assert registries[0]["reason"] == "No answer within 10 seconds."


def test_an_operator_starts_a_linkage_and_cancels_it(office: Office) -> None:
    operator = office.api("Chen")
    body = {"threshold_probability": 0.7, "registries": ["henan", "sichuan"], "purpose": "weekly"}
    started = operator.post("/api/v1/linkages", json=body)
    assert started.status_code == 201
    linkage_id = started.json()["id"]
    assert started.json()["purpose"] == "weekly"
    last, asked = office.gateway.audit.entries(AuditQuery(action="linkage.start"))
    assert (asked.object_id, asked.status) == ("purpose/weekly", 100)
    assert (last.object_id, last.status) == (linkage_id, 201)
    assert started.json()["requested_by"] == "Chen (operator)"
    assert "0.7 ('henan', 'sichuan') Chen (operator): weekly" in office.linker.calls[-1]
    cancelled = operator.post(f"/api/v1/linkages/{linkage_id}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    assert problem(operator.post(f"/api/v1/linkages/{linkage_id}/cancel")) == (
        409,
        "LINKAGE_ENDED",
    )


@pytest.mark.parametrize(
    "body",
    [
        {"threshold_probability": 0},
        {"threshold_probability": 1},
        {"threshold_probability": "x"},
        {"registries": ["a b"]},
        {"registries": ["x"] * 101},
        {"purpose": "x" * 33},
        {"purpose": "two words"},
        {"purpose": ""},
        {"unknown": 1},
    ],
)
def test_a_malformed_order_is_refused_and_starts_nothing(
    office: Office, body: dict[str, object]
) -> None:
    answer = office.api("Chen").post("/api/v1/linkages", json=body)
    assert problem(answer) == (422, "REQUEST_MALFORMED")
    assert answer.json()["faults"][0]["where"].startswith("body.")
    assert not [call for call in office.linker.calls if call.startswith("create")]


def test_a_registry_nobody_knows_is_named(office: Office) -> None:
    answer = office.api("Chen").post("/api/v1/linkages", json={"registries": ["atlantis"]})
    assert problem(answer) == (400, "PEER_UNKNOWN")
    assert "atlantis" in answer.json()["detail"]


def test_linkages_are_paged(office: Office) -> None:
    machine = office.api("Chen")
    first = machine.get("/api/v1/linkages", params={"page_size": 2}).json()
    assert [linkage["id"] for linkage in first["linkages"]] == ["lk-running", "lk-partial"]
    token = first["next_page_token"]
    rest = machine.get("/api/v1/linkages", params={"page_size": 2, "page_token": token}).json()
    assert [linkage["id"] for linkage in rest["linkages"]] == ["lk-first"]
    assert rest["next_page_token"] == ""


def test_a_linkage_that_ended_is_followed_to_its_end(office: Office) -> None:
    answer = office.api("Chen").get("/api/v1/linkages/lk-partial/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [part.split("\n", 1) for part in answer.text.strip().split("\n\n")]
    assert [name for name, _ in events] == ["event: linkage", "event: ended"]
    data = json.loads(events[0][1].removeprefix("data: "))
    assert data["missing_registries"][0]["name"] == "henan"


def test_followers_are_bounded_and_give_their_place_back(office: Office) -> None:
    gate = office.gateway.limits.followers
    held = 0
    while gate.acquire(blocking=False):
        held += 1
    machine = office.api("Chen")
    assert problem(machine.get("/api/v1/linkages/lk-first/events")) == (429, "TOO_MANY_REQUESTS")
    gate.release()
    for _ in range(3):
        assert machine.get("/api/v1/linkages/lk-first/events").status_code == 200
    for _ in range(held - 1):
        gate.release()


def test_links_are_filtered_sorted_and_paged(office: Office) -> None:
    machine = office.api("Li Wei")

    def links(**params: object) -> list[dict[str, object]]:
        answer = machine.get("/api/v1/links", params={"page_size": 500, **params})  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return list(answer.json()["links"])

    everything = links()
    assert all(link["linked"] for link in everything)
    weights = [link["match_weight"] for link in everything]
    assert weights == sorted(weights, reverse=True)
    assert len(links(include_disclosed=True)) == len(office.linker.links)
    assert {link["linkage_id"] for link in links(linkage="lk-partial")} == {"lk-partial"}
    assert all(
        "henan" in (link["registry_l"], link["registry_r"]) for link in links(registry="henan")
    )
    between = links(probability_min=0.6, probability_max=0.9)
    assert between
    assert all(0.6 <= float(str(link["match_probability"])) <= 0.9 for link in between)
    person = str(everything[4]["person_id"])
    assert {link["person_id"] for link in links(person=person)} == {person}
    lowest = links(order="weight_asc")
    assert [link["id"] for link in lowest] == [link["id"] for link in everything[::-1]]
    first = machine.get("/api/v1/links", params={"page_size": 10}).json()
    assert (len(first["links"]), first["total"]) == (10, len(everything))
    params = {"page_size": "10", "page_token": first["next_page_token"]}
    second = machine.get("/api/v1/links", params=params).json()
    assert second["links"][0]["id"] == everything[10]["id"]


def test_links_are_found_by_their_verdict(office: Office) -> None:
    machine = office.api("Li Wei")
    link_id = office.link().id
    machine.post(f"/api/v1/links/{link_id}/verdict", json={"verdict": "confirmed"})
    found = machine.get("/api/v1/links", params={"verdict": "confirmed"}).json()["links"]
    assert [(link["id"], link["verdict_by"]) for link in found] == [(link_id, "Li Wei (analyst)")]
    total = machine.get("/api/v1/links").json()["total"]
    assert (
        machine.get("/api/v1/links", params={"verdict": "undecided"}).json()["total"] == total - 1
    )


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"probability_min": "2"}, 422),
        ({"probability_min": "nan"}, 422),
        ({"probability_max": "0"}, 422),
        ({"probability_min": "0.9", "probability_max": "0.1"}, 400),
        ({"verdict": "maybe"}, 422),
        ({"order": "random"}, 422),
        ({"page_size": "0"}, 422),
        ({"page_size": "501"}, 422),
        ({"page_token": "x" * 1025}, 422),
        ({"registry": "a b"}, 422),
        ({"linkage": "../x"}, 422),
        ({"person": "x" * 129}, 422),
    ],
)
def test_a_malformed_filter_is_refused_and_never_repeated(
    office: Office, params: dict[str, str], status: int
) -> None:
    answer = office.api("Li Wei").get("/api/v1/links", params=params)
    assert problem(answer) == (status, "REQUEST_MALFORMED")
    assert all(len(value) < 4 or value not in answer.text for value in params.values())


def test_links_of_a_partial_linkage_name_what_it_missed(office: Office) -> None:
    machine = office.api("Li Wei")
    answer = machine.get("/api/v1/links", params={"linkage": "lk-partial"}).json()
    assert answer["missing_registries"] == ["henan"]
    assert all(link["missing_registries"] == ["henan"] for link in answer["links"])
    answer = machine.get("/api/v1/links", params={"linkage": "lk-first"}).json()
    assert answer["missing_registries"] == []


def test_a_link_comes_with_the_sum_that_gave_its_weight(office: Office) -> None:
    link = office.link()
    answer = office.api("Li Wei").get(f"/api/v1/links/{link.id}").json()
    assert answer["link"]["match_weight"] == link.match_weight
    total = answer["prior_weight"] + sum(item["weight"] for item in answer["evidence"])
    assert answer["total_weight"] == pytest.approx(total)
    assert total == pytest.approx(link.match_weight)
    assert set(answer["evidence"][0]) == {
        "field",
        "level",
        "weight",
        "m_probability",
        "u_probability",
    }


def test_a_verdict_reaches_the_linker_with_the_analysts_name(office: Office) -> None:
    link_id = office.link().id
    body = {"verdict": "rejected", "reason": " born in\tdifferent towns ", "seen": None}
    answer = office.api("Li Wei").post(f"/api/v1/links/{link_id}/verdict", json=body)
    assert answer.status_code == 200
    stored = office.linker.links[link_id]
    assert (stored.verdict_reason, stored.verdict_by) == (
        "born in different towns",
        "Li Wei (analyst)",
    )
    history = office.api("Li Wei").get(f"/api/v1/links/{link_id}").json()["decisions"]
    assert [(item["verdict"], item["decided_by"]) for item in history] == [
        ("rejected", "Li Wei (analyst)")
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"verdict": "rejected"}, 400),
        ({"verdict": "rejected", "reason": "   "}, 400),
        ({"verdict": "maybe"}, 422),
        ({"reason": "x"}, 422),
        ({"verdict": "unsure", "reason": "x" * 501}, 422),
        ({"verdict": "unsure", "reason": "a\x00b"}, 400),
    ],
)
def test_a_verdict_that_lacks_something_is_refused(
    office: Office, body: dict[str, str], status: int
) -> None:
    link_id = office.link().id
    answer = office.api("Li Wei").post(f"/api/v1/links/{link_id}/verdict", json=body)
    assert problem(answer) == (status, "REQUEST_MALFORMED")
    assert office.linker.links[link_id].verdict is None


def test_a_verdict_on_a_link_decided_meanwhile_is_refused(office: Office) -> None:
    link_id = office.link().id
    machine = office.api("Li Wei")
    machine.post(f"/api/v1/links/{link_id}/verdict", json={"verdict": "confirmed"})
    late = {"verdict": "rejected", "reason": "x", "seen": "unsure"}
    answer = machine.post(f"/api/v1/links/{link_id}/verdict", json=late)
    assert answer.status_code == 409
    assert office.linker.links[link_id].verdict == "confirmed"


def test_all_formats_export_the_same_links(office: Office) -> None:
    machine = office.api("Li Wei")
    filters = {"linkage": "lk-partial", "include_disclosed": "true"}
    expected = {link.id for link in office.linker.links.values() if link.linkage_id == "lk-partial"}
    answer = machine.get("/api/v1/links/export", params={"format": "csv", **filters})
    assert answer.headers["content-disposition"] == 'attachment; filename="links.csv"'
    assert {row["id"] for row in csv.DictReader(io.StringIO(answer.text))} == expected
    answer = machine.get("/api/v1/links/export", params={"format": "json", **filters})
    assert {row["id"] for row in answer.json()} == expected
    answer = machine.get("/api/v1/links/export", params={"format": "parquet", **filters})
    table = pq.ParquetFile(io.BytesIO(answer.content)).read()
    assert set(table.column("id").to_pylist()) == expected


def test_an_export_beyond_the_limit_is_refused_before_it_begins(tmp_path: Path) -> None:
    office = open_office(tmp_path, export_rows_max=5)
    answer = office.api("Li Wei").get("/api/v1/links/export")
    assert problem(answer) == (400, "QUOTA_EXCEEDED")
    assert "stream_links" not in office.linker.calls
    office.close()


def test_exports_at_once_are_bounded_and_give_their_place_back(office: Office) -> None:
    gate = office.gateway.limits.exports
    held = 0
    while gate.acquire(blocking=False):
        held += 1
    machine = office.api("Li Wei")
    assert problem(machine.get("/api/v1/links/export")) == (429, "TOO_MANY_REQUESTS")
    gate.release()
    for _ in range(3):
        assert machine.get("/api/v1/links/export").status_code == 200
    for _ in range(held - 1):
        gate.release()


def test_an_export_that_breaks_off_is_not_mistaken_for_a_whole_one(office: Office) -> None:
    office.linker.fail_stream_after = 40
    with pytest.raises(RuntimeError):
        office.api("Li Wei").get("/api/v1/links/export")


@pytest.mark.parametrize(
    "path", ["/api/v1/links/none", "/api/v1/linkages/none", "/api/v1/links/a%20b", "/api/v1/x"]
)
def test_what_is_not_there_is_not_found(office: Office, path: str) -> None:
    assert office.api("Li Wei").get(path).status_code == 404


def test_a_linker_that_is_away_is_told_as_such(office: Office) -> None:
    office.linker.fail = UnavailableError(Reason.UNREACHABLE, "The linker cannot be reached now.")
    assert problem(office.api("Chen").get("/api/v1/registries")) == (503, "UNREACHABLE")


def test_an_unexpected_fault_says_nothing_about_itself(office: Office) -> None:
    office.linker.fail = RuntimeError("secret detail")
    answer = office.api("Chen").get("/api/v1/registries")
    assert problem(answer) == (500, "INTERNAL")
    assert "secret" not in answer.text
    assert "request_failed" in office.log.getvalue()
    assert "secret" not in office.log.getvalue()
    assert office.audited("registries.read") == [("Chen", "registries.read", "", 500)]


def test_a_body_over_the_limit_is_refused(office: Office) -> None:
    machine = office.api("Chen")
    answer = machine.post("/api/v1/linkages", content=b"x" * (REQUEST_BODY_BYTES_MAX + 1))
    assert problem(answer) == (413, "MESSAGE_TOO_LARGE")

    def chunks() -> Iterator[bytes]:
        yield b"x" * (REQUEST_BODY_BYTES_MAX + 1)

    assert problem(machine.post("/api/v1/linkages", content=chunks()))[0] == 413


def test_a_caller_who_asks_too_often_is_told_when_to_come_again(office: Office) -> None:
    machine = office.api("Li Wei")
    statuses = [machine.get("/api/v1/me").status_code for _ in range(101)]
    assert statuses == [200] * 100 + [429]
    answer = machine.get("/api/v1/me")
    assert int(answer.headers["retry-after"]) >= 1
    assert office.api("Chen").get("/api/v1/me").status_code == 200
    office.clock.pass_seconds(1)
    assert machine.get("/api/v1/me").status_code == 200


def test_guessing_tokens_is_slowed_down(office: Office) -> None:
    nobody = office.nobody()
    headers = {"Authorization": "Bearer kinlink_guess"}
    statuses = [nobody.get("/api/v1/me", headers=headers).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]


def test_every_answer_carries_the_security_headers(office: Office) -> None:
    for path in ("/api/v1/me", "/api/v1/none", "/sign-in", "/static/kinlink.css", "/none"):
        headers = office.nobody().get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-request-id"]
        if not path.startswith("/static"):
            assert headers["cache-control"] == "no-store"


def test_the_audit_names_who_did_what_to_which_object(office: Office) -> None:
    link_id = office.link().id
    analyst = office.api("Li Wei")
    analyst.get(f"/api/v1/links/{link_id}")
    analyst.post(f"/api/v1/links/{link_id}/verdict", json={"verdict": "confirmed"})
    analyst.get("/api/v1/audit")
    analyst.get("/api/v1/links/zhang-san-1988")
    office.nobody().get("/api/v1/links")
    assert office.audited() == [
        ("Li Wei", "link.read", link_id, 200),
        ("Li Wei", "link.decide", link_id, 100),
        ("Li Wei", "link.decide", link_id, 200),
        ("Li Wei", "audit.read", "", 403),
        ("Li Wei", "link.read", "?", 404),
        ("-", "links.read", "", 401),
    ]
    assert office.gateway.audit.verify().faults == ()


def test_the_audit_holds_no_value_that_someone_typed(office: Office) -> None:
    analyst = office.api("Li Wei")
    link_id = office.link().id
    body = {"verdict": "rejected", "reason": "Zhang San is Li Si"}
    analyst.post(f"/api/v1/links/{link_id}/verdict", json=body)
    analyst.get("/api/v1/links", params={"person": "zhangsan1988"})
    analyst.get("/api/v1/linkages/zhangsan1988")
    analyst.get("/api/v1/links/export", params={"person": "zhangsan1988"})
    audit = office.api("Chen").get("/api/v1/audit").text
    assert "Zhang" not in audit
    assert "zhangsan" not in audit


def test_the_audit_counts_the_links_that_were_handed_out(office: Office) -> None:
    office.api("Li Wei").get("/api/v1/links/export", params={"linkage": "lk-partial"})
    entries = office.api("Chen").get("/api/v1/audit").json()["entries"]
    assert (entries[0]["action"], entries[0]["object_id"]) == ("links.export", "lk-partial")
    assert entries[0]["row_count"] > 0


def test_nothing_is_answered_that_cannot_be_audited(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise UnavailableError(Reason.DISK_FULL)

    monkeypatch.setattr(type(office.gateway.audit), "write", full)
    link_id = office.link().id
    analyst = office.api("Li Wei")
    for answer in (
        analyst.get(f"/api/v1/links/{link_id}"),
        analyst.get("/api/v1/links/export"),
        office.api("Chen").get("/api/v1/linkages/lk-running/events"),
        analyst.post(f"/api/v1/links/{link_id}/verdict", json={"verdict": "confirmed"}),
    ):
        assert problem(answer) == (503, "DISK_FULL")
        assert link_id not in answer.text
    assert office.linker.links[link_id].verdict is None


def test_the_audit_is_paged_from_newest_to_oldest(office: Office) -> None:
    operator = office.api("Chen")
    for _ in range(5):
        operator.get("/api/v1/me")
    first = operator.get("/api/v1/audit", params={"limit": 3, "actor": "Chen"}).json()
    assert [entry["sequence"] for entry in first["entries"]] == [5, 4, 3]
    params = {"limit": 3, "before": first["next_before"]}
    rest = operator.get("/api/v1/audit", params=params).json()
    assert [entry["sequence"] for entry in rest["entries"]] == [2, 1]
    assert rest["next_before"] is None


def test_probes_need_no_token_and_tell_little(office: Office) -> None:
    nobody = office.nobody()
    assert nobody.get("/healthz").text == "ok\n"
    assert nobody.get("/readyz").json() == {"database": True, "tokens": True}
    (office.home / "tokens.json").chmod(0o644)
    answer = nobody.get("/readyz")
    assert (answer.status_code, answer.json()["tokens"]) == (503, False)
    assert office.audited() == []


def test_requests_are_counted_by_route_template(office: Office) -> None:
    office.api("Li Wei").get(f"/api/v1/links/{office.link().id}")
    office.api("Li Wei").get("/some/thing")
    registry = office.gateway.metrics.registry

    def counted(**labels: str) -> float | None:
        return registry.get_sample_value("kinlink_gateway_http_requests_total", labels)

    assert counted(route="/api/v1/links/{link_id}", method="GET", status="200") == 1
    assert counted(route="unmatched", method="unmatched", status="404") == 1


def test_a_linkage_in_an_unknown_state_is_shown_as_such(office: Office) -> None:
    office.linker.linkages["lk-first"] = office.linker.linkages["lk-first"].__class__(
        id="lk-first",
        state=LinkageState.UNKNOWN,
        epoch="",
        threshold_probability=0.0,
        created_at=None,
    )
    assert office.api("Chen").get("/api/v1/linkages/lk-first").json()["state"] == "unknown"
    assert office.browser("Chen").get("/linkages/lk-first").status_code == 200


def test_actions_of_the_policy_are_all_used_or_the_gateways_own() -> None:
    granted = set().union(*POLICY.values())
    own = {Action.DECISION_FORGET, Action.TOKEN_CREATE, Action.TOKEN_REVOKE}
    assert set(Action) - granted == own
