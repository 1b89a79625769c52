"""Live records that an epoch has no encoding of: encoded batch by batch, in order, at any time.

They are all of a registry's when an epoch is new, and with a key server those that it did not
evaluate yet. What was done stays done: the next time goes on with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kinlink_core.encoding.keys import MODE_KEY_SERVER

from kinlink_registry import encodings, records, rounds

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from kinlink_registry.coding import Coder
    from kinlink_registry.encodings import Encoded
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.policy import Rounds
    from kinlink_registry.session import Session
    from kinlink_registry.vault import Vault


@dataclass(frozen=True)
class Stored:
    """An epoch, and whether all records of it were encoded once."""

    epoch: Epoch
    complete: bool


@dataclass(frozen=True)
class _Place:
    """How far the records are that an epoch lacks."""

    reached: int = 0  # ref of the last one looked at
    encoded: int = 0
    waiting: int = 0  # those that could not be encoded; a canary counts as one
    done: bool = False


class Backlog:
    """Works epochs off; `find` tells one by its name as the vault has it now."""

    def __init__(
        self,
        vault: Vault,
        coder: Coder,
        leave: Rounds,
        find: Callable[[Session, str], Stored | None],
    ) -> None:
        self._vault = vault
        self._coder = coder
        self._rounds = leave
        self._find = find
        # By epoch: the vault's generation when it was last gone through, and whether all was well.
        self._gone_through: dict[str, tuple[int, bool]] = {}

    def work_off(
        self,
        name: str,
        stopping: Event | None,
        *,
        buying: bool,
        after_batch: Callable[[], None],
    ) -> bool:
        """Encode what an epoch lacks; False where some records, or its canary, have to wait."""
        generation = self._vault.generation
        then, well = self._gone_through.get(name, (None, False))
        if then == generation and (well or not buying):
            return well
        at = _Place()
        while not (at.done or (stopping and stopping.is_set())):
            if buying:
                self._buy(name, at)
            with self._vault.only_writer():
                at = self._encode(name, at)
            after_batch()
        if at.done:
            self._gone_through[name] = (generation, not at.waiting)
        return not at.waiting

    def _buy(self, name: str, at: _Place) -> None:
        with self._vault.reading() as session:
            found = self._find(session, name)
            if found is None:
                return
            count = self._coder.rows_at_once
            refs = encodings.not_encoded(session, found.epoch.id, count, at.reached)
            people = records.open_people(session, self._vault.cipher, refs)
        self._coder.buy_canary(found.epoch)
        self._coder.buy(found.epoch, people.values)

    def _encode(self, name: str, at: _Place) -> _Place:
        with self._vault.reading() as session:
            found = self._find(session, name)
            if found is None or (found.complete and self._coder.mode != MODE_KEY_SERVER):
                return replace(at, done=True)
            count = self._coder.rows_at_once
            refs = encodings.not_encoded(session, found.epoch.id, count, at.reached)
            people = records.open_people(session, self._vault.cipher, refs)
            encoded = self._coder.encode(session, found.epoch, people)
            unknown = not self._coder.canary(session, found.epoch)
        ready = sum(len(each.refs) for each in encoded)
        done = len(refs) < count
        waiting = at.waiting + len(refs) - ready + (done and unknown)
        whole = done and not waiting
        if encoded or (whole and not found.complete):
            with self._vault.writing() as session:
                self._write(session, found, encoded, loaded=at.encoded + ready)
                if whole:
                    session.run("UPDATE epoch SET complete = true WHERE id = ?", [found.epoch.id])
        reached = int(refs[-1]) if len(refs) else at.reached
        return _Place(reached, at.encoded + ready, waiting, done)

    def _write(
        self, session: Session, found: Stored, encoded: list[Encoded], *, loaded: int
    ) -> None:
        """A new epoch is its own crowd; what comes late to one may have to wait for its rounds."""
        cipher = self._vault.cipher
        if not found.complete:
            encodings.publish(session, cipher, encoded)
            return
        gone = encodings.untold(session)
        rounds.write(session, cipher, encoded, gone, rounds=self._rounds, loaded=loaded)
