"""The part of the linker's client that reads estimates of a linkage from their message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kinlink_gateway.linkage_quality import (
    BlockingLoss,
    CalibrationBand,
    Expected,
    LinkageQuality,
    RegistryQuality,
    ThresholdAdvice,
    WeightBin,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from kinlink.linker.v1 import linker_pb2


def quality_of(message: linker_pb2.LinkageQuality) -> LinkageQuality:
    """The message as plain values."""
    loss = message.blocking
    return LinkageQuality(
        linked=_expected(message.linked),
        blocking=BlockingLoss(
            loss.compared_matches,
            tuple(loss.by_passes),
            **_set(loss, "missed_low", "missed_high", "loss_low", "loss_high"),
        ),
        advice=tuple(ThresholdAdvice(a.aim, _expected(a.expected)) for a in message.advice),
        weights=tuple(WeightBin(w.low, w.high, w.pairs, w.matches) for w in message.weights),
        registries=tuple(_registry(row) for row in message.registries),
        registry_pairs=tuple(_registry(row) for row in message.registry_pairs),
        calibration=tuple(
            CalibrationBand(
                b.low, b.high, b.decided, b.confirmed, b.expected, b.found_low, b.found_high
            )
            for b in message.calibration
        ),
    )


def _expected(message: linker_pb2.Expected) -> Expected:
    shares = ("precision", "recall_compared", "recall_low", "recall_high", "f1")
    return Expected(
        message.weight,
        message.probability,
        message.links,
        message.matches,
        **_set(message, *shares),
    )


def _registry(message: linker_pb2.RegistryQuality) -> RegistryQuality:
    shares = ("linked_share", "precision", "recall_compared", "loss_low", "loss_high")
    return RegistryQuality(
        message.registry,
        message.partner,
        message.records,
        message.linked_records,
        message.compared_pairs,
        message.matches,
        message.links,
        worse=tuple(message.worse),
        **_set(message, *shares),
    )


def _set(message: Message, *names: str) -> dict[str, Any]:
    """Fields that may be unset, as None where they are."""
    return {name: getattr(message, name) if message.HasField(name) else None for name in names}
