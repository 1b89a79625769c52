"""Is this node ready? Looks at everything a registry needs and says it in plain words.

It changes nothing, asks no peer for anything about people, and works while the registry serves and
when it does not. A finding is fine, a warning (it works, but not for long or not as it should), or
a problem (the registry cannot take part), with what to do about it.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from kinlink_core.encoding.schema import SchemaError, load_schema
from kinlink_core.errors import KinlinkError

from kinlink_registry import doctor_home, doctor_reach, doctor_vault
from kinlink_registry.findings import Case, State, problem
from kinlink_registry.home import is_served
from kinlink_registry.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kinlink_registry.findings import Finding
    from kinlink_registry.home import Home

    Check = Callable[[Case], Iterator[Finding]]

# In the order in which they rest on each other.
CHECKS: tuple[tuple[str, Check], ...] = (
    ("settings", doctor_home.policy),
    ("schema", doctor_home.exposures),
    ("encoding", doctor_home.encoding),
    ("keys", doctor_home.keys),
    ("certificate", doctor_home.certificate),
    ("clock", doctor_home.clock),
    ("vault", doctor_vault.vault),
    ("epochs", doctor_vault.epochs),
    ("quotas", doctor_vault.quotas),
    ("audit", doctor_home.audit),
    ("disk", doctor_home.disk),
    ("files", doctor_home.modes),
    ("ports", doctor_reach.ports),
    ("key server", doctor_reach.key_server),
    ("linker", doctor_reach.linker),
)


def examine(home: Home, *, linker: str = "") -> list[Finding]:
    """Go through all checks; one that cannot be carried out is itself a problem.

    Args:
        home: of the registry.
        linker: `HOST:PORT` of the linker, to be reached from here; empty leaves it out.
    """
    try:
        settings = read_settings(home)
    except KinlinkError as error:
        advice = f"Correct {home.settings}, or run init in an empty home."
        return [problem(error.public, advice).of("settings")]
    try:
        schema = load_schema(settings.schema_path)
    except SchemaError as error:
        advice = "Put the federation's schema file there; it is the same for all registries."
        return [problem(str(error), advice).of("schema")]
    try:
        served = _served_state(home)
    except KinlinkError as error:
        advice = "Look at the log of the process that serves, or start it again."
        return [
            problem(f"The process that serves does not answer: {error.public}", advice).of("ports")
        ]
    case = Case(home, settings, schema, served, linker, dt.datetime.now(dt.UTC))
    findings = [each for area, check in CHECKS for each in _checked(area, check, case)]
    return list(_once(findings))


def _checked(area: str, check: Check, case: Case) -> Iterator[Finding]:
    try:
        for finding in check(case):
            yield finding.of(area)
    except KinlinkError as error:
        yield problem(error.public).of(area)
    except OSError as error:
        yield problem(f"{error.filename or 'A file'}: {error.strerror}").of(area)


def _once(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Tell one cause once: later areas that fail of it point to the first."""
    first: dict[str, str] = {}
    for each in findings:
        area = first.setdefault(each.text, each.area)
        yield each if area == each.area else problem(f"Not looked at: see {area}.").of(each.area)


def _served_state(home: Home) -> dict[str, Any] | None:
    """What the serving process says of itself; None where nothing serves."""
    if not is_served(home):
        return None
    from kinlink_registry.control_client import RemoteOffice

    with RemoteOffice(home.socket) as office:
        return office.status()


def ready(findings: Sequence[Finding]) -> bool:
    """Whether the registry can take part."""
    return all(each.state is not State.PROBLEM for each in findings)
