"""Registries that this one no longer trusts, though their certificates still stand.

A list of this office's own, in a file beside its keys, so that it holds whatever becomes of the
vault, and takes effect with the next request. A registry is revoked as a whole or for certain
certificates, by their serial numbers, when only a key was lost. A list that cannot be read refuses
everyone.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from kinlink_core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    PreconditionError,
    Reason,
)
from kinlink_core.runtime.chain import certificate_serial
from kinlink_core.runtime.files import read_file, write_file
from kinlink_core.runtime.identity import check_name

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_core.runtime.cards import Card

FILE_MODE = 0o600
_SERIAL = re.compile(r"[0-9a-f]{1,40}")


@dataclass(frozen=True)
class Revocation:
    """A registry that is not trusted; without serials all its certificates are refused."""

    registry: str
    serials: tuple[str, ...]
    since: str


class Revocations:
    """The list in a file; read anew for each question, so that no process has to be told."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[Revocation]:
        """All revocations, by name.

        Raises:
            PreconditionError: the list is damaged.
        """
        if not self._path.exists():
            return []
        try:
            found = json.loads(read_file(self._path))
            return [
                Revocation(str(row["registry"]), tuple(row["serials"]), str(row["since"]))
                for row in found
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise PreconditionError(
                Reason.CONFIG_INVALID, f"{self._path} is damaged; nobody is trusted meanwhile."
            ) from error

    def check(self, card: Card) -> None:
        """Refuse the card of a revoked registry, or one with a revoked certificate.

        Raises:
            ForbiddenError: `REVOKED`.
        """
        for each in self.all():
            if each.registry == card.registry and (
                not each.serials or certificate_serial(card.certificate_chain) in each.serials
            ):
                raise ForbiddenError(
                    Reason.REVOKED, f"Registry {card.registry} was revoked here on {each.since}."
                )

    def add(self, registry: str, serials: tuple[str, ...] = ()) -> Revocation:
        """Revoke a registry, or some of its certificates."""
        check_name("registry", registry)
        serials = tuple(_serial(each) for each in serials)
        known = {each.registry: each for each in self.all()}
        found = known.get(registry)
        if found and not found.serials:
            raise ConflictError(Reason.CONFIG_INVALID, f"Registry {registry} is revoked already.")
        if found and serials:
            made = replace(found, serials=tuple(sorted({*found.serials, *serials})))
        else:
            made = Revocation(registry, serials, dt.datetime.now(dt.UTC).date().isoformat())
        self._write({**known, registry: made})
        return made

    def remove(self, registry: str) -> None:
        """Trust a registry again."""
        known = {each.registry: each for each in self.all()}
        if registry not in known:
            raise NotFoundError(Reason.PEER_UNKNOWN, f"Registry {registry} is not revoked here.")
        del known[registry]
        self._write(known)

    def _write(self, revocations: dict[str, Revocation]) -> None:
        rows = [asdict(revocations[name]) for name in sorted(revocations)]
        write_file(self._path, json.dumps(rows, indent=1).encode() + b"\n", FILE_MODE)


def _serial(text: str) -> str:
    plain = text.lower().replace(":", "").removeprefix("0x").lstrip("0")
    if not _SERIAL.fullmatch(plain):
        raise InvalidInputError(
            Reason.CONFIG_INVALID, f"{text!r} is no serial number: give it as hex digits."
        )
    return plain
