"""Following a linkage as server-sent events: an event whenever it changed, until it ends.

The linkage is polled at the linker once a second, so that a follower who leaves costs nothing and
one who stays holds no thread. A stream ends after FOLLOW_SECONDS_MAX; browsers connect again by
themselves and are authenticated again.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from kinlink_core.errors import KinlinkError, QuotaError, Reason
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from kinlink_gateway.limits import (
    FOLLOW_HEARTBEAT_SECONDS,
    FOLLOW_POLL_SECONDS,
    FOLLOW_SECONDS_MAX,
)
from kinlink_gateway.parts import at_end, gateway_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from kinlink_gateway.desk import Desk
    from kinlink_gateway.linker import Linkage
    from kinlink_gateway.parts import Gateway

EVENT_STREAM = "text/event-stream"
CHANGED = "linkage"
ENDED = "ended"
HEARTBEAT = ": still here\n\n"


def follow_response(
    request: Request, desk: Desk, linkage_id: str, render: Callable[[Linkage], str]
) -> StreamingResponse:
    """Stream a linkage the person may see; `render` gives the data of an event.

    Raises:
        NotFoundError: there is no such linkage.
        QuotaError: TOO_MANY_REQUESTS, too many follow already; poll instead.
    """
    gateway = gateway_of(request)
    first = desk.linkage(linkage_id)
    if not gateway.limits.followers.acquire(blocking=False):
        raise QuotaError(
            Reason.TOO_MANY_REQUESTS, "Too many follow linkages now. Ask for its state instead."
        )
    at_end(request, gateway.limits.followers.release)
    return StreamingResponse(
        _events(gateway, desk, first, render),
        media_type=EVENT_STREAM,
        headers={"X-Accel-Buffering": "no"},
    )


async def _events(
    gateway: Gateway, desk: Desk, linkage: Linkage, render: Callable[[Linkage], str]
) -> AsyncIterator[str]:
    yield event(CHANGED, render(linkage))
    sent_at = time.monotonic()
    ends_at = sent_at + FOLLOW_SECONDS_MAX
    while not linkage.state.ended and not gateway.stopping.is_set():
        await asyncio.sleep(FOLLOW_POLL_SECONDS)
        now = time.monotonic()
        if now >= ends_at:
            return
        latest = await run_in_threadpool(_latest, desk, linkage)
        if latest != linkage:
            linkage, sent_at = latest, now
            yield event(CHANGED, render(linkage))
        elif now - sent_at >= FOLLOW_HEARTBEAT_SECONDS:
            sent_at = now
            yield HEARTBEAT
    if linkage.state.ended:
        yield event(ENDED, linkage.state.value)


def _latest(desk: Desk, known: Linkage) -> Linkage:
    try:
        return desk.linkage(known.id)
    except KinlinkError:
        # The linker may be restarting: the next poll tells.
        return known


def event(name: str, data: str) -> str:
    """One event in the wire format of the HTML standard, section 9.2."""
    lines = "".join(f"data: {line}\n" for line in data.splitlines())
    return f"event: {name}\n{lines}\n"
