"""What the doctor finds around a registry: its own ports, the key server, the linker."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

from kinlink_core.runtime.address import host_and_port
from kinlink_core.runtime.channel import open_channel, wait_until_ready
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.tls import TlsFiles

from kinlink_registry.blinding import SUITE
from kinlink_registry.findings import fine, problem, warning
from kinlink_registry.key_client import KeyServerClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_registry.findings import Case, Finding
    from kinlink_registry.key_client import KeyServerTerms

REACH_SECONDS_MAX: Final = 10.0
PROBE_SECONDS_MAX: Final = 5.0
LINKER_NAME: Final = "linker"


def ports(case: Case) -> Iterator[Finding]:
    """That the registry serves and is ready, or that it could."""
    if case.served is not None:
        yield _serving(case)
        return
    taken = []
    own = case.settings
    for name, address in (
        ("listen", own.listen),
        ("health_listen", own.health_listen),
        ("metrics_listen", own.metrics_listen),
    ):
        fault = _cannot_bind(address)
        if fault:
            taken.append(f"{name} {address}: {fault}")
    if taken:
        yield problem(
            f"The registry does not serve and cannot: {'; '.join(taken)}.",
            "Stop what listens there, or choose another address in registry.toml.",
        )
    else:
        yield warning("The registry does not serve; its ports are free.", "Start serve.")


def _serving(case: Case) -> Finding:
    try:
        addresses = json.loads(case.home.ready.read_text("utf-8"))
    except FileNotFoundError:
        return warning(
            "A process answers on the local socket, and has announced no address yet.",
            "Wait if it has just started or is stopping; else see its log.",
        )
    url = f"http://{addresses['metrics']}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS_MAX):
            return fine(f"It serves on {addresses['api']} and is ready.")
    except (urllib.error.URLError, OSError):
        return warning(
            f"A process serves on {addresses['api']} but does not answer calls yet.",
            "Wait if it has just started or is stopping; else see its log.",
        )


def _cannot_bind(address: str) -> str:
    """Why nothing can listen there; empty if something can."""
    host, port = host_and_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return str(error.strerror).lower()
    return ""


def key_server(case: Case) -> Iterator[Finding]:
    """That the key server answers us, for this schema, with something left of our budget."""
    own = case.settings.key_server
    if own is None:
        return
    tls = TlsFiles.in_dir(case.settings.tls_dir)
    with KeyServerClient(own.address, tls, name=own.name) as client:
        terms = client.terms()
    yield from _fits(case, terms)
    names = ", ".join(sorted(terms.epochs)) or "none"
    yield fine(f"{own.name} at {own.address} answers; it serves the epochs {names}.")
    for epoch, passes in sorted(terms.epochs.items()):
        empty = sorted(name for name, each in passes.items() if each.budget_left == 0)
        if empty:
            yield problem(
                f"Our budget of {epoch} is spent in {', '.join(empty)}.",
                "New values are not encoded: the key server's officer can raise what is declared.",
            )


def _fits(case: Case, terms: KeyServerTerms) -> Iterator[Finding]:
    if terms.federation != case.settings.federation:
        yield problem(
            f"The key server is of federation {terms.federation}.", "Correct key_server.address."
        )
    if terms.suite != SUITE:
        yield problem(f"The key server speaks {terms.suite}, not {SUITE}.", "Use one release.")
    if terms.schema_fingerprint != case.schema.fingerprint():
        yield problem(
            "The key server has another schema.", "All must have the federation's schema file."
        )


def linker(case: Case) -> Iterator[Finding]:
    """That the linker's address is reached and its certificate holds, by our clock too."""
    if not case.linker:
        return
    tls = TlsFiles.in_dir(case.settings.tls_dir)
    with open_channel(case.linker, tls, role=Role.LINKER, name=LINKER_NAME) as channel:
        reached = wait_until_ready(channel, REACH_SECONDS_MAX)
    if reached:
        yield fine(f"{case.linker} is reached, and each side takes the other's certificate.")
    else:
        yield problem(
            f"{case.linker} is not reached, or a certificate is refused.",
            "Look at the address, the firewall, both certificates, and both clocks. The linker"
            " must reach us; that we reach it is only the way to see this from here.",
        )
