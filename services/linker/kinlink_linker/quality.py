"""What is said of a linkage as a whole when nobody knows the truth, as plain values.

All counts are rounded to tens, so that a cell of fewer than five is nought, and every share is one
of two rounded counts, the whole of them at least `WHOLE_MIN`: two linkages that differ in a single
pair mostly say the same, and where they do not, the pair is one of ten. Shares are None where there
is too little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

COUNTS_ROUNDED_TO: Final = 10
WHOLE_MIN: Final = 100
SHARE_DIGITS: Final = 3

Share = float | None


@dataclass(frozen=True)
class Expected:
    """What the links from some weight on are expected to be worth."""

    weight: float  # bits
    probability: float
    links: int
    matches: int  # of these, expected
    precision: Share
    # Of the matches that were compared; then of all, by the highest and lowest estimate of those.
    recall_compared: Share
    recall_low: Share
    recall_high: Share
    f1: Share  # of precision and `recall_high`


@dataclass(frozen=True)
class BlockingLoss:
    """Matches that no pass captured, by two estimators; `recapture` says what they assume."""

    compared: int  # expected matches among the compared pairs
    by_passes: tuple[int, ...]  # of these, captured by one pass, by two, ...
    missed_low: int | None
    missed_high: int | None
    loss_low: Share
    loss_high: Share


@dataclass(frozen=True)
class Advice:
    """The threshold that serves an aim: `f1`, or `precision_0.99` and the like."""

    aim: str
    expected: Expected


@dataclass(frozen=True)
class WeightBin:
    """Compared pairs with weights from `low` up to below `high`; the outermost are open."""

    low: float
    high: float
    pairs: int
    matches: int


@dataclass(frozen=True)
class RegistryQuality:
    """How one registry is served by all others, or by one `partner`.

    `worse` names the figures by which it is served worse than the others beyond chance:
    `linked_share`, `precision`, `recall`.
    """

    registry: str
    partner: str
    records: int
    linked_records: int
    linked_share: Share
    pairs: int  # compared
    matches: int  # of these, expected
    links: int
    precision: Share
    recall_compared: Share
    loss_low: Share
    loss_high: Share
    worse: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quality:
    """All that is estimated of one linkage."""

    linked: Expected
    blocking: BlockingLoss
    advice: tuple[Advice, ...]
    weights: tuple[WeightBin, ...]
    registries: tuple[RegistryQuality, ...]
    registry_pairs: tuple[RegistryQuality, ...]


@dataclass(frozen=True)
class CalibrationBand:
    """Decided links of some probabilities: what was promised, what analysts found."""

    low: float
    high: float
    decided: int
    confirmed: int
    expected: float  # mean probability
    found_low: float  # 95 % interval of the share that was confirmed
    found_high: float


def rounded(count: float) -> int:
    """A count as it may be shown."""
    return int(count / COUNTS_ROUNDED_TO + 0.5) * COUNTS_ROUNDED_TO


def share(part: float, whole: float) -> Share:
    """The share of one rounded count in another, at most 1; None of too few."""
    shown = rounded(whole)
    if shown < WHOLE_MIN:
        return None
    return min(1.0, round(rounded(part) / shown, SHARE_DIGITS))


def from_dict(raw: dict[str, Any]) -> Quality:
    """Read what `dataclasses.asdict` wrote."""
    blocking = dict(raw["blocking"])
    blocking["by_passes"] = tuple(blocking["by_passes"])
    return Quality(
        Expected(**raw["linked"]),
        BlockingLoss(**blocking),
        tuple(Advice(each["aim"], Expected(**each["expected"])) for each in raw["advice"]),
        tuple(WeightBin(**each) for each in raw["weights"]),
        tuple(_registry(each) for each in raw["registries"]),
        tuple(_registry(each) for each in raw["registry_pairs"]),
    )


def _registry(raw: dict[str, Any]) -> RegistryQuality:
    return RegistryQuality(**{**raw, "worse": tuple(raw["worse"])})
