"""How each registry was last seen: kept in the store for people, and in metrics for alerts."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from kinlink_core.errors import Reason

from kinlink_linker.domain import RegistryState, RegistryStatus, utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.runtime.metrics import LinkerMetrics

    from kinlink_linker.collect import Collected
    from kinlink_linker.peer import Description
    from kinlink_linker.state_tables import RegistryTable

_AWAY = frozenset({Reason.UNREACHABLE, Reason.DEADLINE, Reason.HANDSHAKE_FAILED, Reason.STREAM_CUT})
_STATES = (RegistryState.READY, RegistryState.UNREACHABLE, RegistryState.REFUSED)


class RegistryWatch:
    """Last sightings of the configured registries; safe to use from several threads."""

    def __init__(self, table: RegistryTable, metrics: LinkerMetrics, names: Sequence[str]) -> None:
        self._table = table
        self._metrics = metrics
        self._lock = threading.Lock()
        stored = table.all()
        self._seen = {name: stored.get(name, RegistryStatus(name)) for name in sorted(names)}
        # Seen once, and no longer asked.
        self._revoked = [
            replace(each, state=RegistryState.REVOKED, reason="", detail="", lag=0)
            for name, each in stored.items()
            if name not in self._seen
        ]
        for name in self._seen:
            metrics.sync_age.labels(name).set_function(partial(self._sync_age, name))

    def all(self) -> list[RegistryStatus]:
        """All registries by name; those that were revoked are among them."""
        with self._lock:
            found = [*self._seen.values(), *self._revoked]
        return sorted(found, key=lambda status: status.name)

    def ready(self, name: str, description: Description, epoch: str) -> None:
        """A registry answered, and its profile fits."""
        status = self._seen[name]
        self._note(
            replace(
                status,
                state=RegistryState.READY,
                reason="",
                detail="",
                epoch=epoch,
                records=description.records,
            )
        )

    def refused(self, name: str, description: Description, reason: str, detail: str) -> None:
        """A registry answered, but its profile differs."""
        self._note(
            replace(
                self._seen[name],
                state=RegistryState.REFUSED,
                reason=reason,
                detail=detail,
                records=description.records,
            )
        )

    def lost(self, name: str, reason: str, detail: str) -> None:
        """A registry could not be reached, broke off, or answered what it may not."""
        state = RegistryState.UNREACHABLE if reason in _AWAY else RegistryState.REFUSED
        self._note(replace(self._seen[name], state=state, reason=reason, detail=detail))

    def synced(self, name: str, collected: Collected, tokens: int) -> None:
        """A registry's feed was read to its end."""
        self._metrics.sync_succeeded.labels(name).set(time.time())
        self._metrics.tokens.labels(name).set(tokens)
        self._note(
            replace(
                self._seen[name],
                tokens=tokens,
                lag=max(0, collected.last_sequence - collected.position),
                synced_at=utc_now(),
            )
        )

    def _note(self, status: RegistryStatus) -> None:
        with self._lock:
            self._seen[status.name] = status
            self._table.save(status)
        for state in _STATES:
            value = 1 if status.state is state else 0
            self._metrics.registry_state.labels(status.name, state.lower()).set(value)
        self._metrics.registry_records.labels(status.name).set(status.records)
        self._metrics.sync_lag.labels(status.name).set(status.lag)

    def _sync_age(self, name: str) -> float:
        synced_at = self._seen[name].synced_at
        # Never synced: the age is unknown, which no threshold may take for fresh.
        return (utc_now() - synced_at).total_seconds() if synced_at else float("inf")
