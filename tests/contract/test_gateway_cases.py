"""Casework by every door: lists, one case, who sees what of it, rejections with their code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kinlink_gateway.linker import PairState, Verdict
from unit.gateway.office import Office, open_office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = open_office(tmp_path)
    office.linker.add_cases()
    yield office
    office.close()


def address(office: Office, number: int = 0) -> str:
    registry, subject = office.linker.links_of(number)[0].family
    return f"/cases/{registry}/{subject}"


def test_an_analyst_lists_the_open_cases_the_best_first(office: Office) -> None:
    found = office.api("Li Wei").get("/api/v1/cases").json()
    assert found["total"] == len(found["cases"]) == 8
    best = [case["best_probability"] for case in found["cases"]]
    assert best == sorted(best, reverse=True)
    first = found["cases"][0]
    assert (first["candidates"], first["returned"], first["ruled_out"]) == (13, 1, 1)
    newest = office.api("Li Wei").get("/api/v1/cases?order=created_desc").json()["cases"]
    assert newest[0]["subject"] != first["subject"]
    own = office.api("Li Wei").get("/api/v1/cases?registry=henan").json()
    assert {case["registry"] for case in own["cases"]} == {"henan"}


def test_cases_come_in_pages(office: Office) -> None:
    client = office.api("Li Wei")
    page = client.get("/api/v1/cases?page_size=5").json()
    rest = client.get(f"/api/v1/cases?page_size=5&page_token={page['next_page_token']}").json()
    subjects = [case["subject"] for case in (*page["cases"], *rest["cases"])]
    assert len(set(subjects)) == 8
    assert rest["next_page_token"] == ""
    for size in (0, 501):
        assert client.get(f"/api/v1/cases?page_size={size}").status_code == 422


def test_a_case_has_ranked_candidates_with_evidence_and_no_value(office: Office) -> None:
    client = office.api("Li Wei")
    path = "/api/v1" + address(office)
    first = client.get(path).json()
    second = client.get(f"{path}?page_token={first['next_page_token']}").json()
    candidates = first["candidates"] + second["candidates"]
    assert [each["rank"] for each in candidates] == list(range(1, 14))
    assert {each["link"]["state"] for each in candidates} == {"open", "unsure", "returned"}
    assert all(each["total_weight"] == pytest.approx(each["link"]["match_weight"])
               for each in candidates)  # fmt: skip
    assert set(candidates[0]["evidence"][0]) == {
        "field", "level", "weight", "m_probability", "u_probability"
    }  # fmt: skip
    out = client.get(f"{path}?state=ruled_out").json()
    assert [each["link"]["ruled_out_by"] for each in out["candidates"]] == ["dna"]
    assert out["candidates"][0]["link"]["verdict_at"]
    assert client.get(f"{path}?state=all").json()["total"] == 14
    assert client.get(f"{path}?state=nonsense").status_code == 422
    assert client.get(f"{path}?page_size=51").status_code == 422


@pytest.mark.parametrize(
    ("registry", "subject"), [("shaanxi", "0" * 32), ("shaanxi", "x"), ("a b", "0" * 32)]
)
def test_what_is_no_case_is_not_found_or_malformed(
    office: Office, registry: str, subject: str
) -> None:
    answer = office.api("Li Wei").get(f"/api/v1/cases/{registry}/{subject}")
    assert answer.status_code in {404, 422}
    assert answer.json()["reason"] in {"CASE_NOT_FOUND", "REQUEST_MALFORMED"}


def test_every_reading_of_cases_is_audited_with_the_case_by_name(office: Office) -> None:
    client = office.api("Li Wei")
    client.get("/api/v1/cases")
    path = address(office)
    client.get(f"/api/v1{path}?state=confirmed")
    named = path.removeprefix("/cases/").replace("/", " ")
    assert ("Li Wei", "cases.read", "", 200) in office.audited()
    assert ("Li Wei", "case.read", named, 200) in office.audited()
    # What names nothing may be a value: it is not written.
    client.get(f"/api/v1/cases/shaanxi/{'0' * 32}")
    assert ("Li Wei", "case.read", "?", 404) in office.audited()


def test_an_operator_sees_no_case(office: Office) -> None:
    for path in ("/cases", address(office)):
        assert office.api("Chen").get(f"/api/v1{path}").status_code == 403
        assert office.browser("Chen").get(path).status_code == 403
    assert 'href="/cases"' not in office.browser("Chen").get("/").text


def test_a_province_sees_cases_by_its_own_pairs_and_not_what_analysts_wrote(
    office: Office,
) -> None:
    # Shaanxi has families' notices; sichuan and fujian the found ones; henan those of others.
    found = office.api("Shaanxi").get("/api/v1/cases").json()
    assert {case["registry"] for case in found["cases"]} == {"shaanxi"}
    assert office.api("Shaanxi").get("/api/v1" + address(office, 1)).status_code == 404
    own = office.api("Shaanxi").get(f"/api/v1{address(office)}?state=all").json()
    links = [each["link"] for each in own["candidates"]]
    assert {link["state"] for link in links} >= {"returned", "ruled_out"}
    for link in links:
        assert (link["verdict_by"], link["verdict_reason"]) == ("", "")
        assert (link["verdict_at"], link["ruled_out_by"]) == (None, None)
    page = office.browser("Shaanxi").get(f"{address(office)}?state=all").text
    assert "Zhao Min" not in page
    assert "Birth or age" not in page


def test_a_linker_that_answers_a_province_with_pairs_of_others_shows_nothing(
    office: Office,
) -> None:
    linker = office.linker
    honest = linker.get_case
    linker.get_case = lambda key, **page: honest(  # type: ignore[method-assign]
        type(key)(key.registry, key.subject, "", key.states), **page
    )
    answer = office.api("Shaanxi").get("/api/v1" + address(office, 1))
    assert answer.status_code == 500
    assert linker.links_of(1)[0].subject_l not in answer.text


def test_the_menu_names_cases_where_there_are_two_sides_and_nowhere_else(office: Office) -> None:
    assert 'href="/cases"' in office.browser("Li Wei").get("/").text
    office.linker.sides = False
    assert 'href="/cases"' not in office.browser("Li Wei").get("/").text
    office.linker.links.clear()
    page = office.browser("Li Wei").get("/cases")
    assert page.status_code == 200
    assert "has no two sides" in page.text
    assert office.api("Li Wei").get("/api/v1/cases").json()["cases"] == []


def test_the_pages_show_rank_registry_probability_state_and_levels(office: Office) -> None:
    browser = office.browser("Li Wei")
    page = browser.get(address(office)).text
    for said in (
        "evidence changed since in: born, marks", "Birth or age", "Zhao Min (analyst)",
        "98.91 %", "sichuan", "within half a year", 'rel="next"',
    ):  # fmt: skip
        assert said in page, said
    returned = browser.get(f"{address(office)}?state=returned").text
    assert returned.count('class="card lead"') == 1
    link = office.linker.links_of(0)[1]
    shown = browser.get(f"/links/{link.id}").text
    assert "evidence changed since in: born, marks" in shown
    assert address(office) in shown
    assert "Found person&#39;s notice" in shown
    # The language of a page is kept from here on.
    assert "出生日期, 体表特征" in browser.get(f"{address(office)}?state=returned&lang=zh").text


def test_a_rejection_says_by_what_and_needs_words_for_another_reason(office: Office) -> None:
    client = office.api("Li Wei")
    link = office.linker.links_of(2)[0]
    path = f"/api/v1/links/{link.id}"
    assert client.post(f"{path}/verdict", json={"verdict": "rejected"}).status_code == 400
    wrong = {"verdict": "confirmed", "ruled_out_by": "dna"}
    assert client.post(f"{path}/verdict", json=wrong).status_code == 400
    done = client.post(f"{path}/verdict", json={"verdict": "rejected", "ruled_out_by": "dna"})
    assert (done.json()["state"], done.json()["ruled_out_by"]) == ("ruled_out", "dna")
    decisions = client.get(path).json()["decisions"]
    assert [(each["verdict"], each["ruled_out_by"]) for each in decisions] == [("rejected", "dna")]
    client.post(f"{path}/verdict", json={"verdict": "rejected", "reason": "not his brother"})
    assert client.get(path).json()["decisions"][0]["ruled_out_by"] == "other"


def test_the_form_rejects_by_a_code_and_ignores_it_for_other_verdicts(office: Office) -> None:
    browser = office.browser("Li Wei")
    link = office.linker.links_of(2)[0]
    form = {"form_token": office.form_token(browser), "seen": "", "ruled_out_by": "marks"}
    path = f"/links/{link.id}/verdict"
    assert browser.post(path, data={**form, "verdict": "rejected"}).status_code == 303
    kept = office.linker.links[link.id]
    assert (kept.verdict, kept.ruled_out_by) == (Verdict.REJECTED, "marks")
    assert "Marks, blood group or looks" in browser.get(f"/links/{link.id}").text
    form["seen"] = "rejected"
    assert browser.post(path, data={**form, "verdict": "unsure"}).status_code == 303
    assert office.linker.links[link.id].state is PairState.UNSURE
    form |= {"seen": "unsure", "ruled_out_by": "nonsense"}
    refused = browser.post(path, data={**form, "verdict": "rejected"})
    assert refused.status_code == 400


def test_links_are_filtered_by_state(office: Office) -> None:
    client = office.api("Li Wei")
    query = "/api/v1/links?include_disclosed=true&state="
    for state, count in (("ruled_out", 1), ("returned", 1), ("unsure", 1)):
        assert client.get(query + state).json()["total"] == count
    export = client.get("/api/v1/links/export?state=returned&format=json").json()
    assert [row["changed_fields"] for row in export] == [["born", "marks"]]
    assert client.get(query + "gone").status_code == 422
