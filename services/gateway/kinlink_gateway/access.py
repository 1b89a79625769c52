"""The dependency every route declares: who calls, whether they may, and what the audit will say.

    @router.get("/links")
    def links(caller: Annotated[Caller, Depends(Allow(Action.LINKS_READ))]): ...

Machines send `Authorization: Bearer TOKEN`. Browsers send a session cookie, which the API accepts
for reading only; pages that change something also need the session's form token (`form_guard`).
"""

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Form, Request
from kinlink_core.errors import ForbiddenError, QuotaError, Reason, UnauthenticatedError

from kinlink_gateway.audit import ANONYMOUS, STATUS_ASKED, Access
from kinlink_gateway.desk import Desk
from kinlink_gateway.parts import Gateway, gateway_of
from kinlink_gateway.roles import Action, Principal
from kinlink_gateway.sessions import Session, form_token_fits

API_PREFIX = "/api/"
SAFE_METHODS = frozenset({"GET", "HEAD"})
BEARER = "bearer "
STATUS_FAULT_MIN = 400
STATUS_FORBIDDEN = 403
UNKNOWN_OBJECT = "?"


@dataclass
class Trail:
    """What the audit will say about a request once its status is known.

    An object's id is written only when it turned out to name something: what a person mistypes
    into an address or a filter may be a value.
    """

    action: Action
    request_id: str
    object_id: str = ""
    actor: str = ANONYMOUS
    role: str = ANONYMOUS
    row_count: int | None = None

    def identify(self, person: Principal) -> None:
        """Note who calls."""
        self.actor, self.role = person.name, person.role.value

    def access(self, status: int) -> Access:
        """The entry for this request and status."""
        named = status < STATUS_FAULT_MIN and self.row_count != 0
        return Access(
            actor=self.actor,
            role=self.role,
            action=self.action.value,
            object_id=self.object_id if named or not self.object_id else UNKNOWN_OBJECT,
            status=status,
            request_id=self.request_id,
            row_count=self.row_count,
        )


@dataclass(frozen=True)
class Caller:
    """An authenticated, authorised person and the desk they work at."""

    person: Principal
    desk: Desk
    trail: Trail
    session: Session | None = field(default=None, repr=False)


class Allow:
    """Lets a request through when its caller's role grants `action`; notes it for the audit."""

    def __init__(self, action: Action, *, object_params: tuple[str, ...] = ()) -> None:
        self.action = action
        self._object_params = object_params

    def __call__(self, request: Request) -> Caller:
        """Authenticate, check the rate, authorise.

        Raises:
            UnauthenticatedError: no token or session, or one that is not valid (any more).
            QuotaError: TOO_MANY_REQUESTS.
            ForbiddenError: ROLE_FORBIDDEN.
        """
        gateway = gateway_of(request)
        trail = begin_trail(request, self.action, object_id=self._object_id(request))
        person, session = authenticate(request, gateway)
        trail.identify(person)

        def announce(object_id: str) -> None:
            trail.object_id = object_id
            gateway.audit.write(trail.access(STATUS_ASKED))

        desk = Desk(person, gateway.linker, gateway.decisions, announce)
        caller = Caller(person, desk, trail, session)
        # For an error page that shows where the caller may go instead.
        request.state.caller = caller
        wait = gateway.limits.person.take(person.token_id)
        if wait:
            raise unaudited_refusal(request, wait)
        if not person.may(self.action):
            gateway.metrics.refused.labels(person.role.value).inc()
            raise ForbiddenError(
                Reason.ROLE_FORBIDDEN, f"The role {person.role.value} may not do this."
            )
        return caller

    def _object_id(self, request: Request) -> str:
        given = {**request.query_params, **request.path_params}
        return " ".join(str(given[name]) for name in self._object_params if given.get(name))


def begin_trail(request: Request, action: Action, *, object_id: str = "") -> Trail:
    """Note what a request is, so that the audit hears of it however it ends."""
    trail = Trail(action, request.state.request_id, object_id)
    request.state.trail = trail
    return trail


def authenticate(request: Request, gateway: Gateway) -> tuple[Principal, Session | None]:
    """The person behind a request, by bearer token or by session cookie."""
    header = request.headers.get("authorization", "")
    if header:
        return _by_bearer(request, gateway, header), None
    session = current_session(request, gateway)
    if session is None:
        raise UnauthenticatedError(
            Reason.PEER_UNKNOWN,
            "Send a token as `Authorization: Bearer TOKEN`, or sign in with a browser.",
        )
    if request.url.path.startswith(API_PREFIX) and request.method not in SAFE_METHODS:
        raise UnauthenticatedError(
            Reason.PEER_UNKNOWN, "A browser session only reads the API; send a bearer token."
        )
    return session.principal, session


def current_session(request: Request, gateway: Gateway) -> Session | None:
    """The live session of the request's cookie, if there is one."""
    secret = request.cookies.get(gateway.session_cookie, "")
    return gateway.sessions.find(secret) if secret else None


def client_address(request: Request) -> str:
    """Whom rates are counted by before anyone is known."""
    return request.client.host if request.client else "unknown"


def find_token(request: Request, gateway: Gateway, token: str) -> Principal | None:
    """Look a presented token up; an address that keeps failing is refused (TOO_MANY_REQUESTS)."""
    person = gateway.tokens.find(token)
    if person is None:
        wait = gateway.limits.sign_in_failures.take(client_address(request))
        if wait:
            raise unaudited_refusal(request, wait)
    return person


def unaudited_refusal(request: Request, wait_seconds: float) -> QuotaError:
    """Refuse a rate without an audit entry: nothing was accessed, and a flood must not fill it."""
    request.state.trail = None
    return too_many_requests(wait_seconds)


def form_guard(request: Request, form_token: Annotated[str, Form()] = "") -> None:
    """Refuse a form that was not made by this gateway for this session (CSRF).

    Raises:
        ForbiddenError: another origin, or no or another session's form token.
    """
    gateway = gateway_of(request)
    check_same_origin(request)
    secret = request.cookies.get(gateway.session_cookie, "")
    if secret and not form_token_fits(secret, form_token):
        raise _stale_form()


def check_same_origin(request: Request) -> None:
    """Refuse a form that a page of another site sent."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if foreign or site not in {"same-origin", "none"}:
        raise _stale_form()


def too_many_requests(wait_seconds: float) -> QuotaError:
    """The error of an exhausted rate; `retry_after` becomes the HTTP header."""
    return QuotaError(
        Reason.TOO_MANY_REQUESTS,
        "Too many requests. Wait a little, then try again.",
        retry_after=str(max(1, round(wait_seconds))),
    )


def _by_bearer(request: Request, gateway: Gateway, header: str) -> Principal:
    token = header[len(BEARER) :].strip() if header.lower().startswith(BEARER) else ""
    person = find_token(request, gateway, token) if token else None
    if person is None:
        raise UnauthenticatedError(
            Reason.PEER_UNKNOWN, "This token is not known here, was revoked or has expired."
        )
    return person


def _stale_form() -> ForbiddenError:
    return ForbiddenError(
        Reason.REQUEST_MALFORMED,
        "This form was not made for your session. Load the page again, then send it.",
    )
