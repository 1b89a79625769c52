"""Columns of fixed-width values: their types, their lengths, and sets of them as dataclasses.

Part of `kinlink_core.wire`, which is what others import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.limits import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import IntEnum

ID_BYTES: Final = 16

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """The type of one column: `width` items of `dtype` a row; (n,) when the width is 1."""

    dtype: str
    width: int = 1

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return np.dtype(self.dtype).itemsize * self.width

    def read(self, column: bytes, name: str) -> npt.NDArray[Any]:
        """View a column; raises `InvalidInputError` when its length does not fit."""
        if len(column) % self.row_bytes:
            raise malformed(f"{name} is not a multiple of {self.row_bytes} bytes long.")
        array = np.frombuffer(column, self.dtype)
        return array if self.width == 1 else array.reshape(-1, self.width)

    def write(self, array: npt.NDArray[Any], name: str) -> bytes:
        """Pack an array; its shape must be the column's."""
        shape = array.shape[1:]
        if shape != (() if self.width == 1 else (self.width,)):
            raise ValueError(f"{name} has rows of shape {shape}")
        return array.astype(self.dtype, copy=False).tobytes()


ID: Final = Kind("u1", ID_BYTES)
UINT8: Final = Kind("u1")
UINT16: Final = Kind("<u2")
UINT32: Final = Kind("<u4")
UINT64: Final = Kind("<u8")
FLOAT32: Final = Kind("<f4")


def fixed16(column: bytes, name: str) -> U8:
    """A column of ids, tokens, handles or proofs as (n, 16)."""
    return ID.read(column, name)


def u8(column: bytes, name: str) -> U8:
    """A uint8 column."""
    return UINT8.read(column, name)


def u16(column: bytes, name: str) -> U16:
    """A uint16 column."""
    return UINT16.read(column, name)


def u32(column: bytes, name: str) -> U32:
    """A uint32 column."""
    return UINT32.read(column, name)


def u64(column: bytes, name: str) -> U64:
    """A uint64 column."""
    return UINT64.read(column, name)


def f32(column: bytes, name: str) -> F32:
    """A float32 column, without NaN or infinity."""
    array = FLOAT32.read(column, name)
    if not np.isfinite(array).all():
        raise malformed(f"{name} holds a number that is not finite.")
    return array


def check_equal_rows(**columns: npt.NDArray[Any]) -> int:
    """The common number of rows of columns; raises `InvalidInputError` when they differ."""
    counts = {len(column) for column in columns.values()}
    if len(counts) > 1:
        raise malformed(f"{', '.join(columns)} have different numbers of rows.")
    return counts.pop() if counts else 0


class Rows:
    """Base of column sets: a dataclass whose fields are the columns of `MESSAGE`."""

    MESSAGE: ClassVar[Any]
    KINDS: ClassVar[Mapping[str, Kind]]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(getattr(self, next(iter(self.KINDS))))

    @classmethod
    def row_bytes(cls) -> int:
        """Bytes of one row, for `frames`."""
        return sum(kind.row_bytes for kind in cls.KINDS.values())

    @classmethod
    def read(cls, message: Any) -> Self:
        """Read and check the columns of a message (or of a request that holds such columns)."""
        columns = {
            name: kind.read(getattr(message, name), name) for name, kind in cls.KINDS.items()
        }
        check_equal_rows(**columns)
        if sum(column.nbytes for column in columns.values()) > FRAME_BYTES_MAX:
            raise malformed(f"A frame holds more than {FRAME_BYTES_MAX} bytes.")
        rows = cls(**columns)
        rows.check()
        return rows

    def check(self) -> None:
        """Refuse codes out of range."""

    def packed(self) -> dict[str, bytes]:
        """The columns as the keyword arguments of a message."""
        check_equal_rows(**{name: getattr(self, name) for name in self.KINDS})
        return {name: kind.write(getattr(self, name), name) for name, kind in self.KINDS.items()}

    def message(self) -> Any:
        """The columns as their protobuf message."""
        return self.MESSAGE(**self.packed())

    def __getitem__(self, part: slice | npt.NDArray[Any]) -> Self:
        return type(self)(**{name: getattr(self, name)[part] for name in self.KINDS})


def check_codes(name: str, column: U8, codes: type[IntEnum]) -> None:
    """Refuse a column that holds a number which is none of the codes."""
    if not np.isin(column, [code.value for code in codes]).all():
        raise malformed(f"{name} holds an unknown code.")


def check_index(name: str, column: U32, length: int) -> None:
    """Refuse a column of indexes that points outside of `length` rows."""
    if len(column) and int(column.max()) >= length:
        raise malformed(f"{name} points outside of what it indexes.")


def malformed(public: str) -> InvalidInputError:
    """What a column that does not fit raises; the text names columns, never values."""
    return InvalidInputError(Reason.REQUEST_MALFORMED, public)
