"""Reading a feed to its end across interruptions, each time from where it stood."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

import grpc

from kinlink_core.errors import BrokenStreamError, KinlinkError, UnavailableError
from kinlink_core.runtime.status import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Position = TypeVar("Position")
Item = TypeVar("Item")

RESUME_ATTEMPTS_MAX: Final = 5
RESUME_SECONDS_MIN: Final = 0.2
RESUME_SECONDS_MAX: Final = 5.0


def resumed(
    open_from: Callable[[Position], Iterator[Item]],
    *,
    start: Position,
    position_of: Callable[[Item], Position | None],
    peer: str = "",
    attempts: int = RESUME_ATTEMPTS_MAX,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Item]:
    """Yield the items of a feed; reopen it after the last one when the peer went away or cut it.

    `position_of` says where the feed stands once an item was handled; None for items that move
    nothing. `attempts` counts interruptions without progress between them.

    Raises:
        KinlinkError: the last interruption when attempts are used up; any other error at once.
    """
    position = start
    failures = 0
    while True:
        try:
            for item in open_from(position):
                yield item
                reached = position_of(item)
                if reached is not None:
                    position = reached
                    failures = 0
        except (grpc.RpcError, KinlinkError) as raised:
            error = translate(raised, peer=peer) if isinstance(raised, grpc.RpcError) else raised
            failures += 1
            interrupted = isinstance(error, UnavailableError | BrokenStreamError)
            if not interrupted or failures >= attempts:
                raise error from raised
        else:
            return
        sleep(min(RESUME_SECONDS_MAX, RESUME_SECONDS_MIN * 2**failures))
