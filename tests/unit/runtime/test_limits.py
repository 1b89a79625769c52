from __future__ import annotations

import json

from kinlink_core.runtime import limits
from kinlink_core.runtime.channel import NEVER_RETRIED, RETRY_BUFFER_BYTES_MAX, service_config


def test_a_client_pings_less_often_than_a_server_forbids() -> None:
    assert limits.KEEPALIVE_SECONDS > limits.KEEPALIVE_SECONDS_MIN


def test_each_limit_fits_into_the_next() -> None:
    assert limits.FRAME_BYTES_MAX < limits.MESSAGE_BYTES_MAX < RETRY_BUFFER_BYTES_MAX
    assert RETRY_BUFFER_BYTES_MAX < limits.TRANSPORT_MESSAGE_BYTES_MAX == 4 << 20
    assert limits.CALL_SECONDS < limits.STREAM_SECONDS < limits.CALL_SECONDS_MAX


def test_calls_that_start_something_are_not_retried() -> None:
    everything, never = json.loads(service_config())["methodConfig"]
    assert everything["name"] == [{}]
    assert everything["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert "retryPolicy" not in never
    assert [(name["service"], name["method"]) for name in never["name"]] == list(NEVER_RETRIED)
