"""Streams of frames: a header, columns, a trailer; written and read so that a cut is noticed.

Part of `kinlink_core.wire`, which is what others import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from kinlink_core.errors import BrokenStreamError, Reason
from kinlink_core.runtime.limits import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Counted(Protocol):
    """A set of columns that knows its number of rows."""

    @property
    def rows(self) -> int:
        """Number of rows."""


R = TypeVar("R", bound=Counted)


def frames(total_rows: int, row_bytes: int) -> Iterator[slice]:
    """Slices of at most `FRAME_BYTES_MAX` bytes that cover all rows in order."""
    step = max(1, FRAME_BYTES_MAX // row_bytes)
    return (slice(start, min(start + step, total_rows)) for start in range(0, total_rows, step))


def write_stream(response: Callable[..., Any], header: Any, parts: Iterable[Any]) -> Iterator[Any]:
    """Yield the responses of a stream: `header`, one a part (`Rows`), and the trailer.

    The trailer counts what was sent, so a stream whose parts end early is seen by its reader.
    """
    yield response(header=header)
    rows = 0
    refused = 0
    for part in parts:
        yield response(columns=part.message())
        rows += part.rows
        refused += int(np.count_nonzero(getattr(part, "refusal", ())))
    yield response(trailer={"rows": rows, "refused": refused})


class read_stream(Generic[R]):  # noqa: N801 - used like a function
    """Read the header at once and the columns by iteration; each message is checked by `read`.

    After the iteration `refused` is the trailer's. `expected_rows` is what the caller asked for,
    where the request says it.

    Raises (here or while iterating):
        BrokenStreamError: `STREAM_CUT`: no header or trailer, or rows that do not add up.
        InvalidInputError: columns that do not fit.
    """

    def __init__(
        self,
        responses: Iterable[Any],
        read: Callable[[Any], R],
        *,
        expected_rows: int | None = None,
    ) -> None:
        self._responses = iter(responses)
        self._read = read
        first = next(self._responses, None)
        if first is None or first.WhichOneof("part") != "header":
            raise _cut("it has no header")
        self.header = first.header
        stream = getattr(first.header, "stream", first.header)
        self.epoch: str = stream.epoch
        self.rows: int = stream.rows
        self.refused = 0
        self.bytes_received: int = first.ByteSize()
        if expected_rows is not None and self.rows != expected_rows:
            raise _cut("its header announces another number of rows than were asked for")

    def __iter__(self) -> Iterator[R]:
        rows = 0
        for response in self._responses:
            self.bytes_received += response.ByteSize()
            part = response.WhichOneof("part")
            if part == "trailer":
                self._finish(rows, response.trailer)
                return
            if part != "columns":
                raise _cut("it has a second header or an empty frame")
            columns = self._read(response.columns)
            rows += columns.rows
            if rows > self.rows:
                raise _cut("it has more rows than its header announces")
            yield columns
        raise _cut("it has no trailer")

    def _finish(self, rows: int, trailer: Any) -> None:
        if not rows == trailer.rows == self.rows:
            raise _cut("its rows differ from its header or trailer")
        if next(self._responses, None) is not None:
            raise _cut("it goes on after its trailer")
        self.refused = trailer.refused


def _cut(detail: str) -> BrokenStreamError:
    return BrokenStreamError(Reason.STREAM_CUT, detail=detail)
