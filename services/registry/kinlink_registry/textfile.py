"""What a delimited text file looks like before a row of it is read: encoding, delimiter, header.

Files that are not UTF-8 are transcoded into memory, never onto the disk. Bytes that the declared
encoding cannot read become bytes that UTF-8 cannot read either, so that only their row is refused.
"""

from __future__ import annotations

import codecs
import csv
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.errors import InvalidInputError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENCODING_DEFAULT = "utf-8"
ID_COLUMN_DEFAULT = "record_id"
HEADER_BYTES_MAX = 1 << 20
TRANSCODE_BYTES_MAX = 2 << 30
_CHUNK_BYTES = 1 << 20
_DELIMITERS = (",", ";", "\t", "|")
_UTF8_NAMES = frozenset({"utf-8", "utf8", "utf-8-sig", "ascii"})
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF8_MARK = "\ufeff"


@dataclass(frozen=True)
class TextFile:
    """A readable text file."""

    path: str  # what DuckDB opens; UTF-8
    delimiter: str
    header: tuple[str, ...]


def unreadable(public: str) -> InvalidInputError:
    """The error of a file that cannot be used at all."""
    return InvalidInputError(Reason.FILE_UNREADABLE, public)


@contextmanager
def opened(path: Path, encoding: str) -> Iterator[TextFile]:
    """Open a delimited text file, transcoding it in memory where needed.

    Raises:
        InvalidInputError: it is empty, binary, in another encoding, or has no usable header.
    """
    codec = _codec(encoding)
    if codec in _UTF8_NAMES:
        yield _probe(path.name, str(path), _head(path))
        return
    descriptor = _transcoded(path, codec)
    try:
        in_memory = f"/proc/self/fd/{descriptor}"
        head = os.pread(descriptor, HEADER_BYTES_MAX, 0)
        yield _probe(path.name, in_memory, head)
    finally:
        os.close(descriptor)


def _codec(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise unreadable(
            f"There is no encoding {encoding!r}; try utf-8, gb18030, big5, latin-1 or utf-16."
        ) from None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER_BYTES_MAX)


def _transcoded(path: Path, codec: str) -> int:
    if path.stat().st_size > TRANSCODE_BYTES_MAX:
        raise unreadable(
            f"{path.name} is larger than {TRANSCODE_BYTES_MAX >> 30} GiB and not UTF-8:"
            " convert it first."
        )
    decoder = codecs.getincrementaldecoder(codec)("surrogateescape")
    descriptor = os.memfd_create("kinlink-transcoded")
    try:
        with path.open("rb") as file, os.fdopen(os.dup(descriptor), "wb") as out:
            while chunk := file.read(_CHUNK_BYTES):
                out.write(decoder.decode(chunk).encode("utf-8", "surrogateescape"))
            out.write(decoder.decode(b"", final=True).encode("utf-8", "surrogateescape"))
    except UnicodeError as error:
        os.close(descriptor)
        raise unreadable(
            f"{path.name} is not {codec}; name its encoding with --encoding."
        ) from error
    return descriptor


def _probe(name: str, readable: str, head: bytes) -> TextFile:
    if not head.strip():
        raise unreadable(f"{name} is empty.")
    if head.startswith(_UTF16_MARKS):
        raise unreadable(f"{name} is UTF-16: add --encoding utf-16.")
    first = head.splitlines()[0]
    if b"\0" in first:
        raise unreadable(f"{name} is no text file.")
    try:
        line = first.decode().removeprefix(_UTF8_MARK)
    except UnicodeDecodeError:
        raise unreadable(
            f"The header of {name} is not UTF-8: name its encoding, such as --encoding gb18030."
        ) from None
    delimiter = max(_DELIMITERS, key=line.count)
    header = tuple(cell.strip() for cell in next(csv.reader([line], delimiter=delimiter)))
    return TextFile(readable, delimiter, header)
