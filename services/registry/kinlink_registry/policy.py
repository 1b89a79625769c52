"""What a registry allows towards others; `settings` has the defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """One registry's own limits, whatever the linker asks for."""

    partner_share_max: float
    sealed_pairs_per_epoch_max: int
    disclosures_per_day_max: int
    disclosure_weight_min: float
    island_cap_max: int
