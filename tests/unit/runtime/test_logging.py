from __future__ import annotations

import io
import json
import logging
import secrets
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import structlog
from kinlink_core.runtime.ids import new_id
from kinlink_core.runtime.logging import MASK, configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = bytes(range(100, 116))
HEX = TOKEN.hex()
NAME = "王小明"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("registry", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(stream: io.StringIO) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(stream.getvalue().splitlines()[-1])
    return line


def test_a_line_is_json_with_service_level_time_and_logger(stream: io.StringIO) -> None:
    structlog.get_logger("here").info("ingest_ended", rows=3, rejected=0, seconds=1.5, ok=True)
    line = logged(stream)
    assert (line["event"], line["rows"], line["seconds"], line["ok"]) == (
        "ingest_ended",
        3,
        1.5,
        True,
    )
    assert (line["service"], line["level"], line["logger"]) == ("registry", "info", "here")
    assert line["timestamp"].endswith("Z")


def test_logs_of_libraries_take_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("library").warning("saw %s and %r", HEX, TOKEN)
    assert logged(stream)["event"] == f"saw {MASK} and {MASK}"


@pytest.mark.parametrize(
    "value",
    [
        TOKEN,
        bytearray(TOKEN),
        memoryview(TOKEN),
        np.frombuffer(TOKEN, np.uint8),
        np.uint64(2**63 + 12345),
        HEX,
        HEX.upper(),
        f"token={HEX}, then",
        repr(TOKEN),
        f"0x{HEX}",
        [HEX],
        {"deep": [{"er": HEX}]},
        {HEX: 1},
        (TOKEN, TOKEN),
        {HEX},
        pytest.param(secrets.token_urlsafe(32) + "aZ9", id="urlsafe"),
    ],
)
def test_what_looks_like_a_token_is_masked_wherever_it_stands(
    stream: io.StringIO, value: Any
) -> None:
    structlog.get_logger().info("event", found=value)
    text = stream.getvalue().lower()
    assert HEX not in text
    assert MASK in text
    assert "defg" not in text
    assert str(2**63 + 12345) not in text


@pytest.mark.parametrize(
    "key",
    [
        *("token", "tokens", "handle", "own_handles", "subject", "value", "Value", "raw"),
        *("epoch_secret", "key", "agreement-key", "proof", "sketch", "tags", "presence"),
        *("local_id", "record_id", "password", "csrf_token", "authorization", "cookie"),
    ],
)
@pytest.mark.parametrize("value", [NAME, 19880503, 0.5, [NAME], {"x": NAME}])
def test_what_stands_under_a_telling_key_is_masked(
    stream: io.StringIO, key: str, value: Any
) -> None:
    structlog.get_logger().info("event", **{key: value})
    structlog.get_logger().info("event", nested={key: value})
    assert NAME not in stream.getvalue()
    assert "19880503" not in stream.getvalue()
    assert logged(stream)["nested"][key] == MASK


def test_counts_ids_names_and_paths_stay_readable(stream: io.StringIO) -> None:
    shown = {
        "tokens_count": 12,
        "key_epoch": "2026-11",
        "linkage": new_id(),
        "registry": "registry/sichuan",
        "path": "/srv/registries/registry-of-sichuan/reports/2026-11-21T10:00:00.csv",
        "method": "/kinlink.registry.v1.RegistryService/StreamSealedPairs",
        "reason": "ENCODING_VERSION_DIFFERS",
        "rows": 123_456_789,
    }
    structlog.get_logger().info("event", **shown)
    line = logged(stream)
    assert {key: line[key] for key in shown} == shown


def test_an_exception_is_logged_by_type_and_frames_without_its_text(stream: io.StringIO) -> None:
    try:
        int(NAME)
    except ValueError as error:
        structlog.get_logger().exception("failed")
        line = logged(stream)
        structlog.get_logger().error("failed", error=error, errors=[error])
        logging.getLogger("library").exception("failed")
    assert line["exception"] == "ValueError"
    assert "test_logging.py" in line["frames"][-1]
    assert NAME not in stream.getvalue()
    assert logged(stream)["exception"] == "ValueError"


def test_a_level_hides_what_is_below_it(stream: io.StringIO) -> None:
    configure_logging("registry", "warning", stream)
    structlog.get_logger().info("hidden")
    structlog.get_logger().warning("shown")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["shown"]


def test_a_long_text_is_cut(stream: io.StringIO) -> None:
    structlog.get_logger().info("event", detail="word " * 10_000)
    assert len(stream.getvalue()) < 3_000
