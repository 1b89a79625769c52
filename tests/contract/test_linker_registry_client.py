"""What the linker takes from a registry: one that lies, cuts off or floods is caught and lost."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink.registry.v1 import registry_pb2_grpc
from kinlink.type.v1 import profile_pb2
from kinlink_core import wire
from kinlink_core.encoding.seal import SAMPLE_BYTES
from kinlink_core.errors import (
    ForbiddenError,
    KinlinkError,
    PreconditionError,
    QuotaError,
    Reason,
)
from kinlink_core.runtime.cards import Card
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.server import Service
from kinlink_linker.peer import (
    DecisionsSaid,
    DecisionsTold,
    DiscloseRequest,
    FeedHeader,
    Islands,
    PairRequest,
    Publication,
)
from kinlink_linker.registry_client import GrpcRegistryPeer
from support.pki import Federation
from support.servers import Server, serving
from unit.linker.fake_registry import EPOCH, SCHEMA, as_ids, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "anhui"
CARD = Card("gansu", bytes(32), b"", b"")
METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["RegistryService"].methods]


class ScriptedRegistry(registry_pb2_grpc.RegistryServiceServicer):
    """Answers what a test puts into `script`: a message, a list of them, or an error."""

    def __init__(self) -> None:
        self.script: dict[str, Any] = {}
        self.asked: dict[str, list[Any]] = defaultdict(list)


def _method(name: str, *, streams: bool) -> Callable[..., Any]:
    def unary(self: ScriptedRegistry, request: Any, _context: Any) -> Any:
        self.asked[name].append(request)
        answer = self.script[name]
        if isinstance(answer, KinlinkError):
            raise answer
        return answer

    def stream(self: ScriptedRegistry, request: Any, _context: Any) -> Iterator[Any]:
        self.asked[name].append(request)
        for answer in self.script[name]:
            if isinstance(answer, KinlinkError):
                raise answer
            yield answer

    return stream if streams else unary


for _each in pb.DESCRIPTOR.services_by_name["RegistryService"].methods:
    setattr(
        ScriptedRegistry,
        _each.name,
        _method(_each.name, streams=_each.name[:6] in {"Stream", "Refine"}),
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return Federation(tmp_path_factory.mktemp("pki"))


class Scene:
    """One scripted registry and the linker's client to it."""

    def __init__(self, registry: ScriptedRegistry, peer: GrpcRegistryPeer, server: Server) -> None:
        self.registry = registry
        self.peer = peer
        self.server = server


@contextmanager
def opened(pki: Federation) -> Iterator[Scene]:
    registry = ScriptedRegistry()
    table = Service(
        registry_pb2_grpc.add_RegistryServiceServicer_to_server,
        registry,
        "kinlink.registry.v1.RegistryService",
        dict.fromkeys(METHODS, frozenset({Role.LINKER})),
    )
    with serving(pki.tls("registry", NAME), [table]) as server:
        peer = GrpcRegistryPeer(NAME, server.target, pki.tls("linker", "linker"), SCHEMA)
        try:
            yield Scene(registry, peer, server)
        finally:
            peer.close()


@pytest.fixture
def scene(pki: Federation) -> Iterator[Scene]:
    with opened(pki) as opened_scene:
        yield opened_scene


def tokens(count: int) -> np.ndarray:
    return as_ids([digest("token", number) for number in range(count)])


def stream(kind: Any, *columns: Any, rows: int | None = None, epoch: str = EPOCH) -> list[Any]:
    total = sum(len(each.refusal) for each in columns) if rows is None else rows
    return [
        kind(header={"epoch": epoch, "rows": total}),
        *(kind(columns=each) for each in columns),
        kind(trailer={"rows": total}),
    ]


