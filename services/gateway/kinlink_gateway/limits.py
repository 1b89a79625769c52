"""Every limit of the gateway, and the token buckets that keep request rates."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST_BODY_BYTES_MAX = 64 * 1024
REASON_CHARS_MAX = 500
NAME_CHARS_MAX = 64
PAGE_TOKEN_CHARS_MAX = 1024
PAGE_ROWS_DEFAULT = 50
PAGE_ROWS_MAX = 500
# Each comes with its evidence.
CANDIDATES_DEFAULT = 10
CANDIDATES_MAX = 50
EXPORT_ROWS_MAX = 1_000_000
EXPORTS_AT_ONCE_MAX = 4
FOLLOWERS_AT_ONCE_MAX = 64
FOLLOW_SECONDS_MAX = 600.0
FOLLOW_POLL_SECONDS = 1.0
FOLLOW_HEARTBEAT_SECONDS = 15.0
CONNECTIONS_MAX = 512

PERSON_REQUESTS_PER_SECOND = 20.0
PERSON_REQUESTS_BURST = 100
ADDRESS_REQUESTS_PER_SECOND = 100.0
ADDRESS_REQUESTS_BURST = 500
SIGN_IN_FAILURES_PER_SECOND = 10 / 60
SIGN_IN_FAILURES_BURST = 10
BUCKETS_MAX = 10_000

SESSION_IDLE_SECONDS_MAX = 30 * 60
SESSION_SECONDS_MAX = 8 * 60 * 60
TOKEN_DAYS_DEFAULT = 90


@dataclass
class _Bucket:
    level: float
    at: float


class RateLimit:
    """A token bucket for each key: `burst` at once, then `per_second`. Thread-safe."""

    def __init__(
        self, *, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Take one; returns 0 when granted, else the seconds to wait."""
        with self._lock:
            bucket = self._refilled(key)
            if bucket.level >= 1:
                bucket.level -= 1
                return 0.0
            return (1 - bucket.level) / self._per_second

    def _refilled(self, key: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.pop(key, None) or _Bucket(float(self._burst), now)
        bucket.level = min(self._burst, bucket.level + (now - bucket.at) * self._per_second)
        bucket.at = now
        self._buckets[key] = bucket
        while len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        return bucket


@dataclass(frozen=True)
class Limits:
    """The buckets and gates of one gateway process."""

    person: RateLimit
    address: RateLimit
    sign_in_failures: RateLimit
    exports: threading.BoundedSemaphore
    followers: threading.BoundedSemaphore
    export_rows_max: int = EXPORT_ROWS_MAX


def make_limits(
    *,
    person_per_second: float = PERSON_REQUESTS_PER_SECOND,
    person_burst: int = PERSON_REQUESTS_BURST,
    export_rows_max: int = EXPORT_ROWS_MAX,
    clock: Callable[[], float] = time.monotonic,
) -> Limits:
    """Build the limits of one process."""
    return Limits(
        person=RateLimit(per_second=person_per_second, burst=person_burst, clock=clock),
        address=RateLimit(
            per_second=ADDRESS_REQUESTS_PER_SECOND, burst=ADDRESS_REQUESTS_BURST, clock=clock
        ),
        sign_in_failures=RateLimit(
            per_second=SIGN_IN_FAILURES_PER_SECOND, burst=SIGN_IN_FAILURES_BURST, clock=clock
        ),
        exports=threading.BoundedSemaphore(EXPORTS_AT_ONCE_MAX),
        followers=threading.BoundedSemaphore(FOLLOWERS_AT_ONCE_MAX),
        export_rows_max=export_rows_max,
    )
