"""The epochs this registry encodes its records under, and keeping the vault in step with them.

A new secret in the keyring means that every live record is encoded once more; a secret that is gone
means that everything encoded under it is forgotten. Both go in batches and continue where they
stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.encoding.canary import canary_digest
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.keys import MODE_PLAIN, Context, KeySchedule
from kinlink_core.errors import NotFoundError, PreconditionError, Reason

from kinlink_registry import encodings, records
from kinlink_registry.vault import read_meta, write_meta

if TYPE_CHECKING:
    from threading import Event

    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.keyring import Keyring
    from kinlink_registry.session import Session
    from kinlink_registry.vault import Vault

ENCODE_ROWS = 10_000
EPOCH_ID_MAX = 32
FINGERPRINT = "schema_fingerprint"
_PER_EPOCH = (
    "sketch", "handle", "token_key", "tombstone", "subject", "disclosed", "sealed_toward", "usage",
    "chance",
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

    def __init__(self, schema: Schema, federation: str, keyring: Keyring, vault: Vault) -> None:
        self._schema = schema
        self._federation = federation
        self._keyring = keyring
        self._vault = vault
        self._schedules: dict[tuple[str, int, int], tuple[KeySchedule, Encoder, str]] = {}
        self._canaries: dict[str, bytes] = {}
        check_fingerprint(vault, schema.fingerprint())

    def encoded(self, session: Session, *, complete_only: bool = False) -> list[Epoch]:
        """Epochs in the vault, newest first; complete ones are served."""
        rows = session.rows("SELECT id, name, mark, complete FROM epoch ORDER BY name DESC")
        known = set(self._keyring.epochs())
        found = [
            self._open(number, name)
            for number, name, _, complete in rows
            if name in known and (complete or not complete_only)
        ]
        marks = {name: mark for _, name, mark, _ in rows}
        # A secret that was replaced under its old name waits for the next `sync`.
        return [epoch for epoch in found if epoch.mark == marks[epoch.name]]

    def served(self, session: Session, name: str) -> Epoch:
        """The epoch of a request; `NotFoundError` when this registry does not serve it."""
        for epoch in self.encoded(session, complete_only=True):
            if epoch.name == name:
                return epoch
        raise NotFoundError(Reason.EPOCH_UNKNOWN)

    def canary(self, epoch: Epoch) -> bytes:
        """Digest that two registries compare to know that they encode alike; 16 bytes."""
        if epoch.mark not in self._canaries:
            self._canaries[epoch.mark] = canary_digest(self._schema, epoch.schedule)
        return self._canaries[epoch.mark]

    def sync(self, stopping: Event | None = None) -> None:
        """Encode what new secrets ask for, forget what retired ones left.

        It leaves off after a batch when `stopping` is set, and goes on the next time.
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
                        _forget(session, number)
                    for name in added:
                        row = [next(free), name, wanted[name]]
                        session.run("INSERT INTO epoch VALUES (?, ?, ?, false)", row)
        for name in wanted:
            self._complete(name, stopping)

    def _complete(self, name: str, stopping: Event | None) -> None:
        """Encode, batch by batch, the live records that an epoch lacks."""
        complete = False
        while not (complete or (stopping and stopping.is_set())):
            with self._vault.only_writer():
                complete = self._complete_batch(name)

    def _complete_batch(self, name: str) -> bool:
        with self._vault.reading() as session:
            rows = session.rows("SELECT id, complete FROM epoch WHERE name = ?", [name])
            if not rows or rows[0][1]:
                return True
            number = rows[0][0]
            refs = encodings.not_encoded(session, number, ENCODE_ROWS)
            people = records.open_people(session, self._vault.cipher, refs)
        encoded = encodings.encode(self._open(number, name), self._schema, people)
        with self._vault.writing() as session:
            encodings.publish(session, self._vault.cipher, [encoded])
            if len(refs) < ENCODE_ROWS:
                session.run("UPDATE epoch SET complete = true WHERE id = ?", [number])
        return len(refs) < ENCODE_ROWS

    def _open(self, number: int, name: str) -> Epoch:
        stamp = (name, *self._keyring.stamp(name))
        if stamp not in self._schedules:
            context = Context(MODE_PLAIN, self._federation, name, self._schema.fingerprint())
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


def check_fingerprint(vault: Vault, fingerprint: str) -> None:
    """Refuse to mix records that were normalised under different schemas in one vault."""
    with vault.writing() as session:
        found = read_meta(session, FINGERPRINT)
        if found == fingerprint:
            return
        if found is not None and session.value("SELECT count(*) FROM record"):
            raise PreconditionError(
                Reason.SCHEMA_DIFFERS,
                "The vault was filled under another schema: put that one back, or move the vault"
                " aside and ingest again.",
            )
        write_meta(session, FINGERPRINT, fingerprint)
