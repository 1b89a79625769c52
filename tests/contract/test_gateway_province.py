"""A province sees what touches its own registry, by every door, and nothing else."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from unit.gateway.fake_linker import FakeLinker
from unit.gateway.office import Office, open_office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_gateway.linker import Link, LinkFilter

LISTS = (
    "/api/v1/links",
    "/api/v1/links?linkage=lk-first",
    "/api/v1/links?include_disclosed=true&page_size=500",
    "/api/v1/links?registry=henan",
    "/api/v1/links?verdict=undecided&order=created_desc",
)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = open_office(tmp_path)
    yield office
    office.close()


@pytest.mark.parametrize("path", LISTS)
def test_every_listed_link_touches_the_province(office: Office, path: str) -> None:
    links = office.api("Henan").get(path).json()["links"]
    assert links
    assert all("henan" in {link["registry_l"], link["registry_r"]} for link in links)


def test_the_total_counts_only_its_own(office: Office) -> None:
    own = [link for link in office.linker.links.values() if link.linked and link.touches("henan")]
    assert office.api("Henan").get("/api/v1/links").json()["total"] == len(own)


@pytest.mark.parametrize("door", ["/api/v1/links", "/api/v1/links/export", "/links"])
def test_asking_for_another_registry_is_refused(office: Office, door: str) -> None:
    client = office.browser("Henan") if door == "/links" else office.api("Henan")
    assert client.get(door, params={"registry": "shaanxi"}).status_code == 403


@pytest.mark.parametrize("file_format", ["csv", "json", "parquet"])
def test_every_exported_link_touches_the_province(office: Office, file_format: str) -> None:
    params = {"format": file_format, "include_disclosed": "true"}
    answer = office.api("Henan").get("/api/v1/links/export", params=params)
    if file_format == "csv":
        rows = list(csv.DictReader(io.StringIO(answer.text)))
    elif file_format == "json":
        rows = answer.json()
    else:
        rows = pq.ParquetFile(io.BytesIO(answer.content)).read().to_pylist()
    assert rows
    assert all("henan" in {row["registry_l"], row["registry_r"]} for row in rows)


def test_its_own_link_is_shown_with_its_evidence(office: Office) -> None:
    link = office.link(touching="henan")
    answer = office.api("Henan").get(f"/api/v1/links/{link.id}")
    assert answer.status_code == 200
    assert answer.json()["evidence"]


@pytest.mark.parametrize("door", ["/api/v1/links/{}", "/links/{}"])
def test_a_link_of_others_does_not_exist(office: Office, door: str) -> None:
    link = office.link(foreign_to="henan")
    client = office.browser("Henan") if door == "/links/{}" else office.api("Henan")
    answer = client.get(door.format(link.id))
    assert answer.status_code == 404
    assert link.subject_l not in answer.text
    unknown = client.get(door.format("0" * 32))

    def neutral(text: str, *own: str) -> str:
        for part in own:
            text = text.replace(part, "")
        return text

    shown = neutral(answer.text, link.id, answer.headers["x-request-id"])
    assert shown == neutral(unknown.text, "0" * 32, unknown.headers["x-request-id"])


def test_a_person_is_shown_only_through_its_own_links(office: Office) -> None:
    foreign = office.link(foreign_to="henan")
    params = {"person": foreign.person_id}
    shown = office.api("Henan").get("/api/v1/links", params=params).json()["links"]
    assert foreign.id not in {link["id"] for link in shown}


def test_it_decides_nothing(office: Office) -> None:
    link = office.link(touching="henan")
    answer = office.api("Henan").post(
        f"/api/v1/links/{link.id}/verdict", json={"verdict": "confirmed"}
    )
    assert answer.status_code == 403
    browser = office.browser("Henan")
    form = {"verdict": "confirmed", "form_token": office.form_token(browser)}
    assert browser.post(f"/links/{link.id}/verdict", data=form).status_code == 403
    assert office.linker.links[link.id].verdict is None
    assert 'name="verdict"' not in browser.get(f"/links/{link.id}").text


def test_it_reads_the_verdict_but_not_what_analysts_wrote(office: Office) -> None:
    link = office.link(touching="henan")
    body = {"verdict": "rejected", "reason": "seen in another file"}
    office.api("Li Wei").post(f"/api/v1/links/{link.id}/verdict", json=body)
    detail = office.api("Henan").get(f"/api/v1/links/{link.id}")
    assert detail.json()["link"]["verdict"] == "rejected"
    listed = office.api("Henan").get("/api/v1/links?verdict=rejected")
    exported = office.api("Henan").get("/api/v1/links/export?verdict=rejected")
    page = office.browser("Henan").get(f"/links/{link.id}")
    for answer in (detail, listed, exported, page):
        assert "rejected" in answer.text
        assert "another file" not in answer.text
        assert "Li Wei" not in answer.text


def test_it_sees_its_own_registry_only(office: Office) -> None:
    names = [r["name"] for r in office.api("Henan").get("/api/v1/registries").json()["registries"]]
    assert names == ["henan"]
    assert "shaanxi" not in office.browser("Henan").get("/").text


def test_it_sees_the_course_of_a_linkage_but_no_totals_of_the_federation(office: Office) -> None:
    api = office.api("Henan")
    linkage = api.get("/api/v1/linkages/lk-first").json()
    assert linkage["state"] == "succeeded"
    assert linkage["bytes_received"] == {"henan": 7_000_000}
    for field in ("candidate_pairs", "disclosed_pairs", "links", "persons", "em_iterations"):
        assert linkage[field] is None
    assert linkage["passes"] == []
    assert {(stage["done"], stage["total"]) for stage in linkage["stages"]} == {(0, 0)}
    everywhere = (
        api.get("/api/v1/linkages").text,
        api.get("/api/v1/linkages/lk-first/events").text,
        office.browser("Henan").get("/linkages/lk-first").text,
        office.browser("Henan").get("/linkages/lk-first/events").text,
        office.browser("Henan").get("/linkages").text,
        office.browser("Henan").get("/").text,
    )
    for text in everywhere:
        for total in ("60002", "60,002", "3010", "3,010", "2800", "2,800", "61,044"):
            assert total not in text


def test_it_is_told_who_was_missing(office: Office) -> None:
    linkage = office.api("Shaanxi").get("/api/v1/linkages/lk-partial").json()
    assert [missing["name"] for missing in linkage["missing_registries"]] == ["henan"]


def test_it_neither_starts_nor_cancels_nor_reads_the_audit(office: Office) -> None:
    api, browser = office.api("Henan"), office.browser("Henan")
    form = {"form_token": office.form_token(browser)}
    assert api.post("/api/v1/linkages", json={}).status_code == 403
    assert api.post("/api/v1/linkages/lk-running/cancel").status_code == 403
    assert api.get("/api/v1/audit").status_code == 403
    assert browser.post("/linkages", data=form).status_code == 403
    assert browser.post("/linkages/lk-running/cancel", data=form).status_code == 403
    assert browser.get("/audit").status_code == 403
    assert not [call for call in office.linker.calls if call.startswith(("create", "cancel"))]


class CarelessLinker(FakeLinker):
    """A linker that forgets the registry of a filter."""

    def _matching(self, link_filter: LinkFilter) -> list[Link]:
        del link_filter
        return list(self.links.values())


@pytest.mark.parametrize("door", ["/api/v1/links", "/links", "/"])
def test_a_linker_that_answers_too_much_shows_nothing(office: Office, door: str) -> None:
    client = office.api("Henan") if door.startswith("/api") else office.browser("Henan")
    office.linker.__class__ = CarelessLinker
    answer = client.get(door)
    assert answer.status_code == 500
    assert office.link(foreign_to="henan").subject_l not in answer.text


def test_an_export_of_a_linker_that_answers_too_much_breaks_off(office: Office) -> None:
    office.linker.__class__ = CarelessLinker
    answer = office.api("Henan").get("/api/v1/links/export")
    assert answer.status_code == 500
    assert office.link(foreign_to="henan").subject_l not in answer.text


def test_it_sees_how_it_is_served_itself_and_nobody_else(office: Office) -> None:
    quality = office.api("Henan").get("/api/v1/linkages/lk-first/quality").json()["quality"]
    assert [row["registry"] for row in quality["registries"]] == ["henan"]
    assert {row["registry"] for row in quality["registry_pairs"]} == {"henan"}
    assert quality["registries"][0]["worse"] == ["linked_share", "recall"]
    assert (quality["linked"], quality["blocking"]) == (None, None)
    assert not quality["advice"] + quality["weights"] + quality["calibration"]
    page = office.browser("Henan").get("/linkages/lk-first").text
    assert "How each registry is served" in page
    assert "20,411" not in page  # the records of another registry
