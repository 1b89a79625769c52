"""What is kept in memory of each epoch, and forgotten with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinlink_registry.epochs import Epoch

Kept = TypeVar("Kept")


class EpochMemory(Generic[Kept]):
    """Something for each epoch, by its mark: the number of an epoch is given again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, Kept] = {}

    def keep_only(self, epochs: Iterable[Epoch]) -> None:
        """Forget all other epochs: they were retired."""
        marks = {epoch.mark for epoch in epochs}
        with self._lock:
            self._kept = {mark: kept for mark, kept in self._kept.items() if mark in marks}

    def clear(self) -> None:
        """Forget all; after another vault took this one's place."""
        with self._lock:
            self._kept.clear()
