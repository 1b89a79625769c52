"""What can go wrong on one machine, and the status the command ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


class LocalError(Exception):
    """The federation on this machine could not do what was asked."""

    exit_code: ClassVar[int] = EXIT_FAILED


class BadInputError(LocalError):
    """Files or options that cannot be used; `faults` holds all that was found."""

    exit_code = EXIT_BAD_INPUT

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class ProcessFailedError(LocalError):
    """A process ended, or did not get ready; the message carries the end of what it wrote."""

    def __init__(self, what: str, tail: str) -> None:
        super().__init__(f"{what}\n{tail}" if tail else f"{what} It wrote nothing.")
        self.what = what
        self.tail = tail
