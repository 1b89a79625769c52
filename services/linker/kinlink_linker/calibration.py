"""Whether probabilities keep their promise, by what analysts decided.

Without truth, verdicts are all there is to hold probabilities against. Analysts choose what they
look at, so this is no random sample: it shows gross faults, such as half of the links of 0.99
rejected, and proves nothing when it looks well.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from kinlink_linker import duck
from kinlink_linker.domain import Verdict
from kinlink_linker.pair_state import SETTLED
from kinlink_linker.quality import CalibrationBand, rounded

if TYPE_CHECKING:
    from kinlink_linker.store import Store

BANDS: Final = (0.0, 0.5, 0.9, 0.99, 1.0)
# Of fewer verdicts a band is not shown.
DECIDED_MIN: Final = 20
Z_95: Final = 1.96

_SQL: Final = f"""
SELECT count(*), count(*) FILTER (verdict = $confirmed), avg(probability)
FROM link JOIN verdict USING (link_id)
WHERE linkage_id = $linkage_id AND {SETTLED}
  AND probability >= $low AND (probability < $high OR $high = 1)
"""


def calibration(store: Store, linkage_id: str) -> tuple[CalibrationBand, ...]:
    """The decided links of a linkage by bands of probability, each with enough verdicts."""
    found = []
    with store.reading() as cursor:
        for low, high in pairwise(BANDS):
            values = {
                "confirmed": Verdict.CONFIRMED.value,
                "linkage_id": linkage_id,
                "low": low,
                "high": high,
            }
            decided, confirmed, expected = duck.rows(cursor, _SQL, values)[0]
            if decided >= DECIDED_MIN:
                found.append(_band(low, high, decided, confirmed, expected))
    return tuple(found)


def wilson(part: int, whole: int) -> tuple[float, float]:
    """The 95 % interval of Wilson (1927) for a proportion of `whole`, at least 1."""
    share, z2 = part / whole, Z_95**2
    middle = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    half = Z_95 / (1 + z2 / whole) * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _band(
    low: float, high: float, decided: int, confirmed: int, expected: float
) -> CalibrationBand:
    shown, right = rounded(decided), min(rounded(confirmed), rounded(decided))
    found_low, found_high = wilson(right, shown)
    return CalibrationBand(
        low, high, shown, right, round(expected, 2), round(found_low, 2), round(found_high, 2)
    )
