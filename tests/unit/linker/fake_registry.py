"""Registries in memory for tests of the linker: they tell the truth about a small made-up world.

A fake seals like a real registry in what the linker can see: equal values give small distances and
equal tags, one side alone is noise, record tags and handle pairs are answered as the protocol says.
It can be told to break at any call, and remembers what it was asked.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.prf import Prf, Seeds
from kinlink_core.encoding.schema import Schema, parse_schema
from kinlink_core.encoding.seal import SAMPLE_BYTES, SealedBatch, SealedColumn
from kinlink_core.encoding.sieve import (
    distance_max,
    distance_tags,
    verify_distances,
)
from kinlink_core.errors import (
    BrokenStreamError,
    KinlinkError,
    PreconditionError,
    Reason,
    UnavailableError,
)
from kinlink_core.meetings import places
from kinlink_core.runtime.cards import Card
from kinlink_core.wire import FeedEvent, Refusal, SealedRows
from kinlink_linker.domain import Ids, ids_of, packed
from kinlink_linker.peer import (
    DecisionsSaid,
    DecisionsTold,
    Description,
    Disclosed,
    DiscloseRequest,
    Errand,
    FeedHeader,
    FeedRows,
    Islands,
    PairRequest,
    PeerProfile,
    Proofs,
    Publication,
    Refined,
    SieveTags,
    SieveWords,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FEDERATION = "test"
EPOCH = "2026-11"
FRAME_ROWS = 64
FOLLOW_SECONDS = 0.5
PARTS = {
    "secret": "",
    "unicode": "14.0",
    "pinyin": "0.55",
    "sketch/name": "1",
    "blocking/name": "1",
}

SCHEMA = parse_schema(
    """
name: fake
fields:
  - {name: name, kind: name, entropy_bits: 17}
  - {name: dob, kind: date}
  - {name: place, kind: code, entropy_bits: 8}
passes:
  - {id: name, cap: 4, parts: {name: exact}, refine: {place: exact}}
  - {id: dob_place, parts: {dob: exact, place: exact}}
