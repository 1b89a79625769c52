"""Opened records for sieving and sealing: all of an epoch in memory, or none.

Below a memory budget the whole epoch is kept open, because a linkage asks for every record many
times. It is all or nothing on purpose: a cache of what was asked before would let the linker tell
by the time an answer takes whether two handles are of one record.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.encode import fixed_bytes

from kinlink_registry import columns
from kinlink_registry.encodings import sketch_place
from kinlink_registry.records import record_place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinlink_core.encoding.encode import Column
    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session

# What a record's tagged values take beside its fixed part, roughly.
VALUES_BYTES = 512


@dataclass(frozen=True)
class Opened:
    """Opened records in ascending order of `refs`; values only of fields that carry tags."""

    refs: Refs
    versions: Refs
    fixed: Bytes  # (n, fixed_bytes)
    values: dict[int, npt.NDArray[np.object_]]  # field index to (n,) texts

    def gather(self, schema: Schema, refs: Refs) -> tuple[Bytes, list[Column]]:
        """Fixed parts and values of records, row by row; the records must be among the opened."""
        at = np.searchsorted(self.refs, refs)
        if len(refs) and (not len(self.refs) or (self.refs[at % len(self.refs)] != refs).any()):
            raise LookupError("a record vanished between two reads of one state")
        nothing: Column = [None] * len(refs)
        tagged = [
            self.values[index][at].tolist() if index in self.values else nothing
            for index in range(len(schema.fields))
        ]
        return self.fixed[at], tagged


class Shelf:
    """Opens records; may be used from any thread."""

    def __init__(self, schema: Schema, cipher: VaultCipher, budget_bytes: int) -> None:
        self._schema = schema
        self._cipher = cipher
        self._record_bytes = fixed_bytes(schema) + VALUES_BYTES
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        # By the mark of the epoch: its number is given again once it was retired.
        self._kept: dict[str, Opened] = {}

    def fetch(self, session: Session, epoch: Epoch, refs: Refs) -> Opened:
        """Open at least these records, as the session sees them."""
        rows = session.value("SELECT count(*) FROM sketch WHERE epoch_id = ?", [epoch.id])
        if rows * self._record_bytes > self._budget_bytes:
            with self._lock:
                self._kept.pop(epoch.mark, None)
            return self._open(session, epoch, np.unique(refs))
        return self._everyone(session, epoch)

    def keep_only(self, epochs: Iterable[Epoch]) -> None:
        """Close what is open of all other epochs: they were retired."""
        marks = {epoch.mark for epoch in epochs}
        with self._lock:
            self._kept = {mark: opened for mark, opened in self._kept.items() if mark in marks}

    def clear(self) -> None:
        """Close all; after another vault took this one's place."""
        with self._lock:
            self._kept.clear()

    def _everyone(self, session: Session, epoch: Epoch) -> Opened:
        with self._lock:
            now = session.table(
                "SELECT ref, version FROM sketch WHERE epoch_id = ? ORDER BY ref", [epoch.id]
            )
            refs, versions = columns.numbers(now["ref"]), columns.numbers(now["version"])
            kept = self._kept.get(epoch.mark)
            if kept is None:
                opened = self._open(session, epoch, refs)
            else:
                opened = self._caught_up(session, epoch, kept, refs, versions)
            self._kept[epoch.mark] = opened
            return opened

    def _caught_up(
        self, session: Session, epoch: Epoch, kept: Opened, refs: Refs, versions: Refs
    ) -> Opened:
        if np.array_equal(kept.refs, refs) and np.array_equal(kept.versions, versions):
            return kept
        at = np.minimum(np.searchsorted(kept.refs, refs), max(len(kept.refs) - 1, 0))
        same = np.zeros(len(refs), bool)
        if len(kept.refs):
            same = (kept.refs[at] == refs) & (kept.versions[at] == versions)
        return _merged(_taken(kept, at[same]), self._open(session, epoch, refs[~same]))

    def _open(self, session: Session, epoch: Epoch, refs: Refs) -> Opened:
        found = session.table(
            "SELECT ref, s.version, s.sealed AS fixed, r.sealed AS content"
            " FROM wanted JOIN (SELECT * FROM sketch WHERE epoch_id = ?) s USING (ref)"
            " JOIN record r USING (ref) ORDER BY ref",
            [epoch.id],
            wanted=columns.table(ref=refs),
        )
        numbers, versions = columns.numbers(found["ref"]), columns.numbers(found["version"])
        names = list(zip(numbers.tolist(), versions.tolist(), strict=True))
        places = (sketch_place(epoch.id, ref, version) for ref, version in names)
        fixed = self._cipher.open_all(zip(places, found["fixed"].to_pylist(), strict=True))
        places = (record_place(ref, version) for ref, version in names)
        content = self._cipher.open_all(zip(places, found["content"].to_pylist(), strict=True))
        values: list[Any] = [json.loads(each)[1] for each in content]
        width = fixed_bytes(self._schema)
        return Opened(
            numbers,
            versions,
            np.frombuffer(b"".join(fixed), np.uint8).reshape(len(fixed), width),
            {
                index: _texts([each[index] for each in values])
                for index, field in enumerate(self._schema.fields)
                if field.tags
            },
        )


def _texts(values: list[str | None]) -> npt.NDArray[np.object_]:
    texts = np.empty(len(values), object)
    texts[:] = values
    return texts


def _taken(opened: Opened, at: npt.NDArray[np.int64]) -> Opened:
    return Opened(
        opened.refs[at],
        opened.versions[at],
        opened.fixed[at],
        {index: texts[at] for index, texts in opened.values.items()},
    )


def _merged(left: Opened, right: Opened) -> Opened:
    refs = np.concatenate([left.refs, right.refs])
    order = np.argsort(refs, kind="stable")
    return Opened(
        refs[order],
        np.concatenate([left.versions, right.versions])[order],
        np.concatenate([left.fixed, right.fixed])[order],
        {
            index: np.concatenate([texts, right.values[index]])[order]
            for index, texts in left.values.items()
        },
    )
