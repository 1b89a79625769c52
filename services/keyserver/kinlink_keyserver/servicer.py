"""KeyServerService: protobuf in, domain calls, protobuf out."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kinlink.keyserver.v1 import keyserver_pb2 as pb
from kinlink.keyserver.v1 import keyserver_pb2_grpc
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.interceptor import caller
from kinlink_core.runtime.server import Service

from kinlink_keyserver.evaluation import SUITE
from kinlink_keyserver.keyserver import BATCH_ELEMENTS_MAX, Order

if TYPE_CHECKING:
    import grpc

    from kinlink_keyserver.keyserver import KeyServer

SERVICE_NAME: Final = "kinlink.keyserver.v1.KeyServerService"
POLICY: Final = MappingProxyType(
    {"GetKeyServer": frozenset({Role.REGISTRY}), "Evaluate": frozenset({Role.REGISTRY})}
)


class KeyServerServicer(keyserver_pb2_grpc.KeyServerServiceServicer):
    """Answers registries; who calls is what the certificate says."""

    def __init__(self, server: KeyServer, name: str, build: str) -> None:
        self._server = server
        self._name = name
        self._build = build

    def GetKeyServer(  # noqa: N802 - gRPC's name
        self, request: pb.GetKeyServerRequest, context: grpc.ServicerContext
    ) -> pb.GetKeyServerResponse:
        """Epochs, public keys and the caller's budgets."""
        del request, context
        identity = caller()
        return pb.GetKeyServerResponse(
            key_server=self._name,
            federation=identity.federation,
            suite=SUITE,
            schema_fingerprint=self._server.fingerprint,
            epochs=[
                pb.ServedEpoch(
                    epoch=epoch.name,
                    passes=[
                        pb.PassKey(
                            pass_id=each.pass_id,
                            public_key=each.public_key,
                            budget=each.budget,
                            budget_left=each.left,
                        )
                        for each in allowances
                    ],
                )
                for epoch, allowances in self._server.allowances(identity.name)
            ],
            batch_elements_max=BATCH_ELEMENTS_MAX,
            build=self._build,
        )

    def Evaluate(  # noqa: N802 - gRPC's name
        self, request: pb.EvaluateRequest, context: grpc.ServicerContext
    ) -> pb.EvaluateResponse:
        """Evaluate a batch; nothing is booked for a caller who has gone."""
        order = Order(request.epoch, request.pass_id, request.schema_fingerprint, request.blinded)
        answer = self._server.evaluate(caller().name, order, context.is_active)
        return pb.EvaluateResponse(
            evaluated=answer.evaluation.evaluated,
            proof=answer.evaluation.proof,
            budget_left=answer.budget_left,
        )


def service(server: KeyServer, name: str, build: str) -> Service:
    """The service with its policy, to be served."""
    return Service(
        keyserver_pb2_grpc.add_KeyServerServiceServicer_to_server,
        KeyServerServicer(server, name, build),
        SERVICE_NAME,
        POLICY,
    )