threshold_probability: 0.5
disclosure_floor_probability: 0.01
""",
    source="fake",
)


@dataclass(frozen=True)
class Person:
    """A record; people with the same `who` are the same person."""

    who: int
    name: str
    dob: str
    place: str


def digest(*parts: object, size: int = 16) -> bytes:
    text = "\x1f".join(part.hex() if isinstance(part, bytes) else str(part) for part in parts)
    return hashlib.shake_128(text.encode()).digest(size)


def as_ids(rows: Sequence[bytes]) -> Ids:
    return ids_of(np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16))


def as_bytes(ids: Ids) -> list[bytes]:
    return [row.tobytes() for row in packed(ids)]


@dataclass
class Handle:
    record: str
    pass_index: int
    level: int
    value: str
    sequence: int
    version: int = 0


@dataclass
class FakeRegistry:
    """State of one registry; `peer()` gives what one job talks to."""

    name: str
    schema: Schema = SCHEMA
    epochs: list[str] = field(default_factory=lambda: [EPOCH])
    secret: str = "shared"  # noqa: S105 - a made-up one
    fingerprint: str = ""
    encoding_version: str = "v1"
    mode: str = "plain"
    federation: str = FEDERATION
    # Parts of the encoding, and what each was made of.
    parts: dict[str, str] = field(default_factory=lambda: dict(PARTS))
    purposes: tuple[str, ...] = ()
    feed_id: str = "feed-1"
    revoked: set[str] = field(default_factory=set)
    side: int = 0  # of all its records, as it says at disclosure
    records: dict[str, Person] = field(default_factory=dict)
    handles: dict[bytes, Handle] = field(default_factory=dict)
    feed: list[tuple[int, int, int, bytes, bytes]] = field(default_factory=list)
    subjects: dict[str, bytes] = field(default_factory=dict)
    winners: dict[tuple[str, int, bytes], bytes] = field(default_factory=dict)
    meetings: dict[str, dict[tuple[str, int, bytes], tuple[int, ...]]] = field(default_factory=dict)
    published: dict[str, Publication] = field(default_factory=dict)
    publications: list[Publication] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    before: dict[str, Callable[[int], None]] = field(default_factory=dict)
    asked: dict[str, list[object]] = field(default_factory=lambda: defaultdict(list))
    version: int = 0
    sequence: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, local_id: str, person: Person) -> None:
        """Add a record, or change it: the old handles retire."""
        for handle, held in list(self.handles.items()):
            if held.record == local_id:
                self._retire(handle)
        self.records[local_id] = person
        self.version += 1
        for index, each in enumerate(self.schema.passes):
            value = "|".join(getattr(person, part.field) for part in each.parts)
            self._handle(local_id, index, 0, value)
            for level in range(1, len(each.refine) + 1):
                value += "|" + getattr(person, each.refine[level - 1].field)
                self._handle(local_id, index, level, value)

    def delete(self, local_id: str) -> None:
        """Delete a record: tombstones, and its subject retires if it was ever disclosed."""
        for handle, held in list(self.handles.items()):
            if held.record == local_id:
                self._retire(handle)
        subject = self.subjects.pop(local_id, None)
        if subject is not None:
            self._event(FeedEvent.SUBJECT_RETIRED, 0, subject, bytes(16))
        del self.records[local_id]

    @property
    def last_sequence(self) -> int:
        """The newest event's; it never falls."""
        return self.sequence

    def reset(self) -> None:
        """Continue under another feed id, as after a restore."""
        self.feed_id += "'"

    def token(self, pass_index: int, level: int, value: str) -> bytes:
        return digest("token", pass_index, level, value)

    def subject_of(self, local_id: str) -> bytes:
        return self.subjects.setdefault(local_id, digest("subject", self.name, local_id))

    def peer(self, errand: Errand | None = None) -> FakePeer:
        return FakePeer(self, errand or Errand())

    def fail(self, method: str, error: KinlinkError | None = None, *, after: int = 0) -> None:
        """Let a method fail from its `after`-th call on."""
        problem = error or UnavailableError(Reason.UNREACHABLE)

        def check(call: int) -> None:
            if call >= after:
                raise problem

        self.before[method] = check

    def decided_handles(self) -> set[tuple[bytes, bytes]]:
        """Handle pairs whose verdict stands."""
        return {
            (link.own_handle, link.partner_handle)
            for link in self.published.values()
            if link.verdict in {"CONFIRMED", "REJECTED"} and link.own_handle
        }

    def card(self) -> Card:
        return Card(self.name, digest("key", self.name, size=32), b"", b"")

    def _handle(self, local_id: str, index: int, level: int, value: str) -> None:
        handle = digest("handle", self.name, local_id, self.version, index, level)
        held = Handle(local_id, index, level, value, 0, self.version)
        self.handles[handle] = held
        if level == 0:
            token = self.token(index, 0, value)
            held.sequence = self._event(FeedEvent.TOKEN_ADDED, index, handle, token)

    def _retire(self, handle: bytes) -> None:
        held = self.handles.pop(handle)
        if held.level == 0:
            self.feed = [row for row in self.feed if row[3] != handle]
            self._event(FeedEvent.HANDLE_RETIRED, 0, handle, bytes(16))

    def _event(self, event: int, index: int, handle: bytes, token: bytes) -> int:
        # What is read meanwhile is a list that does not change.
        self.feed = [*self.feed, (self.sequence + 1, event, index, handle, token)]
        self.sequence += 1
        return self.sequence


