"""`RegistryService`: protobuf in and out, audit and counters; `answers` decides what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink.registry.v1 import registry_pb2_grpc
from kinlink.type.v1 import profile_pb2, stream_pb2
from kinlink_core.encoding.keys import ENCODING_VERSION, MODE_KEY_SERVER, MODE_PLAIN
from kinlink_core.errors import NotFoundError, PreconditionError, Reason
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.interceptor import caller
from kinlink_core.runtime.purpose import check_purpose
from kinlink_core.runtime.server import Service
from kinlink_core.wire import (
    DiscloseAsk,
    IslandRows,
    PairAsk,
    RefinedRows,
    Refusal,
    SieveAsk,
    card_message,
    fixed16,
    frames,
    read_card,
    write_stream,
)

from kinlink_registry import answers, links
from kinlink_registry.link_messages import TEXT_CHARACTERS_MAX, read_links, read_text
from kinlink_registry.policy import Asker
from kinlink_registry.subjects import NO_EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_registry.epochs import Epoch
    from kinlink_registry.islands import Refusals
    from kinlink_registry.node import Node

SERVICE_NAME = "kinlink.registry.v1.RegistryService"
_LINKER = frozenset({Role.LINKER})
POLICY = {
    "GetRegistry": frozenset({Role.LINKER, Role.OPERATOR}),
    "StreamTokens": _LINKER,
    "ProveMembership": _LINKER,
    "RefineTokens": _LINKER,
    "StreamSieve": _LINKER,
    "ExchangeDecisions": _LINKER,
    "StreamSealedPairs": _LINKER,
    "StreamChancePairs": _LINKER,
    "DiscloseSubjects": _LINKER,
    "PublishLinks": _LINKER,
}
_MODES = {
    MODE_PLAIN: profile_pb2.MODE_PLAIN,
    MODE_KEY_SERVER: profile_pb2.MODE_KEY_SERVER,
}


def service(node: Node, build: str) -> Service:
    """The service, with who may call what."""
    return Service(
        registry_pb2_grpc.add_RegistryServiceServicer_to_server,
        RegistryServicer(node, build),
        SERVICE_NAME,
        POLICY,
    )


class RegistryServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers the linker."""

    def __init__(self, node: Node, build: str) -> None:
        self._node = node
        self._build = build
        self._partners = node.partners()

    def GetRegistry(  # noqa: N802
        self,
        request: pb.GetRegistryRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.GetRegistryResponse:
        """Identity, profiles and feed position; the purpose of a linkage is refused here first."""
        if request.purpose:
            self._asker(request)
        found = answers.profile(self._node)
        self._audit(
            "GetRegistry",
            linkage_id=read_text(request.linkage_id, "linkage_id"),
            purpose=request.purpose,
        )
        return pb.GetRegistryResponse(
            registry=self._node.name,
            profiles=[self._profile(epoch) for epoch in found.epochs],
            card=card_message(self._node.keyring.card()),
            records=found.records,
            feed_id=found.position.feed_id,
            last_sequence=found.position.last_sequence,
            build=self._build,
            side=self._node.settings.side,
        )

    def StreamTokens(  # noqa: N802
        self,
        request: pb.StreamTokensRequest,
        context: Any,
    ) -> Iterator[pb.StreamTokensResponse]:
        """The change feed after a position; a wait that ends without events is no audit entry."""
        if request.wait_milliseconds:
            answers.await_events(
                self._node,
                feed_id=request.feed_id,
                after_sequence=request.after_sequence,
                seconds=request.wait_milliseconds / 1_000,
                gone=lambda: not context.is_active(),
            )
        with self._node.vault.reading() as session:
            feed = answers.tokens(
                self._node,
                session,
                epoch=request.epoch,
                feed_id=request.feed_id,
                after_sequence=request.after_sequence,
            )
            if feed.rows or feed.reset or not request.wait_milliseconds:
                self._audit("StreamTokens", epoch=request.epoch, rows=feed.rows, reset=feed.reset)
            header = pb.TokensHeader(
                stream=stream_pb2.StreamHeader(epoch=request.epoch, rows=feed.rows),
                feed_id=feed.position.feed_id,
                reset=feed.reset,
                last_sequence=feed.position.last_sequence,
            )
            yield from write_stream(pb.StreamTokensResponse, header, feed.pages)

    def ProveMembership(  # noqa: N802
        self,
        request: pb.ProveMembershipRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ProveMembershipResponse:
        """Own membership proofs."""
        partner, rows = answers.prove(
            self._node,
            self._partners,
            epoch=request.epoch,
            card=read_card(request.partner_card),
            pass_index=request.pass_index,
            tokens=fixed16(request.tokens, "tokens"),
        )
        answered = int(np.count_nonzero(rows.counts))
        self._node.instruments.registry.answered_rows.labels("prove", partner.name).inc(answered)
        self._audit(
            "ProveMembership",
            epoch=request.epoch,
            partner=partner.name,
            asked=len(rows.counts),
            answered=answered,
        )
        response: pb.ProveMembershipResponse = rows.message()
        return response

    def RefineTokens(  # noqa: N802
        self,
        request: pb.RefineTokensRequest,
        context: Any,  # noqa: ARG002
    ) -> Iterator[pb.RefineTokensResponse]:
        """Finer tokens."""
        rows = answers.refine(
            self._node,
            epoch=request.epoch,
            pass_index=request.pass_index,
            level=request.level,
            tokens=fixed16(request.tokens, "tokens"),
        )
        self._node.instruments.registry.answered_rows.labels("refine", "").inc(rows.rows)
        self._audit("RefineTokens", epoch=request.epoch, level=request.level, rows=rows.rows)
        parts = (rows[part] for part in frames(rows.rows, RefinedRows.row_bytes()))
        header = stream_pb2.StreamHeader(epoch=request.epoch, rows=rows.rows)
        yield from write_stream(pb.RefineTokensResponse, header, parts)

    def StreamSieve(  # noqa: N802
        self,
        request: pb.StreamSieveRequest,
        context: Any,  # noqa: ARG002
    ) -> Iterator[pb.StreamSieveResponse]:
        """Masked words inside proven islands, and the tags that prove their distances."""
        self._asker(request)
        partner, rows = answers.sieve(
            self._node,
            self._partners,
            _about(request),
            SieveAsk.read(request),
            tags=request.tags,
        )
        stage = "distance" if request.tags else "sieve"
        self._account("StreamSieve", stage, request, partner.name, rows.refusal)
        parts = (rows[part] for part in frames(rows.rows, rows.row_bytes()))
        header = stream_pb2.StreamHeader(epoch=request.epoch, rows=rows.rows)
        yield from write_stream(pb.StreamSieveResponse, header, parts)

    def ExchangeDecisions(  # noqa: N802
        self,
        request: pb.ExchangeDecisionsRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ExchangeDecisionsResponse:
        """Ask and tell a partner about decided pairs."""
        partner, said = answers.exchange_decisions(
            self._node,
            self._partners,
            epoch=request.epoch,
            card=read_card(request.partner),
            question=request.question,
            answer=request.answer,
        )
        self._audit(
            "ExchangeDecisions",
            epoch=request.epoch,
            partner=partner.name,
            linkage_id=request.linkage_id[:TEXT_CHARACTERS_MAX],
            answered=bool(said.answer),
            unanswered=said.unanswered,
        )
        return pb.ExchangeDecisionsResponse(
            question=said.question, answer=said.answer, unanswered=said.unanswered
        )

    def StreamSealedPairs(  # noqa: N802
        self,
        request: pb.StreamSealedPairsRequest,
        context: Any,  # noqa: ARG002
    ) -> Iterator[pb.StreamSealedPairsResponse]:
        """One side of sealed pairs."""
        self._asker(request)
        partner, stream = answers.seal(
            self._node,
            self._partners,
            _about(request),
            PairAsk.read(request),
            linkage_id=read_text(request.linkage_id, "linkage_id"),
        )
        self._account("StreamSealedPairs", "seal", request, partner.name, stream.refusal)
        header = stream_pb2.StreamHeader(epoch=request.epoch, rows=stream.rows)
        yield from write_stream(pb.StreamSealedPairsResponse, header, stream.frames)

    def StreamChancePairs(  # noqa: N802
        self,
        request: pb.StreamChancePairsRequest,
        context: Any,  # noqa: ARG002
    ) -> Iterator[pb.StreamChancePairsResponse]:
        """One side of random pairs."""
        self._asker(request)
        partner, stream = answers.chance_pairs(
            self._node,
            self._partners,
            epoch=request.epoch,
            card=read_card(request.partner),
            partner_records=request.partner_records,
        )
        self._account("StreamChancePairs", "chance", request, partner.name, stream.refusal)
        header = stream_pb2.StreamHeader(epoch=request.epoch, rows=stream.rows)
        yield from write_stream(pb.StreamChancePairsResponse, header, stream.frames)

    def DiscloseSubjects(  # noqa: N802
        self,
        request: pb.DiscloseSubjectsRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.DiscloseSubjectsResponse:
        """Subject ids of pairs above the disclosure floor."""
        partner, answer = answers.disclose(
            self._node,
            self._partners,
            epoch=request.epoch,
            card=read_card(request.partner),
            asker=self._asker(request),
            asked=DiscloseAsk.read(request),
        )
        self._account("DiscloseSubjects", "disclose", request, partner.name, answer.refusal)
        response: pb.DiscloseSubjectsResponse = answer.message()
        return response

    def PublishLinks(  # noqa: N802
        self,
        request: pb.PublishLinksRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.PublishLinksResponse:
        """Take over links about our subjects."""
        published = read_links(request.links)
        missing = [read_text(name, "missing_registries") for name in request.missing_registries]
        with self._node.vault.writing() as session:
            number = self._node.epochs.number(session, request.epoch)
            linkage_id = read_text(request.linkage_id, "linkage_id")
            done = links.publish(session, number, linkage_id, missing, published)
            if number == NO_EPOCH and done.unknown == len(published):
                raise NotFoundError(Reason.EPOCH_UNKNOWN)
        received = self._node.instruments.registry.links_received
        for outcome in ("stored", "removed", "unknown"):
            received.labels(outcome).inc(getattr(done, outcome))
        self._audit(
            "PublishLinks",
            epoch=request.epoch,
            linkage_id=request.linkage_id,
            stored=done.stored,
            removed=done.removed,
            unknown=done.unknown,
        )
        return pb.PublishLinksResponse(
            accepted=done.stored + done.removed, unknown_subjects=done.unknown
        )

    def _profile(self, epoch: Epoch) -> profile_pb2.Profile:
        return profile_pb2.Profile(
            federation=self._node.settings.federation,
            schema_fingerprint=epoch.schedule.context.fingerprint,
            encoding_version=ENCODING_VERSION,
            mode=_MODES[epoch.schedule.context.mode],
            epoch=epoch.name,
            canary=self._node.epochs.canary(epoch),
            parts=[
                profile_pb2.EncodingPart(name=name, digest=digest)
                for name, digest in self._node.epochs.parts(epoch).items()
            ],
        )

    def _asker(self, request: Any) -> Asker:
        """Who asks and why; refuses a purpose that the policy does not allow, and audits that."""
        linkage_id = read_text(request.linkage_id, "linkage_id")
        purpose = check_purpose(request.purpose) if request.purpose else ""
        try:
            self._node.policy.check_purpose(purpose)
        except PreconditionError:
            self._audit("purpose-refused", linkage_id=linkage_id, purpose=purpose)
            raise
        return Asker(caller().name, linkage_id, purpose)

    def _account(
        self, action: str, stage: str, request: Any, partner: str, refusal: Refusals
    ) -> None:
        metrics = self._node.instruments.registry
        codes, amounts = np.unique(refusal, return_counts=True)
        found = {Refusal(code): int(amount) for code, amount in zip(codes, amounts, strict=True)}
        answered = found.pop(Refusal.ANSWERED, 0)
        metrics.answered_rows.labels(stage, partner).inc(answered)
        for code, amount in found.items():
            metrics.refused_rows.labels(stage, partner, code.name.lower()).inc(amount)
        self._audit(
            action,
            epoch=request.epoch,
            partner=partner,
            linkage_id=request.linkage_id,
            purpose=request.purpose,
            asked=len(refusal),
            answered=answered,
            **{f"refused_{code.name.lower()}": amount for code, amount in found.items()},
        )

    def _audit(self, action: str, **fields: Any) -> None:
        self._node.audit.write(action, str(caller()), **fields)


def _about(request: pb.StreamSieveRequest | pb.StreamSealedPairsRequest) -> answers.About:
    return answers.About(
        request.epoch,
        read_card(request.partner),
        request.pass_index,
        IslandRows.read(request.islands),
    )
