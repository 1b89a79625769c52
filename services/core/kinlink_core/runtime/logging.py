"""Structured logs: one JSON object a line on stderr, with nothing in it that must not leave.

Every event, ours or a library's, passes `redact`. It masks bytes, arrays, runs of hex as long as
half a token, runs that look like base64, and whatever stands under a telling key. Exceptions are
logged as type and frames; their text is left out, because libraries quote the value they failed on.
Not guaranteed: a name or a number that somebody logs under an innocent key.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

MASK: Final = "[redacted]"
HEX_CHARS_MIN: Final = 16
BASE64_CHARS_MIN: Final = 22
TEXT_CHARS_MAX: Final = 2_000
NESTING_MAX: Final = 6
FRAMES_MAX: Final = 30

# A key is telling when one of its words (between underscores) is one of these.
TELLING_WORDS: Final = frozenset(
    {
        *("authorization", "birth", "canary", "cookie", "csrf", "handle", "handles", "ikm"),
        *("key", "keys", "mask", "password", "phone", "presence", "proof", "proofs", "raw"),
        *("secret", "secrets", "sketch", "sketches", "subject", "subjects", "tag", "tags"),
        *("token", "tokens", "value", "values", "local_id", "local_ids", "record_id"),
    }
)
# Keys with such a word that hold a name or, ending in this suffix, a count.
SAFE_KEYS: Final = frozenset({"key_epoch"})
COUNT_SUFFIX: Final = "_count"

_HEX: Final = re.compile(rf"[0-9a-fA-F]{{{HEX_CHARS_MIN},}}")
_BASE64: Final = re.compile(rf"[A-Za-z0-9+_-]{{{BASE64_CHARS_MIN},}}={{0,2}}")
_BYTES_LITERAL: Final = re.compile(r"""\bb(['"]).*?\1""", re.DOTALL)


def configure_logging(service: str, level: str = "info", stream: IO[str] | None = None) -> None:
    """Send structlog and stdlib logging through one pipeline to `stream` (stderr by default)."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Service(service),
        describe_exception,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class _Service:
    """Adds the name of the process to each event."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = self._service
        return event


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by the exception's type and frames, without its text."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = type(error).__qualname__
        event["frames"] = frames_of(error)
    event.pop("stack_info", None)
    return event


def frames_of(error: BaseException) -> list[str]:
    """`module file:line in function` for each frame of an exception, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask what must never stand in a log; structlog's own keys (leading underscore) stay."""
    for key, value in event.items():
        if not key.startswith("_"):
            event[key] = _clean(key, value, NESTING_MAX)
    return event


def _clean(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if _telling(key) or depth == 0 or _is_binary(value):
        return MASK
    if isinstance(value, int | float) or key == "frames":
        return value
    if isinstance(value, Mapping):
        return {clean_text(str(k)): _clean(str(k), v, depth - 1) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_clean(key, item, depth - 1) for item in value]
    return clean_text(type(value).__qualname__ if isinstance(value, Exception) else str(value))


def _is_binary(value: Any) -> bool:
    return isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "__array__")


def clean_text(text: str) -> str:
    """Mask bytes literals and runs of hex or base64 inside a text, and bound its length."""
    text = _BYTES_LITERAL.sub(MASK, text[:TEXT_CHARS_MAX])
    return _BASE64.sub(_mask_if_random, _HEX.sub(MASK, text))


def _mask_if_random(match: re.Match[str]) -> str:
    """Words and names stay: a run counts as random when it mixes digits and both cases."""
    run = match.group()
    digits = any(c.isdigit() for c in run)
    mixed_case = any(c.islower() for c in run) and any(c.isupper() for c in run)
    return MASK if digits and mixed_case else run


def _telling(key: str) -> bool:
    lowered = key.lower()
    if lowered in SAFE_KEYS or lowered.endswith(COUNT_SUFFIX):
        return False
    return lowered in TELLING_WORDS or not TELLING_WORDS.isdisjoint(re.split(r"[_\-.]", lowered))
