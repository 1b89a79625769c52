"""Gauges that follow files and ledger: set without a gap, and gone with what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import Gauge


class FollowedGauge:
    """A gauge with labels whose series come and go."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: set[tuple[str, ...]] = set()

    def show(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Show exactly these series, by their labels."""
        for labels, value in values.items():
            self._gauge.labels(*labels).set(value)
        for labels in self._shown - set(values):
            self._gauge.remove(*labels)
        self._shown = set(values)
