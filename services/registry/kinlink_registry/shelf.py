"""Opened records for sieving and sealing: all of an epoch in memory, or none.

Below a memory budget the whole epoch is kept open, because a linkage asks for every record many
times. It is all or nothing on purpose: a cache of what was asked before would let the linker tell
by the time an answer takes whether two handles are of one record.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.encode import fixed_bytes
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
        for start in range(0, len(refs), OPENED_AT_ONCE):
            part = self._open_some(session, epoch, refs[start : start + OPENED_AT_ONCE])
            fixed[count : count + len(part.refs)] = part.fixed
            count += len(part.refs)
            parts.append(replace(part, fixed=fixed[:0]))
            # Sealed pages would be kept beside what was opened of them: as much memory again.
            self._release()
        return replace(Opened.joined(parts), fixed=fixed[:count])

    def _open_some(self, session: Session, epoch: Epoch, refs: Refs) -> Opened:
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
        return Opened(
            numbers,
            versions,
            columns.from_list(fixed, fixed_bytes(self._schema)),
            self._digests(names, found["content"]),
            self._cipher.record_tags(columns.matrix(found["local_key"]), versions),
        )

    def _digests(self, names: list[tuple[int, int]], sealed: Any) -> tuple[TagDigests, ...]:
        """What the tags of records are made of; contents are not opened where no field has any."""
        nothing: list[str | None] = [None] * len(names)
        values = [nothing] * len(self._schema.fields)
        if any(field.tags for field in self._schema.fields):
            places = (record_place(ref, version) for ref, version in names)
            content = self._cipher.open_all(zip(places, sealed.to_pylist(), strict=True))
            opened = [json.loads(each)[1] for each in content]
            for index, field in enumerate(self._schema.fields):
                if field.tags:
                    values[index] = [each[index] for each in opened]
        return tuple(digest_columns(self._schema, values))
