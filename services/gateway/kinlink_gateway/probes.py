"""Probes on the API listener: alive, and ready to let people in."""

from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from kinlink_core.errors import KinlinkError

from kinlink_gateway.parts import gateway_of

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
def is_alive() -> PlainTextResponse:
    """The process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def is_ready(request: Request) -> JSONResponse:
    """People can be let in and audited. A linker that is away is not our fault; pages say it."""
    gateway = gateway_of(request)
    checks = {"database": gateway.store.check, "tokens": gateway.tokens.entries}
    found = {name: _works(check) for name, check in checks.items()}
    return JSONResponse(found, status_code=200 if all(found.values()) else 503)


def _works(check: Callable[[], object]) -> bool:
    try:
        check()
    except KinlinkError:
        return False
    return True
