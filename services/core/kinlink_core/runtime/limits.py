"""Limits that both ends of a call keep."""

from __future__ import annotations

from typing import Final

# A frame's columns; `wire` cuts streams into frames of at most this.
FRAME_BYTES_MAX: Final = 1 << 20
# What protobuf adds to the columns of a frame, and the small fields of a request beside them.
MESSAGE_OVERHEAD_BYTES_MAX: Final = 64 << 10
MESSAGE_BYTES_MAX: Final = FRAME_BYTES_MAX + MESSAGE_OVERHEAD_BYTES_MAX
# gRPC's own default; a larger message is refused before it is read.
TRANSPORT_MESSAGE_BYTES_MAX: Final = 4 << 20
METADATA_BYTES_MAX: Final = 16 << 10

# Longest deadline a call may have; a call without one counts as longer.
CALL_SECONDS_MAX: Final = 86_400.0
# Deadline of a call whose caller names none.
CALL_SECONDS: Final = 60.0
STREAM_SECONDS: Final = 3_600.0

# A client pings an idle connection; the interval must exceed the least that servers allow.
KEEPALIVE_SECONDS: Final = 60
KEEPALIVE_TIMEOUT_SECONDS: Final = 20
KEEPALIVE_SECONDS_MIN: Final = 30

# A certificate is only looked at in a handshake: connections are renewed, calls on them may end.
CONNECTION_SECONDS_MAX: Final = 3_600
HANDSHAKE_SECONDS_MAX: Final = 10
STREAMS_PER_CONNECTION_MAX: Final = 100
