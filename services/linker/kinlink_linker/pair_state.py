"""What is to be thought of a stored pair, as SQL over `link` left joined with `verdict`.

A rejection is about the evidence that it was given on. The verdict keeps the comparison levels of
that moment; a pair that is found again with other levels is back among the candidates, with the
rejection as its history. One that is found with the same levels stays out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kinlink_linker.domain import PairState, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

# On what the verdict was given; a verdict of before levels were kept is about what there is.
_SAME: Final = "coalesce(verdict.levels = link.levels, true)"

STATE: Final = f"""
CASE coalesce(verdict.verdict, '')
  WHEN '{Verdict.CONFIRMED}' THEN '{PairState.CONFIRMED}'
  WHEN '{Verdict.UNSURE}' THEN '{PairState.UNSURE}'
  WHEN '{Verdict.REJECTED}'
    THEN CASE WHEN {_SAME} THEN '{PairState.RULED_OUT}' ELSE '{PairState.RETURNED}' END
  ELSE '{PairState.OPEN}'
END
"""
# A link that stands as it was decided, whatever is found: confirmed, or ruled out.
SETTLED: Final = f"({STATE} IN ('{PairState.CONFIRMED}', '{PairState.RULED_OUT}'))"
# What registries are told: a returned pair is open again.
TOLD: Final = f"""
CASE WHEN {STATE} = '{PairState.RETURNED}' THEN '{Verdict.UNSURE}'
     ELSE coalesce(verdict.verdict, '') END
"""
# Whether a pair is a link, by its verdict and else by the threshold.
LINKED: Final = f"""
CASE {STATE} WHEN '{PairState.CONFIRMED}' THEN true WHEN '{PairState.RULED_OUT}' THEN false
     ELSE above END
"""


def changed_fields(names: Sequence[str], decided: bytes | None, now: bytes) -> tuple[str, ...]:
    """The fields in which a pair's levels are others than those that were decided on."""
    if decided is None or len(decided) != len(now):
        return ()
    return tuple(name for name, one, other in zip(names, decided, now, strict=True) if one != other)
