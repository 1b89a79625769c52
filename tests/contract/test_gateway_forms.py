"""Pages as a browser without JavaScript uses them: sessions, forms, errors, languages."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import Reason, UnavailableError
from kinlink_gateway.limits import SESSION_IDLE_SECONDS_MAX
from kinlink_gateway.linker import RegistryState
from kinlink_gateway.pages_session import local_address
from unit.gateway.office import Office, open_office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

PAGES = {
    "Li Wei": ("/", "/linkages", "/linkages/lk-partial", "/linkages/lk-running", "/links"),
    "Chen": ("/", "/linkages", "/linkages/lk-running", "/audit", "/audit?action=sign-in"),
    "Shaanxi": ("/", "/linkages", "/links", "/linkages/lk-first"),
}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = open_office(tmp_path)
    yield office
    office.close()


class Page(HTMLParser):
    """What matters of a page: well nested, ids once, labels for fields, nothing inline."""

    VOID = frozenset({"meta", "link", "input", "img", "br", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self.fields: list[dict[str, str | None]] = []
        self.inline: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        if tag == "label" and named.get("for"):
            self.labelled.add(str(named["for"]))
        if tag in {"input", "select", "textarea"} and named.get("type") != "hidden":
            self.fields.append(named | {"inside": "label" if "label" in self.open else None})
        self.inline += [f"{tag} {name}" for name in named if name == "style" or name[:2] == "on"]
        if tag == "script" and not named.get("src"):
            self.inline.append("script")
        if tag == "a" and named.get("href"):
            self.links.append(str(named["href"]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> does not close what is open"


def check(answer: httpx.Response) -> Page:
    page = Page(answer.text)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert page.inline == []
    for field in page.fields:
        named = field["inside"] or field.get("aria-label") or field.get("id") in page.labelled
        assert named, field
    assert len(re.findall("<h1", answer.text)) == 1
    return page


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("who", list(PAGES))
def test_pages_are_well_formed_labelled_and_without_anything_inline(
    office: Office, who: str, language: str
) -> None:
    browser = office.browser(who)
    paths = [*PAGES[who], "/nothing-here"]
    if who != "Chen":
        paths.append(f"/links/{office.link(touching='shaanxi').id}")
    for path in paths:
        answer = browser.get(path, params={"lang": language} if "?" not in path else {})
        assert answer.status_code == (404 if path == "/nothing-here" else 200), path
        check(answer)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_pages_of_cases_are_well_formed_and_lead_somewhere(
    office: Office, language: str
) -> None:
    office.linker.add_cases()
    registry, subject = office.linker.links_of(0)[0].family
    browser = office.browser("Li Wei")
    for path in (
        "/cases", f"/cases/{registry}/{subject}", f"/cases/{registry}/{subject}?state=ruled_out",
        f"/links/{office.linker.links_of(0)[1].id}",
    ):  # fmt: skip
        answer = browser.get(path + ("&" if "?" in path else "?") + f"lang={language}")
        assert answer.status_code == 200, path
        for address in {a for a in check(answer).links if a.startswith("/")}:
            office.clock.pass_seconds(1)
            assert browser.get(address).status_code == 200, address


def test_every_page_links_its_json_twin_and_the_twin_answers(office: Office) -> None:
    office.linker.add_cases()
    registry, subject = office.linker.links_of(0)[0].family
    cases = ("/cases?order=created_desc", f"/cases/{registry}/{subject}?state=all")
    for who, paths in {**PAGES, "Li Wei": (*PAGES["Li Wei"], *cases)}.items():
        browser = office.browser(who)
        for path in paths:
            [twin] = [
                a
                for a in check(browser.get(path)).links
                if a.startswith("/api/v1/") and "export" not in a
            ]
            assert browser.get(twin).headers["content-type"] == "application/json", twin


def test_every_link_on_a_page_leads_somewhere(office: Office) -> None:
    for who, paths in PAGES.items():
        browser = office.browser(who)
        seen: set[str] = set()
        for path in paths:
            seen |= {a for a in check(browser.get(path)).links if a.startswith("/")}
        for address in sorted(seen)[:40]:
            office.clock.pass_seconds(1)
            assert browser.get(address).status_code == 200, address


def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(office: Office) -> None:
    answer = office.nobody().post("/sign-in", data={"token": f" {office.tokens['Chen']}\n"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("kinlink_session=")
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert attribute in cookie
    assert office.tokens["Chen"] not in cookie
    assert "Secure" not in cookie


def test_with_https_the_cookie_is_secure_and_bound_to_the_host(office: Office) -> None:
    object.__setattr__(office.gateway, "cookie_secure", True)
    cookie = (
        office.nobody()
        .post("/sign-in", data={"token": office.tokens["Chen"]})
        .headers["set-cookie"]
    )
    assert cookie.startswith("__Host-kinlink=")
    assert "Secure" in cookie
    assert "Domain" not in cookie


def test_a_wrong_token_says_what_to_do_and_is_audited(office: Office) -> None:
    answer = office.nobody().post("/sign-in", data={"token": "kinlink_wrong", "next": "/links"})
    assert answer.status_code == 401
    assert "Paste the whole token" in answer.text
    assert "kinlink_wrong" not in answer.text
    assert 'name="next" value="/links"' in answer.text
    assert office.audited() == [("-", "sign-in", "", 401)]


def test_signing_in_is_slowed_down_after_failures(office: Office) -> None:
    nobody = office.nobody()
    statuses = [nobody.post("/sign-in", data={"token": "x"}).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    # The right token still opens: nobody is locked out by a neighbour behind the same address.
    assert nobody.post("/sign-in", data={"token": office.tokens["Chen"]}).status_code == 303
    assert len(office.audited("sign-in")) == 11


def test_who_is_signed_out_is_sent_to_sign_in_and_back(office: Office) -> None:
    nobody = office.nobody()
    answer = nobody.get("/links?verdict=undecided")
    assert answer.headers["location"] == "/sign-in?next=%2Flinks%3Fverdict%3Dundecided"
    form = nobody.get(answer.headers["location"])
    assert 'value="/links?verdict=undecided"' in form.text
    data = {"token": office.tokens["Li Wei"], "next": "/links?verdict=undecided"}
    assert nobody.post("/sign-in", data=data).headers["location"] == "/links?verdict=undecided"


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "evil",
        "",
    ],
)
def test_signing_in_never_leads_to_another_site(address: str) -> None:
    assert local_address(address) == "/"


def test_a_session_ends_when_idle(office: Office) -> None:
    browser = office.browser("Chen")
    office.clock.pass_seconds(SESSION_IDLE_SECONDS_MAX)
    assert browser.get("/").headers["location"] == "/sign-in"


def test_signing_out_ends_the_session_for_good(office: Office) -> None:
    browser = office.browser("Chen")
    cookie = browser.cookies["kinlink_session"]
    answer = browser.post("/sign-out", data={"form_token": office.form_token(browser)})
    assert answer.headers["location"] == "/sign-in"
    stolen = office.nobody()
    stolen.cookies.set("kinlink_session", cookie)
    assert stolen.get("/").status_code == 303


def test_signing_in_again_starts_a_fresh_session(office: Office) -> None:
    browser = office.browser("Chen")
    old = browser.cookies["kinlink_session"]
    browser.post("/sign-in", data={"token": office.tokens["Li Wei"]})
    assert browser.cookies["kinlink_session"] != old
    assert office.gateway.sessions.find(old) is None


@pytest.mark.parametrize(
    ("own", "headers"),
    [
        (False, {}),
        (True, {"Origin": "https://evil.example"}),
        (True, {"Origin": "null"}),
        (True, {"Sec-Fetch-Site": "cross-site"}),
        (True, {"Sec-Fetch-Site": "same-site"}),
    ],
)
def test_a_form_from_elsewhere_changes_nothing(
    office: Office, *, own: bool, headers: dict[str, str]
) -> None:
    browser = office.browser("Li Wei")
    link = office.link()
    guard = office.form_token(browser) if own else "0" * 64
    data = {"verdict": "confirmed", "form_token": guard}
    answer = browser.post(f"/links/{link.id}/verdict", data=data, headers=headers)
    assert answer.status_code == 403
    assert "Load the page again" in answer.text
    assert office.linker.links[link.id].verdict is None


def test_the_form_token_of_one_session_does_not_fit_another(office: Office) -> None:
    first, second = office.browser("Li Wei"), office.browser("Li Wei")
    data = {"verdict": "confirmed", "form_token": office.form_token(first)}
    assert second.post(f"/links/{office.link().id}/verdict", data=data).status_code == 403


def test_a_session_cookie_changes_nothing_through_the_api(office: Office) -> None:
    browser = office.browser("Chen")
    assert browser.get("/api/v1/linkages").status_code == 200
    assert browser.post("/api/v1/linkages", json={}).status_code == 401
    assert browser.post("/api/v1/linkages/lk-running/cancel").status_code == 401


def test_signing_in_from_another_site_is_refused(office: Office) -> None:
    data = {"token": office.tokens["Chen"]}
    headers = {"Origin": "https://evil.example"}
    assert office.nobody().post("/sign-in", data=data, headers=headers).status_code == 403


def test_an_analyst_decides_on_the_page(office: Office) -> None:
    browser = office.browser("Li Wei")
    link = office.link()
    page = f"/links/{link.id}"
    token = office.form_token(browser, page)
    data = {"form_token": token, "verdict": "rejected", "reason": "two brothers", "seen": ""}
    answer = browser.post(f"{page}/verdict", data=data)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{page}?saved=true")
    shown = browser.get(answer.headers["location"]).text
    assert "Both registries are told" in shown
    assert "two brothers" in shown
    assert "no longer linked" in shown
    assert "below threshold" not in shown
    assert "Li Wei (analyst)" in shown


def test_a_rejection_without_a_reason_keeps_what_was_chosen(office: Office) -> None:
    browser = office.browser("Li Wei")
    link = office.link()
    data = {"form_token": office.form_token(browser), "verdict": "rejected", "reason": " "}
    answer = browser.post(f"/links/{link.id}/verdict", data=data)
    assert answer.status_code == 400
    assert "A rejection needs a reason." in answer.text
    assert re.search(r'value="rejected" required checked', answer.text)
    assert office.linker.links[link.id].verdict is None


def test_no_verdict_chosen_keeps_what_was_typed(office: Office) -> None:
    browser = office.browser("Li Wei")
    data = {"form_token": office.form_token(browser), "reason": "<b>typed</b>"}
    answer = browser.post(f"/links/{office.link().id}/verdict", data=data)
    assert answer.status_code == 400
    assert "&lt;b&gt;typed&lt;/b&gt;" in answer.text


def test_a_verdict_given_meanwhile_is_shown_before_one_decides_again(office: Office) -> None:
    browser = office.browser("Li Wei")
    link = office.link()
    office.api("Li Wei").post(f"/api/v1/links/{link.id}/verdict", json={"verdict": "unsure"})
    data = {"form_token": office.form_token(browser), "verdict": "confirmed", "seen": ""}
    answer = browser.post(f"/links/{link.id}/verdict", data=data)
    assert answer.status_code == 409
    assert "Someone else decided this link meanwhile" in answer.text
    assert 'name="seen" value="unsure"' in answer.text


def test_an_operator_starts_and_cancels_on_the_pages(office: Office) -> None:
    browser = office.browser("Chen")
    token = office.form_token(browser, "/linkages")
    data = {
        "form_token": token,
        "registries": ["henan", "shaanxi"],
        "threshold_percent": "90",
        "purpose": "weekly",
    }
    answer = browser.post("/linkages", data=data)
    assert answer.status_code == 303
    assert "create_linkage 0.9 ('henan', 'shaanxi') Chen (operator): weekly" in office.linker.calls
    page = answer.headers["location"]
    assert browser.post(f"{page}/cancel", data={"form_token": token}).headers["location"] == page
    assert "cancelled" in browser.get(page).text


def test_an_empty_threshold_means_the_schemas(office: Office) -> None:
    browser = office.browser("Chen")
    data = {"form_token": office.form_token(browser), "threshold_percent": "", "purpose": ""}
    assert browser.post("/linkages", data=data).status_code == 303
    assert "create_linkage None () Chen (operator): general" in office.linker.calls
    refused = browser.post("/linkages", data={**data, "purpose": "Zhang Wei"})
    assert refused.status_code == 400
    assert "code word" in refused.text


def test_an_operator_sees_no_link(office: Office) -> None:
    browser = office.browser("Chen")
    link = office.link()
    for path in ("/links", f"/links/{link.id}"):
        answer = browser.get(path)
        assert answer.status_code == 403
        assert link.subject_l not in answer.text
        assert "ask the operator" in answer.text
    assert 'href="/links"' not in browser.get("/").text


@pytest.mark.parametrize(
    "path", ["/links?linkage=lk-partial", "/links", "/linkages/lk-partial", "/"]
)
def test_partial_names_the_missing_registry_wherever_links_are_shown(
    office: Office, path: str
) -> None:
    text = office.browser("Li Wei").get(path).text
    assert "PARTIAL" in text
    assert "Made without henan." in text


def test_partial_is_named_on_a_links_own_page_and_where_no_link_was_found(office: Office) -> None:
    browser = office.browser("Li Wei")
    link = next(x for x in office.linker.links.values() if x.linkage_id == "lk-partial")
    assert "Made without henan." in browser.get(f"/links/{link.id}").text
    empty = browser.get("/links?linkage=lk-partial&verdict=unsure").text
    assert "No link matches." in empty
    assert "Made without henan." in empty


def test_a_revoked_registry_is_marked_wherever_its_links_are_shown(office: Office) -> None:
    analyst = office.browser("Li Wei")
    link_id, link = next(iter(office.linker.links.items()))
    for shown, marked in ((link, False), (replace(link, revoked_registries=("henan",)), True)):
        office.linker.links[link_id] = shown
        assert ("henan revoked" in analyst.get("/links").text) is marked
        page = analyst.get(f"/links/{link_id}").text
        assert ("henan no longer takes part" in page) is marked
    machine = office.api("Li Wei")
    found = machine.get(f"/api/v1/links/{link_id}").json()["link"]
    assert found["revoked_registries"] == ["henan"]
    henan = office.linker.registries["henan"]
    office.linker.registries["henan"] = replace(henan, state=RegistryState.REVOKED)
    assert "revoked" in analyst.get("/").text
    assert 'value="henan"' not in analyst.get("/linkages").text


def test_a_whole_linkage_has_no_such_banner(office: Office) -> None:
    browser = office.browser("Li Wei")
    link = next(x for x in office.linker.links.values() if x.linkage_id == "lk-first")
    for path in ("/links?linkage=lk-first", f"/links/{link.id}", "/linkages/lk-first"):
        assert "Made without" not in browser.get(path).text


def test_the_waterfall_has_a_table_that_says_the_same(office: Office) -> None:
    link = office.link()
    text = office.browser("Li Wei").get(f"/links/{link.id}").text
    assert text.count("<svg") == 2
    assert text.count('aria-hidden="true" focusable="false"') == 2
    table = text[text.index("<table>") : text.index("</table>")]
    for word in ("Prior", "birth_date", "same year and month", "+7.3", "−1.9", "Total"):
        assert word in table
        assert text.count(word) >= 2


def test_empty_pages_say_what_comes_next(office: Office) -> None:
    office.linker.links.clear()
    office.linker.linkages.clear()
    office.linker.registries.clear()
    operator, analyst = office.browser("Chen"), office.browser("Li Wei")
    assert "Nothing has been linked yet." in operator.get("/").text
    assert "Start a linkage" in operator.get("/").text
    assert "An operator starts the first linkage" in analyst.get("/").text
    assert "No registry is configured yet." in analyst.get("/").text
    assert "There is no link yet." in analyst.get("/links").text
    assert "Nothing has been linked yet." in analyst.get("/linkages").text
    assert "No entry matches." in operator.get("/audit?actor=nobody").text


def test_a_linker_that_is_away_gives_a_page_that_says_what_to_do(office: Office) -> None:
    browser = office.browser("Chen")
    office.linker.fail = UnavailableError(Reason.UNREACHABLE, "The linker cannot be reached now.")
    answer = browser.get("/")
    assert answer.status_code == 503
    assert "tell the operator the request number" in answer.text
    assert answer.headers["x-request-id"] in answer.text


def test_what_the_linker_says_is_never_markup(office: Office) -> None:
    linkage = office.linker.linkages["lk-first"]
    object.__setattr__(linkage, "epoch", "<script>alert(1)</script>")
    text = office.browser("Chen").get("/linkages/lk-first").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_linkage_whose_record_is_gone_does_not_hide_its_links(office: Office) -> None:
    link = next(x for x in office.linker.links.values() if x.linkage_id == "lk-first")
    del office.linker.linkages["lk-first"]
    assert office.browser("Li Wei").get(f"/links/{link.id}").status_code == 200


def test_the_language_follows_the_browser_and_can_be_chosen(office: Office) -> None:
    nobody = office.nobody()
    assert "Sign in" in nobody.get("/sign-in").text
    chinese = nobody.get("/sign-in", headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})
    assert "登录" in chinese.text
    assert '<html lang="zh-Hans">' in chinese.text
    chosen = nobody.get("/sign-in?lang=zh")
    assert "kinlink_language=zh" in chosen.headers["set-cookie"]
    assert "登录" in nobody.get("/sign-in").text
    assert "Sign in" in nobody.get("/sign-in?lang=en").text
    assert "Sign in" in office.nobody().get("/sign-in?lang=xx").text


def test_pages_show_times_in_the_offices_zone(office: Office) -> None:
    text = office.browser("Chen").get("/linkages/lk-first").text
    assert '<time datetime="2026-11-20T08:30:00+00:00">2026-11-20 16:30 CST</time>' in text


def test_the_events_of_a_page_are_its_progress_as_html(office: Office) -> None:
    answer = office.browser("Chen").get("/linkages/lk-first/events")
    assert answer.text.startswith("event: linkage\ndata: ")
    assert "data: <ol" in answer.text.replace("data:   <ol", "data: <ol")
    assert answer.text.endswith("event: ended\ndata: succeeded\n\n")


def test_a_refused_registry_is_shown_with_the_part_in_which_it_differs(office: Office) -> None:
    told = "The encoding of 2026-11 differs between henan and shaanxi in: the pinyin table."
    henan = office.linker.registries["henan"]
    office.linker.registries["henan"] = replace(
        henan, state=RegistryState.REFUSED, reason="ENCODING_DIFFERS", detail=told
    )
    text = office.browser("Chen").get("/").text
    assert "<code>ENCODING_DIFFERS</code>" in text
    assert told in text
    (shown,) = [
        each
        for each in office.api("Chen").get("/api/v1/registries").json()["registries"]
        if each["name"] == "henan"
    ]
    assert (shown["reason"], shown["detail"]) == ("ENCODING_DIFFERS", told)
