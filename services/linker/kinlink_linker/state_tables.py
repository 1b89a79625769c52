"""Two small tables: trained models by name, and registries as they were last seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinlink_core.errors import NotFoundError, Reason

from kinlink_linker import duck
from kinlink_linker.domain import RegistryState, RegistryStatus, utc_now
from kinlink_linker.linkage_table import shown_time, stored_time

if TYPE_CHECKING:
    from kinlink_linker.store import Store


class ModelTable:
    """Models as JSON text. A linkage's own model has the linkage's id and never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save(self, name: str, body: str) -> None:
        """Keep a model under a name, replacing an older one."""
        with self._store.writing() as cursor:
            cursor.execute("DELETE FROM model WHERE name = ?", [name])
            cursor.execute(
                "INSERT INTO model VALUES (?, ?, ?)", [name, stored_time(utc_now()), body]
            )

    def get(self, name: str) -> tuple[str, str]:
        """Name and JSON of a model; the newest if `name` is empty.

        Raises:
            NotFoundError: MODEL_NOT_FOUND.
        """
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                "SELECT name, body FROM model WHERE name = ? OR ? = '' "
                "ORDER BY created_at DESC, name LIMIT 1",
                [name, name],
            )
        if not found:
            raise NotFoundError(Reason.MODEL_NOT_FOUND)
        return found[0][0], found[0][1]


class RegistryTable:
    """What was last seen of each registry."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save(self, status: RegistryStatus) -> None:
        """Replace what is known of a registry; an unknown sync time keeps the last one."""
        synced_at = stored_time(status.synced_at) if status.synced_at else None
        with self._store.writing() as cursor:
            if synced_at is None:
                last = duck.rows(
                    cursor, "SELECT synced_at FROM registry WHERE name = ?", [status.name]
                )
                synced_at = last[0][0] if last else None
            cursor.execute("DELETE FROM registry WHERE name = ?", [status.name])
            cursor.execute(
                "INSERT INTO registry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    status.name,
                    status.state,
                    status.reason,
                    status.epoch,
                    status.records,
                    status.tokens,
                    status.lag,
                    synced_at,
                    status.detail,
                ],
            )

    def all(self) -> dict[str, RegistryStatus]:
        """All registries ever seen, by name."""
        with self._store.reading() as cursor:
            found = duck.rows(cursor, "SELECT * FROM registry ORDER BY name")
        return {
            row[0]: RegistryStatus(
                name=row[0],
                state=RegistryState(row[1]),
                reason=row[2],
                epoch=row[3],
                records=row[4],
                tokens=row[5],
                lag=row[6],
                synced_at=shown_time(row[7]) if row[7] else None,
                detail=row[8],
            )
            for row in found
        }
