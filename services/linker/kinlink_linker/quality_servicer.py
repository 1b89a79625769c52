"""The part of the servicer that says a linkage's estimates in the protocol's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinlink.linker.v1 import linker_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_linker.quality import CalibrationBand, Expected, Quality, RegistryQuality


def quality_message(found: Quality, bands: Sequence[CalibrationBand]) -> pb.LinkageQuality:
    """The message; what is None stays unset."""
    loss = found.blocking
    return pb.LinkageQuality(
        linked=_expected(found.linked),
        blocking=pb.BlockingLoss(
            compared_matches=loss.compared,
            by_passes=loss.by_passes,
            missed_low=loss.missed_low,
            missed_high=loss.missed_high,
            loss_low=loss.loss_low,
            loss_high=loss.loss_high,
        ),
        advice=[
            pb.ThresholdAdvice(aim=each.aim, expected=_expected(each.expected))
            for each in found.advice
        ],
        weights=[
            pb.WeightBin(low=each.low, high=each.high, pairs=each.pairs, matches=each.matches)
            for each in found.weights
        ],
        registries=[_registry(each) for each in found.registries],
        registry_pairs=[_registry(each) for each in found.registry_pairs],
        calibration=[
            pb.CalibrationBand(
                low=each.low,
                high=each.high,
                decided=each.decided,
                confirmed=each.confirmed,
                expected=each.expected,
                found_low=each.found_low,
                found_high=each.found_high,
            )
            for each in bands
        ],
    )


def _expected(found: Expected) -> pb.Expected:
    return pb.Expected(
        weight=found.weight,
        probability=found.probability,
        links=found.links,
        matches=found.matches,
        precision=found.precision,
        recall_compared=found.recall_compared,
        recall_low=found.recall_low,
        recall_high=found.recall_high,
        f1=found.f1,
    )


def _registry(found: RegistryQuality) -> pb.RegistryQuality:
    return pb.RegistryQuality(
        registry=found.registry,
        partner=found.partner,
        records=found.records,
        linked_records=found.linked_records,
        linked_share=found.linked_share,
        compared_pairs=found.pairs,
        matches=found.matches,
        links=found.links,
        precision=found.precision,
        recall_compared=found.recall_compared,
        loss_low=found.loss_low,
        loss_high=found.loss_high,
        worse=found.worse,
    )
