"""Opened records for sieving and sealing: all of an epoch in memory, or none.

Below a memory budget the whole epoch is kept open, because a linkage asks for every record many
times. It is all or nothing on purpose: a cache of what was asked before would let the linker tell
by the time an answer takes whether two handles are of one record.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.fixed_parts import fixed_bytes
from kinlink_core.encoding.seal import TagDigests, digest_columns

from kinlink_registry import columns
from kinlink_registry.directory import Edition
from kinlink_registry.encodings import sketch_place
from kinlink_registry.epoch_memory import EpochMemory
from kinlink_registry.records import record_place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session

# What a record takes beside its fixed part: digests of tagged values, its tag, numbers; roughly.
BESIDE_BYTES = 128
OPENED_AT_ONCE = 4096


@dataclass(frozen=True)
class Opened:
    """Opened records, in ascending order of `refs` unless gathered."""

    refs: Refs
    versions: Refs
    fixed: Bytes  # (n, fixed_bytes)
    digests: tuple[TagDigests, ...]  # one a field of the schema
    tags: Bytes  # (n, 16) record tags

    @classmethod
    def nothing(cls, schema: Schema) -> Opened:
        """No record."""
        none = np.empty(0, np.int32)
        digests = digest_columns(schema, [[] for _ in schema.fields])
        no_tags = np.empty((0, columns.ID_BYTES), np.uint8)
        return cls(
            none, none, np.empty((0, fixed_bytes(schema)), np.uint8), tuple(digests), no_tags
        )

    @classmethod
    def joined(cls, parts: Sequence[Opened]) -> Opened:
        """The records of all parts, one after the other."""
        return cls(
            np.concatenate([part.refs for part in parts]),
            np.concatenate([part.versions for part in parts]),
            np.concatenate([part.fixed for part in parts]),
            tuple(
                TagDigests(
                    np.concatenate([each.digest for each in digests]),
                    np.concatenate([each.missing for each in digests]),
                )
                for digests in zip(*(part.digests for part in parts), strict=True)
            ),
            np.concatenate([part.tags for part in parts]),
        )

    def rows_of(self, refs: Refs) -> npt.NDArray[np.int64]:
        """Where records stand that are among the opened; some may be named more than once."""
        at = np.searchsorted(self.refs, refs)
        if len(refs) and (not len(self.refs) or (self.refs[at % len(self.refs)] != refs).any()):
            raise LookupError("a record vanished between two reads of one state")
        return at

    def gather(self, refs: Refs) -> Opened:
        """Records row by row, some more than once; they must be among the opened."""
        return self.take(self.rows_of(refs))

    def take(self, at: npt.NDArray[np.int64]) -> Opened:
        """Some rows."""
        return Opened(
            self.refs[at],
            self.versions[at],
            self.fixed[at],
            tuple(each.take(at) for each in self.digests),
            self.tags[at],
        )

    def put(self, at: npt.NDArray[np.int64], others: Opened) -> None:
        """Write the content of others over some rows, which stand for the same records."""
        self.fixed[at] = others.fixed
        self.tags[at] = others.tags
        for own, other in zip(self.digests, others.digests, strict=True):
            own.digest[at] = other.digest
            own.missing[at] = other.missing


class Shelf(EpochMemory[tuple[Edition | None, Opened | None]]):
    """Opens records; may be used from any thread.

    A record is in the edition in which its handles are, at the latest.
    """

    def __init__(
        self,
        schema: Schema,
        cipher: VaultCipher,
        budget_bytes: int,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """`release` gives back the memory of what was read of the vault."""
        super().__init__()
        self._release = release
        self._schema = schema
        self._cipher = cipher
        self._record_bytes = fixed_bytes(schema) + BESIDE_BYTES
        self._budget_bytes = budget_bytes

    def fetch(self, session: Session, epoch: Epoch, refs: Refs) -> Opened:
        """Open at least these records, as the session sees them."""
        edition = Edition.of(session)
        with self._lock:
            known, kept = self._kept.get(epoch.mark, (None, None))
        if kept is not None and known == edition:
            return kept
        rows = session.value("SELECT count(*) FROM sketch WHERE epoch_id = ?", [epoch.id])
        if rows * self._record_bytes > self._budget_bytes:
            with self._lock:
                self._kept.pop(epoch.mark, None)
            return self._open(session, epoch, np.unique(refs))
        return self._everyone(session, epoch, edition)

    def _everyone(self, session: Session, epoch: Epoch, edition: Edition) -> Opened:
        with self._lock:
            known, kept = self._kept.get(epoch.mark, (None, None))
            if kept is not None and known == edition:
                return kept
            now = session.table(
                "SELECT ref, version FROM sketch WHERE epoch_id = ? ORDER BY ref", [epoch.id]
            )
            refs, versions = columns.numbers(now["ref"]), columns.numbers(now["version"])
            if kept is None:
                opened = self._open(session, epoch, refs)
            else:
                opened = self._caught_up(session, epoch, kept, refs, versions)
            self._kept[epoch.mark] = edition, opened
            return opened

    def _caught_up(
        self, session: Session, epoch: Epoch, kept: Opened, refs: Refs, versions: Refs
    ) -> Opened:
        at = np.minimum(np.searchsorted(kept.refs, refs), max(len(kept.refs) - 1, 0))
        same = np.zeros(len(refs), bool)
        if len(kept.refs):
            same = (kept.refs[at] == refs) & (kept.versions[at] == versions)
        if not same.any():
            return self._open(session, epoch, refs)
        # One copy, of which what changed is written over: all of it is as large as memory allows.
        opened = replace(kept.take(at), refs=refs, versions=versions)
        opened.put(np.flatnonzero(~same), self._open(session, epoch, refs[~same]))
        return opened

    def _open(self, session: Session, epoch: Epoch, refs: Refs) -> Opened:
        """Open records, in ascending order; the bulk is written where it stays."""
        fixed = np.empty((len(refs), fixed_bytes(self._schema)), np.uint8)
        parts, count = [Opened.nothing(self._schema)], 0
        values = _TaggedValues(self._schema)
        for start in range(0, len(refs), OPENED_AT_ONCE):
            part = self._open_some(session, epoch, refs[start : start + OPENED_AT_ONCE], values)
            fixed[count : count + len(part.refs)] = part.fixed
            count += len(part.refs)
            parts.append(replace(part, fixed=fixed[:0]))
            # Sealed pages would be kept beside what was opened of them: as much memory again.
            self._release()
        return replace(Opened.joined(parts), fixed=fixed[:count], digests=values.digests(count))

    def _open_some(
        self, session: Session, epoch: Epoch, refs: Refs, values: _TaggedValues
    ) -> Opened:
        """Some records without digests, which follow from the values that are added."""
        found = session.table(
            "SELECT ref, s.version, local_key, s.sealed AS fixed, r.sealed AS content"
            " FROM wanted JOIN (SELECT * FROM sketch WHERE epoch_id = ?) s USING (ref)"
            " JOIN record r USING (ref) ORDER BY ref",
            [epoch.id],
            wanted=columns.table(ref=refs),
        )
        numbers, versions = columns.numbers(found["ref"]), columns.numbers(found["version"])
        names = list(zip(numbers.tolist(), versions.tolist(), strict=True))
        places = (sketch_place(epoch.id, ref, version) for ref, version in names)
        fixed = self._cipher.open_all(zip(places, found["fixed"].to_pylist(), strict=True))
        if values.wanted:
            places = (record_place(ref, version) for ref, version in names)
            sealed = found["content"].to_pylist()
            values.add(self._cipher.open_all(zip(places, sealed, strict=True)))
        return Opened(
            numbers,
            versions,
            columns.from_list(fixed, fixed_bytes(self._schema)),
            Opened.nothing(self._schema).digests,
            self._cipher.record_tags(columns.matrix(found["local_key"]), versions),
        )


class _TaggedValues:
    """The values of fields with tags, of all records, so that each distinct one is digested once.

    Contents need not be opened where no field has tags.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._columns: dict[int, list[str | None]] = {
            index: [] for index, field in enumerate(schema.fields) if field.tags
        }
        # Equal values are one object: of most fields a few values are everyone's.
        self._same: dict[str | None, str | None] = {}

    @property
    def wanted(self) -> bool:
        """Whether there are any."""
        return bool(self._columns)

    def add(self, contents: Sequence[bytes]) -> None:
        """The values of some opened records, in their order."""
        for content in contents:
            values = json.loads(content.decode())[1]
            for index, column in self._columns.items():
                column.append(self._same.setdefault(values[index], values[index]))

    def digests(self, count: int) -> tuple[TagDigests, ...]:
        """Of all fields of so many records."""
        nothing: list[str | None] = [None] * count
        found = [self._columns.get(index, nothing) for index in range(len(self._schema.fields))]
        return tuple(digest_columns(self._schema, found))
