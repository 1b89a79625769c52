"""A registry over gRPC: one channel a job, deadlines on every call, all received is checked.

Protobuf ends here. A peer that sends more rows than it was asked for, columns of different lengths,
ids out of range or a stream without its trailer is treated like one that broke off.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink.registry.v1 import registry_pb2_grpc
from kinlink.type.v1 import profile_pb2
from kinlink_core import wire
from kinlink_core.encoding import keys
from kinlink_core.encoding.chance import CHANCE_PAIRS_MAX
from kinlink_core.encoding.decisions import MESSAGE_BYTES_MAX as DECISIONS_BYTES_MAX
from kinlink_core.errors import (
    CancelledError,
    DeadlineError,
    ForbiddenError,
    KinlinkError,
    Reason,
    UnavailableError,
)
from kinlink_core.runtime.channel import open_channel, translated
from kinlink_core.runtime.identity import Role

from kinlink_linker.domain import ids_of, no_ids, packed
from kinlink_linker.idle import IDLE_SECONDS, IdleGuard
from kinlink_linker.peer import (
    DecisionsSaid,
    Description,
    Disclosed,
    Errand,
    FeedHeader,
    FeedRows,
    PeerProfile,
    Proofs,
    Refined,
)
from kinlink_linker.replies import broken, check_epoch, expect_rows, joined, refused_whole
from kinlink_linker.sealed_frames import (
    joined_frames,
    joined_words,
    nothing_sealed,
    nothing_sieved,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kinlink_core.encoding.schema import Schema
    from kinlink_core.runtime.cards import Card
    from kinlink_core.runtime.metrics import RuntimeMetrics
    from kinlink_core.runtime.tls import TlsFiles

    from kinlink_linker.domain import Ids
    from kinlink_linker.peer import (
        DecisionsTold,
        DiscloseRequest,
        Islands,
        PairRequest,
        Publication,
        SieveWords,
    )

CONNECT_SECONDS: Final = 15.0
UNARY_SECONDS: Final = 60.0
FEED_SECONDS: Final = 3_600.0
STREAM_SECONDS: Final = 300.0
# A registry that sends nothing for this long on an open stream is lost.

PROFILES_MAX: Final = 8
# A schema has fewer fields and passes than this; more is no profile.
PARTS_MAX: Final = 512
PART_BYTES_MAX: Final = 64
REFINED_ROWS_MAX: Final = 4_000_000

_PART: Final = re.compile(r"[a-z-]{1,32}(/[A-Za-z0-9_.-]{1,64})?")
_EPOCH: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MODES: Final = {
    profile_pb2.MODE_PLAIN: keys.MODE_PLAIN,
    profile_pb2.MODE_KEY_SERVER: keys.MODE_KEY_SERVER,
}
_VERDICTS: Final = {
    "": pb.VERDICT_UNSPECIFIED,
    "CONFIRMED": pb.VERDICT_CONFIRMED,
    "REJECTED": pb.VERDICT_REJECTED,
    "UNSURE": pb.VERDICT_UNSURE,
}


class GrpcRegistryPeer:
    """`peer.RegistryPeer` over mutual TLS."""

    def __init__(
        self,
        name: str,
        address: str,
        tls: TlsFiles,
        schema: Schema,
        metrics: RuntimeMetrics | None = None,
        *,
        errand: Errand | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._name = name
        self._errand = errand or Errand()
        self._schema = schema
        self._channel = open_channel(address, tls, role=Role.REGISTRY, name=name, metrics=metrics)
        self._stub = registry_pb2_grpc.RegistryServiceStub(self._channel)
        self._received = 0
        self._lock = threading.Lock()
        self._count_lock = threading.Lock()
        self._closed = threading.Event()
        self._idle_seconds = idle_seconds
        self._guard = IdleGuard(idle_seconds)

    @property
    def name(self) -> str:
        """The registry's configured name."""
        return self._name

    @property
    def bytes_received(self) -> int:
        """Message bytes received so far."""
        return self._received

    def close(self) -> None:
        """Cancel what is in flight and close the channel."""
        with self._lock:
            self._closed.set()
            self._guard.close()
            self._channel.close()

    def describe(self) -> Description:
        """Ask for identity, profiles and feed position."""
        request = pb.GetRegistryRequest(
            linkage_id=self._errand.linkage_id, purpose=self._errand.purpose
        )
        answer = self._unary(self._stub.GetRegistry, request, CONNECT_SECONDS)
        if answer.registry != self._name:
            raise broken("it answers under another name")
        if len(answer.profiles) > PROFILES_MAX:
            raise broken("it serves too many epochs")
        return Description(
            registry=answer.registry,
            profiles=tuple(_profile(each) for each in answer.profiles),
            card=wire.read_card(answer.card),
            records=answer.records,
            feed_id=answer.feed_id,
            last_sequence=answer.last_sequence,
            side=answer.side,
        )

    def feed(
        self, epoch: str, feed_id: str, after_sequence: int, wait_seconds: float = 0
    ) -> Iterator[FeedHeader | FeedRows]:
        """Stream the header and then the events after a position; where there is none, wait."""
        # A wait must end before it is taken for silence.
        wait_seconds = min(wait_seconds, self._idle_seconds / 2)
        request = pb.StreamTokensRequest(
            epoch=epoch,
            feed_id=feed_id,
            after_sequence=after_sequence,
            wait_milliseconds=int(wait_seconds * 1_000),
        )
        stream = wire.read_stream(
            self._stream(self._stub.StreamTokens, request, FEED_SECONDS), wire.TokenRows.read
        )
        check_epoch(stream.epoch, epoch)
        header = stream.header
        yield FeedHeader(header.feed_id, header.reset, header.last_sequence, stream.rows)
        for rows in stream:
            handle, token = ids_of(rows.handle), ids_of(rows.token)
            yield FeedRows(rows.sequence, rows.event, rows.pass_index, handle, token)

    def prove(self, epoch: str, partner: Card, pass_index: int, tokens: Ids) -> Proofs:
        """Ask for membership proofs of tokens that a partner shares, for that partner."""
        request = pb.ProveMembershipRequest(
            epoch=epoch,
            partner_card=wire.card_message(partner),
            pass_index=pass_index,
            tokens=packed(tokens).tobytes(),
        )
        answer = self._unary(self._stub.ProveMembership, request, UNARY_SECONDS)
        rows = wire.ProofRows.read(answer)
        expect_rows(rows.rows, len(tokens))
        return Proofs(rows.counts, ids_of(rows.proofs))

    def refine(self, epoch: str, pass_index: int, level: int, tokens: Ids) -> Refined:
        """Ask for finer tokens under tokens of the level above."""
        request = pb.RefineTokensRequest(
            epoch=epoch, pass_index=pass_index, level=level, tokens=packed(tokens).tobytes()
        )
        parts = self._rows(
            self._stub.RefineTokens, request, wire.RefinedRows.read, epoch, REFINED_ROWS_MAX
        )
        parent = joined([part.parent_index for part in parts], np.empty(0, np.uint32))
        wire.check_index("parent_index", parent, len(tokens))
        return Refined(
            parent,
            joined([ids_of(part.handle) for part in parts], no_ids()),
            joined([ids_of(part.token) for part in parts], no_ids()),
        )

    def sieve(
        self, linkage_id: str, epoch: str, request: PairRequest, *, tags: bool = False
    ) -> SieveWords:
        """Ask for the masked words of one side of pairs; with `tags` also for those."""
        message = pb.StreamSieveRequest(
            linkage_id=linkage_id,
            epoch=epoch,
            partner=wire.card_message(request.partner),
            pass_index=request.pass_index,
            islands=_islands(request.islands),
            own_handles=packed(request.own).tobytes(),
            partner_handles=packed(request.others).tobytes(),
            island_index=request.island_index.astype("<u4").tobytes(),
            tags=tags,
            purpose=self._errand.purpose,
        )
        rows = len(request.own)
        read = wire.TaggedSieveRows.read if tags else wire.SieveRows.read
        try:
            parts = self._rows(self._stub.StreamSieve, message, read, epoch, rows)
        except KinlinkError as error:
            return nothing_sieved(refused_whole(error, rows), tags=tags)
        words = joined_words(parts, tags=tags)
        expect_rows(len(words.refusal), rows)
        return words

    def seal(self, linkage_id: str, epoch: str, request: PairRequest) -> wire.SealedRows:
        """Ask for one side of pairs, with what is shown of them."""
        if request.shown is None:
            raise ValueError("pairs are sealed by what is shown of them")
        message = pb.StreamSealedPairsRequest(
            linkage_id=linkage_id,
            epoch=epoch,
            partner=wire.card_message(request.partner),
            pass_index=request.pass_index,
            islands=_islands(request.islands),
            own_handles=packed(request.own).tobytes(),
            partner_handles=packed(request.others).tobytes(),
            island_index=request.island_index.astype("<u4").tobytes(),
            purpose=self._errand.purpose,
            **request.shown.packed(),
        )
        rows = len(request.own)
        try:
            parts = self._rows(
                self._stub.StreamSealedPairs, message, self._sealed_rows, epoch, rows
            )
        except KinlinkError as error:
            return nothing_sealed(self._schema, refused_whole(error, rows))
        sealed = joined_frames(self._schema, parts)
        expect_rows(sealed.rows, rows)
        return sealed

    def exchange_decisions(self, epoch: str, partner: Card, told: DecisionsTold) -> DecisionsSaid:
        """Tell the registry what a partner sealed for it, and get what it seals for the partner."""
        request = pb.ExchangeDecisionsRequest(
            linkage_id=self._errand.linkage_id,
            purpose=self._errand.purpose,
            epoch=epoch,
            partner=wire.card_message(partner),
            question=told.question,
            answer=told.answer,
        )
        try:
            answer = self._unary(self._stub.ExchangeDecisions, request, UNARY_SECONDS)
        except ForbiddenError as error:
            if error.reason is not Reason.REVOKED:
                raise
            return DecisionsSaid(refused=True)
        if max(len(answer.question), len(answer.answer)) > DECISIONS_BYTES_MAX:
            raise broken("it says more about decided pairs than fits")
        return DecisionsSaid(answer.question, answer.answer, answer.unanswered)

    def chance(self, epoch: str, partner: Card, partner_records: int) -> wire.SealedRows:
        """Ask for one side of randomly drawn pairs."""
        request = pb.StreamChancePairsRequest(
            epoch=epoch,
            partner=wire.card_message(partner),
            partner_records=partner_records,
            linkage_id=self._errand.linkage_id,
            purpose=self._errand.purpose,
        )
        parts = self._rows(
            self._stub.StreamChancePairs, request, self._sealed_rows, epoch, CHANCE_PAIRS_MAX
        )
        return joined_frames(self._schema, parts)

    def disclose(self, linkage_id: str, epoch: str, request: DiscloseRequest) -> Disclosed:
        """Ask for the subjects of scored pairs."""
        rows = len(request.own)
        message = pb.DiscloseSubjectsRequest(
            linkage_id=linkage_id,
            epoch=epoch,
            partner=wire.card_message(request.partner),
            own_handles=packed(request.own).tobytes(),
            partner_handles=packed(request.others).tobytes(),
            partner_tags=np.ascontiguousarray(request.partner_tags).tobytes(),
            weights=request.weights.astype("<f4").tobytes(),
            purpose=self._errand.purpose,
        )
        try:
            answer = self._unary(self._stub.DiscloseSubjects, message, UNARY_SECONDS)
        except KinlinkError as error:
            return Disclosed(
                np.zeros((rows, 2), np.uint64), refused_whole(error, rows), np.zeros(rows, np.uint8)
            )
        disclosed = wire.DisclosedRows.read(answer)
        expect_rows(disclosed.rows, rows)
        return Disclosed(ids_of(disclosed.subjects), disclosed.refusal, disclosed.sides)

    def publish(
        self,
        linkage_id: str,
        epoch: str,
        missing: Sequence[str],
        publications: Sequence[Publication],
    ) -> int:
        """Tell the registry of links that touch it; return how many it took."""
        request = pb.PublishLinksRequest(
            linkage_id=linkage_id,
            epoch=epoch,
            missing_registries=missing,
            links=[_published(each) for each in publications],
        )
        answer = self._unary(self._stub.PublishLinks, request, UNARY_SECONDS)
        return int(answer.accepted)

    def _sealed_rows(self, message: Any) -> wire.SealedRows:
        return wire.SealedRows.read(message, self._schema)

    def _rows(
        self,
        method: Callable[..., Any],
        request: Any,
        read: Callable[[Any], Any],
        epoch: str,
        rows_max: int,
    ) -> list[Any]:
        """Read a whole stream of columns between its header and its trailer."""
        stream = wire.read_stream(self._stream(method, request, STREAM_SECONDS), read)
        check_epoch(stream.epoch, epoch)
        if stream.rows > rows_max:
            raise broken("it announces more rows than were asked for")
        return list(stream)

    def _unary(self, method: Any, request: Any, seconds: float) -> Any:
        with self._translated():
            answer = self._begin(method.future, request, seconds).result()
        self._count(answer)
        return answer

    def _stream(self, method: Any, request: Any, seconds: float) -> Iterator[Any]:
        with self._translated():
            call = self._begin(method, request, seconds)
            try:
                for message in self._guard.watched(call):
                    self._count(message)
                    yield message
            except grpc.RpcError as error:
                if self._guard.was_silent(call):
                    raise DeadlineError(Reason.DEADLINE) from error
                raise

    def _begin(self, method: Callable[..., Any], request: Any, seconds: float) -> Any:
        """Start a call unless the channel is closed: gRPC crashes on a call that begins then."""
        with self._lock:
            if self._closed.is_set():
                raise CancelledError(Reason.CANCELLED)
            return method(request, timeout=seconds)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise `KinlinkError`; a call that ended cancelled, but not by us, was cut by the peer."""
        try:
            with translated(self._name):
                yield
        except grpc.FutureCancelledError as error:
            raise CancelledError(Reason.CANCELLED) from error
        except CancelledError as error:
            if self._closed.is_set():
                raise
            raise UnavailableError(Reason.UNREACHABLE, detail=error.detail) from error

    def _count(self, message: Any) -> None:
        with self._count_lock:
            self._received += message.ByteSize()


def _profile(message: profile_pb2.Profile) -> PeerProfile:
    if not _EPOCH.fullmatch(message.epoch):
        raise broken("it names an epoch by more than letters, digits, dots, dashes and underscores")
    parts = tuple((each.name, each.digest) for each in message.parts)
    if len(parts) > PARTS_MAX or not all(
        _PART.fullmatch(name) and len(digest) <= PART_BYTES_MAX for name, digest in parts
    ):
        raise broken("it names parts of its encoding by what is no name")
    return PeerProfile(
        federation=message.federation,
        schema_fingerprint=message.schema_fingerprint,
        encoding_version=message.encoding_version,
        mode=_MODES.get(message.mode, "unknown"),
        epoch=message.epoch,
        canary=message.canary,
        parts=parts,
    )


def _islands(islands: Islands) -> pb.IslandColumns:
    return pb.IslandColumns(
        token=packed(islands.token).tobytes(),
        partner_count=islands.partner_count.astype("<u4").tobytes(),
        proof=packed(islands.proof).tobytes(),
    )


def _published(publication: Publication) -> pb.PublishedLink:
    return pb.PublishedLink(
        link_id=publication.link_id,
        subject=publication.subject,
        partner=publication.partner,
        partner_subject=publication.partner_subject,
        match_weight=publication.weight,
        match_probability=publication.probability,
        person_id=publication.person_id,
        verdict=_VERDICTS[publication.verdict],
        removed=publication.removed,
        own_handle=publication.own_handle,
        partner_handle=publication.partner_handle,
    )