def described(**changes: Any) -> pb.GetRegistryResponse:
    base = {
        "registry": NAME,
        "profiles": [profile_pb2.Profile(federation="f", epoch=EPOCH, mode=profile_pb2.MODE_PLAIN)],
        "records": 7,
        "feed_id": "feed",
        "last_sequence": 9,
    }
    return pb.GetRegistryResponse(**{**base, **changes})


def lost(reason: Reason | None = None) -> pytest.RaisesExc[KinlinkError]:
    return pytest.RaisesExc(KinlinkError, check=lambda e: reason in {None, e.reason})


def test_a_description_is_read(scene: Scene) -> None:
    scene.registry.script["GetRegistry"] = described()
    found = scene.peer.describe()
    assert (found.records, found.feed_id, found.last_sequence) == (7, "feed", 9)
    assert [(each.epoch, each.mode) for each in found.profiles] == [(EPOCH, "plain")]
    assert scene.peer.bytes_received == described().ByteSize()


@pytest.mark.parametrize(
    "changes",
    [
        {"registry": "gansu"},
        {"profiles": [profile_pb2.Profile(epoch="../../etc")]},
        {"profiles": [profile_pb2.Profile(epoch="")]},
        {"profiles": [profile_pb2.Profile(epoch=str(n)) for n in range(99)]},
    ],
)
def test_a_description_that_cannot_be_is_refused(scene: Scene, changes: dict[str, Any]) -> None:
    scene.registry.script["GetRegistry"] = described(**changes)
    with lost(Reason.STREAM_CUT):
        scene.peer.describe()


def test_a_registry_under_another_name_is_refused_in_the_handshake(pki: Federation) -> None:
    with opened(pki) as scene:
        scene.registry.script["GetRegistry"] = described()
        other = GrpcRegistryPeer("gansu", scene.server.target, pki.tls("linker", "linker"), SCHEMA)
        with lost(Reason.HANDSHAKE_FAILED):
            other.describe()
        other.close()
        assert not scene.registry.asked["GetRegistry"]


def feed(*parts: Any, rows: int = 2, trailer: bool = True, epoch: str = EPOCH) -> list[Any]:
    kind = pb.StreamTokensResponse
    header = {"stream": {"epoch": epoch, "rows": rows}, "feed_id": "feed", "last_sequence": 9}
    return [
        kind(header=header),
        *(kind(columns=part) for part in parts),
        *([kind(trailer={"rows": rows})] if trailer else []),
    ]


def token_columns(**changes: bytes) -> pb.TokenColumns:
    base = {
        "sequence": np.array([1, 2], "<u8").tobytes(),
        "event": bytes([1, 1]),
        "pass_index": bytes(4),
        "handle": bytes(32),
        "token": bytes(32),
    }
    return pb.TokenColumns(**{**base, **changes})


def test_a_feed_is_read_as_header_and_rows(scene: Scene) -> None:
    scene.registry.script["StreamTokens"] = feed(token_columns())
    header, rows = scene.peer.feed(EPOCH, "feed", 5)
    assert isinstance(header, FeedHeader)
    assert (header.rows, header.last_sequence, header.reset) == (2, 9, False)
    assert rows.sequence.tolist() == [1, 2]
    assert rows.handle.shape == (2, 2)
    (asked,) = scene.registry.asked["StreamTokens"]
    assert (asked.epoch, asked.feed_id, asked.after_sequence) == (EPOCH, "feed", 5)


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [pb.StreamTokensResponse(columns=token_columns())],
        feed(token_columns(), trailer=False),
        feed(token_columns(), rows=3),
        feed(token_columns(), token_columns()),
        feed(token_columns(), epoch="another"),
        feed(token_columns(handle=bytes(33))),
        feed(token_columns(handle=bytes(16))),
        feed(token_columns(event=bytes([1, 9]))),
        feed(token_columns(sequence=np.array([2, 1], "<u8").tobytes())),
        [*feed(token_columns()), pb.StreamTokensResponse(columns=token_columns())],
        [*feed(token_columns(), trailer=False), QuotaError(Reason.QUOTA_EXCEEDED)],
    ],
)
def test_a_feed_that_breaks_the_protocol_is_caught(scene: Scene, answer: list[Any]) -> None:
    scene.registry.script["StreamTokens"] = answer
    with lost():
        list(scene.peer.feed(EPOCH, "", 0))


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_proofs_of_another_number_of_tokens_are_refused(scene: Scene, rows: int) -> None:
    scene.registry.script["ProveMembership"] = pb.ProveMembershipResponse(
        counts=bytes(4 * rows), proofs=bytes(16 * rows)
    )
    with lost(Reason.STREAM_CUT):
        scene.peer.prove(EPOCH, CARD, 0, tokens(2))


