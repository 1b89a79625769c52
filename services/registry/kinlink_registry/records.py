"""The people of the vault: found by their local ids, opened, written, taken out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kinlink_registry import columns
from kinlink_registry.vault import NEXT_REF, take_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.session import Session

# Neighbours in the vault are opened together: a look-up reads only the pages on which they are.
OPENED_AT_ONCE = 8192

Values = tuple[str | None, ...]
Refs = npt.NDArray[np.int32]


@dataclass(frozen=True)
class People:
    """Records of the vault, opened; values in the schema's order of fields."""

    refs: Refs
    versions: Refs
    local_ids: list[str]
    values: list[Values]


@dataclass(frozen=True)
class Known:
    """Records found by their local ids; arrays of one length."""

    positions: npt.NDArray[np.int64]  # in the list that was asked for
    refs: Refs
    versions: Refs
    digests: list[bytes]


def record_place(ref: int, version: int) -> bytes:
    """Associated data of a record's sealed values."""
    return b"record %d %d" % (ref, version)


def content(local_id: str, values: Values) -> bytes:
    """What is sealed of a record; equal for equal content."""
    return json.dumps([local_id, values], ensure_ascii=False, separators=(",", ":")).encode()


def known(session: Session, cipher: VaultCipher, local_ids: Sequence[str]) -> Known:
    """Find records by their local ids."""
    keys = columns.from_list([cipher.local_key(local_id) for local_id in local_ids])
    asked = columns.table(position=columns.positions(len(keys)), local_key=keys)
    found = session.table(
        "SELECT position, ref, version, digest FROM asked JOIN record USING (local_key)"
        " ORDER BY position",
        asked=asked,
    )
    return Known(
        columns.numbers(found["position"]),
        columns.numbers(found["ref"]),
        columns.numbers(found["version"]),
        [row.tobytes() for row in columns.matrix(found["digest"])],
    )


def chosen(people: People, mask: npt.NDArray[np.bool_]) -> People:
    """Some of the people."""
    at = np.flatnonzero(mask).tolist()
    return People(
        people.refs[at],
        people.versions[at],
        [people.local_ids[i] for i in at],
        [people.values[i] for i in at],
    )


def insert(session: Session, cipher: VaultCipher, people: People) -> None:
    """Write new versions of people."""
    contents = [content(*pair) for pair in zip(people.local_ids, people.values, strict=True)]
    places = map(record_place, people.refs.tolist(), people.versions.tolist())
    table = columns.table(
        ref=people.refs,
        local_key=columns.from_list([cipher.local_key(i) for i in people.local_ids]),
        version=people.versions,
        digest=columns.from_list([cipher.content_digest(c) for c in contents]),
        sealed=cipher.seal_all(zip(places, contents, strict=True)),
    )
    session.run("INSERT INTO record SELECT * FROM people", people=table)


def new_refs(session: Session, count: int) -> Refs:
    """Reserve numbers for new records; they are never given again."""
    first = take_numbers(session, NEXT_REF, count)
    return np.arange(first, first + count, dtype=np.int32)


def remove(session: Session, refs: Refs) -> None:
    """Take records themselves out of the vault."""
    gone = columns.table(ref=refs)
    session.run("DELETE FROM record WHERE ref IN (SELECT ref FROM gone)", gone=gone)


def open_people(session: Session, cipher: VaultCipher, refs: Refs) -> People:
    """Open records by their numbers, in no particular order."""
    found = session.table(
        "SELECT ref, version, sealed FROM record SEMI JOIN wanted USING (ref)",
        wanted=columns.table(ref=refs),
    )
    numbers, versions = columns.numbers(found["ref"]), columns.numbers(found["version"])
    places = map(record_place, numbers.tolist(), versions.tolist())
    opened: list[Any] = [
        json.loads(plain)
        for plain in cipher.open_all(zip(places, found["sealed"].to_pylist(), strict=True))
    ]
    return People(
        numbers, versions, [each[0] for each in opened], [tuple(each[1]) for each in opened]
    )


def local_ids(session: Session, cipher: VaultCipher, refs: Refs) -> dict[int, str]:
    """The office's own ids of records by their numbers, which are given in ascending order."""
    found: dict[int, str] = {}
    for start in range(0, len(refs), OPENED_AT_ONCE):
        people = open_people(session, cipher, refs[start : start + OPENED_AT_ONCE])
        found.update(zip(people.refs.tolist(), people.local_ids, strict=True))
    return found
