"""Other registries, as this one trusts them: by a card that chains to the federation's authority.

The linker relays the cards. A forged one does not verify, and a genuine one of the wrong registry
gives a pair key that nobody else has, so the linker can neither listen in nor put itself between
two of them.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from kinlink_core.encoding.keys import KeyFault, draw_key, membership_key
from kinlink_core.encoding.prf import Prf
from kinlink_core.errors import ForbiddenError, Reason
from kinlink_core.runtime.cards import Card, verify_card
from kinlink_core.runtime.files import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_core.encoding.keys import AgreementKey

    from kinlink_registry.epochs import Epoch
    from kinlink_registry.revocations import Revocations

# A verified card is believed this long before its chain and dates are looked at again.
CARD_TRUST_SECONDS = 300.0
CARDS_MAX = 256

# One handle, or a column of them.
Handles = TypeVar("Handles")


@dataclass(frozen=True)
class Partner:
    """A verified registry, towards which something is sealed in one epoch."""

    name: str
    pair_key: bytes = field(repr=False)  # K_AB
    own_is_left: bool
    draws: Prf  # under D_AB
    islands: Prf  # under M_AB

    def ordered(self, own_handle: Handles, partner_handle: Handles) -> tuple[Handles, Handles]:
        """Handles of a pair, the one of the registry whose name sorts first in front."""
        if self.own_is_left:
            return own_handle, partner_handle
        return partner_handle, own_handle


class Partners:
    """Verifies cards and derives registry-pair keys; may be used from any thread."""

    def __init__(
        self,
        *,
        own: str,
        federation: str,
        authority: Path,
        agreement_key: AgreementKey,
        revocations: Revocations,
    ) -> None:
        self.own = own
        self._federation = federation
        self._authority = authority
        self._agreement_key = agreement_key
        self._revocations = revocations
        self._lock = threading.Lock()
        self._trusted: dict[tuple[Card, bytes], float] = {}

    def admit(self, card: Card, epoch: Epoch) -> Partner:
        """Verify a card and return what is shared with its registry in an epoch.

        Raises:
            ForbiddenError: `CARD_INVALID`, also for a card of this registry itself; `REVOKED`.
        """
        if card.registry == self.own:
            raise ForbiddenError(Reason.CARD_INVALID, "The card is this registry's own.")
        self._verify(card)
        self._revocations.check(card)
        try:
            pair_key = self._agreement_key.registry_pair_key(
                card.agreement_public_key,
                context=epoch.schedule.context,
                own=self.own,
                partner=card.registry,
            )
        except KeyFault as error:
            raise ForbiddenError(Reason.CARD_INVALID, detail=str(error)) from error
        return Partner(
            card.registry,
            pair_key,
            self.own < card.registry,
            Prf(draw_key(pair_key)),
            Prf(membership_key(pair_key)),
        )

    def _verify(self, card: Card) -> None:
        authority = read_file(self._authority)
        known = (card, authority)
        now = time.monotonic()
        with self._lock:
            if self._trusted.get(known, 0.0) > now:
                return
        verify_card(card, ca_pem=authority, federation=self._federation)
        with self._lock:
            if len(self._trusted) >= CARDS_MAX:
                self._trusted.clear()
            self._trusted[known] = now + CARD_TRUST_SECONDS
