"""Exact probabilities of the found side's dates under the generator's own errors.

Given a family's dates: sums of the kernels over spans of days. Given only category and age band:
the joint law of stated birth and first trace.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.special import ndtr

from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion.children import YEAR_DAYS
from kinlink_local.reunion.lunar import lunar_spans, solar_day
from kinlink_local.reunion.marginals import band_of, loss_days, who

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
REACH: Final = 45_000  # days apart that two dates may be
LOSS_SPAN_DAYS: Final = 30
CHUNK_ROWS: Final = 2_000  # of found people at once


@cache
def kernel(name: str) -> Floats:
    """P(stated minus true = d) for d from -REACH to REACH: "table", "estimated", "hard", "trace".

    "table" lacks the share of lunar numbers read as solar, which is no function of the difference.
    """
    found = np.zeros(2 * REACH + 1)
    if name == "hard":
        most = 4 * assumed.HARD_SD_DAYS
        edges = np.arange(-most, most + 2) - 0.5
        share = np.diff(ndtr(edges / assumed.HARD_SD_DAYS))
        share[[0, -1]] += ndtr(edges[[0, 0]] / assumed.HARD_SD_DAYS)
        found[REACH - most : REACH + most + 1] = share
        return found
    pieces = {
        "table": assumed.TABLE_KERNEL,
        "estimated": assumed.ESTIMATED_KERNEL,
        "trace": assumed.TRACE_KERNEL,
    }[name]
    total = sum(share for _, _, share in pieces)
    for first, last, share in pieces:
        found[REACH + first : REACH + last + 1] += share / total / (last - first + 1)
    return found * (1 - assumed.LUNAR_READ_AS_SOLAR if name == "table" else 1)


@cache
def sums(name: str) -> Floats:
    """A kernel summed twice, as `span_given_span` wants it."""
    return np.cumsum(np.cumsum(kernel(name)))


def span_given_span(summed: Floats, true: Ints, stated: Ints) -> Floats:
    """P(the stated day lies in a span | the true day is anywhere in a span) (n, m).

    Args:
        summed: the kernel of stated minus true, summed twice.
        true: first and last possible day (n, 2).
        stated: first and last day of what is written (m, 2).
    """
    first, last = (true[:, None, side] - REACH for side in (0, 1))
    low, high = stated[:, 0] - 1, stated[:, 1]
    total: Floats = (
        summed[high - first]
        - summed[high - last - 1]
        - summed[low - first]
        + summed[low - last - 1]
    )
    return total / (true[:, 1] - true[:, 0] + 1)[:, None]


def lunar_origins(stated: Ints) -> Ints:
    """Days whose lunar numbers are the solar numbers of a span: (m, 2, 2) first and last, or 0, -1.

    A whole month or year has the lunar one of the same number; a leap month comes second.
    """
    found = np.zeros((len(stated), 2, 2), np.int64)
    found[:, :, 1] = -1
    firsts = stated[:, 0].astype("datetime64[D]")
    lasts = stated[:, 1].astype("datetime64[D]")
    for row, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
        if first == last:
            spans = lunar_spans(first.year, first.month, first.day)
            if int(solar_day(first.year, first.month, first.day + 1)) == stated[row, 0]:
                # The month's last day also stands for lunar days that it does not have.
                spans = [
                    (day, end)
                    for day, _ in spans
                    for start, end in lunar_spans(first.year, first.month)
                    if start <= day <= end
                ]
        elif first.month == last.month:
            spans = lunar_spans(first.year, first.month)
        else:
            spans = lunar_spans(first.year)
        for number, span in enumerate(spans):
            found[row, number] = span
    return found


def share_inside(true: Ints, spans: Ints) -> Floats:
    """Share of each true span (n, 2) that lies in any of the spans (m, 2, 2): (n, m)."""
    total = np.zeros((len(true), len(spans)))
    for number in range(spans.shape[1]):
        low = np.maximum(true[:, None, 0], spans[None, :, number, 0])
        high = np.minimum(true[:, None, 1], spans[None, :, number, 1])
        total += np.maximum(high - low + 1, 0)
    return total / (true[:, 1] - true[:, 0] + 1)[:, None]


class JointDates:
    """P(stated birth, first trace | category, age band) of some found people.

    A sum over the days of loss in spans of 30 days, in which the two count as independent.

    Args:
        birth: first and last day of what is written (m, 2).
        trace: the same; 0, -1 is unknown.
    """

    def __init__(self, birth: Ints, trace: Ints) -> None:
        days, share = loss_days()
        starts = days[::LOSS_SPAN_DAYS]
        self._losses = np.stack([starts, np.append(starts[1:] - 1, days[-1])], axis=1)
        self._share = np.add.reduceat(share, np.arange(0, len(days), LOSS_SPAN_DAYS))
        self._birth, self._trace = birth, trace

    def log(self, category: int, band: int, name: str, rows: Ints) -> Floats:
        """Log probabilities of what the people at `rows` have written.

        Args:
            category: of the child.
            band: of its age at loss.
            name: kernel of the date of birth; "table" includes the lunar share.
            rows: of the found people.
        """
        summed = _birth_after_loss(category, band, name)
        found = np.empty(len(rows))
        for start in range(0, len(rows), CHUNK_ROWS):
            some = rows[start : start + CHUNK_ROWS]
            trace = span_given_span(sums("trace"), self._losses, self._trace[some])
            trace[:, self._trace[some, 1] < self._trace[some, 0]] = 1.0
            birth = span_given_span(summed, self._losses, self._birth[some])
            found[start : start + len(some)] = self._share @ (trace * birth)
        return np.log(np.maximum(found, 1e-30))


def _birth_after_loss(category: int, band: int, name: str) -> Floats:
    """The kernel of stated birth minus loss, summed twice."""
    table = who()[category].sum(axis=1) * (band_of(np.arange(assumed.AGES)) == band)
    age = np.zeros(2 * REACH + 1)
    for year, share in enumerate(table / table.sum()):
        first = int(year * YEAR_DAYS) + 1
        last = int((year + 1) * YEAR_DAYS)
        age[REACH - last : REACH - first + 1] += share / (last - first + 1)
    errors = kernel(name)
    if name == "table":
        # Lunar numbers are 19 to 54 days early; how exactly does not matter after the ages' blur.
        errors = errors.copy()
        errors[REACH - 54 : REACH - 18] += assumed.LUNAR_READ_AS_SOLAR / 36
    both = np.maximum(fftconvolve(age, errors, mode="same"), 0)
    return np.cumsum(np.cumsum(both))
