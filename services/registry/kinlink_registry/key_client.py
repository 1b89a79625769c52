"""The key server as a registry calls it: what it serves, and batches of evaluations.

A connection lives for one batch of records, because a Python client cannot reload certificates.
Two requests are in flight, so that one side blinds while the other evaluates.
"""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink.keyserver.v1 import keyserver_pb2 as pb
from kinlink.keyserver.v1 import keyserver_pb2_grpc
from kinlink_core.errors import KinlinkError, PreconditionError, Reason
from kinlink_core.runtime.channel import open_channel, translated
from kinlink_core.runtime.identity import Role

from kinlink_registry.blinding import ProofFault, blind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from kinlink_core.runtime.metrics import RuntimeMetrics
    from kinlink_core.runtime.tls import TlsFiles

DESCRIBE_SECONDS_MAX = 10.0
EVALUATE_SECONDS_MAX = 60.0
# Elements of a request: about a quarter of a second of the key server's time.
ELEMENTS_A_CALL = 2_048
CALLS_AT_ONCE = 2


@dataclass(frozen=True)
class PassTerms:
    """What the key server offers this registry in one pass of one epoch."""

    public_key: bytes
    budget_left: int  # evaluations


@dataclass(frozen=True)
class KeyServerTerms:
    """What a key server says of itself."""

    federation: str
    suite: str
    schema_fingerprint: str
    epochs: Mapping[str, Mapping[str, PassTerms]]  # epoch to pass to terms
    elements_a_call: int


@dataclass(frozen=True)
class Batch:
    """What is to be evaluated: blocking inputs of one pass under a pinned key."""

    epoch: str
    pass_id: str
    schema_fingerprint: str
    public_key: bytes
    inputs: Sequence[bytes]


@dataclass(frozen=True)
class Answered:
    """Evaluations that arrived and verified, x to y; and why some did not."""

    found: Mapping[bytes, bytes]
    error: KinlinkError | None


class KeyServerClient:
    """A connection to the key server; use as a context."""

    def __init__(
        self, address: str, tls: TlsFiles, *, name: str, metrics: RuntimeMetrics | None = None
    ) -> None:
        self._name = name
        self._channel = open_channel(address, tls, role=Role.KEYSERVER, name=name, metrics=metrics)
        self._stub = keyserver_pb2_grpc.KeyServerServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def terms(self) -> KeyServerTerms:
        """What is evaluated there, under which public keys, and how much of it for us.

        Raises:
            KinlinkError: `UNREACHABLE`, `DEADLINE`, `HANDSHAKE_FAILED` and what else calls end in.
        """
        with translated(self._name):
            answer = self._stub.GetKeyServer(pb.GetKeyServerRequest(), timeout=DESCRIBE_SECONDS_MAX)
        return KeyServerTerms(
            answer.federation,
            answer.suite,
            answer.schema_fingerprint,
            {
                served.epoch: {
                    each.pass_id: PassTerms(each.public_key, each.budget_left)
                    for each in served.passes
                }
                for served in answer.epochs
            },
            min(answer.batch_elements_max, ELEMENTS_A_CALL) or ELEMENTS_A_CALL,
        )

    def evaluate(self, batch: Batch, elements_a_call: int) -> Answered:
        """Have a batch evaluated in calls of at most `elements_a_call`.

        What some calls answered is returned beside the error of the first that failed: it was paid
        for.
        """
        parts = [
            batch.inputs[start : start + elements_a_call]
            for start in range(0, len(batch.inputs), elements_a_call)
        ]
        with ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="evaluate") as pool:
            calls = [pool.submit(self._call, batch, part) for part in parts]
            wait(calls, return_when=FIRST_EXCEPTION)
            pool.shutdown(cancel_futures=True)
        found: dict[bytes, bytes] = {}
        failed: KinlinkError | None = None
        for part, call in zip(parts, calls, strict=True):
            try:
                found.update(zip(part, call.result(), strict=True))
            except KinlinkError as error:
                failed = failed or error
            except CancelledError:
                continue
        return Answered(found, failed)

    def _call(self, batch: Batch, inputs: Sequence[bytes]) -> list[bytes]:
        blinded = blind(inputs)
        request = pb.EvaluateRequest(
            epoch=batch.epoch,
            pass_id=batch.pass_id,
            schema_fingerprint=batch.schema_fingerprint,
            blinded=blinded.elements,
        )
        with translated(self._name):
            answer = self._stub.Evaluate(request, timeout=EVALUATE_SECONDS_MAX)
        try:
            return blinded.unblind(answer.evaluated, answer.proof, batch.public_key)
        except ProofFault as error:
            raise PreconditionError(
                Reason.PROOF_REFUSED,
                "The key server's answer does not verify under its pinned key: nothing of it is"
                " used.",
                detail=str(error),
                peer=self._name,
            ) from error
