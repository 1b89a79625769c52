"""One figure of the red team, and whether it is good enough."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


def about(count: int) -> str:
    """A count that the seed draws, in a setting that two seeds share."""
    return f"about {max(round(count, -2), 100)}"


@dataclass(frozen=True)
class Result:
    """What one attack got in one setting.

    Attributes:
        id: row of the table, such as "R4"; "X1" and on are attacks that the table forgot.
        title: the attack in a few words.
        setting: `Setting.label`, or what else it was run on.
        seed: of the population.
        measure: what `value` counts.
        value: on Kinlink. Shares are between 0 and 1.
        target: `value` must be at most this; None is only reported.
        classical: the same on a classical encoding or on the first design, if it was run.
        classical_min: `classical` must be at least this, or the attack's code is broken.
        unit: "share" is shown in percent, "number" as it is.
        detail: what a reader should know: who the attacker is, what leaks.
    """

    id: str
    title: str
    setting: str
    seed: int
    measure: str
    value: float
    target: float | None = None
    classical: float | None = None
    classical_min: float | None = None
    unit: str = "share"
    detail: str = ""

    @property
    def passed(self) -> bool:
        """The target is met and the baseline fell."""
        return self.held and self.fell

    @property
    def held(self) -> bool:
        """The target is met."""
        return self.target is None or self.value <= self.target

    @property
    def fell(self) -> bool:
        """The classical baseline fell."""
        if self.classical_min is None:
            return True
        return self.classical is not None and self.classical >= self.classical_min

    def to_json(self) -> dict[str, Any]:
        """All fields, and `passed`."""
        return {**asdict(self), "passed": self.passed}

    @staticmethod
    def from_json(row: dict[str, Any]) -> Result:
        """The inverse of `to_json`."""
        return Result(**{key: value for key, value in row.items() if key != "passed"})