def refined(parents: list[int], rows: int | None = None) -> list[Any]:
    kind = pb.RefineTokensResponse
    total = len(parents) if rows is None else rows
    columns = pb.RefinedColumns(
        parent_index=np.array(parents, "<u4").tobytes(),
        handle=bytes(16 * len(parents)),
        token=bytes(16 * len(parents)),
    )
    return [
        kind(header={"epoch": EPOCH, "rows": total}),
        kind(columns=columns),
        kind(trailer={"rows": total}),
    ]


def test_finer_tokens_without_a_parent_in_the_request_are_refused(scene: Scene) -> None:
    scene.registry.script["RefineTokens"] = refined([0, 1])
    assert scene.peer.refine(EPOCH, 0, 1, tokens(2)).parent.tolist() == [0, 1]
    scene.registry.script["RefineTokens"] = refined([0, 2])
    with lost(Reason.REQUEST_MALFORMED):
        scene.peer.refine(EPOCH, 0, 1, tokens(2))


def test_a_flood_of_finer_tokens_is_refused_at_its_header(scene: Scene) -> None:
    scene.registry.script["RefineTokens"] = refined([0], rows=10**12)
    with lost(Reason.STREAM_CUT):
        scene.peer.refine(EPOCH, 0, 1, tokens(2))


ISLANDS = Islands(tokens(1), np.array([1], np.uint32), tokens(1))


def sieve_columns(rows: int, refusal: int = 0) -> pb.SieveColumns:
    return pb.SieveColumns(word=bytes(8 * rows), refusal=bytes([refusal] * rows))


@pytest.mark.parametrize("rows", [0, 2, 4])
def test_sieve_words_for_another_number_of_handles_are_refused(scene: Scene, rows: int) -> None:
    scene.registry.script["StreamSieve"] = stream(pb.StreamSieveResponse, sieve_columns(rows))
    with lost(Reason.STREAM_CUT):
        scene.peer.sieve("id", EPOCH, pair_request(3))


def tagged_columns(rows: int) -> pb.SieveColumns:
    tags = np.arange(64 * rows, dtype="<u4").tobytes()
    return pb.SieveColumns(
        word=bytes(8 * rows),
        refusal=bytes(rows),
        distance_tags=tags,
        record_tag=bytes(32 * rows),
    )


def test_tags_are_asked_for_by_name_and_joined(scene: Scene) -> None:
    script = scene.registry.script
    script["StreamSieve"] = stream(pb.StreamSieveResponse, tagged_columns(2), tagged_columns(1))
    found = scene.peer.sieve("id", EPOCH, pair_request(3), tags=True)
    assert found.tags is not None
    assert found.tags.distance[:, 0].tolist() == [0, 64, 0]
    assert found.tags.record.shape == (3, 32)
    assert [request.tags for request in scene.registry.asked["StreamSieve"]] == [True]
    script["StreamSieve"] = stream(pb.StreamSieveResponse, sieve_columns(3))
    assert scene.peer.sieve("id", EPOCH, pair_request(3)).tags is None


