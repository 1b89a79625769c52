from __future__ import annotations

from kinlink_gateway.limits import BUCKETS_MAX, RateLimit


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_granted_then_the_rate_holds() -> None:
    watch = Watch()
    limit = RateLimit(per_second=2, burst=3, clock=watch)
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    watch.now = 0.5
    assert limit.take("a") == 0
    assert limit.take("a") > 0


def test_each_key_has_its_own_bucket() -> None:
    limit = RateLimit(per_second=1, burst=1, clock=Watch())
    assert limit.take("a") == 0
    assert limit.take("b") == 0
    assert limit.take("a") == 1


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    watch = Watch()
    limit = RateLimit(per_second=10, burst=2, clock=watch)
    limit.take("a")
    watch.now = 1000
    assert [limit.take("a") == 0 for _ in range(3)] == [True, True, False]


def test_memory_stays_bounded_whoever_knocks() -> None:
    limit = RateLimit(per_second=1, burst=1, clock=Watch())
    for number in range(BUCKETS_MAX + 50):
        limit.take(str(number))
    assert len(limit._buckets) == BUCKETS_MAX
