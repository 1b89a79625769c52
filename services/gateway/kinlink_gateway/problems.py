"""From an error to an HTTP answer: RFC 9457 problem JSON for the API, a page for people.

Texts are fixed; nothing that a caller sent is repeated to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import structlog
from fastapi.exceptions import RequestValidationError
from kinlink_core.errors import KinlinkError, Reason
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from kinlink_gateway.access import API_PREFIX
from kinlink_gateway.parts import gateway_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

_log = structlog.get_logger("kinlink.gateway")

PROBLEM_JSON = "application/problem+json"
VALIDATION_FAULTS_MAX = 10

_STATUS_OF_CODE: Mapping[str, int] = MappingProxyType(
    {
        "INVALID_ARGUMENT": HTTPStatus.BAD_REQUEST,
        "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
        "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
        "NOT_FOUND": HTTPStatus.NOT_FOUND,
        "FAILED_PRECONDITION": HTTPStatus.CONFLICT,
        "ABORTED": HTTPStatus.CONFLICT,
        "RESOURCE_EXHAUSTED": HTTPStatus.TOO_MANY_REQUESTS,
        "DATA_LOSS": HTTPStatus.BAD_GATEWAY,
        "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
        "DEADLINE_EXCEEDED": HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_REASON_OF_STATUS: Mapping[int, Reason] = MappingProxyType(
    {413: Reason.MESSAGE_TOO_LARGE, 500: Reason.INTERNAL}
)
_TEXT_OF_STATUS: Mapping[int, str] = MappingProxyType(
    {
        404: "There is nothing at this address.",
        405: "This address does not take that kind of request.",
        413: "The request is too large.",
        500: "Something went wrong inside the gateway; the operator's log says more.",
    }
)


@dataclass(frozen=True)
class Problem:
    """What a caller is told."""

    status: int
    reason: str
    detail: str
    retry_after: str = ""
    faults: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase


def problem_of(error: Exception) -> Problem:
    """The problem that answers an error; an unexpected one says nothing about itself."""
    if isinstance(error, KinlinkError):
        status = _STATUS_OF_CODE.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
        return Problem(
            int(status), error.reason.value, error.public, error.metadata.get("retry_after", "")
        )
    if isinstance(error, RequestValidationError):
        return _validation_problem(error)
    if isinstance(error, HTTPException):
        reason = _REASON_OF_STATUS.get(error.status_code, Reason.REQUEST_MALFORMED)
        text = _TEXT_OF_STATUS.get(error.status_code, "The request cannot be understood.")
        return Problem(error.status_code, reason.value, text)
    return Problem(500, Reason.INTERNAL.value, _TEXT_OF_STATUS[500])


def problem_response(request: Request, error: Exception) -> Response:
    """Answer an error as the caller can read it; send a browser that is signed out to sign in."""
    problem = problem_of(error)
    _log_fault(request, problem, error)
    headers = {"Retry-After": problem.retry_after} if problem.retry_after else {}
    if request.url.path.startswith(API_PREFIX):
        if problem.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Bearer realm="kinlink"'
        return problem_json(problem, request_id=request.state.request_id, headers=headers)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return RedirectResponse(_sign_in_address(request), status_code=HTTPStatus.SEE_OTHER)
    renderer = gateway_of(request).renderer
    page = renderer.page(
        request,
        "problem.html",
        status=problem.status,
        caller=getattr(request.state, "caller", None),
        problem=problem,
    )
    page.headers.update(headers)
    return page


def _log_fault(request: Request, problem: Problem, error: Exception) -> None:
    if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    number = request.state.request_id
    if isinstance(error, KinlinkError) and error.reason is not Reason.INTERNAL:
        _log.warning(
            "request_failed", request_id=number, reason=problem.reason, detail=error.detail
        )
    else:
        detail = error.detail if isinstance(error, KinlinkError) else ""
        _log.error("request_failed", request_id=number, detail=detail, exc_info=error)


def problem_json(
    problem: Problem, *, request_id: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A problem as RFC 9457 JSON."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "reason": problem.reason,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if problem.faults:
        body["faults"] = [{"where": where, "fault": fault} for where, fault in problem.faults]
    return JSONResponse(
        body, status_code=problem.status, headers=dict(headers or {}), media_type=PROBLEM_JSON
    )


def _validation_problem(error: RequestValidationError) -> Problem:
    faults = tuple(
        (".".join(str(part) for part in fault["loc"]), str(fault["msg"]))
        for fault in error.errors()[:VALIDATION_FAULTS_MAX]
    )
    if faults and all(where.startswith("path.") for where, _ in faults):
        return Problem(404, Reason.REQUEST_MALFORMED.value, _TEXT_OF_STATUS[404])
    named = "; ".join(f"{where.partition('.')[2] or where}: {fault}" for where, fault in faults)
    return Problem(
        422, Reason.REQUEST_MALFORMED.value, f"The request is malformed: {named}.", faults=faults
    )


def _sign_in_address(request: Request) -> str:
    if request.method != "GET" or request.url.path == "/":
        return "/sign-in"
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/sign-in?" + urlencode({"next": target})
