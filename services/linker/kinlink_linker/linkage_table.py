"""Linkages as rows: saved when they are created and when they end, listed newest first."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kinlink_core.errors import NotFoundError, Reason

from kinlink_linker import duck, quality
from kinlink_linker.domain import (
    Linkage,
    LinkageOrder,
    LinkageState,
    MissingRegistry,
    PassCounts,
    Stage,
    Threshold,
)

if TYPE_CHECKING:
    from kinlink_linker.store import Store


class LinkageTable:
    """The linkages of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save(self, linkage: Linkage) -> None:
        """Insert a linkage or replace what was saved of it."""
        with self._store.writing() as cursor:
            cursor.execute("DELETE FROM linkage WHERE id = ?", [linkage.id])
            cursor.execute(
                "INSERT INTO linkage VALUES (?, ?, ?, ?, ?)",
                [
                    linkage.id,
                    stored_time(linkage.created_at),
                    linkage.state,
                    [each.name for each in linkage.missing],
                    _to_json(linkage),
                ],
            )

    def get(self, linkage_id: str) -> Linkage:
        """One linkage; `NotFoundError` if there is none."""
        with self._store.reading() as cursor:
            found = duck.rows(cursor, "SELECT body FROM linkage WHERE id = ?", [linkage_id])
        if not found:
            raise NotFoundError(Reason.LINKAGE_NOT_FOUND)
        return _from_json(found[0][0])

    def page(self, limit: int, before: tuple[datetime, str] | None) -> list[Linkage]:
        """Up to `limit` linkages, newest first, created before a position."""
        condition, parameters = "", []
        if before is not None:
            condition = "WHERE (created_at, id) < (?, ?)"
            parameters = [stored_time(before[0]), before[1]]
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                f"SELECT body FROM linkage {condition} ORDER BY created_at DESC, id DESC LIMIT ?",
                [*parameters, limit],
            )
        return [_from_json(body) for (body,) in found]

    def standing(self) -> Linkage | None:
        """The last linkage that came to a result; its links stand."""
        states = [LinkageState.SUCCEEDED.value, LinkageState.PARTIAL.value]
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor,
                "SELECT body FROM linkage WHERE list_contains(?, state)"
                " ORDER BY created_at DESC LIMIT 1",
                [states],
            )
        return _from_json(found[0][0]) if found else None

    def unfinished(self) -> list[Linkage]:
        """Linkages that were saved as pending or running."""
        states = [state.value for state in LinkageState if not state.ended]
        with self._store.reading() as cursor:
            found = duck.rows(
                cursor, "SELECT body FROM linkage WHERE list_contains(?, state)", [states]
            )
        return [_from_json(body) for (body,) in found]


def stored_time(moment: datetime) -> datetime:
    """A time as the store holds it: UTC without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def shown_time(moment: datetime) -> datetime:
    """A time of the store with its zone again."""
    return moment.replace(tzinfo=UTC)


def _to_json(linkage: Linkage) -> str:
    return json.dumps(asdict(linkage), default=lambda moment: moment.isoformat())


def _from_json(body: str) -> Linkage:
    raw: dict[str, Any] = json.loads(body)
    order = raw.pop("order")
    return Linkage(
        **{
            **raw,
            "state": LinkageState(raw["state"]),
            "order": LinkageOrder(
                **{
                    **order,
                    "threshold": Threshold(**order["threshold"]),
                    "registries": tuple(order["registries"]),
                }
            ),
            "created_at": datetime.fromisoformat(raw["created_at"]),
            "ended_at": datetime.fromisoformat(raw["ended_at"]) if raw["ended_at"] else None,
            "stages": tuple(Stage(**each) for each in raw["stages"]),
            "passes": tuple(PassCounts(**each) for each in raw["passes"]),
            "missing": tuple(MissingRegistry(**each) for each in raw["missing"]),
            # Linkages from before there were estimates have none.
            "quality": quality.from_dict(raw["quality"]) if raw.get("quality") else None,
        }
    )
