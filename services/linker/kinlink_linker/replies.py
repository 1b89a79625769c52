"""What a registry may answer, and what a refusal as a whole means for the rows of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import numpy.typing as npt
from kinlink_core.errors import BrokenStreamError, KinlinkError, Reason
from kinlink_core.wire import Refusal

if TYPE_CHECKING:
    from kinlink_linker.domain import U8

Item = TypeVar("Item", bound=np.generic)

# Errors that say the whole request was refused for a reason that rows have a code for.
_REFUSED_WHOLE: Final = {
    Reason.HANDLES_UNKNOWN: Refusal.UNKNOWN_HANDLE,
    Reason.PROOF_REFUSED: Refusal.PROOF_REFUSED,
    Reason.QUOTA_EXCEEDED: Refusal.OVER_QUOTA,
    Reason.ABOVE_CAP: Refusal.ABOVE_CAP,
}


def refused_whole(error: KinlinkError, rows: int) -> U8:
    """Refusal codes for a request that was refused as a whole; other errors are raised on."""
    if error.reason not in _REFUSED_WHOLE:
        raise error
    return np.full(rows, _REFUSED_WHOLE[error.reason], np.uint8)


def joined(parts: list[npt.NDArray[Item]], empty: npt.NDArray[Item]) -> npt.NDArray[Item]:
    """All frames of a column; `empty` says of which kind it is where there is none."""
    return np.concatenate([empty, *parts])


def expect_rows(rows: int, asked: int) -> None:
    """Refuse an answer of another number of rows."""
    if rows != asked:
        raise broken("it answered another number of rows than were asked for")


def check_epoch(answered: str, asked: str) -> None:
    """Refuse an answer for another epoch."""
    if answered != asked:
        raise broken("it answered for another epoch")


def broken(what: str) -> BrokenStreamError:
    """What is raised where a registry does not keep to the protocol."""
    return BrokenStreamError(
        Reason.STREAM_CUT, f"The registry does not keep to the protocol: {what}.", detail=what
    )
