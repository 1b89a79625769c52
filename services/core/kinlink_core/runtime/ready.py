"""`ready.json`: how others on the same machine find a process that serves."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from kinlink_core.runtime.files import write_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

READY_FILE: Final = "ready.json"


@contextmanager
def announced(home: Path, addresses: Mapping[str, str]) -> Iterator[Path]:
    """Keep `home/ready.json` with the pid and the addresses for as long as the block runs."""
    path = home / READY_FILE
    write_file(path, json.dumps({"pid": os.getpid(), **addresses}).encode() + b"\n")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
