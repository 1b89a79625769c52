"""What a registry allows towards others; `settings` has the defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.errors import PreconditionError, Reason

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Policy:
    """One registry's own limits, whatever the linker asks for."""

    partner_share_max: float
    sealed_pairs_per_epoch_max: int
    disclosures_per_day_max: int
    disclosure_weight_min: float
    island_cap_max: int
    purposes: tuple[str, ...]  # of linkages that are answered; empty allows any

    def check_purpose(self, purpose: str) -> None:
        """Refuse a linkage whose purpose is not allowed; `PreconditionError` says which are."""
        if self.purposes and purpose not in self.purposes:
            raise PreconditionError(
                Reason.PURPOSE_REFUSED,
                f"This registry does not allow linkages of purpose {purpose or 'unknown'!r},"
                f" only: {', '.join(self.purposes)}.",
            )


@dataclass(frozen=True)
class Asker:
    """Who asks for something of our people, and for what."""

    linker: str
    linkage_id: str
    purpose: str


@dataclass(frozen=True)
class Rounds:
    """When arrivals and changes may leave; see `rounds`."""

    spread_seconds: float  # a record's passes leave at random moments within
    wait_seconds: float  # after which a round leaves that has fewer than `records_min`
    records_min: int
    bulk_records: int  # a load of so many is its own crowd, and leaves at once

    def hold(self, records: int) -> bool:
        """Whether a load of so many records waits for its rounds."""
        return self.spread_seconds > 0 and records < self.bulk_records

    def moments(self, now: int, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Random moments within the spread, as seconds since 1970."""
        source = np.random.Generator(np.random.PCG64(int.from_bytes(os.urandom(16))))
        return now + source.integers(0, max(int(self.spread_seconds), 1), shape)


AT_ONCE: Final = Rounds(spread_seconds=0, wait_seconds=0, records_min=1, bulk_records=0)
