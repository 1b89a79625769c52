"""The epochs this registry encodes its records under, and keeping the vault in step with them.

A new secret in the keyring means that every live record is encoded once more; a secret that is gone
means that everything encoded under it is forgotten. Both go in batches and continue where they
stopped.

With a key server a record waits until its blocking values are evaluated. An epoch that was complete
once is served without the records that wait.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.keys import MODE_KEY_SERVER, Context, KeySchedule
from kinlink_core.errors import NotFoundError, Reason

from kinlink_registry import encodings, evaluations, subjects
from kinlink_registry.backlog import Backlog, Stored
from kinlink_registry.filled import check_schema
from kinlink_registry.policy import AT_ONCE
from kinlink_registry.rewrite import ask_for_rewrite, rewrite_if_due

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Event

    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.coding import Coder
    from kinlink_registry.keyring import Keyring
    from kinlink_registry.policy import Rounds
    from kinlink_registry.records import Values
    from kinlink_registry.session import Session
    from kinlink_registry.vault import Vault

EPOCH_ID_MAX = 32
_PER_EPOCH = (
    "sketch", "handle", "token_key", "tombstone", "subject", "disclosed", "sealed_toward", "usage",
    "chance", "decided_handle", "waiting", "evaluation", "evaluation_key",
)  # fmt: skip


@dataclass(frozen=True)
class Epoch:
    """One epoch as the vault and the encoding see it."""

    id: int
    name: str
    schedule: KeySchedule
    encoder: Encoder
    mark: str  # tells one secret from another of the same name


class EpochBook:
    """All epochs of a registry; `sync` makes the vault follow the keyring."""

    def __init__(
        self,
        schema: Schema,
        federation: str,
        keyring: Keyring,
        vault: Vault,
        coder: Coder,
        *,
        leave: Rounds = AT_ONCE,
    ) -> None:
        self._schema = schema
        self._federation = federation
        self._keyring = keyring
        self._vault = vault
        self.coder = coder
        self._backlog = Backlog(vault, coder, leave, self._stored)
        self._next_round = 0.0
        self._schedules: dict[tuple[str, int, int], tuple[KeySchedule, Encoder, str]] = {}
        check_schema(vault, schema)

    def encoded(self, session: Session, *, complete_only: bool = False) -> list[Epoch]:
        """Epochs in the vault, newest first; complete ones with a canary are served."""
        rows = session.rows("SELECT id, name, mark, complete FROM epoch ORDER BY name DESC")
        known = set(self._keyring.epochs())
        found = [
            self._open(number, name)
            for number, name, _, complete in rows
            if name in known and (complete or not complete_only)
        ]
        marks = {name: mark for _, name, mark, _ in rows}
        # A secret that was replaced under its old name waits for the next `sync`.
        found = [epoch for epoch in found if epoch.mark == marks[epoch.name]]
        if not complete_only:
            return found
        return [epoch for epoch in found if self.coder.canary(session, epoch)]

    def served(self, session: Session, name: str) -> Epoch:
        """The epoch of a request; `NotFoundError` when this registry does not serve it."""
        for epoch in self.encoded(session, complete_only=True):
            if epoch.name == name:
                return epoch
        raise NotFoundError(Reason.EPOCH_UNKNOWN)

    def number(self, session: Session, name: str) -> int:
        """The number of an epoch in the vault, `NO_EPOCH` once it was retired."""
        rows = session.rows("SELECT id FROM epoch WHERE name = ?", [name])
        return int(rows[0][0]) if rows else subjects.NO_EPOCH

    def canary(self, epoch: Epoch) -> bytes:
        """Digest that two registries compare to know that they encode alike; see `Coder`."""
        with self._vault.reading() as session:
            return self.coder.canary(session, epoch)

    def parts(self, epoch: Epoch) -> dict[str, bytes]:
        """The digest of each part of the encoding, so that a difference has a name."""
        with self._vault.reading() as session:
            return self.coder.parts(session, epoch)

    def buy(self, values: Sequence[Values]) -> None:
        """Have blocking values of records evaluated for every epoch; see `Coder`."""
        with self._vault.reading() as session:
            epochs = self.encoded(session)
        for epoch in epochs:
            self.coder.buy(epoch, values)

    def sync(
        self,
        stopping: Event | None = None,
        *,
        buying: bool = True,
        after_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """Encode what new secrets ask for and what waits, forget what retired secrets left.

        It leaves off after a batch when `stopping` is set, and goes on the next time. Without
        `buying` the key server is not asked.
        """
        with self._vault.only_writer():
            wanted = {name: self._open(0, name).mark for name in self._keyring.epochs()}
            with self._vault.reading() as session:
                rows = session.rows("SELECT id, name, mark FROM epoch")
            stale = [number for number, name, mark in rows if wanted.get(name) != mark]
            kept = {name: number for number, name, _ in rows if number not in stale}
            added = [name for name in wanted if name not in kept]
            free = iter(sorted(set(range(1, EPOCH_ID_MAX)) - set(kept.values())))
            if stale or added:
                with self._vault.writing() as session:
                    for number in stale:
                        subjects.leave(session, number, list(kept.values()))
                        _forget(session, number)
                        ask_for_rewrite(session)
                    for name in added:
                        number = next(free)
                        row = [number, name, wanted[name]]
                        session.run("INSERT INTO epoch VALUES (?, ?, ?, false)", row)
                        subjects.enter(session, number)
            live = {(name, *self._keyring.stamp(name)) for name in wanted}
            self._schedules = {at: opened for at, opened in self._schedules.items() if at in live}
        rewrite_if_due(self._vault)
        buying = buying and self.coder.mode == MODE_KEY_SERVER
        buying = buying and time.monotonic() >= self._next_round
        whole = [
            self._backlog.work_off(name, stopping, buying=buying, after_batch=after_batch)
            for name in wanted
        ]
        if buying and not all(whole):
            self._next_round = time.monotonic() + self.coder.retry_seconds

    def sweep(self) -> None:
        """Forget evaluations bought for records that are gone; call it while nothing is bought."""
        with self._vault.reading() as session:
            settled = [
                epoch.id
                for epoch in self.encoded(session, complete_only=True)
                if not encodings.count_not_encoded(session, epoch.id)
            ]
        with self._vault.writing() as session:
            for number in settled:
                evaluations.sweep(session, number)

    def _stored(self, session: Session, name: str) -> Stored | None:
        """An epoch as the vault has it now; its number changes where the vault is replaced."""
        rows = session.rows("SELECT id, complete FROM epoch WHERE name = ?", [name])
        return Stored(self._open(rows[0][0], name), rows[0][1]) if rows else None

    def _open(self, number: int, name: str) -> Epoch:
        stamp = (name, *self._keyring.stamp(name))
        if stamp not in self._schedules:
            fingerprint = self._schema.fingerprint()
            context = Context(self.coder.mode, self._federation, name, fingerprint)
            schedule = KeySchedule(context, self._keyring.secret(name))
            self._schedules[stamp] = (
                schedule,
                Encoder(self._schema, schedule),
                schedule.derive(b"registry epoch mark").hex(),
            )
        return Epoch(number, name, *self._schedules[stamp])


def _forget(session: Session, number: int) -> None:
    for table in _PER_EPOCH:
        session.run(f"DELETE FROM {table} WHERE epoch_id = ?", [number])
    session.run("DELETE FROM epoch WHERE id = ?", [number])