def test_words_without_the_tags_asked_for_are_refused(scene: Scene) -> None:
    scene.registry.script["StreamSieve"] = stream(pb.StreamSieveResponse, sieve_columns(3))
    with lost(Reason.REQUEST_MALFORMED):
        scene.peer.sieve("id", EPOCH, pair_request(3), tags=True)


def test_pairs_are_sealed_by_what_is_shown_of_them(scene: Scene) -> None:
    answer = stream(pb.StreamSealedPairsResponse, sealed_columns(2))
    scene.registry.script["StreamSealedPairs"] = answer
    tags = np.full((2, 32), 7, np.uint8)
    shown = wire.Shown(np.array([3, 4], np.uint8), np.array([5, 6], np.uint32), tags)
    scene.peer.seal("id", EPOCH, shown_request(2, shown))
    (request,) = scene.registry.asked["StreamSealedPairs"]
    assert request.partner_tags == bytes([7] * 64)
    assert request.distances == bytes([3, 4])
    assert request.distance_proofs == bytes([5, 0, 0, 0, 6, 0, 0, 0])


def test_an_unknown_refusal_is_refused(scene: Scene) -> None:
    scene.registry.script["StreamSieve"] = stream(pb.StreamSieveResponse, sieve_columns(1, 99))
    with lost(Reason.REQUEST_MALFORMED):
        scene.peer.sieve("id", EPOCH, pair_request(1))


WHOLE = [
    (PreconditionError(Reason.HANDLES_UNKNOWN), wire.Refusal.UNKNOWN_HANDLE),
    (PreconditionError(Reason.PROOF_REFUSED), wire.Refusal.PROOF_REFUSED),
    (QuotaError(Reason.QUOTA_EXCEEDED), wire.Refusal.OVER_QUOTA),
    (PreconditionError(Reason.ABOVE_CAP), wire.Refusal.ABOVE_CAP),
]


@pytest.mark.parametrize(("error", "refusal"), WHOLE)
def test_a_request_refused_as_a_whole_counts_as_all_its_rows_refused(
    scene: Scene, error: KinlinkError, refusal: wire.Refusal
) -> None:
    script = scene.registry.script
    script["StreamSieve"] = script["StreamSealedPairs"] = [error]
    script["DiscloseSubjects"] = error
    for tags in (False, True):
        found = scene.peer.sieve("id", EPOCH, pair_request(3), tags=tags)
        assert set(found.refusal) == {refusal}
        assert (found.tags is not None) == tags
    assert set(scene.peer.seal("id", EPOCH, shown_request(3)).refusal) == {refusal}
    assert set(scene.peer.disclose("id", EPOCH, disclose_request(3)).refusal) == {refusal}


def test_any_other_error_loses_the_registry(scene: Scene) -> None:
    error = PreconditionError(Reason.EPOCH_UNKNOWN)
    script = scene.registry.script
    script["StreamSieve"] = script["StreamSealedPairs"] = [error]
    script["DiscloseSubjects"] = error
    for call in (
        lambda: scene.peer.sieve("id", EPOCH, pair_request(3)),
        lambda: scene.peer.seal("id", EPOCH, shown_request(3)),
        lambda: scene.peer.disclose("id", EPOCH, disclose_request(3)),
    ):
        with lost(Reason.EPOCH_UNKNOWN):
            call()


def test_what_registries_say_about_decided_pairs_is_relayed_as_it_is(scene: Scene) -> None:
    script, told = scene.registry.script, DecisionsTold(b"question", b"answer")
    script["ExchangeDecisions"] = pb.ExchangeDecisionsResponse(question=b"q", unanswered=3)
    assert scene.peer.exchange_decisions(EPOCH, CARD, told) == DecisionsSaid(b"q", b"", 3)
    (asked,) = scene.registry.asked["ExchangeDecisions"]
    assert (asked.question, asked.answer, asked.partner.registry) == (
        b"question",
        b"answer",
        "gansu",
    )
    script["ExchangeDecisions"] = ForbiddenError(Reason.REVOKED)
    assert scene.peer.exchange_decisions(EPOCH, CARD, told) == DecisionsSaid(refused=True)
    script["ExchangeDecisions"] = ForbiddenError(Reason.CARD_INVALID)
    with lost(Reason.CARD_INVALID):
        scene.peer.exchange_decisions(EPOCH, CARD, told)
    long = pb.ExchangeDecisionsResponse(answer=bytes((512 << 10) + 29))
    script["ExchangeDecisions"] = long
    with lost(Reason.STREAM_CUT):
        scene.peer.exchange_decisions(EPOCH, CARD, told)


