"""Reads settings and wires the gateway: `assemble` its parts, `create_app` from them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from kinlink_core.errors import KinlinkError, NotFoundError, Reason
from kinlink_core.runtime.config import load_settings
from kinlink_core.runtime.files import SECRET_FILE_MODE
from kinlink_core.runtime.metrics import GatewayMetrics, RuntimeMetrics
from kinlink_core.runtime.tls import TlsFiles
from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from kinlink_gateway import api, pages, pages_cases, pages_links, pages_session, probes
from kinlink_gateway.audit import AuditTrail
from kinlink_gateway.auth import TokenFile
from kinlink_gateway.decisions import Decisions
from kinlink_gateway.limits import make_limits
from kinlink_gateway.linker_client import GrpcLinker
from kinlink_gateway.middleware import Envelope
from kinlink_gateway.parts import Gateway
from kinlink_gateway.problems import problem_response
from kinlink_gateway.render import Renderer
from kinlink_gateway.sessions import Sessions
from kinlink_gateway.settings import GatewaySettings
from kinlink_gateway.store import Store
from kinlink_gateway.views import ProblemView

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

SETTINGS_FILE = "gateway.toml"
DATABASE_FILE = "gateway.db"
ENV_PREFIX = "KINLINK_GATEWAY"
API_DESCRIPTION = """
Send `Authorization: Bearer TOKEN` with a token from `kinlink-gateway tokens create`.

| role | may |
|---|---|
| analyst | read registries, linkages, links, cases and evidence; export; give verdicts |
| operator | read registries and linkages; start and cancel; read the audit; sees no link |
| province | read what touches its own registry; decides nothing |

Every access is audited. Errors are RFC 9457 problems with a stable `reason`.
"""


@dataclass(frozen=True)
class Assembly:
    """A gateway built from its home directory, and the settings it was built from."""

    gateway: Gateway
    settings: GatewaySettings


def create_app(gateway: Gateway) -> FastAPI:
    """The HTTP application of a gateway."""
    app = FastAPI(
        title="Kinlink gateway",
        version="1",
        description=API_DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.gateway = gateway
    for module in (pages_session, pages, pages_cases, pages_links):
        app.include_router(module.router)
        app.include_router(module.forms)
    app.include_router(api.router)
    app.include_router(probes.router)
    static = resources.files("kinlink_gateway") / "static"
    app.mount("/static", StaticFiles(directory=str(static)), name="static")
    for kind in (KinlinkError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(Envelope, gateway=gateway)
    _complete_openapi(app)
    return app


def read_settings(home: Path) -> GatewaySettings:
    """`gateway.toml` of a home directory, with `KINLINK_GATEWAY_*` over it.

    Raises:
        ConfigError: naming every fault.
    """
    return load_settings(GatewaySettings, home / SETTINGS_FILE, ENV_PREFIX)


def open_store(home: Path, settings: GatewaySettings, *, create: bool = True) -> Store:
    """The gateway's database; made or migrated where `create`, else it must be there.

    Raises:
        KinlinkError: it is not there, not a gateway's, or cannot be used.
    """
    url = settings.database_url.get_secret_value()
    if not url:
        path = home / DATABASE_FILE
        if not create and not path.exists():
            raise NotFoundError(Reason.FILE_UNREADABLE, f"{path} does not exist.")
        # SQLite's log files take the mode of the database.
        path.touch(SECRET_FILE_MODE)
        url = f"sqlite:///{path}"
    store = Store(url)
    if create:
        store.migrate()
    else:
        store.require()
    return store


def assemble(home: Path) -> Assembly:
    """Build a gateway from its home directory.

    Raises:
        KinlinkError: settings, keys or database cannot be used; the message says what to do.
    """
    settings = read_settings(home)
    metrics = RuntimeMetrics(CollectorRegistry(), "gateway", metadata.version("kinlink"))
    tls = TlsFiles.in_dir(settings.tls_dir)
    tls.load()
    store = open_store(home, settings)
    tokens = TokenFile(settings.tokens_file)
    gateway = Gateway(
        federation=settings.federation,
        linker=GrpcLinker(settings.linker.address, tls, name=settings.linker.name, metrics=metrics),
        store=store,
        tokens=tokens,
        sessions=Sessions(store, tokens),
        audit=AuditTrail(store, on_write=lambda action: metrics.audit_writes.labels(action).inc()),
        decisions=Decisions(store),
        limits=make_limits(
            person_per_second=settings.limits.requests_per_second,
            person_burst=settings.limits.requests_burst,
            export_rows_max=settings.limits.export_rows,
        ),
        renderer=Renderer(federation=settings.federation, time_zone=settings.time_zone),
        metrics=GatewayMetrics(metrics.registry),
        runtime_metrics=metrics,
        stopping=threading.Event(),
        cookie_secure=settings.cookies_are_secure,
    )
    return Assembly(gateway, settings)


async def _answer(request: Request, error: Exception) -> Response:
    return await run_in_threadpool(problem_response, request, error)


def _complete_openapi(app: FastAPI) -> None:
    """Add to the document what FastAPI cannot know: how to authenticate, and what errors are."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        components = document.setdefault("components", {})
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= schema.pop("$defs") | {"ProblemView": schema}
        document["security"] = [{"token": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI documents this way to extend it
