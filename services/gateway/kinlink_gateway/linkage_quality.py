"""What a linkage is expected to be worth, as the linker estimates it without truth.

Counts are rounded to tens by the linker; a share of too few is None.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Expected:
    """What the links from some weight on are expected to be worth."""

    weight: float
    probability: float
    links: int
    matches: int
    precision: float | None = None
    recall_compared: float | None = None
    recall_low: float | None = None
    recall_high: float | None = None
    f1: float | None = None


@dataclass(frozen=True)
class BlockingLoss:
    """Matches that no blocking pass captured, by two estimators."""

    compared_matches: int
    by_passes: tuple[int, ...] = ()
    missed_low: int | None = None
    missed_high: int | None = None
    loss_low: float | None = None
    loss_high: float | None = None


@dataclass(frozen=True)
class ThresholdAdvice:
    """The threshold that serves an aim."""

    aim: str
    expected: Expected


@dataclass(frozen=True)
class WeightBin:
    """Compared pairs by match weight."""

    low: float
    high: float
    pairs: int
    matches: int


@dataclass(frozen=True)
class RegistryQuality:
    """How one registry is served by all others, or by one partner."""

    registry: str
    partner: str
    records: int
    linked_records: int
    compared_pairs: int
    matches: int
    links: int
    linked_share: float | None = None
    precision: float | None = None
    recall_compared: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    worse: tuple[str, ...] = ()


@dataclass(frozen=True)
class CalibrationBand:
    """Links of some probabilities that analysts decided."""

    low: float
    high: float
    decided: int
    confirmed: int
    expected: float
    found_low: float
    found_high: float


@dataclass(frozen=True)
class LinkageQuality:
    """All estimates of a linkage. What a province may not see is None or empty."""

    linked: Expected | None = None
    blocking: BlockingLoss | None = None
    advice: tuple[ThresholdAdvice, ...] = ()
    weights: tuple[WeightBin, ...] = ()
    registries: tuple[RegistryQuality, ...] = ()
    registry_pairs: tuple[RegistryQuality, ...] = ()
    calibration: tuple[CalibrationBand, ...] = ()

    def of(self, registry: str) -> LinkageQuality:
        """What one registry may see: its own rows."""
        return LinkageQuality(
            registries=tuple(each for each in self.registries if each.registry == registry),
            registry_pairs=tuple(each for each in self.registry_pairs if each.registry == registry),
        )