class FakePeer:
    """`RegistryPeer` of one fake registry."""

    def __init__(self, registry: FakeRegistry, errand: Errand) -> None:
        self._registry = registry
        self.errand = errand
        self.bytes_received = 0
        self.closed = threading.Event()

    @property
    def name(self) -> str:
        return self._registry.name

    def close(self) -> None:
        self.closed.set()

    def describe(self) -> Description:
        registry = self._enter("describe", self.errand)
        purpose = self.errand.purpose
        if purpose and registry.purposes and purpose not in registry.purposes:
            raise PreconditionError(Reason.PURPOSE_REFUSED, f"It does not allow {purpose}.")
        profiles = tuple(
            PeerProfile(
                registry.federation,
                registry.fingerprint or registry.schema.fingerprint(),
                registry.encoding_version,
                registry.mode,
                epoch,
                digest("canary", registry.secret, epoch, repr(registry.parts)),
                tuple(
                    (part, digest("part", registry.secret, epoch, part, made_of))
                    for part, made_of in registry.parts.items()
                ),
            )
            for epoch in registry.epochs
        )
        last = registry.last_sequence
        return Description(
            registry.name,
            profiles,
            registry.card(),
            len(registry.records),
            registry.feed_id,
            last,
        )

    def feed(
        self, epoch: str, feed_id: str, after_sequence: int, wait_seconds: float = 0
    ) -> Iterator[FeedHeader | FeedRows]:
        registry = self._enter(
            "follow" if wait_seconds else "feed", (epoch, feed_id, after_sequence)
        )
        until = time.monotonic() + min(wait_seconds, FOLLOW_SECONDS)
        while time.monotonic() < until and not self.closed.is_set():
            if feed_id != registry.feed_id or registry.last_sequence > after_sequence:
                break
            time.sleep(0.01)
        reset = feed_id != registry.feed_id
        after = 0 if reset else after_sequence
        told, last = registry.feed, registry.last_sequence
        rows = [row for row in told if after < row[0] <= last]
        yield FeedHeader(registry.feed_id, reset and bool(feed_id), last, len(rows))
        for number, start in enumerate(range(0, len(rows), FRAME_ROWS)):
            self._enter("feed_frame", number)
            part = rows[start : start + FRAME_ROWS]
            yield FeedRows(
                np.array([row[0] for row in part], np.uint64),
                np.array([row[1] for row in part], np.uint8),
                np.array([row[2] for row in part], np.uint16),
                as_ids([row[3] for row in part]),
                as_ids([row[4] for row in part]),
            )

    def prove(self, _epoch: str, partner: Card, pass_index: int, tokens: Ids) -> Proofs:
        registry = self._enter("prove", (partner.registry, pass_index, tokens))
        asked = as_bytes(tokens)
        held = Counter(
            registry.token(each.pass_index, each.level, each.value)
            for each in registry.handles.values()
        )
        cap = registry.schema.passes[pass_index].cap
        counts = [held[token] if held[token] < cap else 0 for token in asked]
        proofs = [
            digest("proof", registry.name, token, count) if count else bytes(16)
            for token, count in zip(asked, counts, strict=True)
        ]
        return Proofs(np.array(counts, np.uint32), as_ids(proofs))

    def refine(self, _epoch: str, pass_index: int, level: int, tokens: Ids) -> Refined:
        registry = self._enter("refine", (pass_index, level, tokens))
        wanted = {token: index for index, token in enumerate(as_bytes(tokens))}
        rows = []
        for handle, held in registry.handles.items():
            if held.pass_index == pass_index and held.level == level:
                parent = held.value.rsplit("|", 1)[0]
                index = wanted.get(registry.token(pass_index, level - 1, parent))
                if index is not None:
                    rows.append((index, handle, registry.token(pass_index, level, held.value)))
        return Refined(
            np.array([row[0] for row in rows], np.uint32),
            as_ids([row[1] for row in rows]),
            as_ids([row[2] for row in rows]),
        )

    def sieve(
        self, _linkage_id: str, _epoch: str, request: PairRequest, *, tags: bool = False
    ) -> SieveWords:
        registry = self._enter("tags" if tags else "sieve", request)
        refusal = self._refusals(request.partner, request.islands, request.own, request)
        words = self._words(request, refusal)
        if not tags:
            return SieveWords(words, refusal, None)
        of_left = registry.name < request.partner.registry
        distance = distance_tags(self._seeds(request), words, of_left=of_left)
        record = [
            digest(
                "tag",
                registry.name,
                registry.handles[handle].record,
                registry.handles[handle].version,
            )
            + bytes(16)
            if handle in registry.handles
            else bytes(32)
            for handle in as_bytes(request.own)
        ]
        return SieveWords(words, refusal, SieveTags(distance, _matrix(record, 32)))

    def _words(self, request: PairRequest, refusal: np.ndarray) -> np.ndarray:
        registry = self._registry
        words = np.zeros(len(refusal), np.uint64)
        tokens = as_bytes(request.islands.token)
        for row, handle in enumerate(as_bytes(request.own)):
            if refusal[row] == Refusal.ANSWERED:
                person = registry.records[registry.handles[handle].record]
                word = int.from_bytes(digest("sieve", person.who, size=8), "little")
                token = tokens[request.island_index[row]]
                mask = int.from_bytes(digest("mask", token, size=8), "little")
                words[row] = word ^ mask
        return words

    def _seeds(self, request: PairRequest) -> Seeds:
        """What both sides draw for each pair, all of them in one island."""
        names = sorted((self._registry.name, request.partner.registry))
        handles = packed(request.own), packed(request.others)
        if self._registry.name != names[0]:
            handles = handles[::-1]
        prf = Prf(digest("draw key", *names, size=32))
        return prf.pairs(np.zeros_like(handles[0]), *handles)

    def _refuse_unproven(self, request: PairRequest, refusal: np.ndarray) -> None:
        """Refuse pairs that a real registry would not believe to be near."""
        limit = distance_max(self._registry.schema.passes[request.pass_index].sieve_max)
        assert request.shown is not None
        proven = verify_distances(
            self._seeds(request),
            self._words(request, refusal),
            request.shown.distances,
            request.shown.distance_proofs,
            of_left=self._registry.name > request.partner.registry,
        )
        near = proven & (request.shown.distances <= limit)
        refusal[(refusal == Refusal.ANSWERED) & ~near] = Refusal.SIEVE_REFUSED

    def seal(self, linkage_id: str, _epoch: str, request: PairRequest) -> SealedRows:
        registry = self._enter("seal", request)
        refusal = self._refusals(request.partner, request.islands, request.own, request)
        own, others = as_bytes(request.own), as_bytes(request.others)
        for row, handles in enumerate(zip(own, others, strict=True)):
            if refusal[row] == Refusal.ANSWERED and handles in registry.decided_handles():
                refusal[row] = Refusal.DECIDED
        self._refuse_unproven(request, refusal)
        assert request.shown is not None
        met = places(request.pass_index, packed(request.own), packed(request.others))
        order = [tuple(each) for each in met.tolist()]
        for row, (handle, other) in enumerate(zip(own, others, strict=True)):
            if refusal[row] == Refusal.ANSWERED:
                held, tag = registry.handles[handle], request.shown.partner_tags[row].tobytes()
                named = registry.winners.get((held.record, held.version, tag[:16]), handle + other)
                pair, meeting = (held.record, held.version, tag), order[row]
                known = registry.meetings.setdefault(linkage_id, {})
                if named != handle + other or known.setdefault(pair, meeting) < meeting:
                    refusal[row] = Refusal.SUPERSEDED
                else:
                    known[pair] = meeting
        people = [
            registry.records[registry.handles[handle].record]
            if handle in registry.handles
            else None
            for handle in own
        ]
        pairs = [b"".join(sorted(handles)) for handles in zip(own, others, strict=True)]
        return SealedRows(self._batch(people, pairs), refusal)

    def exchange_decisions(self, _epoch: str, partner: Card, told: DecisionsTold) -> DecisionsSaid:
        """A fake knows its decided pairs by their handles: it has nothing to ask."""
        registry = self._enter("exchange_decisions", (partner, told))
        return DecisionsSaid(refused=partner.registry in registry.revoked)

    def chance(self, _epoch: str, partner: Card, partner_records: int) -> SealedRows:
        registry = self._enter("chance", (partner.registry, partner_records))
        people = sorted(
            registry.records.values(), key=lambda each: digest("draw", registry.name, each.name)
        )[:partner_records]
        names = "".join(sorted((registry.name, partner.registry)))
        pairs = [digest("chance", names, row) for row in range(len(people))]
        refusal = np.zeros(len(people), np.uint8)
        return SealedRows(self._batch(people, pairs), refusal)

    def disclose(self, _linkage_id: str, _epoch: str, request: DiscloseRequest) -> Disclosed:
        registry = self._enter("disclose", request)
        subjects = np.zeros((len(request.own), 16), np.uint8)
        refusal = np.zeros(len(request.own), np.uint8)
        own, others = as_bytes(request.own), as_bytes(request.others)
        for row, (handle, other) in enumerate(zip(own, others, strict=True)):
            held = registry.handles.get(handle)
            if held is None:
                refusal[row] = Refusal.UNKNOWN_HANDLE
                continue
            tag = request.partner_tags[row].tobytes()[:16]
            who = held.record, held.version, tag
            winner = registry.winners.setdefault(who, handle + other)
            if winner != handle + other:
                refusal[row] = Refusal.SUPERSEDED
                continue
            subjects[row] = np.frombuffer(registry.subject_of(held.record), np.uint8)
        return Disclosed(ids_of(subjects), refusal, np.full(len(refusal), registry.side, np.uint8))

    def publish(
        self,
        linkage_id: str,
        _epoch: str,
        missing: Sequence[str],
        publications: Sequence[Publication],
    ) -> int:
        registry = self._enter("publish", (linkage_id, tuple(missing), tuple(publications)))
        for each in publications:
            registry.publications.append(each)
            if each.removed:
                registry.published.pop(each.link_id, None)
            else:
                before = registry.published.get(each.link_id)
                registry.published[each.link_id] = (
                    each if each.own_handle or before is None else _with_handles(each, before)
                )
        return len(publications)

    def _enter(self, method: str, asked: object) -> FakeRegistry:
        registry = self._registry
        with registry.lock:
            number = registry.calls[method]
            registry.calls[method] += 1
            registry.asked[method].append(asked)
            self.bytes_received += 100
        if self.closed.is_set():
            raise UnavailableError(Reason.CANCELLED)
        if method in registry.before:
            registry.before[method](number)
        if self.closed.is_set():
            raise UnavailableError(Reason.CANCELLED)
        return registry

    def _refusals(
        self, partner: Card, islands: Islands, handles: Ids, request: PairRequest
    ) -> np.ndarray:
        registry = self._registry
        proofs, tokens = as_bytes(islands.proof), as_bytes(islands.token)
        valid = [
            proof == digest("proof", partner.registry, token, int(count))
            for proof, token, count in zip(proofs, tokens, islands.partner_count, strict=True)
        ]
        refusal = np.zeros(len(handles), np.uint8)
        for row, handle in enumerate(as_bytes(handles)):
            island = int(request.island_index[row])
            held = registry.handles.get(handle)
            if held is None:
                refusal[row] = Refusal.RETIRED_HANDLE
            elif registry.token(held.pass_index, held.level, held.value) != tokens[island]:
                refusal[row] = Refusal.UNKNOWN_HANDLE
            elif not valid[island]:
                refusal[row] = Refusal.PROOF_REFUSED
        return refusal

    def _batch(self, people: Sequence[Person | None], pairs: Sequence[bytes]) -> SealedBatch:
        columns = []
        for each in self._registry.schema.fields:
            values = [getattr(person, each.name) if person else "" for person in people]
            keyed = list(zip(values, pairs, strict=True))
            presence = [digest("there", pair, size=2) for pair in pairs]
            sketch = [_sketch(value, pair) for value, pair in keyed] if each.has_sketch else None
            tags = [
                b"".join(digest(tag, value, pair, size=8) for tag in each.tags)
                for value, pair in keyed
            ]
            columns.append(
                SealedColumn(
                    _matrix(presence, 2),
                    None if sketch is None else _matrix(sketch, SAMPLE_BYTES),
                    _matrix(tags, 8 * len(each.tags)) if each.tags else None,
                )
            )
        return SealedBatch(tuple(columns))


def _with_handles(link: Publication, before: Publication) -> Publication:
    return link._replace(own_handle=before.own_handle, partner_handle=before.partner_handle)


def _sketch(value: str, pair: bytes) -> bytes:
    plain = digest("sketch", value, size=SAMPLE_BYTES)
    mask = digest("seal", pair, size=SAMPLE_BYTES)
    return bytes(one ^ other for one, other in zip(plain, mask, strict=True))


def _matrix(rows: Sequence[bytes], width: int) -> np.ndarray:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)


def cut_feed(at_frame: int, times: int = 1) -> Callable[[int], None]:
    """A `before['feed_frame']` that cuts the stream at one frame, some times."""
    left = [times]

    def check(number: int) -> None:
        if number >= at_frame and left[0]:
            left[0] -= 1
            raise BrokenStreamError(Reason.STREAM_CUT)

    return check
