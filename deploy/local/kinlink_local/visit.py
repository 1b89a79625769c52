"""A federation that is founded to be looked at: where it is kept, and how long it stays open."""

from __future__ import annotations

import tempfile
import time
import webbrowser
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from kinlink_local.processes import Supervisor
    from kinlink_local.running import Started

WATCH_SECONDS: Final = 1.0


def folder_faults(folder: Path | None) -> list[str]:
    """What is wrong with a folder that is to be used."""
    if folder is not None and folder.exists() and any(folder.iterdir()):
        return [f"--dir: {folder} is not empty; name a new folder"]
    return []


@contextmanager
def open_folder(folder: Path | None) -> Iterator[Path]:
    """The folder, or a temporary one that is removed."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="kinlink-") as scratch:
        yield Path(scratch)


def show_door(console: Console, started: Started) -> None:
    """Print where the gateway is and a token for it."""
    if started.gateway is None:
        return
    console.print(f"\nThe gateway: [bold cyan]http://{started.gateway.api}/[/]")
    console.print(f"A fresh analyst's token to log in with: [bold]{started.analyst_token}[/]")


def stay(console: Console, supervisor: Supervisor, started: Started, *, browser: bool) -> None:
    """Stay until Ctrl-C; a service that ends by itself is an error."""
    console.print("[dim]Ctrl-C ends everything.[/]")
    if browser and started.gateway is not None:
        webbrowser.open(f"http://{started.gateway.api}/")
    try:
        while True:
            for service in supervisor.services.values():
                supervisor.check(service)
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        console.print("\nStopping.")
