"""`HOST:PORT` texts: checked, split and joined, with IPv6 hosts in brackets."""

from __future__ import annotations

from typing import Final

from kinlink_core.errors import InvalidInputError, Reason

PORT_MAX: Final = 65_535


def host_and_port(address: str) -> tuple[str, int]:
    """Split `HOST:PORT`; the port may be 0, where the system chooses one."""
    host, separator, port = address.rpartition(":")
    if not (separator and host and port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
        raise InvalidInputError(
            Reason.CONFIG_INVALID, "An address is HOST:PORT, for example 127.0.0.1:7443."
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def join(host: str, port: int) -> str:
    """`HOST:PORT` as gRPC and `host_and_port` read it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
