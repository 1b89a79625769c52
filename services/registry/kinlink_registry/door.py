"""How a command reaches the vault, and what ids it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinlink_core.errors import InvalidInputError, Reason

from kinlink_registry.home import is_served

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from kinlink_registry.home import Home
    from kinlink_registry.office import Office


def office(home: Home) -> AbstractContextManager[Office]:
    """The serving process if there is one, else the vault itself.

    DuckDB and the encoding take a second to load: only a command that opens the vault waits.
    """
    if is_served(home):
        from kinlink_registry.control_client import RemoteOffice

        return RemoteOffice(home.socket)
    from kinlink_registry.app import local_office

    return local_office(home)


def named_ids(local_ids: tuple[str, ...], listed: Path | None) -> list[str]:
    """Ids of the command line and of a file with one a line; at least one."""
    ids = [*local_ids, *(_lines(listed) if listed else ())]
    if not ids:
        raise InvalidInputError(Reason.FILE_UNREADABLE, "Name local ids, or a --file of them.")
    return ids


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidInputError(Reason.FILE_UNREADABLE, f"{path} is not UTF-8 text.") from None