def pair_request(rows: int) -> PairRequest:
    return PairRequest(CARD, 0, ISLANDS, tokens(rows), tokens(rows), np.zeros(rows, np.uint32))


def shown_request(rows: int, shown: wire.Shown | None = None) -> PairRequest:
    nothing = wire.Shown(
        np.zeros(rows, np.uint8), np.zeros(rows, np.uint32), np.zeros((rows, 32), np.uint8)
    )
    return replace(pair_request(rows), shown=shown or nothing)


def sealed_columns(rows: int) -> pb.SealedColumns:
    fields = [
        pb.SealedField(
            presence=bytes(2 * rows),
            sketch=bytes(SAMPLE_BYTES * rows) if each.has_sketch else b"",
            tags=bytes(8 * len(each.tags) * rows),
        )
        for each in SCHEMA.fields
    ]
    return pb.SealedColumns(fields=fields, refusal=bytes(rows))


def test_sealed_pairs_in_several_frames_are_joined(scene: Scene) -> None:
    scene.registry.script["StreamSealedPairs"] = stream(
        pb.StreamSealedPairsResponse, sealed_columns(2), sealed_columns(1)
    )
    sealed = scene.peer.seal("id", EPOCH, shown_request(3))
    assert sealed.rows == 3
    assert [column.presence.shape for column in sealed.batch.fields] == [(3, 2)] * 3
    assert sealed.batch.fields[2].sketch is None


def without_field() -> pb.SealedColumns:
    columns = sealed_columns(3)
    del columns.fields[0]
    return columns


def with_short_sketch() -> pb.SealedColumns:
    columns = sealed_columns(3)
    columns.fields[0].sketch = bytes((SAMPLE_BYTES - 1) * 3)
    return columns


@pytest.mark.parametrize(
    "columns",
    [
        sealed_columns(2),
        sealed_columns(4),
        without_field(),
        with_short_sketch(),
    ],
)
def test_sealed_pairs_that_do_not_fit_are_refused(scene: Scene, columns: pb.SealedColumns) -> None:
    scene.registry.script["StreamSealedPairs"] = stream(pb.StreamSealedPairsResponse, columns)
    with lost():
        scene.peer.seal("id", EPOCH, shown_request(3))


def test_more_chance_pairs_than_anybody_draws_are_refused_at_the_header(scene: Scene) -> None:
    answer = stream(pb.StreamChancePairsResponse, sealed_columns(3))
    scene.registry.script["StreamChancePairs"] = answer
    assert scene.peer.chance(EPOCH, CARD, 3).rows == 3
    flood = stream(pb.StreamChancePairsResponse, sealed_columns(3), rows=10**9)
    scene.registry.script["StreamChancePairs"] = flood
    with lost(Reason.STREAM_CUT):
        scene.peer.chance(EPOCH, CARD, 3)


def disclose_request(rows: int) -> DiscloseRequest:
    return DiscloseRequest(
        CARD, tokens(rows), tokens(rows), np.zeros((rows, 32), np.uint8), np.ones(rows)
    )


