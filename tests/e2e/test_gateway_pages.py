"""An officer's way through the pages, in a real Chromium against a real listener."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from kinlink_gateway.app import Assembly
from kinlink_gateway.linker import LinkageState
from kinlink_gateway.serve import GatewayServer
from kinlink_gateway.settings import GatewaySettings
from playwright.sync_api import Browser, Page, expect, sync_playwright
from unit.gateway.office import Office, open_office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_chromium

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
# WCAG AA for text.
CONTRAST_MIN = 4.5

CONTRAST_OF_TEXTS = """
() => {
  const parse = (c) => {
    const m = c.match(/[\\d.]+/g).map(Number);
    const rgb = c.startsWith("color(srgb") ? m.slice(0, 3).map((v) => v * 255) : m.slice(0, 3);
    return [...rgb, m[3] ?? 1];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((v) => {
      v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c[3] === 1) return c;
    }
    return [255, 255, 255, 1];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const e = node.parentElement;
    const said = node.textContent.trim();
    if (!said || e.closest(".problem-status") || !e.checkVisibility()) continue;
    const style = getComputedStyle(e);
    const ink = parse(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    low.push([ratio, said.slice(0, 40)]);
  }
  return low.sort((x, y) => x[0] - y[0]).slice(0, 3);
}
"""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = open_office(tmp_path)
    yield office
    office.close()


@pytest.fixture
def base(office: Office) -> Iterator[str]:
    settings = GatewaySettings(
        federation="demo",
        linker={"address": "127.0.0.1:1"},  # type: ignore[arg-type]
        listen="127.0.0.1:0",
    )
    server = GatewayServer(Assembly(office.gateway, settings))
    server.start()
    yield f"http://{server.address}"
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


def open_page(browser: Browser, **context: Any) -> Page:
    """A fresh browser profile; anything on its console is kept in `page.complaints`."""
    page = browser.new_context(locale="en-GB", **{"viewport": DESKTOP, **context}).new_page()
    page.complaints = []  # type: ignore[attr-defined]
    for event in ("console", "pageerror"):
        page.on(event, lambda said: page.complaints.append(str(getattr(said, "text", said))))  # type: ignore[call-overload,attr-defined]
    return page


def sign_in(page: Page, base: str, token: str) -> None:
    page.goto(f"{base}/sign-in")
    page.get_by_label("Your access token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def test_an_analyst_signs_in_finds_a_link_and_rejects_it(
    browser: Browser, base: str, office: Office
) -> None:
    page = open_page(browser)
    page.goto(f"{base}/links")
    expect(page).to_have_url(re.compile("/sign-in"))
    page.get_by_label("Your access token").fill(office.tokens["Li Wei"])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{base}/links")
    page.get_by_label("Registry").select_option("henan")
    page.get_by_label("Verdict").select_option("undecided")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("registry=henan"))
    page.get_by_role("link", name="Open the link of henan").first.click()
    expect(page.get_by_role("heading", name="Why they link")).to_be_visible()
    expect(page.locator("svg.waterfall-wide")).to_be_visible()
    expect(
        page.get_by_role("row", name=re.compile("birth_date same year and month"))
    ).to_be_visible()
    page.get_by_role("radio", name=re.compile("rejected")).check()
    reason = page.get_by_role("textbox", name="Reason")
    page.get_by_role("button", name="Save verdict").click()
    assert reason.evaluate("field => field.validity.valueMissing")
    reason.fill("born in different towns")
    page.get_by_role("button", name="Save verdict").click()
    expect(page.get_by_text("Both registries are told of the verdict.")).to_be_visible()
    expect(page.get_by_text("born in different towns")).to_be_visible()
    link_id = page.url.rpartition("/")[2].partition("?")[0]
    assert office.linker.links[link_id].verdict == "rejected"
    hints = [c for c in page.complaints if "Password forms" not in c]  # type: ignore[attr-defined]
    assert hints == []
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{base}/sign-in")


def test_the_keyboard_alone_is_enough(browser: Browser, base: str, office: Office) -> None:
    page = open_page(browser)
    page.goto(f"{base}/sign-in")
    page.keyboard.insert_text(office.tokens["Li Wei"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Decide them")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_a_linkage_is_followed_live_to_its_end(browser: Browser, base: str, office: Office) -> None:
    page = open_page(browser)
    sign_in(page, base, office.tokens["Chen"])
    page.goto(f"{base}/linkages/lk-running")
    expect(page.get_by_role("status")).to_contain_text("running")
    running = office.linker.linkages["lk-running"]

    def end() -> None:
        office.linker.linkages["lk-running"] = replace(
            running, state=LinkageState.SUCCEEDED, links=1_234
        )

    threading.Timer(0.5, end).start()
    expect(page.get_by_role("status")).to_contain_text("succeeded")
    expect(page.get_by_text("1,234")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    reads = [entry for entry in office.audited("linkages.read") if entry[2] == "lk-running"]
    assert len(reads) == 2


def test_an_operator_starts_a_linkage(browser: Browser, base: str, office: Office) -> None:
    page = open_page(browser)
    sign_in(page, base, office.tokens["Chen"])
    page.goto(f"{base}/linkages")
    page.get_by_text("Start a linkage").first.click()
    page.get_by_label("sichuan").check()
    page.get_by_label("shaanxi").check()
    page.get_by_label("Purpose").fill("weekly")
    page.get_by_role("button", name="Start a linkage").click()
    expect(page.get_by_role("status")).to_contain_text("pending")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["1280", "390"])
def test_pages_fit_their_width_and_can_be_read(
    browser: Browser, base: str, office: Office, viewport: dict[str, int], scheme: str
) -> None:
    pages = {
        "Li Wei": (
            "/",
            "/links?include_disclosed=true&order=weight_asc",
            f"/links/{office.link().id}",
            "/nothing",
        ),
        "Chen": ("/linkages", "/linkages/lk-partial", "/linkages/lk-running", "/audit"),
    }
    for who, paths in pages.items():
        page = open_page(browser, viewport=viewport, color_scheme=scheme)
        sign_in(page, base, office.tokens[who])
        for path in paths:
            page.goto(base + path, wait_until="domcontentloaded")
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= viewport["width"], path
            for ratio, words in page.evaluate(CONTRAST_OF_TEXTS):
                assert ratio >= CONTRAST_MIN, (path, words, ratio)
        page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["1280", "390"])
def test_pages_of_cases_fit_their_width_and_can_be_read(
    browser: Browser, base: str, office: Office, viewport: dict[str, int], scheme: str
) -> None:
    office.linker.add_cases()
    registry, subject = office.linker.links_of(0)[0].family
    page = open_page(browser, viewport=viewport, color_scheme=scheme)
    sign_in(page, base, office.tokens["Li Wei"])
    returned = office.linker.links_of(0)[1].id
    paths = ("/cases?", f"/cases/{registry}/{subject}?state=all&", f"/links/{returned}?")
    for path in (f"{path}lang={language}" for path in paths for language in ("en", "zh")):
        page.goto(base + path, wait_until="domcontentloaded")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= viewport["width"], path
        for ratio, words in page.evaluate(CONTRAST_OF_TEXTS):
            assert ratio >= CONTRAST_MIN, (path, words, ratio)


def test_an_analyst_works_through_a_case_and_rules_a_candidate_out(
    browser: Browser, base: str, office: Office
) -> None:
    office.linker.add_cases()
    page = open_page(browser)
    sign_in(page, base, office.tokens["Li Wei"])
    page.get_by_role("link", name="Cases", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cases")
    page.get_by_role("link", name=re.compile("Open the case")).first.click()
    expect(page.locator(".lead")).to_have_count(10)
    expect(page.get_by_text("evidence changed since in: born, marks")).to_be_visible()
    expect(page.locator("svg.waterfall-wide").first).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".rank").first).to_have_text("11")
    page.get_by_role("link", name="Open candidate 11").click()
    code = page.get_by_label("Rejected by")
    expect(code).to_be_disabled()
    page.get_by_role("radio", name=re.compile("rejected")).check()
    reason = page.get_by_role("textbox", name="Reason")
    assert reason.evaluate("field => field.required")
    code.select_option("dna")
    assert not reason.evaluate("field => field.required")
    page.get_by_role("button", name="Save verdict").click()
    expect(page.get_by_text("Both registries are told of the verdict.")).to_be_visible()
    page.get_by_role("link", name=re.compile("^shaanxi")).click()
    page.get_by_role("link", name="Ruled out").click()
    expect(page.locator(".lead")).to_have_count(2)
    hints = [c for c in page.complaints if "Password forms" not in c]  # type: ignore[attr-defined]
    assert hints == []


def test_chinese_is_one_click_away_and_stays(browser: Browser, base: str, office: Office) -> None:
    page = open_page(browser)
    sign_in(page, base, office.tokens["Li Wei"])
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("概览")
    page.goto(f"{base}/links")
    expect(page.get_by_role("heading", level=1)).to_have_text("关联")


def test_pages_work_without_scripts(browser: Browser, base: str, office: Office) -> None:
    page = open_page(browser, java_script_enabled=False)
    sign_in(page, base, office.tokens["Li Wei"])
    page.goto(f"{base}/links/{office.link().id}")
    page.get_by_role("radio", name=re.compile("confirmed")).check()
    page.get_by_role("button", name="Save verdict").click()
    expect(page.get_by_text("Both registries are told of the verdict.")).to_be_visible()


def test_nothing_is_fetched_from_elsewhere(browser: Browser, base: str, office: Office) -> None:
    page = open_page(browser)
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    sign_in(page, base, office.tokens["Li Wei"])
    page.goto(f"{base}/links/{office.link().id}")
    assert fetched
    assert all(url.startswith(base + "/") for url in fetched)
