"""Between packed bytes, numpy and the vault's Arrow tables.

Ids of 16 bytes live in UUID columns: fixed width, and joined more than twice as fast as blobs.
Buffers are handed over as they are: `pyarrow.array` and `to_numpy` would first import pandas, if
there is one, which costs every command a second.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

ID_BYTES = 16

Bytes = npt.NDArray[np.uint8]
# Stands for no id in the vault.
NO_ID = "00000000-0000-0000-0000-000000000000"

_ARROW_TYPES = {
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float64": pa.float64(),
}
_NUMPY_TYPES = {arrow: np.dtype(name) for name, arrow in _ARROW_TYPES.items()}


def table(**contents: Any) -> Any:
    """An Arrow table of named columns.

    (n, 16) bytes become ids, other arrays numbers, lists of bytes or texts stay what they are.
    """
    return pa.table({name: _column(content) for name, content in contents.items()})


def _column(content: Any) -> Any:
    if isinstance(content, np.ndarray):
        return _ids(content) if content.ndim > 1 else _numeric(content)
    if content and isinstance(content[0], bytes):
        return _varying(pa.large_binary(), content)
    return _varying(pa.large_string(), [text.encode() for text in content])


def _numeric(array: npt.NDArray[Any]) -> Any:
    buffer = pa.py_buffer(np.ascontiguousarray(array).tobytes())
    return pa.Array.from_buffers(_ARROW_TYPES[array.dtype.name], len(array), [None, buffer])


def numbers(column: Any) -> npt.NDArray[Any]:
    """A numpy array of a numeric Arrow column without nulls."""
    dtype = _NUMPY_TYPES[column.type]
    parts = [np.empty(0, dtype)]
    for chunk in filter(len, column.chunks):
        values = np.frombuffer(chunk.buffers()[1], dtype)
        parts.append(values[chunk.offset : chunk.offset + len(chunk)])
    return np.concatenate(parts)


def _ids(rows: Bytes) -> Any:
    buffer = pa.py_buffer(np.ascontiguousarray(rows, np.uint8).tobytes())
    storage = pa.Array.from_buffers(pa.binary(ID_BYTES), len(rows), [None, buffer])
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def matrix(column: Any) -> Bytes:
    """(n, 16) bytes of an Arrow UUID column without nulls."""
    parts = [np.empty((0, ID_BYTES), np.uint8)]
    for chunk in filter(len, column.chunks):
        raw = np.frombuffer(chunk.storage.buffers()[1], np.uint8)
        start = chunk.offset * ID_BYTES
        parts.append(raw[start : start + len(chunk) * ID_BYTES].reshape(-1, ID_BYTES))
    return np.concatenate(parts)


def _varying(kind: Any, items: Sequence[bytes]) -> Any:
    offsets = np.zeros(len(items) + 1, np.int64)
    np.cumsum([len(item) for item in items], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(items))]
    return pa.Array.from_buffers(kind, len(items), buffers)


def from_list(items: Sequence[bytes], width: int = ID_BYTES) -> Bytes:
    """(n, width) bytes of n items of one width, ids by default."""
    return np.frombuffer(b"".join(items), np.uint8).reshape(len(items), width)


def rows(items: Bytes) -> list[bytes]:
    """Rows of (n, width) bytes as n bytes objects."""
    width = items.shape[1]
    packed = items.tobytes()
    return [packed[at : at + width] for at in range(0, len(packed), width)]


def positions(count: int) -> npt.NDArray[np.int64]:
    """Row numbers 0 to count, to find the order of a request again after a join."""
    return np.arange(count, dtype=np.int64)


def random_ids(count: int) -> Bytes:
    """(n, 16) fresh random bytes of the operating system."""
    return np.frombuffer(bytearray(os.urandom(ID_BYTES * count)), np.uint8).reshape(count, ID_BYTES)


def shuffled(rows: Bytes) -> npt.NDArray[np.int64]:
    """An order of random ids that tells nothing: that of their own bytes."""
    words = np.ascontiguousarray(rows).view("<u8").reshape(len(rows), 2)
    return np.argsort(words[:, 0])
