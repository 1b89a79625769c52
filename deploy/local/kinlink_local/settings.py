"""The settings files of the services of a federation on this machine, as TOML.

Every port is 0: the system chooses, and the service says in `ready.json` what it got. Budgets that
protect a real federation over months are open here, because whoever runs this owns every file.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from kinlink_core.encoding.keys import MODE_KEY_SERVER, MODE_PLAIN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ANY_PORT: Final = "127.0.0.1:0"
ISLAND_CAP_MAX: Final = 1_000

Table = dict[str, Any]


def registry(
    federation: str, name: str, schema: Path, key_server: str | None, side: str = ""
) -> Table:
    """`registry.toml`; `key_server` is its address, or None for plain mode."""
    return {
        "federation": federation,
        "name": name,
        "schema": str(schema),
        "mode": MODE_KEY_SERVER if key_server else MODE_PLAIN,
        "listen": ANY_PORT,
        "health_listen": ANY_PORT,
        "metrics_listen": ANY_PORT,
        "policy": {"partner_share_max": 1.0, "island_cap_max": ISLAND_CAP_MAX},
        **({"key_server": {"address": key_server}} if key_server else {}),
        # Nobody waits a day for a rehearsal: what changes leaves at once.
        "rounds": {"spread_hours": 0},
        **({"side": side} if side else {}),
    }


def key_server(federation: str, schema: Path, records: Mapping[str, int]) -> Table:
    """`keyserver.toml`; `records` are what the registries declare to it."""
    return {
        "federation": federation,
        "schema": str(schema),
        "listen": ANY_PORT,
        "health_listen": ANY_PORT,
        "metrics_listen": ANY_PORT,
        "evaluators": max(1, len(os.sched_getaffinity(0)) // 2),
        "registries": [{"name": name, "records": count} for name, count in records.items()],
    }


def linker(
    federation: str,
    schema: Path,
    registries: Mapping[str, str],
    *,
    mode: str,
    standing: bool = False,
) -> Table:
    """`linker.toml`; `registries` are addresses by name."""
    return {
        "federation": federation,
        "schema": str(schema),
        "mode": mode,
        "listen": ANY_PORT,
        "health_listen": ANY_PORT,
        "metrics_listen": ANY_PORT,
        **({"policy": {"standing": True}} if standing else {}),
        "registries": [{"name": name, "address": address} for name, address in registries.items()],
    }


def gateway(federation: str, linker_address: str) -> Table:
    """`gateway.toml`."""
    return {
        "federation": federation,
        "listen": ANY_PORT,
        "metrics_listen": ANY_PORT,
        "linker": {"address": linker_address},
    }


def as_toml(settings: Mapping[str, Any]) -> str:
    """Write a settings file: plain values first, then tables and arrays of tables."""
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in settings.items()
        if not _tables(value)
    ]
    for key, value in settings.items():
        head = f"[{key}]" if isinstance(value, dict) else f"[[{key}]]"
        for table in _tables(value):
            lines += ["", head, as_toml(table).strip()]
    return "\n".join(lines) + "\n"


def _tables(value: object) -> list[Table]:
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return value
    return []
