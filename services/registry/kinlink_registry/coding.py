"""People become encodings: at once in plain mode, else by what the key server evaluated.

With a key server this goes in two steps. `buy` has blocking values evaluated, which may take long
and may fail; `encode` takes those people whose values are all there, and leaves the others to wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinlink_core.encoding import conformance
from kinlink_core.encoding.canary import canary_columns, canary_digest
from kinlink_core.encoding.keys import MODE_KEY_SERVER, MODE_PLAIN

from kinlink_registry import encodings, evaluations, records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.encodings import Encoded
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.evaluations import Held
    from kinlink_registry.key_desk import KeyDesk, Problem
    from kinlink_registry.records import People, Values
    from kinlink_registry.session import Session

PLAIN_ROWS = 10_000
EVALUATED_ROWS = 2_000


class Coder:
    """Encodes under any epoch; with a `desk` in key-server mode, else in plain mode."""

    def __init__(self, schema: Schema, cipher: VaultCipher, desk: KeyDesk | None = None) -> None:
        self._schema = schema
        self._cipher = cipher
        self._desk = desk
        self._canaries: dict[str, bytes] = {}  # by the epoch's mark
        self._parts: dict[str, dict[str, bytes]] = {}

    @property
    def mode(self) -> str:
        """The mode of every key."""
        return MODE_KEY_SERVER if self._desk else MODE_PLAIN

    @property
    def rows_at_once(self) -> int:
        """Records of a batch; fewer where each costs milliseconds at the key server."""
        return EVALUATED_ROWS if self._desk else PLAIN_ROWS

    @property
    def problem(self) -> Problem | None:
        """Why the key server did not evaluate when it was last asked."""
        return self._desk.problem if self._desk else None

    @property
    def retry_seconds(self) -> float:
        """How long to leave the key server alone after it did not evaluate all."""
        return self._desk.retry_seconds if self._desk else 0.0

    def buy(self, epoch: Epoch, values: Sequence[Values]) -> None:
        """Have the blocking values of records evaluated that are about to be encoded.

        Never call it as the vault's writer. What fails is told by `problem`.
        """
        if self._desk and values:
            self._desk.buy(epoch, encodings.by_field(self._schema, values))

    def buy_canary(self, epoch: Epoch) -> None:
        """Have an epoch's canaries evaluated; as `buy`."""
        if self._desk and epoch.mark not in self._canaries:
            self._desk.buy(epoch, canary_columns(self._schema), canary=True)

    def encode(self, session: Session, epoch: Epoch, people: People) -> list[Encoded]:
        """People as an epoch encodes them, in one part or none: without those who have to wait."""
        if self._desk is None:
            ready, known = people, None
        else:
            wanted = epoch.encoder.blocking_inputs(encodings.by_field(self._schema, people.values))
            known = evaluations.held(session, self._cipher, epoch, wanted)
            ready = records.chosen(people, known.covers(wanted, len(people.local_ids)))
        return [encodings.encode(epoch, self._schema, ready, known)] if ready.local_ids else []

    def canary(self, session: Session, epoch: Epoch) -> bytes:
        """Digest that two registries compare to know that they encode alike; 16 bytes.

        Empty while the key server has not evaluated the canaries.
        """
        if epoch.mark not in self._canaries:
            evaluator = None
            if self._desk:
                evaluator = self._canary_evaluations(session, epoch)
                if evaluator is None:
                    return b""
            digest = canary_digest(self._schema, epoch.schedule, evaluator)
            self._canaries[epoch.mark] = digest
        return self._canaries[epoch.mark]

    def parts(self, session: Session, epoch: Epoch) -> dict[str, bytes]:
        """The encoding part by part, of an epoch that has its canary."""
        if epoch.mark not in self._parts:
            key_server = None
            if self._desk:
                evaluator = self._canary_evaluations(session, epoch)
                key_server = (epoch.encoder, evaluator) if evaluator else None
            keyed = conformance.Epoch(epoch.schedule.context.federation, epoch.schedule.secret)
            self._parts[epoch.mark] = conformance.parts(self._schema, keyed, key_server=key_server)
        return self._parts[epoch.mark]

    def _canary_evaluations(self, session: Session, epoch: Epoch) -> Held | None:
        """What the key server answered for the canaries; None while it has not."""
        columns = canary_columns(self._schema)
        wanted = epoch.encoder.blocking_inputs(columns)
        evaluator = evaluations.held(session, self._cipher, epoch, wanted)
        rows = len(next(iter(columns.values())))
        return evaluator if evaluator.covers(wanted, rows).all() else None
