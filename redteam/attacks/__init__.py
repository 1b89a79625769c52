"""All attacks, in the order of the table. One module an idea; see `redteam/README.md`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from redteam.results import Result
    from redteam.setting import Setting


@dataclass(frozen=True)
class Attack:
    """A module of this package with `run(setting) -> list[Result]`, and the ids it reports.

    `once` runs it in the first setting of each seed only: it makes its own population.
    """

    module: str
    ids: tuple[str, ...]
    once: bool = False

    def run(self, setting: Setting) -> list[Result]:
        """Run it in one setting."""
        found: list[Result] = import_module(f"redteam.attacks.{self.module}").run(setting)
        return found


ATTACKS: Final = (
    Attack("ranks", ("T1",)),
    Attack("graphs", ("T2",), once=True),
    Attack("colours", ("T3",)),
    Attack("surnames", ("R1",)),
    Attack("categories", ("R2",)),
    Attack("fingerprints", ("R3", "R4")),
    Attack("repeats", ("R5",)),
    Attack("disclosures", ("R6", "R7")),
    Attack("arrivals", ("R8",)),
    Attack("colluders", ("R9",)),
    Attack("inversion", ("R10",), once=True),
    Attack("forgery", ("R11",), once=True),
    Attack("members", ("R12",), once=True),
    Attack("versions", ("R13",), once=True),
    Attack("chance", ("R14",), once=True),
    Attack("decided", ("R15",), once=True),
    Attack("latency", ("R16",), once=True),
    Attack("spread", ("R17",), once=True),
    Attack("disk", ("T7",), once=True),
    Attack("spills", ("T8",), once=True),
    Attack("bits", ("X10",), once=True),
    Attack("reading", ("X11",), once=True),
    Attack("quotas", ("X12",), once=True),
    Attack("changes", ("X13",), once=True),
    Attack("curious", ("X14", "X15")),
    Attack("oracles", ("X16", "X17"), once=True),
    Attack("notices", ("N1", "N2"), once=True),
)
