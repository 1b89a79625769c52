"""The key server as a registry calls it: what verifies is used, what does not is refused."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from kinlink.keyserver.v1 import keyserver_pb2 as pb
from kinlink.keyserver.v1 import keyserver_pb2_grpc
from kinlink_core.errors import KinlinkError, QuotaError, Reason
from kinlink_core.runtime.server import Service
from kinlink_keyserver import evaluation
from kinlink_keyserver.servicer import POLICY, SERVICE_NAME
from kinlink_registry.key_client import Batch, KeyServerClient
from support.pki import Federation
from support.servers import serving
from voprf import ristretto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WHERE = {"federation": "f", "epoch": "e"}
KEY = evaluation.pass_key(bytes(32), **WHERE, pass_id="p")  # noqa: S106 - a name
PUBLIC_KEY = evaluation.public_key(KEY)
OTHER_KEY = evaluation.pass_key(bytes(32), **WHERE, pass_id="q")  # noqa: S106 - a name
INPUTS = [b"value %d" % number for number in range(5)]


def honest(blinded: bytes) -> pb.EvaluateResponse:
    done = evaluation.evaluate(KEY, blinded)
    return pb.EvaluateResponse(evaluated=done.evaluated, proof=done.proof)


def under_another_key(blinded: bytes) -> pb.EvaluateResponse:
    done = evaluation.evaluate(OTHER_KEY, blinded)
    return pb.EvaluateResponse(evaluated=done.evaluated, proof=done.proof)


def in_another_order(blinded: bytes) -> pb.EvaluateResponse:
    answer = honest(blinded)
    swapped = answer.evaluated[32:64] + answer.evaluated[:32] + answer.evaluated[64:]
    return pb.EvaluateResponse(evaluated=swapped, proof=answer.proof)


def one_short(blinded: bytes) -> pb.EvaluateResponse:
    return honest(blinded[32:])


def not_of_the_group(blinded: bytes) -> pb.EvaluateResponse:
    return pb.EvaluateResponse(evaluated=b"\xff" * len(blinded), proof=honest(blinded).proof)


def all_identity(blinded: bytes) -> pb.EvaluateResponse:
    return pb.EvaluateResponse(evaluated=bytes(len(blinded)), proof=honest(blinded).proof)


def without_proof(blinded: bytes) -> pb.EvaluateResponse:
    return pb.EvaluateResponse(evaluated=honest(blinded).evaluated)


class Answering(keyserver_pb2_grpc.KeyServerServiceServicer):
    """Answers as a function says; keeps the requests."""

    def __init__(self, answer: Callable[[bytes], pb.EvaluateResponse]) -> None:
        self._answer = answer
        self.requests: list[pb.EvaluateRequest] = []

    def GetKeyServer(self, request: Any, context: Any) -> pb.GetKeyServerResponse:  # noqa: N802
        raise NotImplementedError

    def Evaluate(self, request: pb.EvaluateRequest, context: Any) -> pb.EvaluateResponse:  # noqa: ARG002, N802
        self.requests.append(request)
        return self._answer(request.blinded)


@contextmanager
def dialled(
    directory: Path, servicer: Answering, *, role: str = "keyserver"
) -> Iterator[KeyServerClient]:
    """A client of a server that answers so, over mutual TLS."""
    federation = Federation(directory)
    added = keyserver_pb2_grpc.add_KeyServerServiceServicer_to_server
    service = Service(added, servicer, SERVICE_NAME, POLICY)
    with (
        serving(federation.tls(role, "keyserver"), [service]) as server,
        KeyServerClient(
            server.target, federation.tls("registry", "anhui"), name="keyserver"
        ) as client,
    ):
        yield client


def batch(*inputs: bytes) -> Batch:
    return Batch("e", "p", "f" * 64, PUBLIC_KEY, inputs)


def test_what_verifies_is_the_evaluation_of_each_input(tmp_path: Path) -> None:
    servicer = Answering(honest)
    with dialled(tmp_path, servicer) as client:
        answered = client.evaluate(batch(*INPUTS), 2)
    evaluator = ristretto.Evaluator.from_seed(KEY.seed, KEY.info)
    assert answered.found == {x: evaluator.evaluate_known_input(x) for x in INPUTS}
    assert answered.error is None
    assert sorted(len(each.blinded) // 32 for each in servicer.requests) == [1, 2, 2]
    assert {(each.epoch, each.pass_id) for each in servicer.requests} == {("e", "p")}


def test_a_value_is_blinded_anew_each_time(tmp_path: Path) -> None:
    servicer = Answering(honest)
    with dialled(tmp_path, servicer) as client:
        client.evaluate(batch(INPUTS[0]), 2)
        client.evaluate(batch(INPUTS[0]), 2)
    first, second = servicer.requests
    assert first.blinded != second.blinded


@pytest.mark.parametrize(
    "lie",
    [
        under_another_key, in_another_order, one_short, not_of_the_group, all_identity,
        without_proof,
    ],
)  # fmt: skip
def test_nothing_of_an_answer_that_does_not_verify_is_used(
    tmp_path: Path, lie: Callable[[bytes], pb.EvaluateResponse]
) -> None:
    with dialled(tmp_path, Answering(lie)) as client:
        answered = client.evaluate(batch(*INPUTS), len(INPUTS))
    assert answered.found == {}
    assert answered.error is not None
    assert answered.error.reason is Reason.PROOF_REFUSED


def test_what_was_answered_before_a_refusal_is_kept(tmp_path: Path) -> None:
    def twice(blinded: bytes) -> pb.EvaluateResponse:
        if len(servicer.requests) > 2:
            raise QuotaError(Reason.QUOTA_EXCEEDED)
        return honest(blinded)

    servicer = Answering(twice)
    with dialled(tmp_path, servicer) as client:
        answered = client.evaluate(batch(*INPUTS), 1)
    assert len(answered.found) == 2
    assert answered.error is not None
    assert answered.error.reason is Reason.QUOTA_EXCEEDED


def test_a_server_of_another_role_is_not_asked(tmp_path: Path) -> None:
    servicer = Answering(honest)
    with (
        dialled(tmp_path, servicer, role="linker") as client,
        pytest.raises(KinlinkError) as refused,
    ):
        client.terms()
    assert refused.value.reason in {Reason.HANDSHAKE_FAILED, Reason.UNREACHABLE}
    assert servicer.requests == []


def test_an_address_where_nobody_listens_is_told_soon(tmp_path: Path) -> None:
    tls = Federation(tmp_path).tls("registry", "anhui")
    began = time.monotonic()
    with (
        KeyServerClient("127.0.0.1:1", tls, name="keyserver") as client,
        pytest.raises(KinlinkError) as refused,
    ):
        client.terms()
    assert refused.value.reason is Reason.UNREACHABLE
    assert time.monotonic() - began < 8
