"""A whole gateway for tests: real store, tokens and pages, and a fake linker behind them."""

from __future__ import annotations

import io
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
from kinlink_core.runtime.logging import configure_logging
from kinlink_core.runtime.metrics import GatewayMetrics, RuntimeMetrics
from kinlink_gateway.app import create_app
from kinlink_gateway.audit import AuditQuery, AuditTrail
from kinlink_gateway.auth import TokenFile
from kinlink_gateway.decisions import Decisions
from kinlink_gateway.limits import make_limits
from kinlink_gateway.parts import Gateway
from kinlink_gateway.render import Renderer
from kinlink_gateway.roles import Role
from kinlink_gateway.sessions import Sessions
from kinlink_gateway.store import Store
from prometheus_client import CollectorRegistry
from unit.gateway.asgi import AsgiTransport
from unit.gateway.fake_linker import FakeLinker

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_gateway.linker import Link
    from starlette.types import ASGIApp

ORIGIN = "http://gateway.test"
_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
        self.monotonic = 0.0

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.monotonic += seconds


@dataclass
class Office:
    """The gateway, who may come in, and what the linker knows."""

    home: Path
    linker: FakeLinker
    gateway: Gateway
    app: ASGIApp
    clock: Clock
    log: io.StringIO
    tokens: dict[str, str] = field(default_factory=dict)

    def api(self, who: str) -> httpx.Client:
        """A machine that sends `who`'s token."""
        client = self.nobody()
        client.headers["Authorization"] = f"Bearer {self.tokens[who]}"
        return client

    def nobody(self) -> httpx.Client:
        """Someone without a token."""
        return httpx.Client(
            transport=AsgiTransport(self.app), base_url=ORIGIN, follow_redirects=False
        )

    def browser(self, who: str) -> httpx.Client:
        """A browser in which `who` has signed in."""
        client = self.nobody()
        answer = client.post("/sign-in", data={"token": self.tokens[who], "next": "/"})
        assert answer.status_code == 303, answer.text
        return client

    def form_token(self, browser: httpx.Client, page: str = "/") -> str:
        """The form token of a browser's session, as its pages carry it."""
        match = _FORM_TOKEN.search(browser.get(page).text)
        assert match
        return match[1]

    def link(self, *, touching: str = "", foreign_to: str = "") -> Link:
        """Some link that touches one registry, or does not touch another."""
        return next(
            link
            for link in self.linker.links.values()
            if (not touching or link.touches(touching))
            and not (foreign_to and link.touches(foreign_to))
        )

    def close(self) -> None:
        self.gateway.store.close()

    def audited(self, action: str = "") -> list[tuple[str, str, str, int]]:
        """(actor, action, object, status) of all entries, oldest first."""
        entries = self.gateway.audit.entries(AuditQuery(action=action, limit=500))
        return [(e.actor, e.action, e.object_id, e.status) for e in reversed(entries)]


def open_office(home: Path, *, database_url: str = "", export_rows_max: int = 100_000) -> Office:
    """A gateway whose analyst is Li Wei, operator Chen, and provinces Shaanxi and Henan."""
    clock = Clock()
    store = Store(database_url or f"sqlite:///{home / 'gateway.db'}")
    store.migrate()
    tokens = TokenFile(home / "tokens.json", clock=clock)
    linker = FakeLinker()
    metrics = RuntimeMetrics(CollectorRegistry(), "gateway", "0")
    gateway = Gateway(
        federation="demo",
        linker=linker,
        store=store,
        tokens=tokens,
        sessions=Sessions(store, tokens, clock=clock),
        audit=AuditTrail(store, clock=clock),
        decisions=Decisions(store, clock=clock),
        limits=make_limits(export_rows_max=export_rows_max, clock=lambda: clock.monotonic),
        renderer=Renderer(federation="demo", time_zone="Asia/Shanghai"),
        metrics=GatewayMetrics(metrics.registry),
        runtime_metrics=metrics,
        stopping=threading.Event(),
    )
    log = io.StringIO()
    configure_logging("gateway", "info", log)
    office = Office(home, linker, gateway, create_app(gateway), clock, log)
    for who, role, registry in (
        ("Li Wei", Role.ANALYST, ""),
        ("Chen", Role.OPERATOR, ""),
        ("Shaanxi", Role.PROVINCE, "shaanxi"),
        ("Henan", Role.PROVINCE, "henan"),
    ):
        office.tokens[who], _ = tokens.create(role=role, name=who, registry=registry)
    return office