@pytest.mark.parametrize("rows", [0, 2, 4])
def test_subjects_for_another_number_of_pairs_are_refused(scene: Scene, rows: int) -> None:
    scene.registry.script["DiscloseSubjects"] = pb.DiscloseSubjectsResponse(
        subjects=bytes(16 * rows), refusal=bytes(rows)
    )
    with lost(Reason.STREAM_CUT):
        scene.peer.disclose("id", EPOCH, disclose_request(3))


def test_a_publication_carries_everything_a_registry_needs(scene: Scene) -> None:
    scene.registry.script["PublishLinks"] = pb.PublishLinksResponse(accepted=1)
    link = Publication(
        "id", bytes(16), "gansu", bytes(16), 1.5, 0.7, "person", "REJECTED", own_handle=bytes(16)
    )
    assert scene.peer.publish("linkage", EPOCH, ["sichuan"], [link]) == 1
    (asked,) = scene.registry.asked["PublishLinks"]
    assert list(asked.missing_registries) == ["sichuan"]
    assert asked.links[0].verdict == pb.VERDICT_REJECTED
    assert asked.links[0].match_probability == pytest.approx(0.7)


def test_an_unreachable_registry_is_reported_as_such(pki: Federation) -> None:
    peer = GrpcRegistryPeer(NAME, "127.0.0.1:1", pki.tls("linker", "linker"), SCHEMA)
    with lost(Reason.UNREACHABLE):
        peer.describe()
    peer.close()


def test_a_stream_that_falls_silent_is_given_up(pki: Federation) -> None:
    with opened(pki) as scene:
        released = threading.Event()

        def silent() -> Iterator[Any]:
            yield feed()[0]
            released.wait(20)

        scene.registry.script["StreamTokens"] = silent()
        peer = GrpcRegistryPeer(
            NAME, scene.server.target, pki.tls("linker", "linker"), SCHEMA, idle_seconds=0.3
        )
        with lost(Reason.DEADLINE):
            list(peer.feed(EPOCH, "", 0))
        released.set()
        peer.close()


def test_a_call_that_is_cut_by_the_registry_is_a_lost_registry(pki: Federation) -> None:
    with opened(pki) as scene:

        def cut() -> Iterator[Any]:
            yield feed()[0]
            scene.server.running.stop(0)
            yield feed()[0]

        scene.registry.script["StreamTokens"] = cut()
        with lost(Reason.UNREACHABLE):
            list(scene.peer.feed(EPOCH, "", 0))


def test_closing_a_peer_cancels_what_it_waits_for(pki: Federation) -> None:
    with opened(pki) as scene:
        released = threading.Event()

        def silent() -> Iterator[Any]:
            yield feed()[0]
            released.wait(20)

        scene.registry.script["StreamTokens"] = silent()
        threading.Timer(0.3, scene.peer.close).start()
        with lost(Reason.CANCELLED):
            list(scene.peer.feed(EPOCH, "", 0))
        with lost(Reason.CANCELLED):
            scene.peer.describe()
        released.set()


def test_calls_that_race_with_closing_end_as_cancelled(pki: Federation) -> None:
    with opened(pki) as scene:
        scene.registry.script["GetRegistry"] = described()
        ends: list[Reason] = []

        def call_until_closed() -> None:
            while True:
                try:
                    scene.peer.describe()
                except KinlinkError as error:
                    ends.append(error.reason)
                    return

        threads = [threading.Thread(target=call_until_closed) for _ in range(4)]
        for thread in threads:
            thread.start()
        threading.Event().wait(0.2)
        scene.peer.close()
        for thread in threads:
            thread.join(20)
        assert ends == [Reason.CANCELLED] * 4


def test_an_answer_of_no_rows_is_an_answer(scene: Scene) -> None:
    empty = [
        pb.StreamSealedPairsResponse(header={"epoch": EPOCH}),
        pb.StreamSealedPairsResponse(trailer={}),
    ]
    scene.registry.script["StreamSealedPairs"] = empty
    assert scene.peer.seal("id", EPOCH, shown_request(0)).rows == 0
