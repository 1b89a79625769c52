"""What can be wrong with a schema file (all of it at once) and with a value (one fixed reason)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, order=True)
class Fault:
    """One thing to mend: the line (from 1), the path inside the file, and what to do about it."""

    line: int
    path: str
    reason: str

    def __str__(self) -> str:
        """The fault as `line N: path: reason`."""
        return f"line {self.line}: {self.path}: {self.reason}"


class SchemaError(ValueError):
    """A schema file that cannot be used; `faults` holds all that was found, in file order."""

    def __init__(self, source: str, faults: tuple[Fault, ...]) -> None:
        self.source = source
        self.faults = faults
        super().__init__("\n".join(f"{source}: {fault}" for fault in faults))


@dataclass
class FaultLog:
    """Where the readers of a file put what they find."""

    source: str
    faults: list[Fault] = field(default_factory=list)

    def add(self, line: int, path: str, reason: str) -> None:
        """Note one fault and go on reading."""
        self.faults.append(Fault(line, path, reason))

    def raise_if_any(self) -> None:
        """Raise `SchemaError` with all faults in file order, each once."""
        if self.faults:
            raise SchemaError(self.source, tuple(sorted(set(self.faults))))


class ValueFault(StrEnum):
    """Why a value spoils its row; the text is fixed and never holds the value."""

    TOO_LONG = "is longer than this field allows"
    CONTROL_CHARACTER = "holds control characters"
    UNDECODED = "holds characters that were lost when the file was decoded"
    NOT_A_DATE = "is not a date"
    ORDER_UNKNOWN = "has the year last, but the schema does not say `order: dmy` or `order: mdy`"
    TWO_DIGIT_YEAR = "has a year of two digits"
    YEAR_OUTSIDE = "has a year outside the range of the schema"
    IMPOSSIBLE_DATE = "is a date that does not exist"
    NOT_A_NUMBER = "is not a number"
    WRONG_LENGTH = "has a length that the schema does not allow"
    NOT_LISTED = "is none of the values that the schema lists"
    NOT_A_PHONE = "has too few or too many digits for a phone number"
    NO_MODEL = "names no model"
    OTHER_MODEL = "is of another model than the schema's"
    NOT_A_VECTOR = "is no vector in base64 of half-precision numbers"
    OTHER_DIMENSIONS = "has more or fewer dimensions than the schema says"
    LOW_QUALITY = "is below the quality that the schema asks for"


class ValueFaultError(ValueError):
    """A value that cannot be read."""

    def __init__(self, fault: ValueFault) -> None:
        self.fault = fault
        super().__init__(fault.value)
