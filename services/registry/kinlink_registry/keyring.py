"""A registry's long-lived keys: the vault key, the agreement key, the epoch secrets, the card.

Epoch secrets lie in files of their own, sealed under the vault key, so that a stolen disk without
that key gives none; deleting a file is how an epoch is retired. Nothing here ever prints a secret.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from kinlink_core.encoding import keys
from kinlink_core.errors import (
    InvalidInputError,
    PreconditionError,
    Reason,
)
from kinlink_core.runtime.cards import Card, sign_card
from kinlink_core.runtime.epochs import EpochFiles, check_epoch
from kinlink_core.runtime.files import (
    make_directory,
    read_file,
    read_secret_file,
    write_secret_file,
)

from kinlink_registry.cipher import VaultCipher

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from kinlink_core.runtime.key_source import KeySource

    from kinlink_registry.home import Home

# In an overlap a registry serves the old and the new epoch.
EPOCHS_MAX = 2


@dataclass(frozen=True)
class SealedSecret:
    """An epoch secret on its way to one other registry."""

    federation: str
    epoch: str
    to: str
    envelope: bytes


class Keyring:
    """The keys in a home, opened with the vault key."""

    def __init__(self, home: Home, federation: str, cipher: VaultCipher) -> None:
        self._home = home
        self._federation = federation
        self._files = EpochFiles(home.epochs, cipher, "secret", EPOCHS_MAX)

    def agreement_key(self) -> keys.AgreementKey:
        """The X25519 key that every registry pair's key comes from."""
        try:
            return keys.AgreementKey.from_pem(read_secret_file(self._home.agreement_key))
        except ValueError as error:
            raise PreconditionError(
                Reason.KEY_MISSING, f"{self._home.agreement_key} is no agreement key."
            ) from error

    def card(self) -> Card:
        """This registry's card: its agreement key, signed by the key of its certificate."""
        return sign_card(
            key_pem=read_secret_file(self._home.enrolment.key),
            certificate_chain=read_file(self._home.enrolment.certificate),
            agreement_public_key=self.agreement_key().public,
        )

    def epochs(self) -> list[str]:
        """Names of the epochs whose secret is here, newest first (by name)."""
        return self._files.names()

    def stamp(self, epoch: str) -> tuple[int, int]:
        """Changes when the file of an epoch's secret is another one, or gone."""
        return self._files.stamp(epoch) or (0, 0)

    def secret(self, epoch: str) -> keys.EpochSecret:
        """Open one epoch's secret."""
        return keys.EpochSecret(epoch, self._files.read(epoch))

    def create(self, epoch: str) -> None:
        """Make the secret of a new epoch; one registry does this, the others import it."""
        self.keep(keys.EpochSecret.generate(check_epoch(epoch)))

    def retire(self, epoch: str) -> None:
        """Destroy an epoch's secret; the vault forgets its encodings when it is next opened."""
        self._files.destroy(epoch)

    def seal_to(self, epoch: str, card: Card) -> SealedSecret:
        """Seal an epoch's secret to the registry of a card that was verified."""
        secret = self.secret(epoch)
        envelope = keys.seal_secret(secret, card.agreement_public_key, federation=self._federation)
        return SealedSecret(self._federation, epoch, card.registry, envelope)

    def import_secret(self, sealed: SealedSecret) -> None:
        """Open a secret sealed to this registry and keep it."""
        if sealed.federation != self._federation:
            raise PreconditionError(
                Reason.FEDERATION_DIFFERS, f"The secret is of federation {sealed.federation!r}."
            )
        epoch = check_epoch(sealed.epoch)
        try:
            secret = self.agreement_key().open_secret(
                sealed.envelope, federation=self._federation, epoch=epoch
            )
        except keys.KeyFault as error:
            raise PreconditionError(
                Reason.KEY_MISSING,
                f"The secret does not open here: it is for {sealed.to!r}.",
            ) from error
        self.keep(secret)

    def kept_at(self, epoch: str) -> dt.datetime:
        """When an epoch's secret came here, UTC."""
        return self._files.kept_at(epoch)

    def keep(self, secret: keys.EpochSecret) -> None:
        """Store the secret of an epoch that is not here yet."""
        self._files.keep(secret.epoch, secret.secret)


def read_vault_key(source: KeySource) -> VaultCipher:
    """Open the vault key; raises as its source does."""
    return VaultCipher(source.read())


def make_agreement_key(path: Path) -> None:
    """Write a new agreement key, unless there is one."""
    if path.exists():
        return
    make_directory(path.parent)
    write_secret_file(path, keys.AgreementKey.generate().to_pem())


def to_json(item: Card | SealedSecret) -> str:
    """A card or sealed secret as text that can be sent by any means: neither is secret."""
    content = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in asdict(item).items()
    }
    return json.dumps({"kind": type(item).__name__, **content}, indent=1)


def card_from_json(text: str) -> Card:
    """Read what `to_json` wrote of a card; it is not verified yet."""
    return Card(**_fields(text, Card, {"registry"}))


def sealed_from_json(text: str) -> SealedSecret:
    """Read what `to_json` wrote of a sealed secret."""
    return SealedSecret(**_fields(text, SealedSecret, {"federation", "epoch", "to"}))


def _fields(text: str, kind: type[Card | SealedSecret], texts: set[str]) -> dict[str, Any]:
    try:
        content = json.loads(text)
        found = {
            each.name: content[each.name]
            if each.name in texts
            else base64.b64decode(content[each.name], validate=True)
            for each in fields(kind)
        }
        fits = content["kind"] == kind.__name__
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            Reason.FILE_UNREADABLE, f"The file is no {kind.__name__} as `keys` writes it."
        ) from error
    if not fits:
        raise InvalidInputError(
            Reason.FILE_UNREADABLE, f"The file holds another thing than a {kind.__name__}."
        )
    return found
