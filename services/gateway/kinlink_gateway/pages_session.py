"""Signing in by pasting a token, and signing out."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from kinlink_gateway.access import (
    Allow,
    Caller,
    begin_trail,
    check_same_origin,
    current_session,
    find_token,
    form_guard,
)
from kinlink_gateway.parts import gateway_of
from kinlink_gateway.roles import Action

NEXT_CHARS_MAX = 2048
TOKEN_CHARS_MAX = 256
HOME = "/"

router = APIRouter(include_in_schema=False)
forms = APIRouter(include_in_schema=False, dependencies=[Depends(form_guard)])

NextAddress = Annotated[str, Query(alias="next", max_length=NEXT_CHARS_MAX)]


@router.get("/sign-in")
def show_sign_in(request: Request, next_address: NextAddress = HOME) -> Response:
    """The form that takes a token."""
    gateway = gateway_of(request)
    if current_session(request, gateway):
        return RedirectResponse(local_address(next_address), status_code=303)
    return gateway.renderer.page(
        request, "sign_in.html", next_address=local_address(next_address), refused=False
    )


@router.post("/sign-in", dependencies=[Depends(check_same_origin)])
def sign_in(
    request: Request,
    token: Annotated[str, Form(max_length=TOKEN_CHARS_MAX)] = "",
    next_address: Annotated[str, Form(alias="next", max_length=NEXT_CHARS_MAX)] = HOME,
) -> Response:
    """Open a session for a token that is known here."""
    gateway = gateway_of(request)
    trail = begin_trail(request, Action.SIGN_IN)
    person = find_token(request, gateway, token.strip())
    if person is None:
        gateway.metrics.logins.labels("refused").inc()
        return gateway.renderer.page(
            request,
            "sign_in.html",
            status=401,
            next_address=local_address(next_address),
            refused=True,
        )
    trail.identify(person)
    gateway.metrics.logins.labels("accepted").inc()
    old = request.cookies.get(gateway.session_cookie, "")
    if old:
        gateway.sessions.close(old)
    response = RedirectResponse(local_address(next_address), status_code=303)
    response.set_cookie(
        gateway.session_cookie,
        gateway.sessions.open(person).secret,
        httponly=True,
        samesite="strict",
        secure=gateway.cookie_secure,
        path="/",
    )
    return response


@forms.post("/sign-out")
def sign_out(
    request: Request, caller: Annotated[Caller, Depends(Allow(Action.SIGN_OUT))]
) -> Response:
    """End the session of this browser."""
    gateway = gateway_of(request)
    if caller.session:
        gateway.sessions.close(caller.session.secret)
    response = RedirectResponse("/sign-in", status_code=303)
    response.delete_cookie(
        gateway.session_cookie,
        path="/",
        httponly=True,
        samesite="strict",
        secure=gateway.cookie_secure,
    )
    return response


def local_address(address: str) -> str:
    """`address` if it lies on this site, else the overview: no redirect leads elsewhere."""
    parts = urlsplit(address)
    foreign = parts.scheme or parts.netloc or "\\" in address or not address.startswith("/")
    return HOME if foreign or address.startswith(("//", "/sign-")) else address
