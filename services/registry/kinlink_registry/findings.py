"""What the doctor looks at, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt

    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.home import Home
    from kinlink_registry.settings import RegistrySettings


class State(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One sentence about one area, and what to do about it."""

    state: State
    text: str
    advice: str = ""
    area: str = ""

    def of(self, area: str) -> Finding:
        """The same finding in its area."""
        return replace(self, area=area)


@dataclass(frozen=True)
class Case:
    """A registry as the doctor finds it."""

    home: Home
    settings: RegistrySettings
    schema: Schema
    served: dict[str, Any] | None = field(repr=False)  # the status of the process that serves
    linker: str
    now: dt.datetime


def fine(text: str) -> Finding:
    """Nothing to do."""
    return Finding(State.OK, text)


def warning(text: str, advice: str = "") -> Finding:
    """It works, but not for long or not as it should."""
    return Finding(State.WARNING, text, advice)


def problem(text: str, advice: str = "") -> Finding:
    """The registry cannot take part like this."""
    return Finding(State.PROBLEM, text, advice)
