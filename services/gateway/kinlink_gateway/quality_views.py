"""The JSON of a linkage's estimates."""

from pydantic import Field

from kinlink_gateway.views import View

SHARE = "0 to 1; null where it would be one of too few."


class ExpectedView(View):
    """What the links from some weight on are expected to be worth. Counts are rounded to tens."""

    weight: float = Field(description="Bits.")
    probability: float
    links: int
    matches: int = Field(description="Of these, expected.")
    precision: float | None = Field(description=SHARE)
    recall_compared: float | None = Field(description="Of the matches that were compared.")
    recall_low: float | None = Field(description="Of all, by the highest estimate of the missed.")
    recall_high: float | None = Field(description="Of all, by the lowest estimate of the missed.")
    f1: float | None = Field(description="Of precision and recall_high.")


class BlockingLossView(View):
    """Matches that no blocking pass captured, by two estimators."""

    compared_matches: int
    by_passes: list[int] = Field(description="Compared matches captured by 1, 2, … passes.")
    missed_low: int | None = Field(description="Chao's lower bound.")
    missed_high: int | None = Field(description="Beta-binomial.")
    loss_low: float | None = Field(description=SHARE)
    loss_high: float | None = Field(description=SHARE)


class ThresholdAdviceView(View):
    """The threshold that serves an aim."""

    aim: str = Field(description="f1, precision_0.9, precision_0.95 or precision_0.99.")
    expected: ExpectedView


class WeightBinView(View):
    """Compared pairs by match weight; the outermost bins are open."""

    low: float
    high: float
    pairs: int
    matches: int


class RegistryQualityView(View):
    """How one registry is served by all others, or by one partner."""

    registry: str
    partner: str = Field(description="Empty: all others together.")
    records: int
    linked_records: int
    linked_share: float | None = Field(description=SHARE)
    compared_pairs: int
    matches: int
    links: int
    precision: float | None = Field(description=SHARE)
    recall_compared: float | None = Field(description=SHARE)
    loss_low: float | None = Field(description=SHARE)
    loss_high: float | None = Field(description=SHARE)
    worse: list[str] = Field(
        description="linked_share, precision, recall: worse than the others beyond chance."
    )


class CalibrationBandView(View):
    """Links of some probabilities that analysts decided."""

    low: float
    high: float
    decided: int
    confirmed: int
    expected: float = Field(description="Mean probability.")
    found_low: float = Field(description="95 % interval of the share that was confirmed.")
    found_high: float


class QualityView(View):
    """All estimates of a linkage. To a province only its own rows."""

    linked: ExpectedView | None
    blocking: BlockingLossView | None
    advice: list[ThresholdAdviceView]
    weights: list[WeightBinView]
    registries: list[RegistryQualityView]
    registry_pairs: list[RegistryQualityView]
    calibration: list[CalibrationBandView]


class LinkageQualityView(View):
    """What a linkage is expected to be worth; null if it did not come so far."""

    linkage_id: str
    quality: QualityView | None
